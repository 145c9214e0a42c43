import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { findProject } from '../../../../src/adapters/workspace/project-root.ts';
import { selectFiles } from '../../../../src/adapters/workspace/select-files.ts';
import type { Selection } from '../../../../src/adapters/workspace/selection.ts';
import type { ScanRequest } from '../../../../src/ports/workspace.ts';
import type { TreePath } from '../../../../src/wire/manifest.ts';
import { gitEnvironment, gitRunner, placeSelection } from '../../../fixtures/git-repositories.ts';
import { temporaryFolders, writeTree } from '../../../fixtures/temporary-folder.ts';

const temporary = temporaryFolders();

interface Bench {
  readonly home: string;
  readonly root: string;
  readonly git: (folder: string, ...args: string[]) => string;
  select(
    folder?: string,
    more?: Partial<ScanRequest>,
    replaced?: readonly TreePath[],
    env?: Record<string, string>,
  ): Promise<Selection>;
}

function bench(): Bench {
  const base = temporary();
  const home = join(base, 'home');
  const root = join(home, 'project');
  mkdirSync(root, { recursive: true });
  const env = gitEnvironment(home);
  const git = gitRunner(env);
  return {
    home,
    root,
    git,
    async select(folder = root, more = {}, replaced = [], other = env) {
      const project = findProject(folder, null, new Set(['/', home]));
      if (!project.ok || project.value === null) throw new Error(`no project at ${folder}`);
      const request: ScanRequest = {
        project: project.value,
        ship: { include: [], exclude: [], ignored: [], git: true },
        secrets: {},
        filesMax: 10_000,
        bytesMax: 1e9,
        ...more,
      };
      const selected = await selectFiles(request, other, replaced);
      if (!selected.ok) throw new Error(selected.error.message);
      return selected.value;
    },
  };
}

function committed(more: Readonly<Record<string, string>> = {}): Bench {
  const made = bench();
  made.git(made.root, 'init', '-q', '-b', 'main');
  writeTree(made.root, {
    'README.md': 'read\n',
    'src/a.c': 'int a;\n',
    'src/b.c': 'int b;\n',
    'src/deep/c.c': 'int c;\n',
    'run.sh': 'echo\n',
    '.gitignore': '*.o\nout/\nnode_modules/\n.env\n',
    ...more,
  });
  made.git(made.root, 'add', '-A');
  made.git(made.root, 'commit', '-qm', 'first');
  made.git(made.root, 'tag', '-a', 'v1.0', '-m', 'one');
  return made;
}

/** What people and version stamps ask git; the same here and there. */
const QUESTIONS = [
  ['status', '--porcelain=v2', '--branch'],
  ['status'],
  ['describe', '--always', '--dirty', '--tags', '--long'],
  ['log', '--oneline', '--decorate', '--all'],
  ['diff', '--stat'],
  ['diff'],
  ['diff', '--cached'],
  ['ls-files', '-s'],
  ['ls-files', '-v'],
  ['branch', '-vv'],
  ['submodule', 'status'],
  ['rev-parse', 'HEAD'],
  ['rev-parse', '--abbrev-ref', 'HEAD'],
  ['fsck', '--connectivity-only'],
] as const;

/** @param except questions whose answers are known to differ */
function expectSameAnswers(
  made: Bench,
  selection: Selection,
  here = made.root,
  except: readonly string[] = [],
): string {
  const there = join(made.home, 'there', 'project');
  placeSelection(selection, there);
  const ask = (folder: string, args: readonly string[]): string => {
    try {
      return made.git(folder, ...args);
    } catch (error) {
      return `failed: ${error instanceof Error ? error.message.split('\n').slice(1).join('\n') : ''}`;
    }
  };
  for (const question of QUESTIONS) {
    if (except.includes(question.join(' '))) continue;
    expect(ask(there, question), `git ${question.join(' ')}`).toBe(ask(here, question));
  }
  return there;
}

const named = (selection: Selection): string[] => selection.files.filter((path) => !path.includes('.git/')).toSorted();

test('a clean checkout', async () => {
  const made = committed();
  const selection = await made.select();
  expect(named(selection)).toEqual(['.gitignore', 'README.md', 'run.sh', 'src/a.c', 'src/b.c', 'src/deep/c.c']);
  expectSameAnswers(made, selection);
});

test('edited, added, deleted, renamed, chmod-ed, linked, staged, new and ignored files', async () => {
  const made = committed();
  const { root, git } = made;
  writeFileSync(join(root, 'src/a.c'), 'int a = 1;\n');
  rmSync(join(root, 'src/b.c'));
  git(root, 'mv', 'README.md', 'READ');
  chmodSync(join(root, 'run.sh'), 0o755);
  symlinkSync('src/a.c', join(root, 'link'));
  symlinkSync('nowhere', join(root, 'dangling'));
  writeTree(root, { 'new/file.c': 'n\n', 'staged.c': 's\n', 'a.o': 'o', 'out/x': 'x', 'src/two\nlines': 'l' });
  git(root, 'add', 'staged.c');
  writeFileSync(join(root, 'staged.c'), 'more\n');
  mkdirSync(join(root, 'empty/inner'), { recursive: true });
  const selection = await made.select();
  expect(named(selection)).toEqual([
    '.gitignore',
    'READ',
    'dangling',
    'link',
    'new/file.c',
    'run.sh',
    'src/a.c',
    'src/b.c',
    'src/deep/c.c',
    'src/two\nlines',
    'staged.c',
  ]);
  expect(selection.folders).toContain('empty/inner');
  const there = expectSameAnswers(made, selection);
  expect(existsSync(join(there, 'src/b.c'))).toBe(false);
});

test('names that are not UTF-8', async () => {
  const made = committed();
  const name = Buffer.concat([Buffer.from(`${made.root}/`), Buffer.from([0xff, 0xe9, 0x2e, 0x63])]);
  writeFileSync(name, 'x\n');
  const folder = Buffer.concat([Buffer.from(`${made.root}/`), Buffer.from([0xc0])]);
  mkdirSync(folder);
  writeFileSync(Buffer.concat([folder, Buffer.from('/f')]), 'x\n');
  const selection = await made.select();
  expect(selection.files).toContain('\u00ff\u00e9.c');
  expect(selection.files).toContain('\u00c0/f');
  expectSameAnswers(made, selection);
});

test('a tracked file behind a link is gone, as git sees it, and one that became a folder too', async () => {
  const made = committed();
  mkdirSync(join(made.home, 'elsewhere'));
  renameSync(join(made.root, 'src/deep'), join(made.home, 'elsewhere/deep'));
  symlinkSync('../../elsewhere/deep', join(made.root, 'src/deep'));
  rmSync(join(made.root, 'run.sh'));
  writeTree(made.root, { 'run.sh/inner': 'x' });
  const first = await made.select();
  const selection = await made.select(
    made.root,
    {},
    first.files.filter((path) => path === 'run.sh'),
  );
  expect(selection.files).not.toContain('src/deep/c.c');
  expect(selection.files).toContain('src/deep');
  expect(selection.files).toContain('run.sh/inner');
});

test('a repository without a commit', async () => {
  const made = bench();
  made.git(made.root, 'init', '-q', '-b', 'main');
  writeTree(made.root, { a: 'a' });
  expectSameAnswers(made, await made.select());
});

test('a detached head', async () => {
  const made = committed();
  made.git(made.root, 'checkout', '-q', '--detach');
  // Where it was detached at is only in the log, which stays here.
  expectSameAnswers(made, await made.select(), made.root, ['status', 'branch -vv']);
});

test('a merge in conflict', async () => {
  const made = committed();
  const { git, root } = made;
  git(root, 'checkout', '-qb', 'side');
  writeFileSync(join(root, 'src/a.c'), 'side\n');
  git(root, 'commit', '-qam', 'side');
  git(root, 'checkout', '-q', 'main');
  writeFileSync(join(root, 'src/a.c'), 'main\n');
  git(root, 'commit', '-qam', 'main');
  expect(() => git(root, 'merge', 'side')).toThrow();
  expectSameAnswers(made, await made.select());
});

test('packed objects and refs, alternates, a shallow clone', async () => {
  const made = committed();
  const { git, home, root } = made;
  git(root, 'gc', '-q');
  expectSameAnswers(made, await made.select());
  for (const [name, args] of [
    ['shared', ['--shared']],
    ['shallow', ['--depth', '1']],
  ] as const) {
    git(home, 'clone', '-q', ...args, `file://${root}`, name);
    rmSync(join(home, 'there'), { recursive: true });
    writeTree(join(home, name), { 'src/a.c': 'changed\n' });
    expectSameAnswers(made, await made.select(join(home, name)), join(home, name));
  }
});

test('a linked work tree', async () => {
  const made = committed();
  const { git, root, home } = made;
  git(root, 'worktree', 'add', '-q', '-b', 'other', join(home, 'linked'));
  const linked = join(home, 'linked');
  writeTree(linked, { 'src/a.c': 'changed\n', 'new.c': 'n\n' });
  git(linked, 'add', 'new.c');
  // There it is no linked one, so it doesn't know of the others.
  const there = expectSameAnswers(made, await made.select(linked), linked, ['branch -vv']);
  expect(existsSync(join(there, '.git/HEAD'))).toBe(true);
});

test('submodules, also within one, and one that is not checked out', async () => {
  const made = committed();
  const { git, root, home } = made;
  for (const name of ['inner', 'outer', 'absent']) {
    git(home, 'init', '-q', '-b', 'main', name);
    writeTree(join(home, name), { [`${name}.c`]: 'x\n' });
    if (name === 'outer') git(join(home, name), 'submodule', 'add', '-q', join(home, 'inner'), 'in');
    git(join(home, name), 'add', '-A');
    git(join(home, name), 'commit', '-qm', name);
  }
  git(root, 'submodule', 'add', '-q', join(home, 'outer'), 'libs/outer');
  git(root, 'submodule', 'add', '-q', join(home, 'absent'), 'libs/absent');
  git(root, 'commit', '-qm', 'libs');
  git(root, 'submodule', 'update', '-q', '--init', '--recursive');
  git(root, 'submodule', 'deinit', '-q', '-f', 'libs/absent');
  const clean = await made.select();
  expect(named(clean)).toContain('libs/outer/in/inner.c');
  expect(clean.folders).toContain('libs/absent');
  expectSameAnswers(made, clean);
  rmSync(join(home, 'there'), { recursive: true });
  writeTree(root, { 'libs/outer/in/inner.c': 'changed\n', 'libs/outer/new.c': 'n\n' });
  const there = expectSameAnswers(made, await made.select());
  expect(made.git(join(there, 'libs/outer'), 'status', '--porcelain')).toContain('new.c');
});

test('a repository within another that git does not track, with rules of its own', async () => {
  const made = committed();
  writeTree(made.root, {
    'vendored/x.o': 'o',
    'vendored/y.tmp': 'y',
    'vendored/.gitignore': '*.tmp\n',
    'new/deep/z.c': 'z',
  });
  made.git(made.root, 'init', '-q', 'vendored');
  made.git(made.root, 'init', '-q', 'new/deep');
  const selection = await made.select();
  expect(named(selection)).toEqual(expect.arrayContaining(['vendored/x.o', 'vendored/.gitignore', 'new/deep/z.c']));
  expect(named(selection)).not.toContain('vendored/y.tmp');
  expect(selection.rules.map(({ folder }) => folder)).toEqual(expect.arrayContaining(['vendored', 'new/deep']));
  expectSameAnswers(made, selection);
});

test('a sparse checkout, with and without a sparse index; a split index, index version 4', async () => {
  const made = committed();
  const { git, root, home } = made;
  git(root, 'update-index', '--index-version', '4');
  expectSameAnswers(made, await made.select());
  rmSync(join(home, 'there'), { recursive: true });
  git(root, 'update-index', '--split-index');
  expectSameAnswers(made, await made.select());
  rmSync(join(home, 'there'), { recursive: true });
  git(root, 'update-index', '--no-split-index');
  git(root, 'sparse-checkout', 'set', '--cone', 'src/deep');
  expectSameAnswers(made, await made.select());
  rmSync(join(home, 'there'), { recursive: true });
  git(root, 'sparse-checkout', 'set', '--cone', '--sparse-index', 'src/deep');
  // The text says so where the index itself is sparse.
  expectSameAnswers(made, await made.select(), root, ['status']);
});

test('nothing that runs a program, no password, no other place is in .git', async () => {
  const made = committed();
  const { git, root } = made;
  git(root, 'remote', 'add', 'origin', 'https://user:secret@example.org/x.git');
  git(root, 'config', 'core.hooksPath', '/tmp/hooks');
  git(root, 'config', 'core.fsmonitor', '/tmp/monitor');
  git(root, 'config', 'alias.x', '!sh');
  git(root, 'config', 'filter.f.clean', 'sh');
  git(root, 'config', 'credential.helper', 'store');
  writeTree(root, { '.git/hooks/pre-commit': '#!/bin/sh\n', '.git/config.lock': '' });
  const selection = await made.select();
  const all = [
    ...selection.files,
    ...selection.elsewhere.map(({ path }) => path),
    ...selection.virtual.map(({ path }) => path),
  ];
  expect(new Set(all).size).toBe(all.length);
  expect(all.filter((path) => /hooks|logs|lock|alternates/.test(path))).toEqual([]);
  // A script may write into what `git init` made.
  expect(selection.folders).toEqual(expect.arrayContaining(['.git/hooks', '.git/objects/pack']));
  const there = join(made.home, 'there');
  placeSelection(selection, there);
  expect(readdirSync(join(there, '.git/hooks'))).toEqual([]);
  const config = selection.virtual.find(({ path }) => path === '.git/config');
  const text = Buffer.from(config?.content ?? []).toString();
  expect(text).toContain('url = "https://example.org/x.git"');
  expect(text).not.toMatch(/hook|fsmonitor|alias|filter|credential|secret/i);
});

test('files that git changes by a filter here are told of: there they may count as modified', async () => {
  const made = committed({
    '.gitattributes': '# *.x filter=none\n*.txt text\n',
    'docs/.gitattributes': '*.bin -text filter=swap diff=swap\n',
  });
  made.git(made.root, 'config', 'filter.swap.clean', 'tr a b');
  made.git(made.root, 'config', 'filter.other.clean', 'cat');
  const told = expect.stringContaining('by a filter (swap) count as modified');
  expect((await made.select()).standing).toEqual([told]);
  const ship = { include: [], exclude: [], ignored: [], git: false };
  expect((await made.select(made.root, { ship })).standing).toEqual([]);
  // Where git here knows no such filter, it is the same on both sides.
  made.git(made.root, 'config', '--unset', 'filter.swap.clean');
  expect((await made.select()).standing).toEqual([]);
});

test.each(['.gitignore', 'src/deep/.gitignore'])('a FIFO as %s is named, and git is not waited for', async (name) => {
  const made = committed();
  rmSync(join(made.root, name), { force: true });
  spawnSync('mkfifo', [join(made.root, name)]);
  writeTree(made.root, { 'new.c': 'n' });
  const startedMs = performance.now();
  const selection = await made.select();
  // git alone is given a minute.
  expect(performance.now() - startedMs).toBeLessThan(30_000);
  expect(selection.notices).toEqual([expect.stringContaining(`the repository: ${name} is no regular file, and git`)]);
  expect(named(selection)).toEqual(expect.arrayContaining(['README.md', 'new.c', 'src/deep/c.c']));
});

test('a folder of a work tree that is a project of its own', async () => {
  const made = committed({ 'pkg/.meshwork.toml': '', 'pkg/a.c': 'a', 'pkg/.gitignore': '*.tmp\n' });
  writeFileSync(join(made.root, '.gitignore'), '*.o\n/pkg/made/\n/other/\n');
  writeTree(made.root, { 'pkg/a.o': 'o', 'pkg/made/x': 'x', 'pkg/new.c': 'n', 'pkg/x.tmp': 't' });
  const selection = await made.select(join(made.root, 'pkg'));
  expect(selection.files.toSorted()).toEqual(['.gitignore', '.meshwork.toml', 'a.c', 'new.c']);
  expect(selection.rules).toEqual([{ folder: '', text: '*.o\n/made/', source: 'exclude' }]);
  expect(selection.standing).toEqual([
    expect.stringContaining(`is a folder of the repository ${made.root}, so its .git stays here`),
  ]);
  // Whoever says that nothing there needs git is not told.
  const ship = { include: [], exclude: [], ignored: [], git: false };
  expect((await made.select(join(made.root, 'pkg'), { ship })).standing).toEqual([]);
});

test('a folder of a work tree without tracked files, and one that the repository around it ignores', async () => {
  const made = committed();
  writeTree(made.root, { 'new/.meshwork.toml': '', 'new/src/a.c': 'a', 'new/a.o': 'o', 'new/.gitignore': 'tmp/\n' });
  mkdirSync(join(made.root, 'new/empty'));
  const fresh = await made.select(join(made.root, 'new'));
  expect(fresh.files.toSorted()).toEqual(['.gitignore', '.meshwork.toml', 'src/a.c']);
  expect(fresh.folders).toEqual(['empty']);
  expect(fresh.standing).toEqual([expect.stringContaining('is a folder of the repository')]);
  writeTree(made.root, {
    'out/.meshwork.toml': '',
    'out/deep/a.c': 'a',
    'out/x.tmp': 't',
    'out/.gitignore': '*.tmp\n',
  });
  const ignored = await made.select(join(made.root, 'out'));
  expect(ignored.files.toSorted()).toEqual(['.gitignore', '.meshwork.toml', 'deep/a.c']);
  expect(ignored.notices).toEqual([expect.stringContaining('ignored by the repository around it')]);
});

test('a folder of ignored files alone is no empty one where some of them go along', async () => {
  const made = committed();
  writeTree(made.root, { 'conf/.env': 'A=1', 'objects/a.o': 'o', 'rest/deep/b.o': 'o' });
  const foldersOf = ({ folders }: Selection) => folders.filter((path) => !path.startsWith('.git/')).toSorted();
  expect(foldersOf(await made.select())).toEqual(['conf', 'objects', 'rest']);
  const ship = { include: ['objects/*.o'], exclude: [], ignored: [], git: true };
  const selection = await made.select(made.root, { secrets: { 'conf/.env': 'send' }, ship });
  expect(named(selection)).toEqual(expect.arrayContaining(['conf/.env', 'objects/a.o']));
  expect(foldersOf(selection)).toEqual(['rest']);
});

test('what the user ignores everywhere is ignored there too', async () => {
  const made = committed();
  writeTree(made.home, { '.config/git/ignore': '*.swp\n' });
  writeTree(made.root, { 'a.swp': 'x' });
  const selection = await made.select();
  expect(selection.files).not.toContain('a.swp');
  expect(selection.rules).toEqual([{ folder: '', text: '*.swp', source: 'exclude' }]);
  const exclude = selection.virtual.find(({ path }) => path === '.git/info/exclude');
  expect(Buffer.from(exclude?.content ?? []).toString()).toContain('*.swp');
});

test('without git the files are the same, with a notice', async () => {
  const made = committed();
  writeTree(made.root, {
    'a.o': 'o',
    'new/x.c': 'x',
    'out/y': 'y',
    'node_modules/z/package.json': '{}',
    '.env': 'A=1',
  });
  const withGit = await made.select();
  const project = findProject(made.root, null, new Set(['/', made.home]));
  if (!project.ok || project.value === null) throw new Error('no project');
  const request = {
    project: project.value,
    ship: { include: [], exclude: [], ignored: [], git: true },
    secrets: {},
    filesMax: 1000,
    bytesMax: 1e9,
  };
  const without = await selectFiles(request, { PATH: '/nonexistent', HOME: made.home });
  if (!without.ok) throw new Error(without.error.message);
  expect(named(without.value)).toEqual(named(withGit));
  expect(without.value.dependencies).toEqual(withGit.dependencies);
  expect(without.value.undecided).toEqual(['.env']);
  expect(without.value.notices.join()).toContain('without git');
  expectSameAnswers(made, without.value);
  expect(readFileSync(join(made.root, '.env'), 'utf8')).toBe('A=1');
});

test('files marked in the index: to be added, assumed unchanged; `.git` behind a link', async () => {
  const made = committed();
  const { git, root, home } = made;
  writeTree(root, { 'later.c': 'l\n', 'src/a.c': 'unseen\n' });
  git(root, 'add', '-N', 'later.c');
  git(root, 'update-index', '--assume-unchanged', 'src/a.c');
  renameSync(join(root, '.git'), join(home, 'kept.git'));
  symlinkSync('../kept.git', join(root, '.git'));
  expectSameAnswers(made, await made.select());
});

test('a work tree of another owner is read as that owner, whom git trusts with it', async (context) => {
  // Only root may do that.
  if (process.getuid?.() !== 0) return context.skip('not run as root');
  const made = committed();
  writeTree(made.root, { 'new.c': 'n\n', 'a.o': 'o' });
  chmodSync(join(made.home, '..'), 0o755);
  execFileSync('chown', ['-R', '12345:12345', made.root]);
  const selection = await made.select();
  expect(selection.notices).toEqual([]);
  expect(named(selection)).toContain('new.c');
  expect(named(selection)).not.toContain('a.o');
});

test('random work trees: exactly what git lists is selected, with git and without', async () => {
  const name = fc.constantFrom('a', 'b', 'c.o', 'd.log', 'out', 'x y');
  const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
  const rule = fc.constantFrom('*.o', 'out/', '!c.o', '/a', 'b/', 'a/b', '*.log', 'x y', '!d.log', '**/b/*');
  const files = fc.array(fc.tuple(path, fc.constantFrom('tracked', 'new', 'gone', 'folder')), {
    minLength: 1,
    maxLength: 15,
  });
  const rules = fc.array(
    fc.tuple(fc.constantFrom('', 'a', 'out', 'a/b'), fc.array(rule, { minLength: 1, maxLength: 3 })),
    { maxLength: 3 },
  );
  const property = fc.asyncProperty(files, rules, async (entries, ignores) => {
    const made = bench();
    const { root, git } = made;
    git(root, 'init', '-q');
    const make = (at: string, text: string | null): boolean => {
      try {
        if (text === null) mkdirSync(join(root, at), { recursive: true });
        else writeTree(root, { [at]: text });
        return true;
      } catch {
        // A name that is a folder already, or lies below a file.
        return false;
      }
    };
    const kept = entries.filter(([at, kind]) => make(at, kind === 'folder' ? null : 'x\n'));
    for (const [folder, lines] of ignores) make(join(folder, '.gitignore'), `${lines.join('\n')}\n`);
    const tracked = kept.filter(([, kind]) => kind === 'tracked' || kind === 'gone').map(([at]) => at);
    if (tracked.length > 0) git(root, 'add', '-f', '--', ...tracked);
    for (const [at, kind] of kept) if (kind === 'gone') rmSync(join(root, at), { force: true });
    const listed = git(root, 'ls-files', '-co', '--exclude-standard', '-z').split('\0').filter(Boolean);
    const there = (paths: readonly string[]): string[] =>
      [...new Set(paths)].filter((at) => existsSync(join(root, at))).toSorted();
    const selection = await made.select();
    expect(there(named(selection))).toEqual(there(listed));
    const without = await made.select(root, {}, [], { PATH: '/nonexistent', HOME: made.home });
    expect(there(named(without))).toEqual(there(listed));
  });
  await fc.assert(property, { numRuns: Number(process.env['RUNS'] ?? 25) });
});

test('a repository without a commit is one there, with a manifest that holds no folder within another', async () => {
  const made = bench();
  made.git(made.root, 'init', '-q');
  const { folders } = await made.select();
  expect(folders).toEqual(expect.arrayContaining(['.git/hooks', '.git/objects/pack', '.git/refs/heads']));
  expect(folders.filter((folder) => folders.some((other) => other.startsWith(`${folder}/`)))).toEqual([]);
});

test.each(['../../elsewhere', '../..'])('a folder whose repository is about %s is sent as it is', async (worktree) => {
  const { root, home, select, git } = bench();
  mkdirSync(join(home, 'elsewhere'));
  git(root, 'init', '-q');
  git(root, 'config', 'core.worktree', worktree);
  writeTree(root, { a: '1', 'in/b': '2' });
  const selection = await select();
  expect(selection.files.toSorted()).toEqual(['a', 'in/b']);
  expect(selection.notices.join()).toMatch(/another folder \(core\.worktree\).*\.git stays here/);
});
