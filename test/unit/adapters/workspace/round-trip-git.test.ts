import { existsSync, lstatSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RoundTrips, sh } from '../../../fixtures/round-trips.ts';
import { temporaryFolders } from '../../../fixtures/temporary-folder.ts';

/** Repositories that are not one folder `.git`, sent, used there and brought back. */
const temporaryFolder = temporaryFolders();
const REPOSITORY = 'git init -q -b main . && echo 1 > a && git add -A && git commit -qm first';

const ask = (root: string, line: string): string => {
  const { status, stdout } = sh(root, line);
  return `${stdout}${status === 0 ? '' : `exit ${status}`}`;
};

describe('a linked work tree', () => {
  it('is a work tree there, and a commit goes to where git has it', async () => {
    const folder = temporaryFolder();
    const [main, root] = [join(folder, 'main'), join(folder, 'linked')];
    mkdirSync(main);
    sh(main, `${REPOSITORY} && git worktree add -q -b topic ../linked`);
    writeFileSync(join(root, 'b'), 'b');
    const mesh = new RoundTrips(temporaryFolder());
    const line = 'git status --porcelain; git log --format=%s; git branch --show-current';
    expect((await mesh.run(root, line)).stdout).toBe(ask(root, line));
    const trip = await mesh.run(root, 'git add -A && git commit -qm second', { held: true });
    expect(trip.applied?.changes).toMatchObject({ conflicts: [], held_back: [] });
    expect(ask(root, `${line}; git fsck`)).toBe('second\nfirst\ntopic\n');
    expect(ask(main, 'git log --format=%s topic; git log --format=%s; git status --porcelain')).toBe(
      'second\nfirst\nfirst\n',
    );
    expect(lstatSync(join(root, '.git')).isFile()).toBe(true);
    expect((await mesh.run(root, line)).stdout).toBe(ask(root, line));
  });
});

describe('repositories within a repository', () => {
  it('travel as such: nested ones and submodules', async () => {
    const folder = temporaryFolder();
    const [library, root] = [join(folder, 'library'), join(folder, 'project')];
    for (const path of [library, root]) mkdirSync(path);
    sh(library, REPOSITORY);
    sh(
      root,
      `${REPOSITORY} && git -c protocol.file.allow=always submodule -q add ../library sub && git commit -qm sub`,
    );
    mkdirSync(join(root, 'nested'));
    sh(join(root, 'nested'), `${REPOSITORY} && echo 2 > a`);
    writeFileSync(join(root, 'sub/a'), 'changed');
    const mesh = new RoundTrips(temporaryFolder());
    const line =
      'git status --porcelain; git submodule status; git -C sub status --porcelain; git -C nested status --porcelain; git -C nested log --format=%s';
    expect((await mesh.run(root, line)).stdout).toBe(ask(root, line));
    const trip = await mesh.run(root, 'git -C sub commit -qam s; git -C nested commit -qam n; echo x > nested/x', {
      held: true,
    });
    expect(trip.applied?.changes).toMatchObject({ conflicts: [], held_back: [] });
    expect(
      ask(root, 'git -C sub log -1 --format=%s; git -C nested log -1 --format=%s; git -C sub fsck; git -C nested fsck'),
    ).toBe('s\nn\n');
    expect(readFileSync(join(root, 'nested/x'), 'utf8')).toBe('x\n');
    expect((await mesh.run(root, line)).stdout).toBe(ask(root, line));
  });
});

describe('a sparse checkout', () => {
  it('is no mass deletion, neither there nor when changes come back', async () => {
    const root = temporaryFolder();
    sh(
      root,
      'git init -q -b main . && mkdir in out && for n in 1 2 3 4 5; do echo $n > out/$n; done; echo i > in/i; git add -A; git commit -qm x; git sparse-checkout set in',
    );
    expect(existsSync(join(root, 'out'))).toBe(false);
    const mesh = new RoundTrips(temporaryFolder());
    const line = 'git status --porcelain; ls; echo j > in/j';
    const trip = await mesh.run(root, line);
    expect(trip.stdout).toBe('in\n');
    expect(trip.applied?.changes).toMatchObject({ returned: ['in/j'], deleted: [], conflicts: [], held_back: [] });
    expect(ask(root, 'git status --porcelain')).toBe('?? in/j\n');
    const whole = await mesh.run(root, 'rm in/i; mkdir out; echo 9 > out/1');
    expect(whole.applied?.changes).toMatchObject({ conflicts: [] });
    expect(ask(root, 'git ls-files -t out | head -2')).toContain('S out/');
  });
});

describe('what git does while a job runs', () => {
  it('is kept: a commit made here meanwhile, and one made there waits as a conflict', async () => {
    const root = temporaryFolder();
    sh(root, REPOSITORY);
    const mesh = new RoundTrips(temporaryFolder());
    const trip = await mesh.run(root, 'echo t > t; git add -A; git commit -qm there', {
      held: true,
      meanwhile: () => sh(root, 'echo h > h; git add -A; git commit -qm here'),
    });
    expect(trip.applied?.changes.conflicts).toContain('.git/refs/heads/main');
    expect(ask(root, 'git log --format=%s; git fsck 2>&1 | grep -v dangling')).toContain('here\nfirst\n');
    expect(readFileSync(join(root, 'h'), 'utf8')).toBe('h\n');
  });
});
