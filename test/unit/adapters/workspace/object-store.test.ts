import { createHash } from 'node:crypto';
import { appendFileSync, mkdirSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync } from 'node:zlib';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ObjectIndex } from '../../../../src/adapters/workspace/object-index.ts';
import { ObjectStore } from '../../../../src/adapters/workspace/object-store.ts';
import { PackBuilder } from '../../../../src/adapters/workspace/pack-builder.ts';
import type { ObjectHash } from '../../../../src/wire/manifest.ts';
import {
  BLOCK_HEAD_BYTES,
  METHODS,
  OBJECT_BYTES_MAX,
  OBJECT_HEAD_BYTES,
  writeBlockHead,
  writeHash,
  writeObjectHead,
} from '../../../../src/wire/object-pack.ts';
import { temporaryFolders } from '../../../fixtures/temporary-folder.ts';

const temporaryFolder = temporaryFolders();
const hashOf = (bytes: Uint8Array): ObjectHash => createHash('sha256').update(bytes).digest('hex') as ObjectHash;
const textBytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

/** Bytes that don't compress, the same for the same seed. */
function noise(size: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let state = seed * 2_654_435_761 + 1;
  for (let at = 0; at < size; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

function packOf(objects: readonly Uint8Array[], compress = true): Uint8Array {
  const builder = new PackBuilder();
  for (const [index, bytes] of objects.entries()) builder.add(hashOf(bytes), bytes, index % 3 !== 0);
  return builder.take(compress);
}

const addAll = (store: ObjectStore, objects: readonly Uint8Array[]): void => {
  for (const object of objects) expect(store.add(packOf([object]))).toMatchObject({ ok: true });
};

const SEGMENT = 256 * 1024;
const OBJECT = SEGMENT / 8;

describe('ObjectStore', () => {
  it('keeps what packs hold, compressed or not, across restarts', () => {
    const folder = join(temporaryFolder(), 'store');
    const objects = [textBytes(''), textBytes('a'), textBytes('abc'.repeat(5000)), noise(100_000, 1), textBytes('b')];
    const store = ObjectStore.open(folder);
    expect(store.add(packOf(objects))).toEqual({ ok: true, value: { objects: 5, bytes: 115_002 } });
    expect(store.add(packOf(objects, false))).toEqual({ ok: true, value: { objects: 0, bytes: 0 } });
    store.close();
    const again = ObjectStore.open(folder);
    for (const object of objects) expect(again.read(hashOf(object))).toEqual(Buffer.from(object));
    expect(again.objects).toBe(5);
    expect(again.read(hashOf(textBytes('other')))).toBeNull();
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(readdirSync(folder).map((name) => statSync(join(folder, name)).mode & 0o777)).toEqual([0o600]);
    again.close();
  });

  it('takes the largest object', () => {
    const store = ObjectStore.open(temporaryFolder());
    const object = noise(OBJECT_BYTES_MAX, 3);
    addAll(store, [object]);
    expect(store.has(hashOf(object))).toBe(true);
    store.close();
  });

  describe('refuses, and keeps nothing of', () => {
    const good = textBytes('good');
    const whole = packOf([good, textBytes('second'.repeat(1000))]);
    const changed = (at: number, value: number): Uint8Array => {
      const bytes = Uint8Array.from(whole);
      bytes[at < 0 ? bytes.length + at : at] = value;
      return bytes;
    };
    it.each([
      ['a wrong hash', changed(12, 1)],
      ['a wrong size', changed(9 + 32, 3)],
      ['an unknown method', changed(0, 9)],
      ['a count beyond its end', changed(4, 0xff)],
      ['a wrong last byte', changed(-1, 0xee)],
      ['a torn end', whole.subarray(0, whole.length - 1)],
      ['more after its end', Buffer.concat([whole, new Uint8Array(3)])],
      ['a bomb', bomb()],
    ])('%s', (_, pack) => {
      const store = ObjectStore.open(temporaryFolder());
      expect(store.add(pack)).toMatchObject({ ok: false, error: { code: 'refused' } });
      expect(store.objects).toBe(0);
      expect(store.bytes).toBe(0);
    });

    /** Says one byte, decompresses to 64 mebibytes. */
    function bomb(): Uint8Array {
      const body = brotliCompressSync(new Uint8Array(64 * 1024 * 1024));
      const head = new Uint8Array(BLOCK_HEAD_BYTES + OBJECT_HEAD_BYTES);
      writeBlockHead(head, METHODS.brotli, 1, body.length);
      writeObjectHead(head, BLOCK_HEAD_BYTES, hashOf(textBytes('x')), 1);
      return Buffer.concat([head, body]);
    }
  });

  it('survives any pack at all', () => {
    const store = ObjectStore.open(temporaryFolder());
    const whole = packOf([textBytes('one'), textBytes('two'.repeat(100)), textBytes('three')]);
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 4 }), (edits) => {
        const pack = Uint8Array.from(whole);
        for (const [at, value] of edits) pack[at] = value;
        const added = store.add(pack);
        expect(added.ok || added.error.code === 'refused').toBe(true);
      }),
      { numRuns: 2000 },
    );
    for (const text of ['one', 'two'.repeat(100), 'three']) {
      const bytes = store.read(hashOf(textBytes(text)));
      expect(bytes === null || Buffer.from(bytes).toString() === text).toBe(true);
    }
    store.close();
  });

  it('cuts a torn tail off, wherever it is torn, and goes on', () => {
    const folder = temporaryFolder();
    const [first, second, third] = [noise(500, 1), noise(700, 2), noise(50, 3)] as const;
    const filled = join(folder, 'filled');
    const store = ObjectStore.open(filled);
    addAll(store, [first, second]);
    store.close();
    const bytes = readFileSync(join(filled, '00000001.seg'));
    for (let cut = 537; cut < bytes.length; cut += 23) {
      const torn = join(folder, String(cut));
      mkdirSync(torn);
      writeFileSync(join(torn, '00000001.seg'), bytes.subarray(0, cut));
      const opened = ObjectStore.open(torn);
      expect([opened.has(hashOf(first)), opened.has(hashOf(second))]).toEqual([true, false]);
      addAll(opened, [third]);
      opened.close();
      const again = ObjectStore.open(torn);
      expect(again.read(hashOf(third))).toEqual(Buffer.from(third));
      again.close();
    }
  });

  it('does not give out what was damaged on the disk, also not after a restart, and takes it again', () => {
    const folder = temporaryFolder();
    const [first, second] = [noise(500, 1), noise(700, 2)] as const;
    const store = ObjectStore.open(folder);
    addAll(store, [first, second]);
    store.close();
    const path = join(folder, '00000001.seg');
    const bytes = readFileSync(path);
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    const damaged = ObjectStore.open(folder);
    expect(damaged.read(hashOf(first))).toBeNull();
    expect(damaged.has(hashOf(first))).toBe(false);
    damaged.close();
    const again = ObjectStore.open(folder);
    expect([again.has(hashOf(first)), again.has(hashOf(second))]).toEqual([false, true]);
    addAll(again, [first]);
    expect(again.read(hashOf(first))).toEqual(Buffer.from(first));
    again.close();
  });

  it('reads a full segment by its index, and without one where that is damaged', () => {
    const folder = temporaryFolder();
    const objects = Array.from({ length: 9 }, (_, seed) => noise(OBJECT, seed));
    const store = ObjectStore.open(folder, SEGMENT);
    addAll(store, objects);
    store.close();
    expect(readdirSync(folder)).toContain('00000001.idx');
    const check = (): void => {
      const opened = ObjectStore.open(folder);
      expect(objects.every((object) => opened.has(hashOf(object)))).toBe(true);
      opened.close();
    };
    check();
    appendFileSync(join(folder, '00000001.idx'), 'x');
    check();
    truncateSync(join(folder, '00000001.idx'), 48);
    check();
  });

  it('sweeps the oldest that nothing needs, and never what is needed', () => {
    const folder = temporaryFolder();
    const objects = Array.from({ length: (2.5 * SEGMENT) / OBJECT }, (_, seed) => noise(OBJECT, seed + 100));
    const store = ObjectStore.open(folder, SEGMENT);
    addAll(store, objects);
    const hashes = objects.map(hashOf);
    const keep = hashes.filter((_, index) => index % 8 === 0);
    expect(store.sweep({ bytesMax: store.bytes, keep })).toBe(0);
    const freed = store.sweep({ bytesMax: 1.5 * SEGMENT, keep });
    expect(freed).toBeGreaterThan(SEGMENT / 2);
    expect(store.bytes).toBeLessThanOrEqual(1.5 * SEGMENT);
    expect(keep.every((hash) => store.has(hash))).toBe(true);
    expect(store.has(hashes[1] ?? ('' as ObjectHash))).toBe(false);
    expect(store.has(hashes.at(-1) ?? ('' as ObjectHash))).toBe(true);
    store.sweep({ bytesMax: 0, keep });
    expect(store.objects).toBe(keep.length);
    store.close();
    const again = ObjectStore.open(folder);
    expect(again.objects).toBe(keep.length);
    for (const [index, hash] of hashes.entries()) {
      if (index % 8 === 0) expect(again.read(hash)).not.toBeNull();
    }
    expect(again.sweep({ bytesMax: 0, keep: [] })).toBeGreaterThan(0);
    expect(again.bytes).toBe(0);
    again.close();
  });
});

describe('ObjectIndex', () => {
  it('is a map: sets, finds, deletes and forgets as one', () => {
    const step = fc.tuple(fc.constantFrom('set', 'delete', 'forget'), fc.nat(40), fc.integer({ min: 1, max: 4 }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const index = new ObjectIndex();
        const model = new Map<ObjectHash, number>();
        // Few distinct first bytes, so that rows collide.
        const hash = (n: number): ObjectHash =>
          `${'0'.repeat(7)}${n % 3}${n.toString(16).padStart(56, '0')}` as ObjectHash;
        for (const [kind, n, segment] of steps) {
          const bytes = new Uint8Array(32);
          writeHash(bytes, 0, hash(n));
          if (kind === 'set') {
            index.set(bytes, 0, { segment, offset: n, size: n });
            model.set(hash(n), segment);
          } else if (kind === 'delete') {
            index.delete(hash(n));
            model.delete(hash(n));
          } else {
            index.forget(segment);
            for (const [key, value] of model) if (value === segment) model.delete(key);
          }
        }
        expect(index.count).toBe(model.size);
        for (let n = 0; n <= 40; n++) expect(index.find(hash(n))?.segment).toBe(model.get(hash(n)));
      }),
    );
  });

  it('grows', () => {
    const index = new ObjectIndex();
    for (let n = 0; n < 5000; n++) {
      const bytes = createHash('sha256').update(String(n)).digest();
      index.set(bytes, 0, { segment: 1, offset: n, size: 1 });
    }
    expect(index.find(createHash('sha256').update('77').digest('hex') as ObjectHash)?.offset).toBe(77);
    expect(index.count).toBe(5000);
  });
});
