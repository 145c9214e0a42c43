import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { findProject, homeFolders } from '../../../../src/adapters/workspace/project-root.ts';
import { gitEnvironment, gitRunner } from '../../../fixtures/git-repositories.ts';
import { temporaryFolders, writeTree } from '../../../fixtures/temporary-folder.ts';

const temporary = temporaryFolders();

function world(files: Readonly<Record<string, string>>) {
  const home = join(temporary(), 'home');
  writeTree(home, { '.profile': '', ...files });
  const homes = homeFolders([home]);
  return {
    home,
    git: gitRunner(gitEnvironment(home)),
    rootOf(folder: string): string | null {
      const found = findProject(join(home, folder), null, homes);
      if (!found.ok) throw new Error(found.error.message);
      return found.value === null ? null : `${found.value.kind} ${found.value.root.slice(home.length + 1)}`;
    },
    named: (folder: string) => findProject(home, folder, homes),
  };
}

test('the nearest top of a work tree, or folder with .meshwork.toml', () => {
  const made = world({
    'p/a/b/x': '',
    'p/a/.meshworkignore': '',
    'p/pkg/.meshwork.toml': '',
    'p/pkg/in/y': '',
    'q/z': '',
  });
  made.git(made.home, 'init', '-q', 'p');
  expect(made.rootOf('p/a/b')).toBe('git p');
  expect(made.rootOf('p')).toBe('git p');
  expect(made.rootOf('p/pkg/in')).toBe('git p/pkg');
  expect(made.rootOf('p/.git/refs')).toBeNull();
  expect(made.rootOf('q')).toBeNull();
});

test('.meshworkignore marks a root outside of work trees only', () => {
  const made = world({
    'p/.meshworkignore': '',
    'p/a/x': '',
    't/.meshwork.toml': '',
    't/in/.meshworkignore': '',
    't/in/deep/x': '',
  });
  expect(made.rootOf('p/a')).toBe('plain p');
  expect(made.rootOf('t/in/deep')).toBe('plain t/in');
  expect(made.rootOf('t')).toBe('plain t');
});

test('a home directory is no project, also where it is a repository', () => {
  const made = world({ 'notes/x': '', '.meshwork.toml': '' });
  made.git(made.home, 'init', '-q');
  expect(made.rootOf('notes')).toBeNull();
  expect(made.rootOf('')).toBeNull();
});

test('a linked work tree and a submodule are tops of their own; two work trees are two projects', () => {
  const made = world({ 'p/x': '', 'sub/s': '' });
  for (const name of ['p', 'sub']) {
    made.git(made.home, 'init', '-q', name);
    made.git(join(made.home, name), 'add', '-A');
    made.git(join(made.home, name), 'commit', '-qm', 'x');
  }
  made.git(join(made.home, 'p'), 'worktree', 'add', '-q', '../linked');
  made.git(join(made.home, 'p'), 'submodule', 'add', '-q', join(made.home, 'sub'), 'lib');
  expect(made.rootOf('linked')).toBe('git linked');
  expect(made.rootOf('p/lib')).toBe('git p/lib');
  const [one, two] = ['p', 'linked'].map((name) => made.named(join(made.home, name)));
  expect(one?.ok === true && two?.ok === true && one.value?.key !== two.value?.key).toBe(true);
});

test('--sync names any folder but /, homes, what is above them, and parts of .git', () => {
  const made = world({ 'q/z': '', 'p/x': '' });
  made.git(made.home, 'init', '-q', 'p');
  mkdirSync(join(made.home, 'real'));
  symlinkSync('real', join(made.home, 'link'));
  const named = made.named(join(made.home, 'link'));
  expect(named).toMatchObject({ ok: true, value: { root: join(made.home, 'real'), kind: 'plain' } });
  expect(named.ok && named.value?.key).toMatch(/^[0-9a-f]{32}$/);
  for (const [folder, why] of [
    ['/', 'the root of the file system'],
    [made.home, 'a home directory'],
    [join(made.home, '..'), 'above a home directory'],
    [join(made.home, 'p/.git'), 'part of a .git folder'],
    [join(made.home, 'nowhere'), 'is not a directory here'],
    [join(made.home, 'q/z'), 'is not a directory here'],
  ] as const) {
    const refused = made.named(folder);
    expect(refused.ok ? '' : refused.error.message, folder).toContain(why);
  }
});

test('a .git that is neither folder nor file makes no work tree, and holds nothing up', () => {
  const made = world({ 'p/x': '', 'q/.meshwork.toml': '', 'q/in/y': '' });
  execFileSync('mkfifo', [join(made.home, 'p/.git'), join(made.home, 'q/in/.git')]);
  expect(made.rootOf('p')).toBeNull();
  expect(made.rootOf('q/in')).toBe('plain q');
});
