import { createHash, hash as digest } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { systemCodeOf } from '../../base/errors.ts';
import {
  CHUNK_BYTES_MAX,
  CHUNKS_PER_FILE_MAX,
  WHOLE_FILE_BYTES_MAX,
  type Chunk,
  type ObjectHash,
} from '../../wire/manifest.ts';
import { chunkEnd } from './chunker.ts';
import type { Turn } from './turn.ts';

/** A file that is written to all the time can't be sent as it was at one moment. */
const TRIES_MAX = 4;
const RETRY_MS = 20;
const BUFFER_BYTES = 4 * 1024 * 1024;
/** O_NONBLOCK: a FIFO in the place of a file holds nobody up. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const GONE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO', 'EMLINK']);
/** Clocks of file systems go in ticks of up to 10 ms, some with whole or even seconds only. */
export const TICK_MS = 20;
export const COARSE_TICK_MS = 2100;

export type Hashed =
  | {
      readonly kind: 'file';
      readonly hash: ObjectHash;
      readonly chunks: readonly Chunk[] | null;
      /** Of the file as it was read. */
      readonly stat: Stats;
      /** False where it could be changed again without a change of its times: it is hashed again next time. */
      readonly isSettled: boolean;
    }
  /** Or no regular file. */
  | { readonly kind: 'gone' }
  | { readonly kind: 'unreadable'; readonly code: string }
  | { readonly kind: 'unstable' }
  | { readonly kind: 'too_many_chunks' };

/** Hashes files, and cuts large ones into chunks in the same pass. Its buffer serves one file at a time. */
export class FileHasher {
  readonly #turn: Turn;
  readonly #buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);

  constructor(turn: Turn) {
    this.#turn = turn;
  }

  async hash(path: string | Buffer): Promise<Hashed> {
    for (let tries = 1; ; tries++) {
      const hashed = await this.#hashOnce(path);
      if (hashed.kind !== 'unstable' || tries === TRIES_MAX) return hashed;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  async #hashOnce(path: string | Buffer): Promise<Hashed> {
    let fd: number;
    try {
      fd = openSync(path, READ_FLAGS);
    } catch (error) {
      const code = systemCodeOf(error);
      if (code === '') throw error;
      return GONE.has(code) ? { kind: 'gone' } : { kind: 'unreadable', code };
    }
    try {
      // A change after this moment gets a later time than what `settled` takes.
      const startedMs = Date.now();
      const before = fstatSync(fd);
      if (!before.isFile()) return { kind: 'gone' };
      const content =
        before.size > WHOLE_FILE_BYTES_MAX ? await this.#large(fd, before.size) : this.#small(fd, before.size);
      if (content === 'too_many_chunks') return { kind: content };
      if (content === null || !isSameStat(before, fstatSync(fd))) return { kind: 'unstable' };
      return { kind: 'file', ...content, stat: before, isSettled: isSettled(before, startedMs) };
    } catch (error) {
      const code = systemCodeOf(error);
      if (code === '') throw error;
      return { kind: 'unreadable', code };
    } finally {
      closeSync(fd);
    }
  }

  /** Null where it has another size than that. */
  #small(fd: number, size: number): { readonly hash: ObjectHash; readonly chunks: null } | null {
    // One byte more is asked for: less than that comes where the file ends.
    let at = 0;
    let got: number;
    do {
      got = readSync(fd, this.#buffer, at, size + 1 - at, null);
      at += got;
    } while (got > 0 && at < size);
    if (at !== size) return null;
    return { hash: digest('sha256', this.#buffer.subarray(0, size), 'hex') as ObjectHash, chunks: null };
  }

  async #large(
    fd: number,
    size: number,
  ): Promise<{ readonly hash: ObjectHash; readonly chunks: readonly Chunk[] } | 'too_many_chunks' | null> {
    const whole = createHash('sha256');
    const chunks: Chunk[] = [];
    // Others use the buffer while this one waits for its turn: what isn't cut yet is kept here.
    let rest = Buffer.alloc(0);
    for (let at = 0; at < size;) {
      rest.copy(this.#buffer);
      const got = readSync(fd, this.#buffer, rest.length, BUFFER_BYTES - rest.length, at);
      if (got === 0) return null;
      whole.update(this.#buffer.subarray(rest.length, rest.length + got));
      at += got;
      const end = rest.length + got;
      let from = 0;
      // What may be the beginning of a longer chunk waits for more, except at the end.
      const needed = at >= size ? 1 : CHUNK_BYTES_MAX;
      while (end - from >= needed) {
        const to = chunkEnd(this.#buffer, from, end);
        chunks.push({ hash: digest('sha256', this.#buffer.subarray(from, to), 'hex') as ObjectHash, size: to - from });
        from = to;
      }
      if (chunks.length > CHUNKS_PER_FILE_MAX) return 'too_many_chunks';
      rest = Buffer.from(this.#buffer.subarray(from, end));
      if (this.#turn.isOver()) await this.#turn.pass();
    }
    const sum = chunks.reduce((total, chunk) => total + chunk.size, 0);
    return sum === size ? { hash: whole.digest('hex') as ObjectHash, chunks } : null;
  }
}

/** The same file, not written to in between. */
export function isSameStat(one: Stats, other: Stats): boolean {
  return (
    one.ino === other.ino && one.size === other.size && one.mtimeMs === other.mtimeMs && one.ctimeMs === other.ctimeMs
  );
}

/**
 * Whether a later change is sure to change the times too: git's racy-entry rule. The time of a change (ctime) can't be
 * set back as mtime can.
 *
 * @param startedMs this machine's clock before the file, or folder, was read
 */
export function isSettled(stat: Pick<Stats, 'mtimeMs' | 'ctimeMs'>, startedMs: number): boolean {
  const isCoarse = stat.ctimeMs % 1000 === 0 && stat.mtimeMs % 1000 === 0;
  return Math.max(stat.mtimeMs, stat.ctimeMs) < startedMs - (isCoarse ? COARSE_TICK_MS : TICK_MS);
}
