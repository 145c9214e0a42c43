import { expect, test } from 'vitest';
import { ChangedContents } from '../../../../src/adapters/workspace/changed-contents.ts';
import { err, ok } from '../../../../src/base/result.ts';
import { sha256 } from '../../../fixtures/sent-project.ts';

const bytesOf = (size: number): Buffer => Buffer.alloc(size, size);

function store(putsMax: number) {
  const kept = new Set<string>();
  const put = (hash: string, bytes: Uint8Array) => {
    if (kept.size >= putsMax) return err({ code: 'no_space', message: 'full' } as const);
    kept.add(hash);
    return ok({ objects: 1, bytes: bytes.length });
  };
  return { kept, has: (hash: string) => kept.has(hash), put };
}

test('as many bytes as fit are kept, each object once', () => {
  const there = store(10);
  const contents = new ChangedContents(there, 1000, 25);
  for (const size of [10, 10, 20, 15, 1]) contents.keep(sha256(bytesOf(size)), bytesOf(size));
  expect([...there.kept]).toEqual([10, 15].map((size) => sha256(bytesOf(size))));
});

test('a disk that takes no more, or was full before, is not asked again', () => {
  const there = store(1);
  const contents = new ChangedContents(there, 1000);
  for (const size of [1, 2, 3]) contents.keep(sha256(bytesOf(size)), bytesOf(size));
  expect(there.kept.size).toBe(1);
  const none = store(10);
  new ChangedContents(none, 0).keep(sha256(bytesOf(1)), bytesOf(1));
  const broken = {
    has: () => false,
    put: () => {
      throw Object.assign(new Error('EIO'), { code: 'EIO' });
    },
  };
  expect(() => new ChangedContents(broken, 10).keep(sha256('x'), bytesOf(1))).not.toThrow();
  expect(none.kept.size).toBe(0);
});
