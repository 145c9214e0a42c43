import { closeSync, fstatSync, openSync, readSync, rmSync, writeSync, type Stats } from 'node:fs';
import { systemCodeOf } from '../../base/errors.ts';
import type { ManifestHash } from '../../wire/manifest.ts';
import { putInPlace } from './slot-record.ts';
import type { TreeIndex } from './tree-index.ts';

/** Magic 8 bytes, manifest hash 32, entries u32, folders u32, noted at f64, 1 byte: left as it was collected; 7 unused. */
const MAGIC = 'mwtree2\n';
const HEAD_BYTES = 64;
const NOTED_AT = 48;
const COLLECTED_AT = 56;
const FIELDS = 5;
const ROW_BYTES = FIELDS * Float64Array.BYTES_PER_ELEMENT + 1;
/**
 * How far a file's ctime may lie behind this clock: the kernel stamps files by its tick (4 to 10 ms). A file that changed
 * within that time before its state was noted may change once more and look the same.
 */
export const RACY_MS = 20;
/**
 * So long what lay in a folder when it was collected is taken to lie there still, where the folder itself looks alike: for
 * jobs that come right one after the other. Longer is time enough for a person to edit a file there.
 */
const COLLECTED_HOLDS_MS = 10_000;

const UNKNOWN = 0;
const KNOWN = 1;
const WITH_EXTRAS = 2;

/** Size, mtime, ctime, inode and mode of numbered things. */
export class StatTable {
  readonly fields: Float64Array;
  readonly flags: Uint8Array;

  constructor(rows: number) {
    this.fields = new Float64Array(rows * FIELDS);
    this.flags = new Uint8Array(rows);
  }

  note(row: number, stat: Stats, hasExtras = false): void {
    const start = row * FIELDS;
    this.fields[start] = stat.size;
    this.fields[start + 1] = stat.mtimeMs;
    this.fields[start + 2] = stat.ctimeMs;
    this.fields[start + 3] = stat.ino;
    this.fields[start + 4] = stat.mode;
    this.flags[row] = hasExtras ? WITH_EXTRAS : KNOWN;
  }

  copy(row: number, from: StatTable, fromRow: number): void {
    // A view of the row would cost more than its numbers.
    for (let field = 0; field < FIELDS; field++) {
      this.fields[row * FIELDS + field] = from.fields[fromRow * FIELDS + field] ?? 0;
    }
    this.flags[row] = from.flags[fromRow] ?? UNKNOWN;
  }

  isLike(other: StatTable): boolean {
    return (
      Buffer.from(this.fields.buffer).equals(Buffer.from(other.fields.buffer)) &&
      Buffer.compare(this.flags, other.flags) === 0
    );
  }

  isKnown(row: number): boolean {
    return this.flags[row] !== UNKNOWN;
  }

  hasExtras(row: number): boolean {
    return this.flags[row] === WITH_EXTRAS;
  }

  isSame(row: number, stat: Stats): boolean {
    const start = row * FIELDS;
    return (
      this.flags[row] !== UNKNOWN &&
      this.fields[start + 2] === stat.ctimeMs &&
      this.fields[start + 1] === stat.mtimeMs &&
      this.fields[start] === stat.size &&
      this.fields[start + 3] === stat.ino &&
      this.fields[start + 4] === stat.mode
    );
  }
}

/**
 * What lies in a tree, by the entries and folders of one manifest: their stat after they were placed or collected. All of
 * it alike: nobody wrote to a file since, or put names into a folder.
 */
export class TreeState {
  readonly manifest: ManifestHash;
  /** Noted: what lies there has the content of the manifest's entry. */
  readonly files: StatTable;
  /** With extras: there is more in the folder than the manifest names. */
  readonly folders: StatTable;
  #notedMs = 0;
  #isCollected = false;

  constructor(manifest: ManifestHash, entries: number, folders: number) {
    this.manifest = manifest;
    this.files = new StatTable(entries);
    this.folders = new StatTable(folders);
  }

  static of(manifest: ManifestHash, index: TreeIndex): TreeState {
    return new TreeState(manifest, index.manifest.entries.length, index.folders.length);
  }

  /** The same of all files and folders, whenever it was noted. */
  isLike(other: TreeState): boolean {
    return this.manifest === other.manifest && this.files.isLike(other.files) && this.folders.isLike(other.folders);
  }

  fits(index: TreeIndex): boolean {
    return (
      this.files.flags.length === index.manifest.entries.length && this.folders.flags.length === index.folders.length
    );
  }

  /** When it was noted; the next job in that tree began later. */
  get notedMs(): number {
    return this.#notedMs;
  }

  /** True where the entry has the content that was noted, and the same mode. */
  isUntouched(index: number, stat: Stats): boolean {
    return this.files.isSame(index, stat) && stat.ctimeMs < this.#notedMs - RACY_MS;
  }

  /** True where the folder has the names that were noted. */
  isFolderUntouched(folder: number, stat: Stats): boolean {
    return this.folders.isSame(folder, stat) && stat.ctimeMs < this.#notedMs - RACY_MS;
  }

  /** Nothing ran in the tree since it was collected, and that was seconds ago. */
  holds(nowMs: number): boolean {
    return this.#isCollected && nowMs >= this.#notedMs && nowMs - this.#notedMs < COLLECTED_HOLDS_MS;
  }

  /** Replaces the file at `path` by a whole one. It needn't survive a crash meanwhile: without it, files are hashed. */
  write(path: string, nowMs: number, by: 'placed' | 'collected'): void {
    this.#notedMs = nowMs;
    this.#isCollected = by === 'collected';
    const head = Buffer.alloc(HEAD_BYTES);
    head.write(MAGIC, 'latin1');
    head.write(this.manifest, 8, 'hex');
    head.writeUInt32LE(this.files.flags.length, 40);
    head.writeUInt32LE(this.folders.flags.length, 44);
    head.writeDoubleLE(nowMs, NOTED_AT);
    head.writeUInt8(this.#isCollected ? 1 : 0, COLLECTED_AT);
    const temporary = `${path}.tmp`;
    const fd = openSync(temporary, 'w', 0o600);
    try {
      for (const table of [this.files, this.folders]) {
        const parts = [new Uint8Array(table.fields.buffer), table.flags];
        for (const part of table === this.files ? [head, ...parts] : parts) {
          for (let done = 0; done < part.length;) done += writeSync(fd, part, done);
        }
      }
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    } finally {
      closeSync(fd);
    }
    putInPlace(path);
  }

  /** Before anything is changed in the tree: from now on each file is looked at. */
  static unhold(path: string): void {
    overwrite(path, new Uint8Array(1), COLLECTED_AT);
  }

  /** Notes at `path`, where the same was written before, that all is as it was. After `unhold`. */
  static noteAgain(path: string, nowMs: number): void {
    const bytes = Buffer.alloc(Float64Array.BYTES_PER_ELEMENT);
    bytes.writeDoubleLE(nowMs);
    overwrite(path, bytes, NOTED_AT);
  }

  /** @returns null where there is none, or it is of another form */
  static read(path: string): TreeState | null {
    let fd: number;
    try {
      fd = openSync(path, 'r');
    } catch (error) {
      if (systemCodeOf(error) === 'ENOENT') return null;
      throw error;
    }
    try {
      return readState(fd);
    } finally {
      closeSync(fd);
    }
  }

  /** @param head as it was written */
  static begun(head: Buffer): TreeState {
    const state = new TreeState(
      head.toString('hex', 8, 40) as ManifestHash,
      head.readUInt32LE(40),
      head.readUInt32LE(44),
    );
    state.#notedMs = head.readDoubleLE(NOTED_AT);
    state.#isCollected = head.readUInt8(COLLECTED_AT) === 1;
    return state;
  }
}

/** Right into its tables: those of 50,000 files are 2 MB. */
function readState(fd: number): TreeState | null {
  const head = Buffer.alloc(HEAD_BYTES);
  if (!fill(fd, head) || head.toString('latin1', 0, 8) !== MAGIC) return null;
  const rows = head.readUInt32LE(40) + head.readUInt32LE(44);
  if (fstatSync(fd).size !== HEAD_BYTES + rows * ROW_BYTES) return null;
  const state = TreeState.begun(head);
  for (const { fields, flags } of [state.files, state.folders]) {
    if (!fill(fd, new Uint8Array(fields.buffer)) || !fill(fd, flags)) return null;
  }
  return state;
}

/** @returns false where the file ends before */
function fill(fd: number, part: Uint8Array): boolean {
  for (let done = 0; done < part.length;) {
    const got = readSync(fd, part, done, part.length - done, null);
    if (got === 0) return false;
    done += got;
  }
  return true;
}

/** A few bytes of a file, where there is one. */
function overwrite(path: string, bytes: Uint8Array, at: number): void {
  let fd: number;
  try {
    fd = openSync(path, 'r+');
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return;
    throw error;
  }
  try {
    writeSync(fd, bytes, 0, bytes.length, at);
  } finally {
    closeSync(fd);
  }
}
