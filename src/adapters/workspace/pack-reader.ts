import { hash as digest } from 'node:crypto';
import { readSync } from 'node:fs';
import { brotliDecompressSync } from 'node:zlib';
import { err, ok, type Result } from '../../base/result.ts';
import type { ObjectHash } from '../../wire/manifest.ts';
import {
  BLOCK_HEAD_BYTES,
  blockBytes,
  HASH_BYTES,
  METHODS,
  OBJECT_HEAD_BYTES,
  parsePack,
  sizeInHead,
  type PackBlock,
} from '../../wire/object-pack.ts';
import { PACK_BYTES_MAX } from '../../wire/workspace.ts';

/** The least that zlib takes. */
const CHUNK_MIN = 64;

/** @param hash 32 bytes, a view of the pack, as are `bytes` where they were not compressed */
export type OnObject = (hash: Uint8Array, bytes: Uint8Array) => void;

/**
 * The objects of a block, each of which has the hash that the block says.
 *
 * @returns what is wrong with it; some of its objects may have been told by then, and those are right
 */
export function readBlock(block: PackBlock, onObject: OnObject): Result<null, string> {
  const content = contentOf(block);
  if (content === null) return err('a pack does not decompress to what it says');
  let at = 0;
  for (let head = 0; head < block.heads.length; head += OBJECT_HEAD_BYTES) {
    const size = sizeInHead(block.heads, head);
    const bytes = content.subarray(at, at + size);
    at += size;
    const hash = block.heads.subarray(head, head + HASH_BYTES);
    if (!hasHash(bytes, hash)) return err('a pack holds an object that does not fit its hash');
    onObject(hash, bytes);
  }
  return ok(null);
}

/**
 * As {@link readBlock}, for a file that holds one block after the other from `from` to `to`, such as a change pack: one block
 * at a time is in memory. @throws the system's error
 */
export function readBlocksOfFile(
  fd: number,
  from: number,
  to: number,
  onObject: (hash: ObjectHash, bytes: Uint8Array) => void,
): Result<null, string> {
  for (let at = from; at < to;) {
    const head = readAt(fd, at, Math.min(BLOCK_HEAD_BYTES, to - at));
    const bytes = blockBytes(head);
    if (bytes === null || bytes > PACK_BYTES_MAX || at + bytes > to) return err(`a pack is malformed at byte ${at}`);
    const parsed = parsePack(readAt(fd, at, bytes));
    if (!parsed.ok) return parsed;
    for (const block of parsed.value) {
      const read = readBlock(block, (hash, object) =>
        // Such digits by how they were made.
        onObject(Buffer.from(hash.buffer, hash.byteOffset, hash.length).toString('hex') as ObjectHash, object),
      );
      if (!read.ok) return read;
    }
    at += bytes;
  }
  return ok(null);
}

/** @param hash the 32 bytes of a SHA-256 */
export function hasHash(bytes: Uint8Array, hash: Uint8Array): boolean {
  return digest('sha256', bytes, 'buffer').equals(hash);
}

function contentOf(block: PackBlock): Uint8Array | null {
  if (block.method === METHODS.stored) return block.body;
  try {
    const bytesMax = Math.max(block.contentBytes, CHUNK_MIN);
    // In one piece: else it is put together from many, each left to the collector.
    const content = brotliDecompressSync(block.body, { maxOutputLength: bytesMax, chunkSize: bytesMax });
    return content.length === block.contentBytes ? content : null;
  } catch (error) {
    // Whatever the decompressor says of bytes from elsewhere: the pack is no good.
    if (error instanceof Error) return null;
    throw error;
  }
}

/** Fewer bytes than asked for where the file ends before. */
export function readAt(fd: number, offset: number, size: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(size);
  let at = 0;
  for (let got = -1; at < size && got !== 0; at += got) got = readSync(fd, bytes, at, size - at, offset + at);
  return bytes.subarray(0, at);
}
