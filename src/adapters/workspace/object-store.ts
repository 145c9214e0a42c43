import { mkdirSync, readdirSync, writeSync } from 'node:fs';
import { messageOf, systemCodeOf } from '../../base/errors.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { WorkspaceRefusal } from '../../ports/workspace.ts';
import type { ObjectHash } from '../../wire/manifest.ts';
import { HASH_BYTES, OBJECT_BYTES_MAX, parsePack, writeHash } from '../../wire/object-pack.ts';
import { ObjectIndex, type ObjectPlace } from './object-index.ts';
import { hasHash, readBlock } from './pack-reader.ts';
import { RECORD_HEAD_BYTES, SEGMENT_BYTES_MAX, StoreSegment } from './store-segment.ts';

const PRIVATE_FOLDER_MODE = 0o700;
const FULL_DISK = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);
/** In the first pass of a sweep, segments with at least this share of droppable bytes go: moving the rest costs writes. */
const DEAD_SHARE = 0.5;
/** Files of segments that are open at a time. */
const OPEN_SEGMENTS_MAX = 32;

interface Kept {
  readonly hash: ObjectHash;
  readonly place: ObjectPlace;
}

export interface Added {
  /** That were not there yet. */
  readonly objects: number;
  readonly bytes: number;
}

/**
 * Objects by their hash, of one origin, in segments that are only appended to. What is added is verified, and once more
 * when it is read after a restart, so a crash or a power cut in the middle of a write costs at most what it cut off: nothing here
 * waits for the disk. One process at a time may have a folder open.
 *
 * Methods throw the system's error where the disk fails; a full one is a value.
 */
export class ObjectStore {
  readonly #folder: string;
  readonly #segmentBytesMax: number;
  readonly #index = new ObjectIndex();
  readonly #segments = new Map<number, StoreSegment>();
  /** Segments whose file may be open, the last used at the end. */
  readonly #used = new Set<number>();
  readonly #scratch = new Uint8Array(HASH_BYTES);
  /** Of one object, made at the first use. */
  #buffer: Buffer<ArrayBuffer> | null = null;
  /** Of the records of one pack. */
  #records = Buffer.alloc(0);
  #last = 0;
  #losses = 0;

  private constructor(folder: string, segmentBytesMax: number) {
    this.#folder = folder;
    this.#segmentBytesMax = segmentBytesMax;
  }

  /**
   * Makes the folder (0700) where there is none. A torn tail is cut off.
   *
   * @param segmentBytesMax only tests give less
   */
  static open(folder: string, segmentBytesMax = SEGMENT_BYTES_MAX): ObjectStore {
    mkdirSync(folder, { recursive: true, mode: PRIVATE_FOLDER_MODE });
    const store = new ObjectStore(`${folder}/`, segmentBytesMax);
    const numbers = readdirSync(folder).flatMap((name) => {
      const match = /^(\d{8,10})\.seg$/.exec(name);
      return match === null ? [] : [Number(match[1])];
    });
    for (const number of numbers.toSorted((a, b) => a - b)) store.#load(number);
    return store;
  }

  /** On the disk, live or not. */
  get bytes(): number {
    let sum = 0;
    for (const segment of this.#segments.values()) sum += segment.bytes;
    return sum;
  }

  get objects(): number {
    return this.#index.count;
  }

  /** Rises whenever an object that was there may not be any more. */
  get losses(): number {
    return this.#losses;
  }

  has(hash: ObjectHash): boolean {
    return this.#index.find(hash) !== null;
  }

  /**
   * Verifies what a pack from another node holds and keeps it. `refused` where anything is wrong with it, `no_space` where the
   * disk is full; of a pack that isn't taken nothing is kept.
   *
   * @param onKept told of each object that was not there yet, when all are kept; `bytes` are a view of memory of the pack alone
   */
  add(
    pack: Uint8Array,
    onKept: ((hash: ObjectHash, bytes: Uint8Array) => void) | null = null,
  ): Result<Added, WorkspaceRefusal> {
    const parsed = parsePack(pack);
    if (!parsed.ok) return refused(parsed.error);
    const fresh: { readonly hash: Uint8Array; readonly bytes: Uint8Array }[] = [];
    for (const block of parsed.value) {
      const read = readBlock(block, (hash, bytes) => {
        if (this.#index.at(hash, 0) === null) fresh.push({ hash, bytes });
      });
      if (!read.ok) return refused(read.error);
    }
    const added = this.#append(fresh);
    // Such digits by how they were made.
    if (added.ok && onKept !== null) for (const { hash, bytes } of fresh) onKept(hexOf(hash) as ObjectHash, bytes);
    return added;
  }

  /** Keeps an object that was made or hashed here. @param hash that of `bytes`, which is not checked */
  put(hash: ObjectHash, bytes: Uint8Array): Result<Added, WorkspaceRefusal> {
    if (this.has(hash)) return ok({ objects: 0, bytes: 0 });
    const binary = new Uint8Array(HASH_BYTES);
    writeHash(binary, 0, hash);
    return this.#append([{ hash: binary, bytes }]);
  }

  /** Null where it isn't there, or was damaged on the disk: then it isn't there from now on. */
  read(hash: ObjectHash): Uint8Array | null {
    const bytes = this.view(hash);
    return bytes === null ? null : Uint8Array.prototype.slice.call(bytes);
  }

  /** As `read`, but what it returns holds only until the next call: thousands of buffers would be left to the collector. */
  view(hash: ObjectHash): Uint8Array | null {
    const place = this.#index.find(hash);
    if (place === null) return null;
    this.#buffer ??= Buffer.allocUnsafeSlow(OBJECT_BYTES_MAX);
    const bytes = this.#segment(place.segment).read(place.offset, place.size, this.#buffer);
    if (bytes.length === place.size && this.#isIntact(hash, place, bytes)) return bytes;
    this.#losses += 1;
    this.#index.delete(hash);
    this.#segment(place.segment).strike(place.offset);
    return null;
  }

  /** What came since the store was opened was verified then, and no crash lies between. */
  #isIntact(hash: ObjectHash, place: ObjectPlace, bytes: Uint8Array): boolean {
    if (place.offset >= this.#segment(place.segment).bytesAtStart) return true;
    writeHash(this.#scratch, 0, hash);
    return hasHash(bytes, this.#scratch);
  }

  /** Writes the object where `fd` is; false as `read` says null, with nothing written. */
  readInto(fd: number, hash: ObjectHash): boolean {
    const bytes = this.view(hash);
    if (bytes === null) return false;
    for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
    return true;
  }

  /**
   * Drops objects that nothing needs until at most `bytesMax` are left, the oldest segments first.
   *
   * @param keep what is needed, such as all objects of the manifests that slots have or wait for: never dropped, even where
   *   they are more than `bytesMax`
   * @returns bytes of the disk that are free again
   */
  sweep(limits: { readonly bytesMax: number; readonly keep: Iterable<ObjectHash> }): number {
    const before = this.bytes;
    if (before <= limits.bytesMax) return 0;
    const keep = new Set(limits.keep);
    // Those that nothing needs go first: on a full disk there is no room to move anything.
    for (const deadShare of [1, DEAD_SHARE, Number.MIN_VALUE]) {
      const kept = this.#keptBySegment(keep);
      // What is moved goes to a segment of its own, which this pass does not look at.
      this.#last += 1;
      const old = [...this.#segments.values()];
      for (const segment of old) {
        if (this.bytes <= limits.bytesMax) return before - this.bytes;
        const list = kept.get(segment.number) ?? [];
        const live = list.reduce((sum, { place }) => sum + place.size + RECORD_HEAD_BYTES, 0);
        if ((segment.bytes - live) / Math.max(segment.bytes, 1) < deadShare) continue;
        if (!this.#drop(segment, list)) return before - this.bytes;
      }
    }
    return before - this.bytes;
  }

  /** May be used again; what it holds in memory beside its index is given back. */
  close(): void {
    this.#buffer = null;
    this.#records = Buffer.alloc(0);
    for (const segment of this.#segments.values()) segment.close();
    this.#used.clear();
  }

  #load(number: number): void {
    const segment = new StoreSegment(this.#folder, number);
    this.#segments.set(number, segment);
    this.#last = number;
    const indexed = segment.load((bytes, from, offset, size) => {
      this.#index.set(bytes, from, { segment: number, offset, size });
    });
    if (!indexed && segment.wholeBytes < segment.bytes) segment.truncate(segment.wholeBytes);
    this.#segment(number);
  }

  #append(
    fresh: readonly { readonly hash: Uint8Array; readonly bytes: Uint8Array }[],
  ): Result<Added, WorkspaceRefusal> {
    const bytes = fresh.reduce((sum, object) => sum + object.bytes.length, 0);
    if (fresh.length === 0) return ok({ objects: 0, bytes: 0 });
    const recordBytes = bytes + fresh.length * RECORD_HEAD_BYTES;
    if (this.#records.length < recordBytes) this.#records = Buffer.allocUnsafeSlow(recordBytes);
    const records = this.#records.subarray(0, recordBytes);
    let at = 0;
    for (const object of fresh) {
      records.set(object.hash, at);
      records.writeUInt32LE(object.bytes.length, at + HASH_BYTES);
      records.set(object.bytes, at + RECORD_HEAD_BYTES);
      at += RECORD_HEAD_BYTES + object.bytes.length;
    }
    try {
      const segment = this.#openSegment();
      let offset = segment.append(records);
      for (const object of fresh) {
        const place = { segment: segment.number, offset: offset + RECORD_HEAD_BYTES, size: object.bytes.length };
        this.#index.set(object.hash, 0, place);
        offset = place.offset + place.size;
      }
      if (segment.bytes >= this.#segmentBytesMax) segment.writeIndex();
    } catch (error) {
      if (!FULL_DISK.has(systemCodeOf(error))) throw error;
      return err({ code: 'no_space', message: `the disk is full there: ${messageOf(error)}` });
    }
    return ok({ objects: fresh.length, bytes });
  }

  /** The one that is appended to. */
  #openSegment(): StoreSegment {
    const last = this.#segments.get(this.#last);
    if (last !== undefined && last.bytes < this.#segmentBytesMax) return this.#segment(last.number);
    this.#last += 1;
    this.#segments.set(this.#last, new StoreSegment(this.#folder, this.#last));
    return this.#segment(this.#last);
  }

  /** For a read or a write: those used longest ago are closed. */
  #segment(number: number): StoreSegment {
    const segment = this.#segments.get(number);
    if (segment === undefined) throw new Error(`the object store has no segment ${number}`);
    this.#used.delete(number);
    this.#used.add(number);
    for (const other of this.#used) {
      if (this.#used.size <= OPEN_SEGMENTS_MAX) break;
      this.#segments.get(other)?.close();
      this.#used.delete(other);
    }
    return segment;
  }

  #keptBySegment(keep: ReadonlySet<ObjectHash>): Map<number, Kept[]> {
    const kept = new Map<number, Kept[]>();
    for (const hash of keep) {
      const place = this.#index.find(hash);
      if (place === null) continue;
      const list = kept.get(place.segment);
      if (list === undefined) kept.set(place.segment, [{ hash, place }]);
      else list.push({ hash, place });
    }
    return kept;
  }

  /** Moves what is kept to the end of the store, then removes the file. False where the disk is too full for that. */
  #drop(segment: StoreSegment, keep: readonly Kept[]): boolean {
    for (const { hash } of keep) {
      const bytes = this.view(hash);
      if (bytes === null) continue;
      const binary = new Uint8Array(HASH_BYTES);
      writeHash(binary, 0, hash);
      // A crash in between leaves it in both.
      if (!this.#append([{ hash: binary, bytes }]).ok) return false;
    }
    this.#losses += 1;
    this.#index.forget(segment.number);
    segment.delete();
    this.#segments.delete(segment.number);
    this.#used.delete(segment.number);
    return true;
  }
}

const refused = (what: string): Result<never, WorkspaceRefusal> =>
  err({ code: 'refused', message: `${what}; nothing of it was kept` });

const hexOf = (hash: Uint8Array): string => Buffer.from(hash.buffer, hash.byteOffset, hash.length).toString('hex');
