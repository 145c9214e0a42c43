import { createHash } from 'node:crypto';
import { closeSync, existsSync, fstatSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';

/** The first link of the chain. */
const NO_HASH = '0'.repeat(64);
const COMMAND_CHARS_MAX = 4000;

/** One line of the audit log: who ran what here, when, and how it ended. */
export interface AuditEntry {
  readonly event: 'start' | 'end' | 'refused' | 'trust';
  readonly job?: string;
  readonly attempt?: number;
  /** Node id of the origin. */
  readonly by?: string;
  readonly command?: string;
  readonly cwd?: string;
  readonly user?: string;
  readonly outcome?: string;
  readonly duration_ms?: number;
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
  let bytes = fstatSync(fd).size;
  let failing = false;

  const turnOver = (): void => {
    closeSync(fd);
    rmSync(`${path}.${options.segmentsMax}`, { force: true });
    for (let index = options.segmentsMax - 1; index >= 1; index--) {
      if (existsSync(`${path}.${index}`)) renameSync(`${path}.${index}`, `${path}.${index + 1}`);
    }
    if (options.segmentsMax > 0) renameSync(path, `${path}.1`);
    else rmSync(path, { force: true });
    fd = openSync(path, 'a', 0o600);
    bytes = 0;
  };

  return {
    append(entry) {
      const command = entry.command?.slice(0, COMMAND_CHARS_MAX);
      const body = {
        at: new Date().toISOString(),
        ...entry,
        ...(command === undefined ? {} : { command }),
        prev: previous,
      };
      const line = `${JSON.stringify(body)}\n`;
      try {
        if (bytes + line.length > options.bytesMax && bytes > 0) turnOver();
        bytes += writeSync(fd, line);
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

const hashOf = (line: string): string => createHash('sha256').update(line).digest('hex');

function lastHash(path: string): string {
  for (const candidate of [path, `${path}.1`]) {
    if (!existsSync(candidate)) continue;
    const last = readFileSync(candidate, 'utf8').trimEnd().split('\n').at(-1);
    if (last !== undefined && last !== '') return hashOf(`${last}\n`);
  }
  return NO_HASH;
}
