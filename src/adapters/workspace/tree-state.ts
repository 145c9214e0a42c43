import { closeSync, openSync, readFileSync, renameSync, rmSync, writeSync, type Stats } from 'node:fs';
import { systemCodeOf } from '../../base/errors.ts';
import type { ManifestHash } from '../../wire/manifest.ts';

/** 'mwtree1', and what it's followed by: manifest hash 32 bytes, entries u32, 4 unused, written at f64. */
const MAGIC = 'mwtree1\n';
const HEAD_BYTES = 56;
const FIELDS = 5;
/**
 * How far a file's ctime may lie behind this clock: the kernel stamps files by its tick (4 to 10 ms). A file that changed
 * within that time before its state was noted may change once more and look the same.
 */
export const RACY_MS = 20;

/**
 * What lies in a tree, entry by entry of one manifest: its stat after it was placed or collected. Size, mtime, ctime,
 * inode and mode alike: nobody wrote to it since.
 */
export class TreeState {
  readonly manifest: ManifestHash;
  #notedMs: number;
  readonly #fields: Float64Array;
  /** 1: what lies there has the content of the manifest's entry. */
  readonly #known: Uint8Array;

  constructor(
    manifest: ManifestHash,
    entries: number,
    notedMs = 0,
    from?: { fields: Float64Array; known: Uint8Array },
  ) {
    this.manifest = manifest;
    this.#notedMs = notedMs;
    this.#fields = from?.fields ?? new Float64Array(entries * FIELDS);
    this.#known = from?.known ?? new Uint8Array(entries);
  }

  get entries(): number {
    return this.#known.length;
  }

  /** When it was noted; the next job in that tree began later. */
  get notedMs(): number {
    return this.#notedMs;
  }

  note(index: number, stat: Stats): void {
    const start = index * FIELDS;
    this.#fields[start] = stat.size;
    this.#fields[start + 1] = stat.mtimeMs;
    this.#fields[start + 2] = stat.ctimeMs;
    this.#fields[start + 3] = stat.ino;
    this.#fields[start + 4] = stat.mode;
    this.#known[index] = 1;
  }

  /** True where the entry has the content that was noted, and the same mode. */
  isUntouched(index: number, stat: Stats): boolean {
    const start = index * FIELDS;
    return (
      this.#known[index] === 1 &&
      this.#fields[start] === stat.size &&
      this.#fields[start + 1] === stat.mtimeMs &&
      this.#fields[start + 2] === stat.ctimeMs &&
      this.#fields[start + 3] === stat.ino &&
      this.#fields[start + 4] === stat.mode &&
      stat.ctimeMs < this.#notedMs - RACY_MS
    );
  }

  /** For the same entry of another tree that was cloned from this one. */
  isKnown(index: number): boolean {
    return this.#known[index] === 1;
  }

  /** Replaces the file at `path`, whole or not at all. It needn't survive a power cut: without it, files are hashed. */
  write(path: string, nowMs: number): void {
    this.#notedMs = nowMs;
    const head = Buffer.alloc(HEAD_BYTES);
    head.write(MAGIC, 'latin1');
    head.write(this.manifest, 8, 'hex');
    head.writeUInt32LE(this.entries, 40);
    head.writeDoubleLE(nowMs, 48);
    const temporary = `${path}.tmp`;
    const fd = openSync(temporary, 'w', 0o600);
    try {
      for (const part of [head, new Uint8Array(this.#fields.buffer), this.#known]) {
        for (let done = 0; done < part.length;) done += writeSync(fd, part, done);
      }
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  }

  /** @returns null where there is none, or it is of another form */
  static read(path: string): TreeState | null {
    let bytes: Buffer;
    try {
      bytes = readFileSync(path);
    } catch (error) {
      if (systemCodeOf(error) === 'ENOENT') return null;
      throw error;
    }
    if (bytes.length < HEAD_BYTES || bytes.toString('latin1', 0, 8) !== MAGIC) return null;
    const entries = bytes.readUInt32LE(40);
    const fieldBytes = entries * FIELDS * Float64Array.BYTES_PER_ELEMENT;
    if (bytes.length !== HEAD_BYTES + fieldBytes + entries) return null;
    const fields = new Float64Array(entries * FIELDS);
    new Uint8Array(fields.buffer).set(bytes.subarray(HEAD_BYTES, HEAD_BYTES + fieldBytes));
    const known = Uint8Array.from(bytes.subarray(HEAD_BYTES + fieldBytes));
    return new TreeState(bytes.toString('hex', 8, 40) as ManifestHash, entries, bytes.readDoubleLE(48), {
      fields,
      known,
    });
  }

  static remove(path: string): void {
    rmSync(path, { force: true });
  }
}
