import { brotliCompressSync, constants } from 'node:zlib';
import type { ObjectHash } from '../../wire/manifest.ts';
import {
  BLOCK_HEAD_BYTES,
  METHODS,
  OBJECT_HEAD_BYTES,
  PACK_CONTENT_BYTES_MAX,
  writeBlockHead,
  writeObjectHead,
} from '../../wire/object-pack.ts';
import { PACK_BYTES_MAX } from '../../wire/workspace.ts';

/** Full enough to be sent: the first objects of a sync can be placed while the others are under way. */
const PACK_AIM_BYTES = 1024 * 1024;
/** A block is compressed where that leaves at most this share of it. */
const PAYS_SHARE = 0.9;
const BLOCKS_MAX = 2;

interface Packed {
  readonly hash: ObjectHash;
  readonly bytes: Uint8Array;
}

/** Gathers objects for one pack: what may be compressible in one block, what is not in another. */
export class PackBuilder {
  #compressible: Packed[] = [];
  #other: Packed[] = [];
  #contentBytes = 0;
  #bytes = BLOCKS_MAX * BLOCK_HEAD_BYTES;

  get isEmpty(): boolean {
    return this.#contentBytes === 0 && this.#compressible.length + this.#other.length === 0;
  }

  get isFull(): boolean {
    return this.#bytes >= PACK_AIM_BYTES;
  }

  /** Any object fits into an empty pack. */
  fits(size: number): boolean {
    return (
      this.#bytes + size + OBJECT_HEAD_BYTES <= PACK_BYTES_MAX && this.#contentBytes + size <= PACK_CONTENT_BYTES_MAX
    );
  }

  add(hash: ObjectHash, bytes: Uint8Array, mayCompress: boolean): void {
    (mayCompress ? this.#compressible : this.#other).push({ hash, bytes });
    this.#contentBytes += bytes.length;
    this.#bytes += bytes.length + OBJECT_HEAD_BYTES;
  }

  /** The pack; the builder is empty again. */
  take(compress: boolean): Uint8Array {
    const blocks = [blockOf(this.#compressible, compress), blockOf(this.#other, false)].flat();
    this.#compressible = [];
    this.#other = [];
    this.#contentBytes = 0;
    this.#bytes = BLOCKS_MAX * BLOCK_HEAD_BYTES;
    return joined(blocks);
  }
}

/** Head and body of a block. */
function blockOf(objects: readonly Packed[], compress: boolean): Uint8Array[] {
  if (objects.length === 0) return [];
  const content = objects.map((object) => object.bytes);
  const compressed = compress ? compressedOf(joined(content)) : null;
  const head = new Uint8Array(BLOCK_HEAD_BYTES + objects.length * OBJECT_HEAD_BYTES);
  const body = compressed === null ? content : [compressed];
  const stored = body.reduce((sum, part) => sum + part.length, 0);
  writeBlockHead(head, compressed === null ? METHODS.stored : METHODS.brotli, objects.length, stored);
  for (const [index, object] of objects.entries()) {
    writeObjectHead(head, BLOCK_HEAD_BYTES + index * OBJECT_HEAD_BYTES, object.hash, object.bytes.length);
  }
  return [head, ...body];
}

/** Null where that does not pay. */
export function compressedOf(bytes: Uint8Array): Uint8Array | null {
  const compressed = brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 1, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
  });
  return compressed.length <= bytes.length * PAYS_SHARE ? compressed : null;
}

/** In a buffer of its own, so that it can be handed to another thread. */
function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = Buffer.allocUnsafeSlow(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
