import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { NodeSet, type RunOptions, type TestNode } from '../fixtures/mesh-nodes.ts';
import { SHIPPED } from '../fixtures/plain-spec.ts';
import { writeTree } from '../fixtures/temporary-folder.ts';

/** Repositories of each kind, asked and changed at another node: what git says there is what it says here. */
const set = new NodeSet();
let made = 0;

beforeAll(async () => {
  await set.mesh(['a', 'b']);
});
afterAll(() => set.close());

const node = (name: string): TestNode => set.node(name);
const onB = (cwd: string, more: RunOptions = {}): RunOptions => ({ on: 'b', cwd, sync: SHIPPED, ...more });

const WHO = ['-c', 'user.name=t', '-c', 'user.email=t@example.org', '-c', 'protocol.file.allow=always'];
const git = (root: string, ...words: string[]): string =>
  execFileSync('git', [...WHO, ...words], { cwd: root, stdio: 'pipe', encoding: 'utf8' });

function repository(files: Readonly<Record<string, string>>): string {
  made += 1;
  const root = join(set.folder, `repository-${made}`);
  mkdirSync(root);
  writeTree(root, files);
  git(root, 'init', '-q', '-b', 'main');
  git(root, 'add', '-A');
  git(root, 'commit', '-q', '-m', 'first');
  git(root, 'tag', 'v1.0');
  return root;
}

const FILES = { 'a.c': 'a\n', 'src/b.c': 'b\n', 'gone.c': 'g\n', 'run.sh': 'echo\n', '.gitignore': '*.o\n' };
/** What people ask, what version stamps ask, and all that is there. */
const QUESTIONS = `git status --porcelain; git describe --always --dirty --tags; git log --oneline; git diff --stat
git diff-index --quiet HEAD && echo clean; git submodule foreach -q 'git status --porcelain'; git ls-files -s
find . -name .git -prune -o -print | LC_ALL=C sort | od -c | head -c 20000`;

async function expectSameAnswers(root: string): Promise<void> {
  // Here git knows the files as they are, as it does for whoever works here.
  git(root, 'status');
  const here = execFileSync('/bin/sh', ['-c', QUESTIONS], { cwd: root, stdio: 'pipe', encoding: 'utf8' });
  const there = await node('a').run(QUESTIONS, onB(root));
  expect(there.executed_on).toBe('b');
  expect(there.out).toBe(here);
  expect(there.changes).toEqual({ returned: [], deleted: [], conflicts: [], held_back: [], left_there: [] });
}

it('a clean work tree is clean there, an edited one is edited the same way', async () => {
  const root = repository(FILES);
  await expectSameAnswers(root);
  writeTree(root, { 'a.c': 'edited\n', 'new/c.c': 'c\n', 'src/two\nlines': 'l\n' });
  rmSync(join(root, 'gone.c'));
  renameSync(join(root, 'src/b.c'), join(root, 'src/renamed.c'));
  chmodSync(join(root, 'run.sh'), 0o755);
  symlinkSync('a.c', join(root, 'link'));
  writeFileSync(Buffer.from(`${root}/caf\xe9.c`, 'latin1'), 'e\n');
  git(root, 'add', 'new');
  await expectSameAnswers(root);
});

it('a linked work tree', async () => {
  const main = repository(FILES);
  const root = join(set.folder, 'linked');
  git(main, 'worktree', 'add', '-q', '-b', 'other', root);
  await expectSameAnswers(root);
  writeTree(root, { 'a.c': 'edited\n' });
  await expectSameAnswers(root);
});

it('submodules and a repository within; what a job changes in them comes back', async () => {
  const inner = repository({ 'inner.c': 'i\n' });
  const root = repository(FILES);
  git(root, 'submodule', 'add', '-q', inner, 'libs/inner');
  git(root, 'commit', '-q', '-m', 'libs');
  renameSync(repository({ 'own.c': 'o\n', '.gitignore': '*.tmp\n' }), join(root, 'nested'));
  await expectSameAnswers(root);
  const line =
    'echo x >> libs/inner/inner.c; echo x >> nested/own.c; echo x > nested/x.tmp; echo x > nested/x.o; echo x > x.o';
  const end = await node('a').run(line, onB(root));
  expect(end.changes.returned.toSorted()).toEqual(['libs/inner/inner.c', 'nested/own.c', 'nested/x.o']);
  expect(end.changes.left_there.map(({ path }) => path).toSorted()).toEqual(['nested/x.tmp', 'x.o']);
  expect(readFileSync(join(root, 'libs/inner/inner.c'), 'utf8')).toBe('i\nx\n');
});

it('a sparse checkout is no mass deletion', async () => {
  const root = repository({ ...FILES, 'big/one.c': '1\n', 'big/two.c': '2\n', 'big/three.c': '3\n' });
  git(root, 'sparse-checkout', 'set', '--cone', 'src');
  await expectSameAnswers(root);
  const end = await node('a').run('echo x >> src/b.c', onB(root));
  expect(end.changes).toMatchObject({ returned: ['src/b.c'], deleted: [], held_back: [] });
});

it('a commit that a job makes waits, and the next sync starts from here again', async () => {
  const root = repository(FILES);
  const commit = `echo x >> a.c; git -c user.name=t -c user.email=t@example.org commit -qam there`;
  const end = await node('a').run(commit, onB(root));
  expect(end.changes.returned).toEqual(['a.c']);
  expect(end.changes.held_back.length).toBeGreaterThan(0);
  expect(end.changes.held_back.every((path) => path.startsWith('.git/'))).toBe(true);
  expect(git(root, 'log', '--oneline').trim().split('\n')).toHaveLength(1);
  await expectSameAnswers(root);
});
