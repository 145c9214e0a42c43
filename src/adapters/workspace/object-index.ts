import type { ObjectHash } from '../../wire/manifest.ts';
import { HASH_BYTES, writeHash } from '../../wire/object-pack.ts';

const FIRST_CAPACITY = 1024;
/** Above this share of rows in use the table grows. */
const LOAD_MAX = 0.6;
const FREE = 0;

export interface ObjectPlace {
  readonly segment: number;
  /** Of the object's bytes in the segment's file. */
  readonly offset: number;
  readonly size: number;
}

/**
 * Where objects are: a hash table (open addressing, linear probing) in typed arrays, about 75 bytes an object, a
 * third of what a Map of strings takes. The keys are hashes already: their first bytes choose the row.
 */
export class ObjectIndex {
  #capacity = FIRST_CAPACITY;
  #keys = new Uint8Array(FIRST_CAPACITY * HASH_BYTES);
  /** 0: the row is free; segments count from 1. */
  #segments = new Uint32Array(FIRST_CAPACITY);
  #offsets = new Uint32Array(FIRST_CAPACITY);
  #sizes = new Uint32Array(FIRST_CAPACITY);
  #count = 0;
  readonly #scratch = new Uint8Array(HASH_BYTES);

  get count(): number {
    return this.#count;
  }

  find(hash: ObjectHash): ObjectPlace | null {
    writeHash(this.#scratch, 0, hash);
    return this.at(this.#scratch, 0);
  }

  /** @param from where in `bytes` the hash is */
  at(bytes: Uint8Array, from: number): ObjectPlace | null {
    const row = this.#rowOf(bytes, from);
    const segment = this.#segments[row] ?? FREE;
    if (segment === FREE) return null;
    return { segment, offset: this.#offsets[row] ?? 0, size: this.#sizes[row] ?? 0 };
  }

  /** A hash that is there already gets the new place. */
  set(bytes: Uint8Array, from: number, place: ObjectPlace): void {
    if (this.#count + 1 > this.#capacity * LOAD_MAX) this.#grow();
    const row = this.#rowOf(bytes, from);
    if (this.#segments[row] === FREE) {
      this.#keys.set(bytes.subarray(from, from + HASH_BYTES), row * HASH_BYTES);
      this.#count += 1;
    }
    this.#segments[row] = place.segment;
    this.#offsets[row] = place.offset;
    this.#sizes[row] = place.size;
  }

  delete(hash: ObjectHash): void {
    writeHash(this.#scratch, 0, hash);
    this.#deleteRow(this.#rowOf(this.#scratch, 0));
  }

  /** Rows behind it that were probed past it move up, so that no mark of what was deleted is needed. */
  #deleteRow(deleted: number): void {
    let gap = deleted;
    if (this.#segments[gap] === FREE) return;
    this.#count -= 1;
    const mask = this.#capacity - 1;
    for (let row = (gap + 1) & mask; this.#segments[row] !== FREE; row = (row + 1) & mask) {
      const home = homeOf(this.#keys, row * HASH_BYTES) & mask;
      if (((row - home) & mask) < ((row - gap) & mask)) continue;
      this.#keys.copyWithin(gap * HASH_BYTES, row * HASH_BYTES, (row + 1) * HASH_BYTES);
      this.#segments[gap] = this.#segments[row] ?? FREE;
      this.#offsets[gap] = this.#offsets[row] ?? 0;
      this.#sizes[gap] = this.#sizes[row] ?? 0;
      gap = row;
    }
    this.#segments[gap] = FREE;
  }

  /** Deletes all that is in that segment. */
  forget(segment: number): void {
    const hashes: Uint8Array[] = [];
    for (let row = 0; row < this.#capacity; row++) {
      if (this.#segments[row] === segment) hashes.push(this.#keys.slice(row * HASH_BYTES, (row + 1) * HASH_BYTES));
    }
    for (const hash of hashes) this.#deleteRow(this.#rowOf(hash, 0));
  }

  /** The row of that hash, or the free one where it belongs. */
  #rowOf(bytes: Uint8Array, from: number): number {
    const mask = this.#capacity - 1;
    let row = homeOf(bytes, from) & mask;
    while (this.#segments[row] !== FREE && !this.#isKey(row, bytes, from)) row = (row + 1) & mask;
    return row;
  }

  #isKey(row: number, bytes: Uint8Array, from: number): boolean {
    const key = row * HASH_BYTES;
    for (let index = 0; index < HASH_BYTES; index++) {
      if (this.#keys[key + index] !== bytes[from + index]) return false;
    }
    return true;
  }

  #grow(): void {
    const [keys, segments, offsets, sizes] = [this.#keys, this.#segments, this.#offsets, this.#sizes];
    this.#capacity *= 2;
    this.#keys = new Uint8Array(this.#capacity * HASH_BYTES);
    this.#segments = new Uint32Array(this.#capacity);
    this.#offsets = new Uint32Array(this.#capacity);
    this.#sizes = new Uint32Array(this.#capacity);
    this.#count = 0;
    for (const [row, segment] of segments.entries()) {
      if (segment === FREE) continue;
      this.set(keys, row * HASH_BYTES, { segment, offset: offsets[row] ?? 0, size: sizes[row] ?? 0 });
    }
  }
}

function homeOf(bytes: Uint8Array, from: number): number {
  return (
    ((bytes[from] ?? 0) |
      ((bytes[from + 1] ?? 0) << 8) |
      ((bytes[from + 2] ?? 0) << 16) |
      ((bytes[from + 3] ?? 0) << 24)) >>>
    0
  );
}
