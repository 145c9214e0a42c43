import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';

/** The first link of the chain. */
const NO_HASH = '0'.repeat(64);
const COMMAND_CHARS_MAX = 4000;
const NEWLINE = 0x0a;

/** One line of the audit log: who ran what here, when, and how it ended. */
export interface AuditEntry {
  readonly event: 'start' | 'end' | 'refused' | 'trust';
  readonly job?: string;
  readonly attempt?: number;
  /** Node id of the origin. */
  readonly by?: string;
  /** At most COMMAND_CHARS_MAX characters; of a longer one `command_sha256` covers the whole (UTF-8). */
  readonly command?: string;
  readonly cwd?: string;
  readonly user?: string;
  readonly outcome?: string;
  readonly duration_ms?: number;
  /** Refusals of this origin before this one that were not written. */
  readonly unsaid?: number;
}

export interface AuditLog {
  append(entry: AuditEntry): void;
  close(): void;
}

/**
 * Append-only JSON lines, each holding the SHA-256 of the line before it (`prev`), so that a line changed, removed or
 * inserted later breaks the chain. Full segments are kept as `<path>.1` … `<path>.N`; the first line of a segment
 * continues the chain of the one before.
 *
 * @param options.bytesMax size of one segment, bytes
 * @param options.segmentsMax how many full segments are kept
 */
export function openAuditLog(
  path: string,
  options: { readonly bytesMax: number; readonly segmentsMax: number },
  log: Logger,
): AuditLog {
  let previous = lastHash(path);
  let fd = openSync(path, 'a', 0o600);
  let bytes = fstatSync(fd).size + endTornLine(path, fd);
  let failing = false;

  const turnOver = (): void => {
    // Where an earlier turn got no further than this, the segments have moved already.
    if (existsSync(path)) moveSegments(path, options.segmentsMax);
    const fresh = openSync(path, 'a', 0o600);
    // Only now: a closed descriptor's number may come to name any other file.
    closeSync(fd);
    fd = fresh;
    bytes = fstatSync(fd).size;
  };

  return {
    append(entry) {
      const body = { at: new Date().toISOString(), ...entry, ...commandOf(entry), prev: previous };
      const line = Buffer.from(`${JSON.stringify(body)}\n`, 'utf8');
      try {
        if (bytes + line.byteLength > options.bytesMax && bytes > 0) turnOver();
        writeWhole(fd, line, bytes);
        bytes += line.byteLength;
        previous = hashOf(line);
        failing = false;
      } catch (error) {
        // A full disk must not stop the node; that the trail has a hole is said once, loudly.
        if (!failing) log.error('the audit log cannot be written', { path, error: messageOf(error) });
        failing = true;
      }
    },
    close: () => closeSync(fd),
  };
}

/** What is cut off can still be told from something harmless of the same beginning. */
function commandOf({ command }: AuditEntry): object {
  if (command === undefined || command.length <= COMMAND_CHARS_MAX) return {};
  return { command: command.slice(0, COMMAND_CHARS_MAX), command_sha256: hashOf(command) };
}

/** Writes all of `line` or, where the disk is full, nothing: half a line would spoil the next one too. */
function writeWhole(fd: number, line: Uint8Array, before: number): void {
  try {
    for (let at = 0; at < line.byteLength;) at += writeSync(fd, line, at);
  } catch (error) {
    ftruncateSync(fd, before);
    throw error;
  }
}

/** A crash may have left half a line: it stays, and is told by the chain. @returns bytes written */
function endTornLine(path: string, fd: number): number {
  const text = readFileSync(path);
  return text.byteLength === 0 || text.at(-1) === NEWLINE ? 0 : writeSync(fd, '\n');
}

function moveSegments(path: string, segmentsMax: number): void {
  rmSync(`${path}.${segmentsMax}`, { force: true });
  for (let index = segmentsMax - 1; index >= 1; index--) {
    if (existsSync(`${path}.${index}`)) renameSync(`${path}.${index}`, `${path}.${index + 1}`);
  }
  if (segmentsMax > 0) renameSync(path, `${path}.1`);
  else rmSync(path, { force: true });
}

const hashOf = (line: string | Uint8Array): string => createHash('sha256').update(line).digest('hex');

function lastHash(path: string): string {
  for (const candidate of [path, `${path}.1`]) {
    if (!existsSync(candidate)) continue;
    const last = readFileSync(candidate, 'utf8').trimEnd().split('\n').at(-1);
    if (last !== undefined && last !== '') return hashOf(`${last}\n`);
  }
  return NO_HASH;
}
