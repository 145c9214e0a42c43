import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { assert } from '../../base/assert.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { formatSize } from '../../base/units.ts';
import { CHANGE_HEAD_BYTES, type ChangeList, decodeChangeHead, decodeChangeList } from '../../wire/change-pack.ts';
import type { FileEntry, ManifestEntry, ObjectHash } from '../../wire/manifest.ts';
import { BLOCK_HEAD_BYTES, blockBytes } from '../../wire/object-pack.ts';
import { shownPath } from '../../wire/tree-path.ts';
import { readAt, readBlocksOfFile } from './pack-reader.ts';
import { Turn } from './turn.ts';

const READ_BYTES = 1024 * 1024;
/** Of all files together: one object may be many of them, and each is written out. */
const FILES_BYTES_MAX = 64 * 1024 * 1024 * 1024;
/** Decompressed blocks that are kept, of some 2 MiB each: most files lie in the order of the list, contents that occur again don't. */
const BLOCKS_KEPT_MAX = 12;

interface BlockPlace {
  readonly from: number;
  readonly to: number;
}

/** A change pack on this node's disk, all of which was verified before anything of it is used. */
export class ChangePackFile {
  readonly list: ChangeList;
  readonly #fd: number;
  readonly #blocks: readonly BlockPlace[];
  /** In which block an object lies. */
  readonly #places: ReadonlyMap<ObjectHash, number>;
  readonly #open = new Map<number, ReadonlyMap<ObjectHash, Uint8Array>>();

  private constructor(fd: number, list: ChangeList, blocks: readonly BlockPlace[], places: Map<ObjectHash, number>) {
    this.#fd = fd;
    this.list = list;
    this.#blocks = blocks;
    this.#places = places;
  }

  /**
   * Checks the whole file's hash, its list of paths, and each object: its hash, its length, that it is one of those that
   * the list asks for, and that none of these is missing.
   *
   * @param sha256 of the file, in hexadecimal
   * @returns the refusal names what is wrong; @throws the system's error
   */
  static async open(path: string, sha256: string): Promise<Result<ChangePackFile, string>> {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      const turn = new Turn();
      const opened = await verified(fd, sha256, turn);
      if (opened.ok) {
        const { list, blocks, places } = opened.value;
        const pack = new ChangePackFile(fd, list, blocks, places);
        const wrong = await pack.#wrongFile(turn);
        if (wrong === null) return ok(pack);
        closeSync(fd);
        return err(wrong);
      }
      closeSync(fd);
      return opened;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  close(): void {
    this.#open.clear();
    closeSync(this.#fd);
  }

  /** The content of one of the list's files, piece by piece: each holds until the next is taken. */
  *partsOf(entry: FileEntry): Generator<Uint8Array> {
    for (const { hash, size } of entry.chunks ?? [entry]) yield this.#read(hash, size);
  }

  /** Files of several chunks have a hash of their own. */
  async #wrongFile(turn: Turn): Promise<string | null> {
    for (const entry of this.list.changed) {
      if (entry.kind !== 'file' || entry.chunks === null) continue;
      const hash = createHash('sha256');
      for (const part of this.partsOf(entry)) {
        hash.update(part);
        if (turn.isOver()) await turn.pass();
      }
      if (hash.digest('hex') !== entry.hash)
        return `the chunks of ${shownPath(entry.path)} are not the file that it says`;
    }
    return null;
  }

  #read(hash: ObjectHash, size: number): Uint8Array {
    if (size === 0) return new Uint8Array();
    const block = this.#places.get(hash);
    assert(block !== undefined, 'objects of a change pack are there since it was opened');
    const bytes = this.#contentOf(block).get(hash);
    assert(bytes?.length === size, 'a change pack is as it was when it was opened');
    return bytes;
  }

  #contentOf(index: number): ReadonlyMap<ObjectHash, Uint8Array> {
    const known = this.#open.get(index);
    if (known !== undefined) return known;
    const place = this.#blocks[index];
    assert(place !== undefined, 'blocks are numbered from 0');
    const objects = new Map<ObjectHash, Uint8Array>();
    const read = readBlocksOfFile(this.#fd, place.from, place.to, (hash, bytes) => objects.set(hash, bytes));
    assert(read.ok, 'a change pack is as it was when it was opened');
    for (const oldest of this.#open.keys()) {
      if (this.#open.size < BLOCKS_KEPT_MAX) break;
      this.#open.delete(oldest);
    }
    this.#open.set(index, objects);
    return objects;
  }
}

interface Verified {
  readonly list: ChangeList;
  readonly blocks: readonly BlockPlace[];
  readonly places: Map<ObjectHash, number>;
}

async function verified(fd: number, sha256: string, turn: Turn): Promise<Result<Verified, string>> {
  const { size } = fstatSync(fd);
  const found = await hashOf(fd, size, turn);
  if (found !== sha256) return err(`its SHA-256 is ${found}, not ${sha256} as was announced`);
  const listBytes = decodeChangeHead(readAt(fd, 0, CHANGE_HEAD_BYTES));
  if (!listBytes.ok) return listBytes;
  const from = CHANGE_HEAD_BYTES + listBytes.value;
  if (from > size) return err(`its list has ${listBytes.value} bytes, the file ${size}`);
  const list = decodeChangeList(readAt(fd, CHANGE_HEAD_BYTES, listBytes.value));
  if (!list.ok) return list;
  const sizes = sizesOf(list.value.changed);
  if (!sizes.ok) return sizes;
  const indexed = await indexBlocks(fd, from, size, sizes.value, turn);
  return indexed.ok ? ok({ list: list.value, ...indexed.value }) : indexed;
}

async function hashOf(fd: number, size: number, turn: Turn): Promise<string> {
  const hash = createHash('sha256');
  for (let at = 0; at < size; at += READ_BYTES) {
    hash.update(readAt(fd, at, Math.min(READ_BYTES, size - at)));
    if (turn.isOver()) await turn.pass();
  }
  return hash.digest('hex');
}

/** What each object must have: a hash has one size. */
function sizesOf(entries: readonly ManifestEntry[]): Result<Map<ObjectHash, number>, string> {
  const sizes = new Map<ObjectHash, number>();
  let bytes = 0;
  for (const entry of entries) {
    if (entry.kind !== 'file') continue;
    bytes += entry.size;
    if (bytes > FILES_BYTES_MAX) return err(`its files have more than ${formatSize(FILES_BYTES_MAX)}`);
    for (const { hash, size } of entry.chunks ?? [entry]) {
      if ((sizes.get(hash) ?? size) !== size) return err(`${shownPath(entry.path)} has an object of two sizes`);
      sizes.set(hash, size);
    }
  }
  return ok(sizes);
}

async function indexBlocks(
  fd: number,
  from: number,
  to: number,
  sizes: ReadonlyMap<ObjectHash, number>,
  turn: Turn,
): Promise<Result<Omit<Verified, 'list'>, string>> {
  const blocks: BlockPlace[] = [];
  const places = new Map<ObjectHash, number>();
  let wrong: string | null = null;
  for (let at = from; at < to;) {
    const bytes = blockBytes(readAt(fd, at, BLOCK_HEAD_BYTES));
    if (bytes === null || at + bytes > to) return err(`it is malformed at byte ${at}`);
    const read = readBlocksOfFile(fd, at, at + bytes, (hash, object) => {
      const size = sizes.get(hash);
      if (size === undefined) wrong ??= `it has an object that no file of it has, ${hash}`;
      else if (size !== object.length) wrong ??= `the object ${hash} has ${object.length} bytes, not ${size}`;
      else if (places.has(hash)) wrong ??= `it has the object ${hash} twice`;
      else places.set(hash, blocks.length);
    });
    if (!read.ok) return read;
    if (wrong !== null) return err(wrong);
    blocks.push({ from: at, to: at + bytes });
    at += bytes;
    if (turn.isOver()) await turn.pass();
  }
  for (const [hash, size] of sizes) if (size > 0 && !places.has(hash)) return err(`it lacks the object ${hash}`);
  return ok({ blocks, places });
}
