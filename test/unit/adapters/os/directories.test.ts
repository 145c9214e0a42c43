import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { createDirectories } from '../../../../src/adapters/os/directories.ts';
import { createGitCheckouts } from '../../../../src/adapters/os/git-checkout.ts';
import { cwdEvidenceSchema } from '../../../../src/wire/job-spec.ts';
import { temporaryFolders, writeScript, writeTree } from '../../../fixtures/temporary-folder.ts';

const makeFolder = temporaryFolders();
/** Without symbolic links: macOS keeps its temporary files behind one. */
const folder = (): string => realpathSync(makeFolder());
const env = { PATH: '/usr/local/bin:/usr/bin:/bin' };
/** For one look of git, whose processes give way to all others of a busy machine. */
const timeoutMs = 60_000;

function git(cwd: string, ...args: readonly string[]): string {
  const identity = ['-c', 'user.name=T', '-c', 'user.email=t@example.com', '-c', 'protocol.file.allow=always'];
  const quiet = { GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_SYSTEM: '/dev/null', HOME: cwd };
  return execFileSync('git', [...identity, ...args], {
    cwd,
    env: { ...env, ...quiet },
    encoding: 'utf8',
    stdio: 'pipe',
  });
}

function repository(path: string): string {
  mkdirSync(path, { recursive: true });
  git(path, 'init', '-q', '-b', 'main');
  writeTree(path, { 'src/a.c': 'int a;\n', README: 'r\n', '.gitignore': 'build/\n' });
  git(path, 'add', '.');
  git(path, 'commit', '-q', '-m', 'first');
  return git(path, 'rev-parse', 'HEAD').trim();
}

const machine = (home: string, bootId: string | null) => createDirectories({ home, env, bootId, timeoutMs });

describe('evidence', () => {
  it('names the directory as given, its numbers and its place in the home', async () => {
    const home = folder();
    mkdirSync(join(home, 'p/q'), { recursive: true });
    const stats = statSync(join(home, 'p/q'), { bigint: true });
    const evidence = await machine(home, 'boot').evidence(`${home}/p/q`);
    expect(cwdEvidenceSchema.parse(evidence)).toEqual({
      path: `${home}/p/q`,
      home_relative: 'p/q',
      boot_id: 'boot',
      device: String(stats.dev),
      inode: String(stats.ino),
      clean_commit: null,
      git_prefix: null,
    });
    expect((await machine(home, 'boot').evidence(home)).home_relative).toBe('');
    expect((await machine(home, 'boot').evidence('/')).home_relative).toBeNull();
    expect((await machine('/', 'boot').evidence(home)).home_relative).toBeNull();
  });

  it('knows a home behind a symbolic link', async () => {
    const root = folder();
    mkdirSync(join(root, 'real/p'), { recursive: true });
    symlinkSync(join(root, 'real'), join(root, 'link'));
    expect((await machine(join(root, 'link'), null).evidence(join(root, 'real/p'))).home_relative).toBe('p');
  });

  it.each([
    ['/no/such/place', 'does not exist'],
    ['/no/caf\uFFFD', 'has a name that is not UTF-8, or does not exist'],
    ['/etc/passwd', 'is not a directory'],
    ['/etc/passwd/x', 'a part of its path is a file'],
    ['relative', 'not an absolute path'],
  ])('%s is refused: %s', async (cwd, why) => {
    await expect(machine('/root', 'boot').evidence(cwd)).rejects.toMatchObject({
      code: 'cwd_missing',
      message: expect.stringMatching(new RegExp(`"${cwd}".*${why}`)),
    });
  });

  it('holds the commit of a clean checkout, and can leave git out', async () => {
    const root = folder();
    const commit = repository(join(root, 'repo'));
    const directories = machine('/nonexistent', 'boot');
    expect(await directories.evidence(join(root, 'repo/src'))).toMatchObject({
      clean_commit: commit,
      git_prefix: 'src',
    });
    expect(await directories.evidence(join(root, 'repo'))).toMatchObject({ clean_commit: commit, git_prefix: '' });
    expect(await directories.evidence(join(root, 'repo'), { git: false })).toMatchObject({ clean_commit: null });
  });
});

describe('a checkout is clean only if its files are those of the commit', () => {
  const spoilers: readonly (readonly [string, (repo: string) => void, string])[] = [
    ['a changed file', (repo) => writeFileSync(join(repo, 'src/a.c'), 'int b;\n'), 'src/a.c'],
    ['a new file', (repo) => writeFileSync(join(repo, 'new name'), ''), 'new name'],
    ['a removed file', (repo) => rmSync(join(repo, 'README')), 'README'],
    [
      'a staged change',
      (repo) => {
        writeFileSync(join(repo, 'README'), 'x');
        git(repo, 'add', 'README');
      },
      'README',
    ],
    [
      'a change that git was told not to see',
      (repo) => {
        git(repo, 'update-index', '--assume-unchanged', 'README');
        writeFileSync(join(repo, 'README'), 'x');
      },
      'does not watch',
    ],
    ['a sparse file', (repo) => git(repo, 'update-index', '--skip-worktree', 'README'), 'does not watch'],
    [
      'new files that the configuration hides',
      (repo) => {
        git(repo, 'config', 'status.showUntrackedFiles', 'no');
        writeFileSync(join(repo, 'hidden'), '');
      },
      'hidden',
    ],
    ['no commit', (repo) => rmSync(join(repo, '.git/refs/heads/main')), 'no commit yet'],
    ['a broken repository', (repo) => writeFileSync(join(repo, '.git/HEAD'), 'x'), 'failed'],
  ];

  it.each(spoilers)('%s', async (_, spoil, named) => {
    const repo = join(folder(), 'repo');
    repository(repo);
    spoil(repo);
    const checkout = await createGitCheckouts({ env, home: '/nonexistent', timeoutMs }).look(repo);
    expect(checkout).toMatchObject({ commit: null, why: expect.stringContaining(named) });
  });

  it('ignored files do not count, but a directory without tracked files proves nothing', async () => {
    const repo = join(folder(), 'repo');
    const commit = repository(repo);
    writeTree(repo, { 'build/out.o': 'x' });
    const checkouts = createGitCheckouts({ env, home: '/nonexistent', timeoutMs });
    expect(await checkouts.look(repo)).toMatchObject({ commit });
    expect(await checkouts.look(join(repo, 'build'))).toMatchObject({ commit: null, prefix: 'build' });
    expect(await checkouts.look(join(repo, '.git'))).toBeNull();
  });

  it('linked worktrees count; a submodule that changed spoils what holds it', async () => {
    const root = folder();
    repository(join(root, 'lib'));
    const repo = join(root, 'repo');
    repository(repo);
    git(repo, 'submodule', 'add', '-q', join(root, 'lib'), 'lib');
    git(repo, 'commit', '-q', '-m', 'submodule');
    git(repo, 'config', 'submodule.lib.ignore', 'all');
    const head = git(repo, 'rev-parse', 'HEAD').trim();
    const checkouts = createGitCheckouts({ env, home: '/nonexistent', timeoutMs });
    expect(await checkouts.look(repo)).toMatchObject({ commit: head });
    git(repo, 'worktree', 'add', '-q', join(root, 'linked'));
    expect(await checkouts.look(join(root, 'linked/src'))).toMatchObject({ commit: head, prefix: 'src' });
    writeFileSync(join(repo, 'lib/README'), 'changed');
    expect(await checkouts.look(repo)).toMatchObject({ commit: null });
  });

  it('a home, and what lies above one, is no project', async () => {
    const home = join(folder(), 'home');
    repository(home);
    mkdirSync(join(home, 'plain'));
    expect(await createGitCheckouts({ env, home, timeoutMs }).look(join(home, 'src'))).toBeNull();
    expect(await createGitCheckouts({ env, home: join(home, 'src'), timeoutMs }).look(join(home, 'plain'))).toBeNull();
  });

  it('follows no redirection of the environment', async () => {
    const root = folder();
    const commit = repository(join(root, 'repo'));
    const other = join(root, 'other');
    repository(other);
    writeFileSync(join(other, 'README'), 'other');
    git(other, 'commit', '-q', '-a', '-m', 'second');
    const checkouts = createGitCheckouts({
      env: { ...env, GIT_DIR: join(other, '.git') },
      home: '/nonexistent',
      timeoutMs,
    });
    expect(await checkouts.look(join(root, 'repo'))).toMatchObject({ commit });
  });

  it('gives up on a git that hangs or is missing', async () => {
    const root = folder();
    repository(join(root, 'repo'));
    writeScript(join(root, 'bin/git'), 'sleep 95');
    const slow = { env: { PATH: `${root}/bin:/usr/bin:/bin` }, home: '/nonexistent', timeoutMs: 200 };
    expect(await createGitCheckouts(slow).look(join(root, 'repo'))).toMatchObject({ why: 'git status took too long' });
    const none = { env: { PATH: '/nowhere' }, home: '/nonexistent' };
    expect(await createGitCheckouts(none).look(join(root, 'repo'))).toMatchObject({ why: 'git is not on PATH here' });
  });

  it('shares one look among many that ask at once, and never an earlier one', async () => {
    const root = folder();
    const repo = join(root, 'repo');
    repository(repo);
    const go = join(root, 'go');
    const wait = `until [ -e ${go} ]; do sleep 0.01; done`;
    writeScript(join(root, 'bin/git'), `echo run >> ${root}/count`, wait, 'exec git-real "$@"');
    symlinkSync(execFileSync('which', ['git'], { encoding: 'utf8' }).trim(), join(root, 'bin/git-real'));
    const ownEnv = { PATH: `${root}/bin:/usr/bin:/bin` };
    const checkouts = createGitCheckouts({ env: ownEnv, home: '/nonexistent', timeoutMs });
    const first = checkouts.look(repo);
    await vi.waitUntil(() => existsSync(join(root, 'count')), { timeout: 60_000 });
    // The first look has begun: what changes now must be seen by those who ask from now on.
    writeFileSync(join(repo, 'new'), '');
    const asked = Array.from({ length: 50 }, () => checkouts.look(repo));
    // Each goes through the same queue as theirs, who take fewer steps to where they wait for the first.
    for (let step = 0; step < 200; step++) await stat(repo);
    writeFileSync(go, '');
    const later = await Promise.all(asked);
    await first;
    for (const checkout of later) expect(checkout?.commit).toBeNull();
    const runs = execFileSync('wc', ['-l', join(root, 'count')], { encoding: 'utf8' });
    expect(Number(runs.trim().split(' ')[0])).toBe(4);
  });
});

describe('automatic routing', () => {
  it('takes the same inode of the same boot, and nothing less', async () => {
    const root = folder();
    const evidence = await machine('/nonexistent', 'boot').evidence(root);
    expect(await machine('/other', 'boot').resolve(evidence, false)).toEqual({ ok: true, cwd: root });
    const refusals = [
      machine('/other', 'another boot').resolve(evidence, false),
      machine('/other', null).resolve({ ...evidence, boot_id: null }, false),
      machine('/other', 'boot').resolve({ ...evidence, inode: '1' }, false),
      machine('/other', 'boot').resolve({ ...evidence, device: '1' }, false),
    ];
    for (const refusal of await Promise.all(refusals)) {
      expect(refusal).toMatchObject({ ok: false, code: 'files', message: expect.stringContaining(root) });
    }
  });

  it('takes clean checkouts of one commit, at the same path or in the same place of the home', async () => {
    const [here, there] = [folder(), folder()];
    const commit = repository(join(here, 'repo'));
    git(there, 'clone', '-q', join(here, 'repo'), join(there, 'repo'));
    const evidence = await machine(here, 'boot 1').evidence(join(here, 'repo/src'));
    expect(evidence).toMatchObject({ clean_commit: commit, home_relative: 'repo/src' });
    expect(await machine('/nonexistent', 'boot 2').resolve(evidence, false)).toEqual({
      ok: true,
      cwd: `${here}/repo/src`,
    });
    const gone = { ...evidence, path: '/gone/repo/src' };
    expect(await machine(there, 'boot 2').resolve(gone, false)).toEqual({ ok: true, cwd: `${there}/repo/src` });
  });

  it('says what is different', async () => {
    const here = folder();
    repository(join(here, 'repo'));
    const evidence = await machine('/nonexistent', 'boot 1').evidence(join(here, 'repo/src'));
    const other = machine('/nonexistent', 'boot 2');
    const why = async (path = evidence.path) => {
      const resolved = await other.resolve({ ...evidence, path }, false);
      return resolved.ok ? '' : resolved.message;
    };
    expect(await why('/gone')).toBe('"/gone" does not exist here');
    expect(await why(here)).toContain('in no git work tree');
    expect(await why(join(here, 'repo'))).toContain('another part of its work tree');
    writeFileSync(join(here, 'repo/README'), 'changed');
    expect(await why()).toContain('uncommitted or new files (README)');
    git(join(here, 'repo'), 'commit', '-q', '-a', '-m', 'second');
    expect(await why()).toMatch(/is at commit [0-9a-f]{12} here and at [0-9a-f]{12} at the origin/);
    const dirty = await other.resolve({ ...evidence, clean_commit: null }, false);
    expect(dirty).toMatchObject({ message: expect.stringContaining('no clean git checkout') });
  });
});

describe('an explicit target', () => {
  it('maps below the home, else keeps the path', async () => {
    const [here, there] = [folder(), folder()];
    mkdirSync(join(here, 'p'));
    mkdirSync(join(there, 'p'));
    const evidence = await machine(here, 'boot').evidence(join(here, 'p'));
    expect(await machine(there, 'boot').resolve(evidence, true)).toEqual({ ok: true, cwd: `${there}/p` });
    const outside = await machine(here, 'boot').evidence('/usr');
    expect(await machine(there, 'other').resolve(outside, true)).toEqual({ ok: true, cwd: '/usr' });
    const home = await machine(here, 'boot').evidence(here);
    expect(await machine(there, 'other').resolve(home, true)).toEqual({ ok: true, cwd: there });
  });

  it('is refused where the directory is missing, naming both paths, or would leave the home', async () => {
    const [here, there] = [folder(), folder()];
    mkdirSync(join(here, 'p'));
    const evidence = await machine(here, 'boot').evidence(join(here, 'p'));
    expect(await machine(there, 'boot').resolve(evidence, true)).toEqual({
      ok: false,
      code: 'cwd_missing',
      message: `the directory "${there}/p" (for "${here}/p" at the origin) does not exist here`,
    });
    for (const path of ['../..', '/etc', 'p/../../x']) {
      const refused = await machine(there, 'boot').resolve({ ...evidence, home_relative: path }, true);
      expect(refused).toMatchObject({ ok: false, code: 'cwd_missing' });
    }
  });
});
