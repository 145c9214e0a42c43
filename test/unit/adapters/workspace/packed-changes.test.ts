import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ChangePackFile } from '../../../../src/adapters/workspace/change-pack-file.ts';
import { CollectProblems } from '../../../../src/adapters/workspace/collect-problems.ts';
import { packChanges } from '../../../../src/adapters/workspace/packed-changes.ts';
import { TreeFolders } from '../../../../src/adapters/workspace/tree-folders.ts';
import type { FileEntry, ObjectHash, TreePath } from '../../../../src/wire/manifest.ts';
import { temporaryFolders } from '../../../fixtures/temporary-folder.ts';

const temporaryFolder = temporaryFolders();

test('a product of an earlier job that changes while it is written down leaves a pack that is read', async () => {
  const tree = temporaryFolder();
  const pack = join(temporaryFolder(), 'pack');
  const file = (path: string, listed: string, now: string): FileEntry => {
    writeFileSync(join(tree, path), now);
    const hash = createHash('sha256').update(listed).digest('hex') as ObjectHash;
    return { kind: 'file', path: path as TreePath, size: listed.length, mode: 0o644, mtimeMs: 0, hash, chunks: null };
  };
  const changed = [file('a', '1', '2'), file('b', '1', '1')];
  const folders = new TreeFolders(tree, null);
  const problems = new CollectProblems();
  const list = { changed, deleted: [], earlier: changed.map(({ path }) => path) };
  const packed = await packChanges(list, { pack, folders, contents: new Map(), problems, onObject: () => undefined });
  folders.close();
  expect(packed).toMatchObject({ changed: 0, named: [] });
  expect(problems.text()).toContain('a changed while it was read');
  const opened = await ChangePackFile.open(pack, packed.pack_sha256);
  if (!opened.ok) throw new Error(opened.error);
  expect(opened.value.list).toMatchObject({ changed: [{ path: 'b' }], earlier: ['b'] });
  opened.value.close();
});
