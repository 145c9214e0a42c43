import { expect, test } from 'vitest';
import { namesOf } from '../../../../src/adapters/workspace/change-names.ts';
import type { ManifestEntry, TreePath } from '../../../../src/wire/manifest.ts';

test('products of earlier jobs are not named as what this one changed', () => {
  const changed: ManifestEntry[] = ['a', 'out/old', 'out/own'].map((path) => ({
    kind: 'link',
    path: path as TreePath,
    target: 'x',
  }));
  expect(namesOf({ changed, deleted: ['z' as TreePath], earlier: ['out/old' as TreePath] })).toEqual([
    'a',
    'out/own',
    'z',
  ]);
});
