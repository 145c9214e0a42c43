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
/** Memory for packs comes in steps of that, so that it fits the next one too, which is hardly ever as long. */
const MEMORY_STEP_BYTES = 256 * 1024;
const FIRST_HEADS_BYTES = 256 * OBJECT_HEAD_BYTES;

function memoryFor(bytes: number, spare: ArrayBuffer | null): Uint8Array {
  const isEnough = spare !== null && spare.byteLength >= bytes;
  const steps = Math.ceil(bytes / MEMORY_STEP_BYTES);
  const { buffer } = isEnough ? { buffer: spare } : Buffer.allocUnsafeSlow(steps * MEMORY_STEP_BYTES);
  return new Uint8Array(buffer, 0, bytes);
}

/** Gathers objects for one pack: what may be compressible in one block, what is not in another. */
export class PackBuilder {
  readonly #compressible = new Block();
  readonly #other = new Block();

  get isEmpty(): boolean {
    return this.#compressible.objects + this.#other.objects === 0;
  }

  get isFull(): boolean {
    return this.#bytes >= PACK_AIM_BYTES;
  }

  /** Any object fits into an empty pack. */
  fits(size: number): boolean {
    const contentBytes = this.#compressible.contentBytes + this.#other.contentBytes;
    return this.#bytes + size + OBJECT_HEAD_BYTES <= PACK_BYTES_MAX && contentBytes + size <= PACK_CONTENT_BYTES_MAX;
  }

  /** @param bytes are copied */
  add(hash: ObjectHash, bytes: Uint8Array, mayCompress: boolean): void {
    (mayCompress ? this.#compressible : this.#other).add(hash, bytes);
  }

  /**
   * The pack, in a buffer of its own, of which it is the first part, so that it can be handed to another thread; the builder is
   * empty again.
   *
   * @param spare memory for it, where it is large enough
   */
  take(compress: boolean, spare: ArrayBuffer | null = null): Uint8Array {
    const parts = [...this.#compressible.parts(compress), ...this.#other.parts(false)];
    const pack = memoryFor(
      parts.reduce((sum, part) => sum + part.length, 0),
      spare,
    );
    let at = 0;
    for (const part of parts) {
      pack.set(part, at);
      at += part.length;
    }
    this.#compressible.clear();
    this.#other.clear();
    return pack;
  }

  /** At most: as it is without compression. */
  get #bytes(): number {
    return this.#compressible.bytes + this.#other.bytes;
  }
}

/** Its buffers are used again for the next pack, and grow to what was needed. */
class Block {
  #heads = Buffer.allocUnsafeSlow(FIRST_HEADS_BYTES);
  #content = Buffer.alloc(0);
  objects = 0;
  contentBytes = 0;

  get bytes(): number {
    return BLOCK_HEAD_BYTES + this.#headsBytes + this.contentBytes;
  }

  add(hash: ObjectHash, bytes: Uint8Array): void {
    this.#heads = grown(this.#heads, this.#headsBytes, OBJECT_HEAD_BYTES);
    this.#content = grown(this.#content, this.contentBytes, bytes.length);
    writeObjectHead(this.#heads, this.#headsBytes, hash, bytes.length);
    this.#content.set(bytes, this.contentBytes);
    this.objects += 1;
    this.contentBytes += bytes.length;
  }

  /** Head, heads of objects and body; none where it is empty. They hold until something is added. */
  parts(compress: boolean): Uint8Array[] {
    if (this.objects === 0) return [];
    const content = this.#content.subarray(0, this.contentBytes);
    const compressed = compress ? compressedOf(content) : null;
    const body = compressed ?? content;
    const head = new Uint8Array(BLOCK_HEAD_BYTES);
    writeBlockHead(head, compressed === null ? METHODS.stored : METHODS.brotli, this.objects, body.length);
    return [head, this.#heads.subarray(0, this.#headsBytes), body];
  }

  clear(): void {
    this.objects = 0;
    this.contentBytes = 0;
  }

  get #headsBytes(): number {
    return this.objects * OBJECT_HEAD_BYTES;
  }
}

/** With room for so much more; twice as large each time. */
function grown(buffer: Buffer<ArrayBuffer>, used: number, more: number): Buffer<ArrayBuffer> {
  if (used + more <= buffer.length) return buffer;
  const larger = Buffer.allocUnsafeSlow(Math.min(Math.max(used + more, buffer.length * 2), PACK_BYTES_MAX));
  larger.set(buffer.subarray(0, used));
  return larger;
}

/** Null where that does not pay. */
export function compressedOf(bytes: Uint8Array): Uint8Array | null {
  const compressed = brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 1, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
    // Pieces of the default 16 KiB would be put together, and left to the collector.
    chunkSize: Math.max(bytes.length >> 1, 1024),
  });
  return compressed.length <= bytes.length * PAYS_SHARE ? compressed : null;
}
