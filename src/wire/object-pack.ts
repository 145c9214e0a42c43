import { err, ok, type Result } from '../base/result.ts';
import { CHUNK_BYTES_MAX, WHOLE_FILE_BYTES_MAX } from './manifest.ts';
import { PACK_BYTES_MAX } from './workspace.ts';

/**
 * Objects on their way, many to a pack. A pack is one block after the other, little-endian:
 *
 * ```
 * method u8 | objects u32 | stored u32 | objects × (hash 32 bytes | size u32) | body (stored bytes)
 * ```
 * The body is the objects' bytes, one after the other, as they are or compressed together: small files alone would
 * cost a call of the compressor each.
 */
export const BLOCK_HEAD_BYTES = 9;
export const OBJECT_HEAD_BYTES = 36;
export const HASH_BYTES = 32;
/** A whole file, or the largest chunk of one. */
export const OBJECT_BYTES_MAX = Math.max(WHOLE_FILE_BYTES_MAX, CHUNK_BYTES_MAX);
/** All objects of a pack together, decompressed. */
export const PACK_CONTENT_BYTES_MAX = PACK_BYTES_MAX;
/** As it is, or brotli (RFC 7932). */
export const METHODS = { stored: 0, brotli: 1 } as const;
export type Method = (typeof METHODS)[keyof typeof METHODS];

export interface PackBlock {
  readonly method: Method;
  /** `objects` × OBJECT_HEAD_BYTES: hash and size of each; a view of the pack. */
  readonly heads: Uint8Array;
  readonly objects: number;
  /** Of all objects of the block together, decompressed. */
  readonly contentBytes: number;
  /** As it travels; a view of the pack. */
  readonly body: Uint8Array;
}

/** Writes the head of a block at the start of `into`, in which the heads of its objects follow. */
export function writeBlockHead(into: Uint8Array, method: Method, objects: number, stored: number): void {
  const view = viewOf(into);
  view.setUint8(0, method);
  view.setUint32(1, objects, true);
  view.setUint32(5, stored, true);
}

/** @param at where in `heads` the object's head begins */
export function writeObjectHead(heads: Uint8Array, at: number, hash: string, size: number): void {
  writeHash(heads, at, hash);
  viewOf(heads).setUint32(at + HASH_BYTES, size, true);
}

export function sizeInHead(heads: Uint8Array, at: number): number {
  return viewOf(heads).getUint32(at + HASH_BYTES, true);
}

export function writeHash(into: Uint8Array, at: number, hash: string): void {
  for (let index = 0; index < HASH_BYTES; index++) {
    into[at + index] = nibble(hash.charCodeAt(index * 2)) * 16 + nibble(hash.charCodeAt(index * 2 + 1));
  }
}

/** How long the block is whose head that is, all of it; null where that is no head. */
export function blockBytes(head: Uint8Array): number | null {
  if (head.length < BLOCK_HEAD_BYTES) return null;
  const view = viewOf(head);
  return BLOCK_HEAD_BYTES + view.getUint32(1, true) * OBJECT_HEAD_BYTES + view.getUint32(5, true);
}

/** The blocks of a pack from another node. Lengths and bounds are checked, contents and hashes not. */
export function parsePack(pack: Uint8Array): Result<readonly PackBlock[], string> {
  if (pack.length > PACK_BYTES_MAX) return err(`a pack of ${pack.length} bytes; the most is ${PACK_BYTES_MAX}`);
  const blocks: PackBlock[] = [];
  let contentBytes = 0;
  for (let at = 0; at < pack.length;) {
    const block = readBlock(pack, at);
    if (block === null) return err(`a pack is malformed at byte ${at} of ${pack.length}`);
    contentBytes += block.contentBytes;
    if (contentBytes > PACK_CONTENT_BYTES_MAX) return err(`a pack of more than ${PACK_CONTENT_BYTES_MAX} bytes`);
    blocks.push(block);
    at += BLOCK_HEAD_BYTES + block.heads.length + block.body.length;
  }
  return ok(blocks);
}

function readBlock(pack: Uint8Array, at: number): PackBlock | null {
  if (at + BLOCK_HEAD_BYTES > pack.length) return null;
  const view = viewOf(pack);
  const method = view.getUint8(at);
  const objects = view.getUint32(at + 1, true);
  const stored = view.getUint32(at + 5, true);
  if (method !== METHODS.stored && method !== METHODS.brotli) return null;
  const headsAt = at + BLOCK_HEAD_BYTES;
  const bodyAt = headsAt + objects * OBJECT_HEAD_BYTES;
  if (bodyAt + stored > pack.length) return null;
  const heads = pack.subarray(headsAt, bodyAt);
  let contentBytes = 0;
  for (let index = 0; index < objects; index++) {
    const size = sizeInHead(heads, index * OBJECT_HEAD_BYTES);
    if (size > OBJECT_BYTES_MAX) return null;
    contentBytes += size;
  }
  if (method === METHODS.stored && stored !== contentBytes) return null;
  return { method, heads, objects, contentBytes, body: pack.subarray(bodyAt, bodyAt + stored) };
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
/** Of a lower case hexadecimal digit. */
const nibble = (code: number): number => (code < 58 ? code - 48 : code - 87);
