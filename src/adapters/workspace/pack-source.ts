import { hash as digest } from 'node:crypto';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { systemCodeOf } from '../../base/errors.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { ScanRefusal } from '../../ports/workspace.ts';
import type { FileEntry, Manifest, ObjectHash } from '../../wire/manifest.ts';
import { OBJECT_BYTES_MAX } from '../../wire/object-pack.ts';
import { shownPath } from '../../wire/tree-path.ts';
import { isWanted, wantFits } from '../../wire/want-list.ts';
import { nativePath } from './native-path.ts';
import { compressedOf, PackBuilder } from './pack-builder.ts';

const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
/** Names of what is compressed already. What isn't named here is tried. */
const COMPRESSED_NAME =
  /\.(?:7z|aac|apk|avif|br|bz2|crx|docx|gif|gz|heic|idx|jar|jpe?g|lz4|m4a|mkv|mov|mp[34]|ogg|opus|pack|png|pptx|rar|tgz|war|wasm\.gz|web[mp]|whl|woff2?|xlsx|xz|zip|zst)$/i;
/** Loose objects of git are deflated. */
const GIT_OBJECT = /(?:^|\/)\.git\/objects\//;
/** Of larger objects a piece is tried before all of it is. */
const SAMPLED_BYTES_MIN = 64 * 1024;
const SAMPLE_BYTES = 8 * 1024;
/**
 * Compressing pays where the link is the slowest part: while packs lie ready for so long before they are asked for, and until they
 * are asked for before they are ready, twice. Where the other end is on
 * this machine packs wait for its processor, which compressing takes more of; only what waits long may wait for a tunnel. Measured: brotli's quickest takes 3 ms for a mebibyte, 1 Gbit/s takes 9 ms.
 */
const READY_MS_MIN = { away: 3, here: 250 } as const;
const LATE_MS_MAX = 0.5;
const LATE_PACKS_MAX = 2;
/** So many packs go as they are before it is tried again. */
const PLAIN_PACKS = 16;

/** Where the bytes of a tree's files are that aren't at their path below the root. */
export interface Places {
  /** By path: absolute, one character per byte. */
  readonly elsewhere: ReadonlyMap<string, string>;
  virtual(hash: ObjectHash): Uint8Array | null;
}

/** Where an object lies in a file of the manifest. */
export interface WantedObject {
  readonly entry: FileEntry;
  readonly hash: ObjectHash;
  readonly offset: number;
  readonly size: number;
}

/**
 * Reads the objects that an executor lacks from the project's files, in packs. The next pack is made while the one before is
 * under way; whether it is compressed follows from how long that takes.
 */
export class PackSource {
  readonly #root: string;
  readonly #places: Places;
  readonly #wanted: readonly WantedObject[];
  readonly #readyMsMin: number;
  readonly #builder = new PackBuilder();
  readonly #buffer: Buffer;
  #at = 0;
  #open: { readonly entry: FileEntry; readonly fd: number } | null = null;
  #ahead: Result<Uint8Array | null, ScanRefusal> | null = null;
  #spare: ArrayBuffer | null = null;
  #readyMs = 0;
  #compress = false;
  #latePacks = 0;
  #plainPacks = PLAIN_PACKS;
  #isClosed = false;

  /** @param root absolute, one character per byte */
  constructor(root: string, places: Places, wanted: readonly WantedObject[], end: 'here' | 'away') {
    this.#root = root;
    this.#places = places;
    this.#wanted = wanted;
    this.#readyMsMin = READY_MS_MIN[end];
    const largest = wanted.reduce((most, { size }) => Math.max(most, size), 0);
    this.#buffer = Buffer.allocUnsafeSlow(Math.min(largest, OBJECT_BYTES_MAX) + 1);
  }

  /** @param root absolute, one character per byte. Null where `want` is no list of that manifest's objects. */
  static of(
    root: string,
    places: Places,
    manifest: Manifest,
    want: Uint8Array,
    end: 'here' | 'away',
  ): PackSource | null {
    const seen = new Set<ObjectHash>();
    const wanted: WantedObject[] = [];
    for (const entry of manifest.entries) {
      if (entry.kind !== 'file') continue;
      let offset = 0;
      for (const { hash, size } of entry.chunks ?? [entry]) {
        if (!seen.has(hash)) {
          if (isWanted(want, seen.size)) wanted.push({ entry, hash, offset, size });
          seen.add(hash);
        }
        offset += size;
      }
    }
    return wantFits(want, seen.size) ? new PackSource(root, places, wanted, end) : null;
  }

  /**
   * Null at the end. `unstable` names a file that is not what was scanned any more.
   *
   * @param spent memory of a pack that went, for one to come @throws the system's error
   */
  next(spent: ArrayBuffer | null = null): Result<Uint8Array | null, ScanRefusal> {
    this.#spare = spent ?? this.#spare;
    const ahead = this.#ahead;
    this.#ahead = null;
    this.#judgeLink(ahead === null ? 0 : performance.now() - this.#readyMs);
    const pack = ahead ?? this.#make();
    if (pack.ok && pack.value !== null) setImmediate(() => this.#makeAhead());
    return pack;
  }

  /** By number of objects, in the order in which they are sent; null where each of them is a file. */
  filesAfter(): readonly number[] | null {
    const after = [0];
    for (const [index, { entry }] of this.#wanted.entries()) {
      const isLast = this.#wanted[index + 1]?.entry !== entry;
      after.push((after.at(-1) ?? 0) + (isLast ? 1 : 0));
    }
    return after.at(-1) === this.#wanted.length ? null : after;
  }

  close(): void {
    this.#isClosed = true;
    this.#ahead = null;
    this.#closeFile();
  }

  /** @param readyMs how long the pack that is asked for has been ready */
  #judgeLink(readyMs: number): void {
    if (!this.#compress) {
      this.#plainPacks += 1;
      this.#compress = readyMs >= this.#readyMsMin && this.#plainPacks > PLAIN_PACKS;
      this.#latePacks = 0;
      return;
    }
    this.#latePacks = readyMs < LATE_MS_MAX ? this.#latePacks + 1 : 0;
    if (this.#latePacks < LATE_PACKS_MAX) return;
    this.#compress = false;
    this.#plainPacks = 0;
  }

  #makeAhead(): void {
    if (this.#isClosed || this.#ahead !== null) return;
    this.#ahead = this.#make();
    this.#readyMs = performance.now();
  }

  #make(): Result<Uint8Array | null, ScanRefusal> {
    while (!this.#builder.isFull) {
      const wanted = this.#wanted[this.#at];
      if (wanted === undefined) {
        this.#closeFile();
        return ok(this.#builder.isEmpty ? null : this.#take());
      }
      if (!this.#builder.fits(wanted.size)) break;
      const bytes = this.#read(wanted);
      if (bytes === null) return err(changed(wanted));
      this.#builder.add(wanted.hash, bytes, this.#compress && mayCompress(wanted.entry.path, bytes));
      this.#at += 1;
    }
    return ok(this.#take());
  }

  #take(): Uint8Array {
    const spare = this.#spare;
    this.#spare = null;
    return this.#builder.take(this.#compress, spare);
  }

  /** Holds until the next call. Null where it isn't there any more as it was. */
  #read(wanted: WantedObject): Uint8Array | null {
    const virtual = this.#places.elsewhere.has(wanted.entry.path) ? null : this.#virtual(wanted);
    if (virtual !== null) return virtual;
    const fd = this.#fileOf(wanted.entry);
    if (fd === null) return null;
    const { offset, size } = wanted;
    // One byte more, where the file should end there: it may have grown.
    const end = offset + size === wanted.entry.size ? size + 1 : size;
    if (this.#readFrom(fd, offset, size, end) !== size) return null;
    const bytes = this.#buffer.subarray(0, size);
    return digest('sha256', bytes, 'hex') === wanted.hash ? bytes : null;
  }

  /**
   * @param size that is expected @param most asked for
   * @returns how many bytes came; null where none can be read: a folder in the place of a file can be opened all the same
   */
  #readFrom(fd: number, offset: number, size: number, most: number): number | null {
    let at = 0;
    let got: number;
    try {
      do {
        got = readSync(fd, this.#buffer, at, most - at, offset + at);
        at += got;
      } while (got > 0 && at < size);
    } catch (error) {
      // Thrown while a pack is made ahead, it would end the thread.
      if (systemCodeOf(error) === '') throw error;
      return null;
    }
    return at;
  }

  /** Config and index of git are not sent as they are on the disk. */
  #virtual({ entry, offset, size }: WantedObject): Uint8Array | null {
    if (!VIRTUAL_NAME.test(entry.path)) return null;
    const content = this.#places.virtual(entry.hash);
    return content === null ? null : content.subarray(offset, offset + size);
  }

  /** Chunks of one file come one after the other: it stays open. */
  #fileOf(entry: FileEntry): number | null {
    if (this.#open?.entry === entry) return this.#open.fd;
    this.#closeFile();
    try {
      const where = this.#places.elsewhere.get(entry.path) ?? `${this.#root}/${entry.path}`;
      const fd = openSync(nativePath(where), READ_FLAGS);
      this.#open = { entry, fd };
      return fd;
    } catch (error) {
      // Whatever it is that makes a file unreadable that was hashed a moment ago: it is not what it was.
      if (systemCodeOf(error) === '') throw error;
      return null;
    }
  }

  #closeFile(): void {
    if (this.#open !== null) closeSync(this.#open.fd);
    this.#open = null;
  }
}

const VIRTUAL_NAME = /(?:^|\/)\.git(?:\/|$)/;

function changed({ entry }: WantedObject): ScanRefusal {
  return {
    code: 'unstable',
    message: `${shownPath(entry.path)} changed while the project was being sent; nothing has run. Try again.`,
  };
}

function mayCompress(path: string, bytes: Uint8Array): boolean {
  if (COMPRESSED_NAME.test(path) || GIT_OBJECT.test(path)) return false;
  if (bytes.length < SAMPLED_BYTES_MIN) return true;
  const from = (bytes.length - SAMPLE_BYTES) >> 1;
  return compressedOf(bytes.subarray(from, from + SAMPLE_BYTES)) !== null;
}
