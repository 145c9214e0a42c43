import { execFileSync } from 'node:child_process';
import { chmodSync, lstatSync, mkdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findProject } from '../../../../src/adapters/workspace/project-root.ts';
import { selectFiles } from '../../../../src/adapters/workspace/select-files.ts';
import { diskClockMovedOn } from '../../../fixtures/disk-clock.ts';
import { gitEnvironment, gitRunner } from '../../../fixtures/git-repositories.ts';
import { type SentFile, type SentFiles, TestExecutor } from '../../../fixtures/sent-project.ts';
import { temporaryFolders, writeTree } from '../../../fixtures/temporary-folder.ts';

const CHUNKED_BYTES = 1024 * 1024;
const temporary = temporaryFolders();
let executor: TestExecutor;
beforeEach(() => {
  executor = new TestExecutor();
});
afterEach(() => executor.remove());

function repository() {
  const home = join(temporary(), 'home');
  const root = join(home, 'project');
  mkdirSync(root, { recursive: true });
  const env = gitEnvironment(home);
  const git = gitRunner(env);
  git(root, 'init', '-q', '-b', 'main');
  writeTree(root, { 'a.c': 'a\n', 'src/b.c': 'b\n', '.gitignore': '*.o\n', 'run.sh': 'x\n' });
  chmodSync(join(root, 'run.sh'), 0o755);
  git(root, 'add', '-A');
  git(root, 'commit', '-qm', 'first');
  const sent = async (): Promise<SentFiles> => {
    const project = findProject(root, null, new Set(['/', home]));
    if (!project.ok || project.value === null) throw new Error('no project');
    const ship = { include: [], exclude: [], ignored: [], git: true };
    const selected = await selectFiles(
      { project: project.value, ship, secrets: {}, filesMax: 100_000, bytesMax: 1e9 },
      env,
    );
    if (!selected.ok) throw new Error(selected.error.message);
    const files: Record<string, SentFile | null> = {};
    for (const path of selected.value.files) {
      const stats = lstatSync(join(root, path), { throwIfNoEntry: false });
      if (stats?.isSymbolicLink() === true) files[path] = { link: readlinkSync(join(root, path)) };
      else if (stats !== undefined) files[path] = { text: readFileSync(join(root, path)), mode: stats.mode & 0o777 };
    }
    for (const { path, content } of selected.value.virtual)
      files[path] = content.length > CHUNKED_BYTES ? { text: content, chunkBytes: CHUNKED_BYTES } : { text: content };
    for (const path of selected.value.folders) files[path] = null;
    return files;
  };
  return { root, git, sent };
}

const NOTHING = { changed: 0, deleted: 0, pack_bytes: 0, problem: null };

test('stamps that only read the index find a clean tree clean, and reading changes nothing', async () => {
  const { git, sent } = repository();
  const { id, tree } = await executor.sync(await sent());
  // It exits with 1 where it takes a file for changed.
  expect(git(tree, 'diff-index', '--quiet', 'HEAD')).toBe('');
  expect(git(tree, 'diff-files', '--name-only')).toBe('');
  git(tree, 'status');
  git(tree, 'update-index', '--really-refresh');
  expect(await executor.collect(id, {})).toMatchObject(NOTHING);
  await executor.files.close(id);
});

test('what is staged later arrives, and files that were not sent anew are not taken for changed', async () => {
  const { root, git, sent } = repository();
  const first = await executor.sync(await sent());
  await executor.files.close(first.id);
  writeFileSync(join(root, 'a.c'), 'changed\n');
  git(root, 'add', 'a.c');
  const { id, tree } = await executor.sync(await sent());
  expect(tree).toBe(first.tree);
  expect(git(tree, 'diff-files', '--name-only')).toBe('');
  expect(git(tree, 'status', '--porcelain')).toBe('M  a.c\n');
  expect(await executor.collect(id, {})).toMatchObject(NOTHING);
  await executor.files.close(id);
});

test('an index of many megabytes is told what was placed, too, and stays as git has it there', async () => {
  const { root, git, sent } = repository();
  const blob = git(root, 'hash-object', 'a.c').trim();
  const names = Array.from({ length: 40_000 }, (_, index) => `100644 ${blob}\t${'far/away-'.repeat(22)}${index}\n`);
  execFileSync('git', ['update-index', '--index-info'], { cwd: root, input: names.join('') });
  expect(statSync(join(root, '.git/index')).size).toBeGreaterThan(8 * 1024 * 1024);
  const first = await executor.sync(await sent());
  const changed = (tree: string) => git(tree, 'diff-files', '--name-only', '--diff-filter=M');
  expect(changed(first.tree)).toBe('');
  const there = readFileSync(join(first.tree, '.git/index'));
  await executor.files.close(first.id);
  await diskClockMovedOn(executor.home);
  const again = await executor.sync({ ...(await sent()), new: 'new' });
  expect(again.tree).toBe(first.tree);
  expect(readFileSync(join(again.tree, '.git/index')).equals(there)).toBe(true);
  await executor.files.close(again.id);
  writeFileSync(join(root, 'a.c'), 'changed\n');
  git(root, 'add', 'a.c');
  const staged = await executor.sync(await sent());
  expect(changed(staged.tree)).toBe('');
});

test('a second slot, cloned from the first, is as clean', async () => {
  const { git, sent } = repository();
  const first = await executor.sync(await sent());
  const second = await executor.sync(await sent());
  expect(second.tree).not.toBe(first.tree);
  expect(git(second.tree, 'diff-index', '--quiet', 'HEAD')).toBe('');
  expect(await executor.collect(second.id, {})).toMatchObject(NOTHING);
});

test('folders that a tool made and that ignore themselves stay there', async () => {
  const { sent } = repository();
  const { id, tree } = await executor.sync(await sent());
  const made = {
    '.cache-of-tool/.gitignore': '# by a tool\n*\n',
    '.cache-of-tool/deep/x': 'x',
    'other/.gitignore': '*.tmp\n',
  };
  writeTree(tree, { ...made, 'other/y.c': 'y' });
  const changes = await executor.collect(id, {});
  expect(changes).toMatchObject({ changed: 2, deleted: 0, problem: null });
  expect(changes.left_there.map(({ path }) => path)).toEqual(['.cache-of-tool']);
  await executor.files.close(id);
  const again = await executor.sync(await sent());
  expect(readFileSync(join(again.tree, '.cache-of-tool/deep/x'), 'utf8')).toBe('x');
  await executor.files.close(again.id);
});
