import {
  closeSync,
  existsSync,
  fchmodSync,
  fdatasync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { assert } from '../../base/assert.ts';
import { MeshError, messageOf } from '../../base/errors.ts';
import { MIB } from '../../base/units.ts';
import type { Journal, JournalDamage, OpenedJournal } from '../../ports/journal.ts';
import { decodeJournal, encodeEntry } from './journal-lines.ts';

/** Backstop: owners rewrite long before. */
const BYTES_MAX = 256 * MIB;
/** A job's specification is at most one frame of 1 MiB. */
const RECORD_BYTES_MAX = 4 * MIB;
/** A rewrite lets others go on after so many bytes. */
const REWRITE_SLICE_BYTES = MIB;
/** What is appended while a rewrite is forced to the disk is forced after it; after so many rounds all at once. */
const REWRITE_ROUNDS_MAX = 4;
/** Only the owner may read: command lines may hold secrets. */
const FILE_MODE = 0o600;

const forceToDisk = promisify(fdatasync);
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/**
 * Opens the journal at `path`, made where there is none, and reads what it holds. A line that is not whole at the end
 * is cut off and told in `damage`; other damaged lines are told, and stay in the file until the next rewrite.
 *
 * @param options.bytesMax beyond it `append` refuses; bytes
 * @throws the system's error where the file cannot be read or made
 */
export function openJournal(path: string, options: { readonly bytesMax?: number } = {}): OpenedJournal {
  const bytesMax = options.bytesMax ?? BYTES_MAX;
  rmSync(temporaryOf(path), { recursive: true, force: true });
  const isNew = !existsSync(path);
  const fd = openSync(path, 'a+', FILE_MODE);
  try {
    fchmodSync(fd, FILE_MODE);
    if (isNew) syncFolder(path);
    const { content, damage: excess } = readUpTo(fd, bytesMax);
    const found = decodeJournal(content);
    if (fstatSync(fd).size > found.wholeBytes) ftruncateSync(fd, found.wholeBytes);
    if (found.endsOpen) writeSync(fd, '\n');
    const bytes = found.wholeBytes + (found.endsOpen ? 1 : 0);
    return {
      entries: found.entries,
      damage: [...found.damage, ...excess],
      journal: new FileJournal(path, fd, bytes, bytesMax),
    };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

class FileJournal implements Journal {
  readonly #path: string;
  readonly #bytesMax: number;
  #fd: number;
  #bytes: number;
  /** A failed append left something behind that could not be cut off at once. */
  #hasTornEnd = false;
  #isClosed = false;
  /** Appends so far, and how many of them are known to be on the disk. */
  #appended = 0;
  #synced = 0;
  #syncing: Promise<void> | null = null;
  #rewriting: Promise<void> | null = null;
  /** Lines appended since the rewrite began; they are written behind it. */
  #behindRewrite: Uint8Array[] = [];

  constructor(path: string, fd: number, bytes: number, bytesMax: number) {
    this.#path = path;
    this.#fd = fd;
    this.#bytes = bytes;
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get isRewriting(): boolean {
    return this.#rewriting !== null;
  }

  append(entry: object): void {
    assert(!this.#isClosed, 'appended to a journal that was closed');
    const line = encodeEntry(entry);
    if (line.byteLength > RECORD_BYTES_MAX)
      throw new MeshError('limit', `a record of ${line.byteLength} bytes is too long for the journal ${this.#path}`);
    if (this.#bytes + line.byteLength > this.#bytesMax)
      throw new MeshError('limit', `the journal ${this.#path} is full (${this.#bytesMax} bytes)`);
    try {
      if (this.#hasTornEnd) this.#cutTornEnd();
      this.#hasTornEnd = true;
      writeWhole(this.#fd, line);
      this.#hasTornEnd = false;
    } catch (error) {
      throw this.#takeBack(error);
    }
    this.#bytes += line.byteLength;
    this.#appended += 1;
    if (this.#rewriting !== null) this.#behindRewrite.push(line);
  }

  async sync(): Promise<void> {
    assert(!this.#isClosed, 'synced a journal that was closed');
    const wanted = this.#appended;
    // One that is under way may have begun before the last append.
    while (this.#synced < wanted) {
      this.#syncing ??= this.#syncOnce();
      await this.#syncing;
    }
  }

  rewrite(entries: readonly object[]): Promise<void> {
    assert(!this.#isClosed, 'rewrote a journal that was closed');
    assert(this.#rewriting === null, 'the journal is being rewritten already');
    const done = this.#rewrite([...entries]).finally(() => {
      this.#rewriting = null;
      this.#behindRewrite = [];
    });
    this.#rewriting = done;
    return done;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // What they failed of was told to who asked for it.
    await Promise.allSettled([this.#rewriting]);
    await Promise.allSettled([this.#syncing]);
    closeSync(this.#fd);
  }

  async #syncOnce(): Promise<void> {
    const covers = this.#appended;
    try {
      await forceToDisk(this.#fd);
      this.#synced = Math.max(this.#synced, covers);
    } catch (error) {
      throw ioError(`the journal ${this.#path} cannot be forced to the disk`, error);
    } finally {
      this.#syncing = null;
    }
  }

  async #rewrite(entries: readonly object[]): Promise<void> {
    const temporary = temporaryOf(this.#path);
    let fd: number | null = null;
    try {
      fd = openSync(temporary, 'wx', FILE_MODE);
      let bytes = await writeEntries(fd, entries);
      for (let round = 1; this.#behindRewrite.length > 0 || round === 1; round += 1) {
        bytes += writeWhole(fd, Buffer.concat(this.#behindRewrite.splice(0)));
        if (round < REWRITE_ROUNDS_MAX) await forceToDisk(fd);
        else fsyncSync(fd);
      }
      // No turn passes between the last look at what was appended and the exchange.
      renameSync(temporary, this.#path);
      const old = this.#fd;
      this.#fd = fd;
      fd = null;
      this.#bytes = bytes;
      this.#hasTornEnd = false;
      this.#synced = this.#appended;
      await Promise.allSettled([this.#syncing]);
      closeSync(old);
      syncFolder(this.#path);
    } catch (error) {
      if (fd !== null) {
        closeSync(fd);
        rmSync(temporary, { force: true });
      }
      throw ioError(`the journal ${this.#path} cannot be rewritten`, error);
    }
  }

  #cutTornEnd(): void {
    ftruncateSync(this.#fd, this.#bytes);
    this.#hasTornEnd = false;
  }

  /** After a failed append. Where the torn end cannot be cut off now, it is before the next one, and at the next start. */
  #takeBack(error: unknown): MeshError {
    const what = `the journal ${this.#path} cannot be written`;
    try {
      this.#cutTornEnd();
    } catch (second) {
      return ioError(`${what}, and what was written of the record cannot be cut off: ${messageOf(second)}`, error);
    }
    return ioError(what, error);
  }
}

async function writeEntries(fd: number, entries: readonly object[]): Promise<number> {
  let bytes = 0;
  let slice: Uint8Array[] = [];
  let sliceBytes = 0;
  for (const entry of entries) {
    const line = encodeEntry(entry);
    slice.push(line);
    sliceBytes += line.byteLength;
    if (sliceBytes < REWRITE_SLICE_BYTES) continue;
    bytes += writeWhole(fd, Buffer.concat(slice));
    slice = [];
    sliceBytes = 0;
    await nextTurn();
  }
  return bytes + writeWhole(fd, Buffer.concat(slice));
}

/** @returns bytes written: all of them, or it throws */
function writeWhole(fd: number, bytes: Uint8Array): number {
  for (let at = 0; at < bytes.byteLength;) at += writeSync(fd, bytes, at);
  return bytes.byteLength;
}

function readUpTo(fd: number, bytesMax: number): { content: Uint8Array; damage: JournalDamage[] } {
  const { size } = fstatSync(fd);
  const content = Buffer.alloc(Math.min(size, bytesMax));
  let at = 0;
  while (at < content.byteLength) {
    const read = readSync(fd, content, at, content.byteLength - at, at);
    if (read === 0) break;
    at += read;
  }
  const excess = size - content.byteLength;
  const what = `the file is longer than the ${bytesMax} bytes that a journal may have`;
  return {
    content: content.subarray(0, at),
    damage: excess > 0 ? [{ line: 0, offset: content.byteLength, bytes: excess, what }] : [],
  };
}

const temporaryOf = (path: string): string => `${path}.new`;

const ioError = (what: string, error: unknown): MeshError => new MeshError('io', `${what}: ${messageOf(error)}`, error);

/** Makes the name durable: without it a power cut may undo the creation or the exchange. */
function syncFolder(path: string): void {
  const fd = openSync(dirname(path), 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
