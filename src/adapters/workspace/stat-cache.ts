import { createHash, hash as digest } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { systemCodeOf } from '../../base/errors.ts';
import { decodeManifest, encodeManifest } from '../../wire/manifest-codec.ts';
import type { FileEntry, Manifest, ManifestEntry } from '../../wire/manifest.ts';
import { replacePrivateFile } from './private-file.ts';

const MAGIC = 'MWSC1\n';
const CHECK_BYTES = 32;
const COLUMN_BYTES = 8;

/** What a file had when it was hashed. */
export interface FileStat {
  readonly ino: number;
  /** Milliseconds with fractions: a double tells moments apart that are 0.25 µs from each other, file systems far less. */
  readonly mtimeMs: number;
  readonly ctimeMs: number;
}

/** A column of each number, a row for each entry of a manifest. */
export class StatColumns {
  readonly ino: Float64Array;
  readonly mtimeMs: Float64Array;
  readonly ctimeMs: Float64Array;
  /** 1 where the row's content is known for those numbers; see `isSettled` of FileHasher. */
  readonly settled: Uint8Array;

  constructor(rows: number) {
    this.ino = new Float64Array(rows);
    this.mtimeMs = new Float64Array(rows);
    this.ctimeMs = new Float64Array(rows);
    this.settled = new Uint8Array(rows);
  }

  set(row: number, stat: FileStat, isSettled: boolean): void {
    this.ino[row] = stat.ino;
    this.mtimeMs[row] = stat.mtimeMs;
    this.ctimeMs[row] = stat.ctimeMs;
    this.settled[row] = isSettled ? 1 : 0;
  }

  isSettledAt(row: number, stat: FileStat): boolean {
    return (
      this.settled[row] === 1 &&
      this.ino[row] === stat.ino &&
      this.mtimeMs[row] === stat.mtimeMs &&
      this.ctimeMs[row] === stat.ctimeMs
    );
  }
}

/** What a scan knows of the one before. */
export interface ScanMemory {
  readonly manifest: Manifest;
  readonly columns: StatColumns;
}

export const NO_MEMORY: ScanMemory = { manifest: { entries: [] }, columns: new StatColumns(0) };

/** Goes through what is known beside a sorted list of paths. */
export class MemoryCursor {
  readonly #entries: readonly ManifestEntry[];
  readonly #columns: StatColumns;
  #row = 0;

  constructor(memory: ScanMemory) {
    this.#entries = memory.manifest.entries;
    this.#columns = memory.columns;
  }

  /** @param path behind all that were asked for before. Null where it is not known. */
  entryAt(path: string): ManifestEntry | null {
    let entry = this.#entries[this.#row];
    if (entry?.path === path) return entry;
    while (entry !== undefined && entry.path < path) entry = this.#entries[++this.#row];
    return entry?.path === path ? entry : null;
  }

  /** The entry of a file that has not changed since it was hashed. */
  fileAt(path: string, size: number, stat: FileStat): FileEntry | null {
    const entry = this.entryAt(path);
    if (entry?.kind !== 'file' || entry.size !== size) return null;
    return this.#columns.isSettledAt(this.#row, stat) ? entry : null;
  }
}

/** Only a shortcut: whatever is wrong with the file, all is hashed again. */
export function readScanMemory(path: string): ScanMemory {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    if (systemCodeOf(error) === '') throw error;
    return NO_MEMORY;
  }
  const head = MAGIC.length + 4;
  const body = bytes.subarray(0, Math.max(bytes.length - CHECK_BYTES, 0));
  if (body.length < head || body.toString('latin1', 0, MAGIC.length) !== MAGIC) return NO_MEMORY;
  if (!digest('sha256', body, 'buffer').equals(bytes.subarray(body.length))) return NO_MEMORY;
  const columnsAt = head + body.readUInt32LE(MAGIC.length);
  const manifest = decodeManifest(body.subarray(head, columnsAt));
  if (!manifest.ok) return NO_MEMORY;
  const rows = manifest.value.entries.length;
  const columns = new StatColumns(rows);
  if (body.length !== columnsAt + rows * (3 * COLUMN_BYTES + 1)) return NO_MEMORY;
  let at = columnsAt;
  for (const column of [columns.ino, columns.mtimeMs, columns.ctimeMs, columns.settled]) {
    new Uint8Array(column.buffer).set(body.subarray(at, at + column.byteLength));
    at += column.byteLength;
  }
  return { manifest: manifest.value, columns };
}

/** @throws the system's error, with the old file untouched */
export function writeScanMemory(path: string, memory: ScanMemory): void {
  const manifest = encodeManifest(memory.manifest);
  const { ino, mtimeMs, ctimeMs, settled } = memory.columns;
  const head = Buffer.alloc(MAGIC.length + 4);
  head.write(MAGIC, 'latin1');
  head.writeUInt32LE(manifest.length, MAGIC.length);
  const columns = [ino, mtimeMs, ctimeMs, settled].map((column) => new Uint8Array(column.buffer));
  // Each by itself: together they would be as much memory again.
  const check = createHash('sha256');
  for (const part of [head, manifest, ...columns]) check.update(part);
  replacePrivateFile(path, head, manifest, ...columns, check.digest());
}
