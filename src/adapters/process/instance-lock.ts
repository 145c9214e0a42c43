import { linkSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { messageOf, systemCodeOf } from '../../base/errors.ts';
import { readProcess } from './process-table.ts';

/**
 * A lock that dies with its holder: a file naming a pid and its start, made whole by link(2). Node.js has no flock.
 * Two that find a dead holder's file at once are told apart by rename(2), which only one of them wins.
 */
const ATTEMPTS_MAX = 10;

export type LockResult =
  | { readonly ok: true; readonly release: () => void }
  | { readonly ok: false; readonly holder: number };

/** Throws what the file system throws; a living holder is a value. */
export function takeLock(file: string): LockResult {
  const self = readProcess(process.pid);
  const content = `${process.pid} ${self?.startTag ?? ''}\n`;
  const mine = `${file}.${process.pid}`;
  writeFileSync(mine, content, { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      if (tryLink(mine, file)) return { ok: true, release: () => release(file, content) };
      const found = readIfThere(file);
      if (found === null) continue;
      const holder = livingHolder(found);
      if (holder !== null) return { ok: false, holder };
      removeStale(file, `${mine}.stale`, found);
    }
    throw new Error(`cannot take the lock ${file}`);
  } finally {
    unlinkSync(mine);
  }
}

/** @returns the pid of the living holder, or null. Throws what the file system throws. */
export function lockHolder(file: string): number | null {
  const content = readIfThere(file);
  return content === null ? null : livingHolder(content);
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (systemCodeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

function readIfThere(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return null;
    throw error;
  }
}

function livingHolder(content: string): number | null {
  const [pidText = '', ...tag] = content.trim().split(' ');
  const pid = Number(pidText);
  if (!Number.isSafeInteger(pid) || pid < 1) return null;
  return readProcess(pid)?.startTag === tag.join(' ') ? pid : null;
}

function removeStale(file: string, aside: string, stale: string): void {
  try {
    renameSync(file, aside);
    // Another may have replaced the dead holder's file between our look and the rename: then it goes back.
    if (readFileSync(aside, 'utf8') !== stale) tryLink(aside, file);
    unlinkSync(aside);
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') throw error;
  }
}

function release(file: string, content: string): void {
  try {
    if (readFileSync(file, 'utf8') === content) unlinkSync(file);
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT')
      throw new Error(`cannot release ${file}: ${messageOf(error)}`, { cause: error });
  }
}
