import { expect, test } from 'vitest';
import { largestFolders, tooManyBytes, tooManyFiles } from '../../../../src/core/workspace/largest-folders.ts';

const spread = (folder: string, count: number, bytes: number) =>
  Array.from({ length: count }, (_, index) => ({ path: `${folder}/${index}`, bytes }));

test('none within another, the largest first, at most ten', () => {
  const files = [
    ...spread('data/raw', 50, 100),
    ...spread('data/small', 2, 1),
    ...spread('src/a', 5, 10),
    ...Array.from({ length: 30 }, (_, index) => spread(`many/m${index}`, 1, 1)).flat(),
    { path: 'top', bytes: 3 },
  ];
  const found = largestFolders(files, 'bytes');
  expect(found[0]).toEqual({ path: 'data/raw', files: 50, bytes: 5000 });
  expect(found.length).toBeLessThanOrEqual(10);
  const paths = found.map(({ path }) => path);
  for (const path of paths) {
    expect(paths.filter((other) => path !== '' && other.startsWith(`${path}/`))).toEqual([]);
  }
});

test('caps, just met and just broken', () => {
  expect(tooManyFiles(['a', 'b'], 2)).toBeNull();
  expect(tooManyFiles(['a', 'b/c', 'b/d'], 2)).toContain('3 files, more than the 2 of workspaces.files_max');
  expect(tooManyBytes([{ path: 'a', bytes: 5 }], 5)).toBeNull();
  const said = tooManyBytes([{ path: 'x/a\u001b', bytes: 3 * 1024 * 1024 }], 1024 * 1024);
  expect(said).toContain('3 MiB, more than the 1 MiB of workspaces.project_bytes_max');
  expect(said).toContain('x (3.0 MiB)');
  const small = [
    { path: 'big/a', bytes: 2_000_000 },
    { path: 'small/b', bytes: 300 },
  ];
  expect(tooManyBytes(small, 1_000_000)).toContain('big (1.9 MiB), small (300 B)');
});
