import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MIN, chunkEnd } from '../../../../src/adapters/workspace/chunker.ts';
import { FileHasher } from '../../../../src/adapters/workspace/file-hasher.ts';
import { Turn } from '../../../../src/adapters/workspace/turn.ts';
import { CHUNK_BYTES_MAX } from '../../../../src/wire/manifest.ts';
import { temporaryFolders } from '../../../fixtures/temporary-folder.ts';

const MIB = 1024 * 1024;
const temporaryFolder = temporaryFolders();

function noise(size: number, seed: number): Buffer {
  const bytes = Buffer.allocUnsafe(size);
  let state = seed | 1;
  for (let at = 0; at < size; at += 4) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes.writeInt32LE(state, at);
  }
  return bytes;
}

function sizesOf(bytes: Uint8Array): number[] {
  const sizes: number[] = [];
  for (let from = 0; from < bytes.length;) {
    const to = chunkEnd(bytes, from, bytes.length);
    sizes.push(to - from);
    from = to;
  }
  return sizes;
}

/** Chunks as texts that are equal where the content is. */
function chunksOf(bytes: Buffer): string[] {
  let from = 0;
  return sizesOf(bytes).map((size) => bytes.toString('latin1', from, (from += size)));
}

describe('chunkEnd', () => {
  it('keeps sizes within their bounds, near the average, and loses nothing', () => {
    const sizes = sizesOf(noise(64 * MIB, 7));
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(64 * MIB);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(CHUNK_BYTES_MAX);
    expect(Math.min(...sizes.slice(0, -1))).toBeGreaterThan(CHUNK_BYTES_MIN);
    const average = (64 * MIB) / sizes.length;
    expect(average).toBeGreaterThan(CHUNK_BYTES_AVERAGE / 2);
    expect(average).toBeLessThan(CHUNK_BYTES_AVERAGE * 2);
  });

  it('ends, and bounds chunks of bytes that are all the same', () => {
    for (const value of [0, 1, 0x20, 0xff]) {
      const sizes = sizesOf(Buffer.alloc(8 * MIB, value));
      expect(Math.max(...sizes)).toBeLessThanOrEqual(CHUNK_BYTES_MAX);
      expect(sizes.length).toBeLessThanOrEqual((8 * MIB) / CHUNK_BYTES_MIN);
    }
  });

  it('finds the same chunks again around an edit: less than 4 MiB is new', () => {
    const base = noise(24 * MIB, 3);
    const known = new Set(chunksOf(base));
    const edit = fc.record({ at: fc.nat(base.length), bytes: fc.uint8Array({ maxLength: 40 }), cut: fc.nat(40) });
    fc.assert(
      fc.property(edit, ({ at, bytes, cut }) => {
        const edited = Buffer.concat([base.subarray(0, at), bytes, base.subarray(at + cut)]);
        const fresh = chunksOf(edited).filter((chunk) => !known.has(chunk));
        expect(fresh.reduce((sum, chunk) => sum + chunk.length, 0)).toBeLessThan(4 * MIB);
      }),
      { numRuns: 12 },
    );
  });
});

describe('FileHasher', () => {
  it('cuts a large file as one cuts it in memory, and hashes it whole', async () => {
    const path = join(temporaryFolder(), 'large');
    const bytes = noise(11 * MIB + 12, 9);
    writeFileSync(path, bytes);
    const hashed = await new FileHasher(new Turn()).hash(path);
    if (hashed.kind !== 'file') throw new Error(hashed.kind);
    expect(hashed.chunks?.map(({ size }) => size)).toEqual(sizesOf(bytes));
  });

  it('gives up on a file that never stays as it is', async () => {
    // What it says of its size is never what it holds.
    expect(await new FileHasher(new Turn()).hash('/proc/self/status')).toEqual({ kind: 'unstable' });
  });

  it('takes a folder, and what is not there, for gone', async () => {
    const folder = temporaryFolder();
    const hasher = new FileHasher(new Turn());
    expect(await hasher.hash(folder)).toEqual({ kind: 'gone' });
    expect(await hasher.hash(join(folder, 'nothing'))).toEqual({ kind: 'gone' });
  });
});
