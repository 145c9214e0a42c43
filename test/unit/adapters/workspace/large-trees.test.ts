import { expect, test } from 'vitest';
import { HeldIndexes } from '../../../../src/adapters/workspace/held-indexes.ts';
import { OneLargeTree } from '../../../../src/adapters/workspace/one-large-tree.ts';
import { TreeIndex } from '../../../../src/adapters/workspace/tree-index.ts';
import type { ManifestEntry, TreePath } from '../../../../src/wire/manifest.ts';

const indexOf = (entries: number): TreeIndex =>
  new TreeIndex({
    entries: Array.from({ length: entries }, (_, at): ManifestEntry => ({
      kind: 'folder',
      path: `f${at}` as TreePath,
    })),
  });

test('of the manifests that are held in memory those used longest ago are let go of', () => {
  const held = new HeldIndexes(10);
  const [first, second, third] = [indexOf(4), indexOf(4), indexOf(4)];
  const gone: string[] = [];
  held.use(first, () => gone.push('first'));
  held.use(second, () => gone.push('second'));
  held.use(first, () => gone.push('first'));
  expect(gone).toEqual([]);
  held.use(third, () => gone.push('third'));
  expect(gone).toEqual(['second']);
  held.drop(first);
  held.use(second, () => gone.push('second'));
  expect(gone).toEqual(['second']);
  // One that is larger than all may be is held alone.
  held.use(indexOf(20), () => gone.push('huge'));
  expect(gone).toEqual(['second', 'third', 'second']);
});

test('calls about large trees wait for each other, those about small ones for none', async () => {
  const trees = new OneLargeTree();
  const done: string[] = [];
  let finish = (): void => undefined;
  const first = trees.run(true, () => new Promise<void>((resolve) => (finish = resolve)));
  const second = trees.run(true, () => void done.push('second'));
  await trees.run(false, () => void done.push('small'));
  await Promise.resolve();
  expect(done).toEqual(['small']);
  finish();
  await Promise.all([first, second]);
  const failed = trees.run(true, () => Promise.reject(new Error('no')));
  await expect(failed).rejects.toThrow('no');
  expect(await trees.run(true, () => 'after a failure')).toBe('after a failure');
});
