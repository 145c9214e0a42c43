import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { z } from 'zod';
import { readBootId, readPidNamespace, readProcessStart } from '../adapters/os/process-identity.ts';
import { MeshError, messageOf, systemCodeOf } from '../base/errors.ts';

/**
 * One daemon per MESHWORK_HOME. The lock file names its holder by pid, start time, boot and pid namespace, so that a pid
 * used again is not taken for it.
 *
 * L1 A lock file appears whole: it is written under another name and hard-linked, which fails where the name is taken.
 * L2 A dead holder's file is removed only by who holds the right to remove *that* file: a lock of the same kind, named
 *    after the file's nonce. So nobody removes a file that a newcomer has just put there (`takeOver`).
 * L3 A holder releases only its own file (`release`).
 */
export interface Lock {
  /** Idempotent. */
  release(): void;
}

export interface LockOptions {
  /**
   * Whether the holder answers (on its socket): asked only where its pid belongs to another pid namespace, as after a
   * container was replaced, and cannot be looked up. Without it such a lock counts as held.
   */
  readonly holderAnswers?: () => Promise<boolean>;
}

const holderSchema = z.object({
  pid: z.int().positive(),
  start: z.string(),
  boot: z.string(),
  host: z.string(),
  pid_namespace: z.string(),
  nonce: z.string().regex(/^[0-9a-f]{16}$/),
});
type Holder = z.infer<typeof holderSchema>;

/** Newcomers that keep taking the lock between our looks: then one of them has it, and we say so. */
const TRIES_MAX = 20;
/** A right to remove a right to remove …: each level means one crash within the same few microseconds. */
const DEPTH_MAX = 4;

/**
 * Takes the lock, also from a holder that no longer runs.
 *
 * @throws MeshError `already_running` naming the holder's pid; `io` where the file is not one of ours
 */
export async function acquireLock(path: string, options: LockOptions = {}): Promise<Lock> {
  return acquire(path, options, 0);
}

async function acquire(path: string, options: LockOptions, depth: number): Promise<Lock> {
  const own = describeSelf();
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    if (putWhole(path, own)) return { release: () => release(path, own) };
    const holder = readHolder(path);
    if (holder === null) continue;
    if (await isHeld(holder, options)) throw alreadyRunning(path, holder);
    if (depth >= DEPTH_MAX) break;
    await takeOver(path, holder, options, depth);
  }
  throw new MeshError('already_running', `The lock ${path} keeps changing hands: another daemon is starting there.`);
}

async function takeOver(path: string, dead: Holder, options: LockOptions, depth: number): Promise<void> {
  let right: Lock;
  try {
    right = await acquire(`${path}.${dead.nonce}`, options, depth + 1);
  } catch (error) {
    if (!(error instanceof MeshError) || error.code !== 'already_running') throw error;
    // Somebody else is removing it right now: look again in a moment.
    await new Promise((resolve) => setImmediate(resolve));
    return;
  }
  try {
    if (readHolder(path)?.nonce === dead.nonce) unlinkSync(path);
  } finally {
    right.release();
  }
}

function describeSelf(): Holder {
  return {
    pid: process.pid,
    start: readProcessStart(process.pid) ?? '',
    boot: readBootId() ?? '',
    host: hostname(),
    pid_namespace: readPidNamespace(),
    nonce: randomBytes(8).toString('hex'),
  };
}

/** False where the name is taken. */
function putWhole(path: string, own: Holder): boolean {
  const draft = `${path}.${own.nonce}.new`;
  try {
    writeFileSync(draft, `${JSON.stringify(own)}\n`, { mode: 0o600, flag: 'wx', flush: true });
    linkSync(draft, path);
    return true;
  } catch (error) {
    if (systemCodeOf(error) === 'EEXIST') return false;
    throw new MeshError('io', `The lock ${path} cannot be made (${messageOf(error)}); nothing was started.`, error);
  } finally {
    rmSync(draft, { force: true });
  }
}

/** Null where the file has gone. */
function readHolder(path: string): Holder | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return null;
    throw error;
  }
  const parsed = holderSchema.safeParse(jsonOrNull(text));
  if (parsed.success) return parsed.data;
  throw new MeshError(
    'io',
    `${path} is not a lock file of meshwork. If no daemon runs there, remove it and try again.`,
  );
}

function jsonOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

async function isHeld(holder: Holder, options: LockOptions): Promise<boolean> {
  const boot = readBootId();
  // Another boot of this machine is over. Another machine (a home on a network file system) cannot be asked.
  if (boot !== null && holder.boot !== '' && holder.boot !== boot) return holder.host !== hostname();
  if (holder.pid_namespace !== readPidNamespace()) return (await options.holderAnswers?.()) ?? true;
  const start = readProcessStart(holder.pid);
  return start !== null && (holder.start === '' || start === holder.start);
}

function release(path: string, own: Holder): void {
  if (readHolder(path)?.nonce === own.nonce) unlinkSync(path);
}

function alreadyRunning(path: string, holder: Holder): MeshError {
  const elsewhere = holder.host === hostname() ? '' : ` on ${holder.host}, as far as can be told from here`;
  const remedy = elsewhere === '' ? 'Use it, or end it with "meshwork down".' : `If none does, remove ${path}.`;
  return new MeshError(
    'already_running',
    `A daemon (pid ${holder.pid}) already runs on this MESHWORK_HOME${elsewhere}: ${path}. ${remedy}`,
  );
}
