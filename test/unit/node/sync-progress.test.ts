import { expect, test } from 'vitest';
import { syncProgress } from '../../../src/node/sync-progress.ts';

const message = { t: 'ws.progress', job: '', attempt: 1, phase: 'receiving', bytes: 0, line: '' } as const;
const told = (files: number, filesAfter: readonly number[] | null): string =>
  syncProgress(
    { ...message, files } as unknown as Parameters<typeof syncProgress>[0],
    { objects: 6, bytes: 5_000_000, atMs: 0, filesAfter },
    0,
  );

test('files are counted, not the parts of large ones', () => {
  expect(told(2, null)).toBe('2 of 6 files, 0 of 5 MB');
  // A small one, one of four parts, a small one.
  const filesAfter = [0, 1, 1, 1, 1, 2, 3];
  expect([0, 1, 4, 5, 6, 7].map((objects) => told(objects, filesAfter).split(',')[0])).toEqual([
    '0 of 3 files',
    '1 of 3 files',
    '1 of 3 files',
    '2 of 3 files',
    '3 of 3 files',
    '3 of 3 files',
  ]);
});
