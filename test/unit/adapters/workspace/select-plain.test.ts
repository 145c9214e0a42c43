import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { KnownNames } from '../../../../src/adapters/workspace/known-names.ts';
import { findProject } from '../../../../src/adapters/workspace/project-root.ts';
import { selectFiles } from '../../../../src/adapters/workspace/select-files.ts';
import type { Selection } from '../../../../src/adapters/workspace/selection.ts';
import type { ScanRefusal, ScanRequest, ShipSettings } from '../../../../src/ports/workspace.ts';
import type { Result } from '../../../../src/base/result.ts';
import { diskClockMovedOn } from '../../../fixtures/disk-clock.ts';
import { gitEnvironment, gitRunner } from '../../../fixtures/git-repositories.ts';
import { temporaryFolders, writeTree } from '../../../fixtures/temporary-folder.ts';

const temporary = temporaryFolders();

interface Options {
  readonly git?: boolean;
  readonly ship?: Partial<ShipSettings>;
  readonly secrets?: ScanRequest['secrets'];
  readonly filesMax?: number;
  readonly known?: KnownNames;
}

function projectWith(files: Readonly<Record<string, string>>, tracked: readonly string[] | null = null): string {
  const root = join(temporary(), 'home/project');
  writeTree(root, { '.meshwork.toml': '', ...files });
  if (tracked !== null) {
    const git = gitRunner(gitEnvironment(join(root, '..')));
    git(root, 'init', '-q');
    if (tracked.length > 0) git(root, 'add', '-f', ...tracked);
  }
  return root;
}

async function tryToSelect(root: string, options: Options = {}): Promise<Result<Selection, ScanRefusal>> {
  const home = join(root, '..');
  const project = findProject(root, null, new Set(['/', home]));
  if (!project.ok || project.value === null) throw new Error('no project');
  return selectFiles(
    {
      project: project.value,
      ship: { include: [], exclude: [], ignored: [], git: false, ...options.ship },
      secrets: options.secrets ?? {},
      filesMax: options.filesMax ?? 1000,
      bytesMax: 1e9,
    },
    gitEnvironment(home),
    [],
    options.known,
  );
}

async function select(root: string, options: Options = {}): Promise<Selection> {
  const selected = await tryToSelect(root, options);
  if (!selected.ok) throw new Error(selected.error.message);
  return selected.value;
}

const named = (selection: Selection): string[] =>
  selection.files.filter((path) => path !== '.meshwork.toml').toSorted();

test('patterns that expressions would try for years hold in settings, options and ignore files of a project', async () => {
  const evil = `${'*a'.repeat(60)}b`;
  const name = 'a'.repeat(250);
  const files = { [name]: '', [`${name}b`]: '', 'kept.txt': '', '.meshworkignore': `${evil}\n`, 'sub/x.txt': '' };
  const rooted = projectWith({ ...files, [`sub/${name}b`]: '' });
  const all = ['.meshworkignore', name, 'kept.txt', 'sub/x.txt'];
  expect(named(await select(rooted))).toEqual(all);
  const ship = { include: [`/${evil}`], exclude: [`sub/${evil}`, `x${evil}`], ignored: [`${evil}x`] };
  expect(named(await select(rooted, { ship }))).toEqual([...all.slice(0, 2), `${name}b`, ...all.slice(2)]);
  const tracked = projectWith({ [name]: '', [`${name}b`]: '', 'a.txt': '' }, ['a.txt']);
  expect(named(await select(tracked, { ship: { exclude: [evil] } }))).toEqual(['a.txt', name].toSorted());
});

test('a project without git: dependencies and caches stay here, products go along', async () => {
  const root = projectWith({
    'a.py': 'a',
    'dist/bundle.js': 'b',
    'node_modules/x/index.js': 'x',
    'sub/node_modules/y/index.js': 'y',
    'sub/__pycache__/a.pyc': 'c',
    'env3/pyvenv.cfg': 'home = /usr',
    'env3/lib/x.py': 'x',
    'rust/Cargo.toml': '',
    'rust/target/debug/x': 'x',
    'target/kept': 'k',
    'package-lock.json': '{}',
  });
  mkdirSync(join(root, 'empty'));
  const selection = await select(root);
  expect(selection.kind).toBe('plain');
  expect(named(selection)).toEqual(['a.py', 'dist/bundle.js', 'package-lock.json', 'rust/Cargo.toml', 'target/kept']);
  expect(selection.folders.toSorted()).toEqual(['empty', 'sub']);
  expect(selection.dependencies.map(({ folder }) => folder).toSorted()).toEqual([
    'node_modules',
    'rust/target',
    'sub/node_modules',
  ]);
  expect(selection.lockfiles).toEqual(expect.arrayContaining(['package-lock.json']));
  const texts = selection.rules.map(({ folder, text, source }) => `${folder}|${source}|${text}`);
  expect(texts).toContain('|project|/env3/');
  expect(texts.find((text) => text.startsWith('rust|'))).toContain('/target/');
});

test.each([true, false])('.meshworkignore at any depth holds for tracked files too (git: %s)', async (isGit) => {
  const files = {
    '.meshworkignore': '*.big\n/data/\n!keep.big\n',
    'a.c': 'a',
    'x.big': 'x',
    'keep.big': 'k',
    'data/y': 'y',
    'sub/.meshworkignore': 'only-here\n!*.big\n',
    'sub/only-here': 'o',
    'sub/z.big': 'z',
    'only-here': 'o',
  };
  const root = projectWith(files, isGit ? ['x.big', 'a.c', 'data/y'] : null);
  const selection = await select(root);
  expect(named(selection)).toEqual([
    '.meshworkignore',
    'a.c',
    'keep.big',
    'only-here',
    'sub/.meshworkignore',
    'sub/z.big',
  ]);
  expect(selection.rules.filter(({ source }) => source === 'project').map(({ folder }) => folder)).toEqual(
    expect.arrayContaining(['', 'sub']),
  );
});

test.each([true, false])(
  'options: exclude wins over include, which wins over ignore files (git: %s)',
  async (isGit) => {
    const root = projectWith(
      {
        '.gitignore': 'build/\n*.log\ncache/\n',
        '.meshworkignore': 'notes/\nbuild/\n*.log\ncache/\n',
        'a.c': 'a',
        'b.c': 'b',
        'notes/n': 'n',
        'build/gen.h': 'g',
        'build/deep/other.h': 'o',
        'build/x.o': 'x',
        'keep.log': 'k',
        'other.log': 'o',
        'cache/c1/f': 'f',
        'cache/c2/f': 'f',
      },
      isGit ? [] : null,
    );
    const selection = await select(root, {
      ship: { include: ['build/**/*.h', 'keep.log', 'notes/'], exclude: ['b.c', 'other.h'], ignored: ['cache/c1'] },
    });
    expect(named(selection)).toEqual(
      ['.gitignore', '.meshworkignore', 'a.c', 'build/gen.h', 'cache/c1/f', 'keep.log', 'notes/n'].toSorted(),
    );
  },
);

test.each([true, false])('untracked secrets are withheld until someone decides (git: %s)', async (isGit) => {
  const root = projectWith(
    {
      '.gitignore': '.env\n*.key\nignored/\n',
      '.env': 'A=1',
      '.env.example': 'A=',
      'certs/server.key': 'k',
      id_ed25519: 'k',
      'id_ed25519.pub': 'k',
      '.npmrc': '//registry.example/:_authToken=abc\n',
      'sub/.npmrc': 'save-exact=true\n',
      'third/.npmrc': '//registry.example/:_authToken=${TOKEN}\n',
      'gcp/credentials.json': '{}',
      'tracked.pem': '-----BEGIN PRIVATE KEY-----',
      'tracked.env': 'p',
      'ignored/deep.pem': '-----BEGIN PRIVATE KEY-----',
      'public.pem': '-----BEGIN CERTIFICATE-----',
      'a.c': 'a',
    },
    isGit ? ['tracked.pem', 'tracked.env'] : null,
  );
  const first = await select(root);
  const secret = ['.env', '.npmrc', 'certs/server.key', 'gcp/credentials.json', 'id_ed25519'];
  // Without git nothing is tracked, and no folder is ignored.
  const more = isGit ? [] : ['ignored/deep.pem', 'tracked.env', 'tracked.pem'];
  expect(first.withheld).toEqual([...secret, ...more].toSorted());
  expect(first.undecided).toEqual([...secret, ...more].toSorted());
  expect(named(first)).toEqual(
    expect.arrayContaining(['.env.example', 'id_ed25519.pub', 'sub/.npmrc', 'third/.npmrc']),
  );
  if (isGit) expect(named(first)).toEqual(expect.arrayContaining(['tracked.pem', 'tracked.env']));
  const second = await select(root, { secrets: { '.env': 'send', 'certs/server.key': 'skip', id_ed25519: 'send' } });
  expect(named(second)).toEqual(expect.arrayContaining(['.env', 'id_ed25519']));
  expect([...second.secrets].toSorted()).toEqual(['.env', 'id_ed25519']);
  expect(second.withheld).toContain('certs/server.key');
  expect(second.undecided).not.toContain('certs/server.key');
  expect(second.undecided).toContain('.npmrc');
  const third = await select(root, { secrets: { 'tracked.env': 'skip', 'tracked.pem': 'send', '.env': 'skip' } });
  expect(third.trackedDecided).toEqual(isGit ? ['tracked.env', 'tracked.pem'] : []);
});

test.each([true, false])('folders in which nothing is sent are there, as empty ones (git: %s)', async (isGit) => {
  const root = projectWith(
    {
      '.gitignore': '*.log\n*.env\nout/\n',
      '.meshworkignore': '*.log\nout/\n',
      'a.c': 'a',
      'logs/x.log': 'l',
      'conf/x.env': 's',
      'mixed/y.log': 'l',
      'mixed/package.json': '{}',
      'above/out/z': 'z',
      'above/sub/b.c': 'b',
      'alone/out/z': 'z',
      'cache/CACHEDIR.TAG': 'Signature: 8a477f597d28d172789f06886806bc55',
      'cache/x.log': 'l',
      'out/in/q': 'q',
    },
    isGit ? [] : null,
  );
  mkdirSync(join(root, 'empty/inner'), { recursive: true });
  const { folders } = await select(root);
  expect(folders.toSorted()).toEqual(['alone', 'conf', 'empty/inner', 'logs']);
  const sent = await select(root, { secrets: { 'conf/x.env': 'send' } });
  expect(sent.folders).not.toContain('conf');
});

test('an option that names a secret decides about it, one with a wildcard does not', async () => {
  const root = projectWith({ '.env': 'A=1', 'conf/.env.local': 'B=1', '.gitignore': '.env*\n' }, []);
  expect(named(await select(root, { ship: { include: ['.env'] } }))).toContain('.env');
  const wild = await select(root, { ship: { include: ['conf/*'] } });
  expect(wild.undecided).toEqual(['.env', 'conf/.env.local']);
});

test('folders that ignore themselves and what dependencies bring along are no secrets of the project', async () => {
  const root = projectWith(
    {
      '.venv/.gitignore': '*\n',
      '.venv/lib/certifi/cacert.key': 'p',
      '.ruff_cache/.gitignore': '*\n',
      '.ruff_cache/x.key': 'k',
      'logs/.keep.env': 'x',
      '.gitignore': 'node_modules/\n*.env\n',
      'node_modules/x/a.key': 'p',
      'a.py': 'a',
    },
    [],
  );
  const selection = await select(root);
  expect(selection.undecided).toEqual(['logs/.keep.env']);
  expect(named(selection)).toEqual(['.gitignore', 'a.py']);
  expect(selection.dependencies.map(({ folder }) => folder).toSorted()).toEqual(['.venv', 'node_modules']);
  // That of a linter's cache does not.
  expect(selection.folders).toEqual(['logs']);
});

test('dependencies that are a link out of the project', async () => {
  const root = projectWith({ 'a.js': 'a', '.gitignore': 'node_modules/\n' }, []);
  writeTree(join(root, '../other'), { 'node_modules/x': 'x' });
  symlinkSync(join(root, '../other/node_modules'), join(root, 'node_modules'));
  const selection = await select(root);
  expect(named(selection)).toEqual(['.gitignore', 'a.js']);
  expect(selection.dependencies).toEqual([{ folder: 'node_modules' }]);
});

test('repositories within a project without git have rules of their own', async () => {
  const root = projectWith({ 'one/.gitignore': '*.o\n', 'one/a.c': 'a', 'one/a.o': 'o', 'b.o': 'o' });
  gitRunner(gitEnvironment(join(root, '..')))(root, 'init', '-q', 'one');
  const selection = await select(root, { ship: { git: true } });
  const outside = named(selection).filter((path) => !path.includes('.git/'));
  expect(outside).toEqual(['b.o', 'one/.gitignore', 'one/a.c']);
  expect(selection.virtual.map(({ path }) => path)).toContain('one/.git/config');
  expect(selection.rules).toContainEqual({ folder: 'one', text: '', source: 'exclude' });
});

test('a tree above the cap names its largest folders', async () => {
  const files: Record<string, string> = {};
  for (let index = 0; index < 30; index++) files[`data/raw/${index}.bin`] = '';
  for (let index = 0; index < 5; index++) files[`src/${index}.c`] = '';
  const refused = await tryToSelect(projectWith(files), { filesMax: 20 });
  expect(refused.ok).toBe(false);
  if (refused.ok) return;
  expect(refused.error.code).toBe('too_large');
  expect(refused.error.message).toContain('36 files, more than the 20 of workspaces.files_max');
  expect(refused.error.message).toMatch(/data\/raw \(30\).*src \(5\)/);
});

test('a decision holds for any file that is not tracked, also in a folder that is ignored as a whole', async () => {
  const files = {
    '.gitignore': 'conf/\nlocal.yml\n',
    'conf/deep/app.yml': 'a',
    'conf/b.yml': 'b',
    'local.yml': 'l',
    'big.dat': 'b',
    'kept.dat': 'k',
    'caf\u00e9.env': 'c',
  };
  const root = projectWith(files, ['kept.dat']);
  const secrets = {
    'conf/deep/app.yml': 'send',
    'local.yml': 'send',
    'big.dat': 'skip',
    'kept.dat': 'skip',
    'caf\u00e9.env': 'send',
    nowhere: 'send',
    '../x': 'send',
  } as const;
  const selection = await select(root, { secrets });
  const cafe = Buffer.from('caf\u00e9.env').toString('latin1');
  expect(named(selection)).toEqual(['.gitignore', cafe, 'conf/deep/app.yml', 'kept.dat', 'local.yml'].toSorted());
  expect([...selection.secrets].toSorted()).toEqual([cafe, 'conf/deep/app.yml', 'local.yml'].toSorted());
  expect(selection.withheld).toEqual(['big.dat']);
  expect(selection.undecided).toEqual([]);
  const without = await select(root, { secrets, ship: { exclude: ['*.yml'] } });
  expect(named(without)).not.toContain('local.yml');
  expect(named(without)).not.toContain('conf/deep/app.yml');
});

test.each([true, false])('a folder decides for the secrets in it, also for those to come (git: %s)', async (isGit) => {
  const files = {
    '.gitignore': '*.env\n*.log\n',
    'conf/app.env': 'a',
    'conf/app.yml': 'y',
    'conf/deep/db.env': 'd',
    'conf/local/own.env': 'o',
    'conf/local/kept.env': 'k',
    'conf/tracked.env': 't',
    'other/x.env': 'x',
  };
  const root = projectWith(files, isGit ? ['conf/tracked.env'] : null);
  const secrets = { 'conf/': 'send', 'conf/local/': 'skip', 'conf/local/own.env': 'send' } as const;
  const sent = await select(root, { secrets });
  const own = ['conf/app.env', 'conf/deep/db.env', 'conf/local/own.env'];
  expect(named(sent).filter((path) => path.startsWith('conf/'))).toEqual(
    [...own, 'conf/app.yml', 'conf/tracked.env'].toSorted(),
  );
  expect([...sent.secrets].toSorted()).toEqual(isGit ? own : [...own, 'conf/tracked.env']);
  expect(sent.withheld).toEqual(['conf/local/kept.env', 'other/x.env']);
  expect(sent.undecided).toEqual(['other/x.env']);
  expect(sent.trackedDecided).toEqual([]);
  writeTree(root, { 'conf/later.env': 'l', 'conf/app.log': 'no secret' });
  const later = named(await select(root, { secrets }));
  expect(later).toContain('conf/later.env');
  expect(later.includes('conf/app.log')).toBe(!isGit);

  const skipped = await select(root, { secrets: { 'conf/': 'skip' } });
  expect(skipped.undecided).toEqual(['other/x.env']);
  expect(named(skipped)).toContain('conf/app.yml');
  expect(named(skipped)).not.toContain('conf/app.env');
  // It is sent all the same, which somebody who skips its folder should know.
  expect(skipped.trackedDecided).toEqual(isGit ? ['conf/tracked.env'] : []);
});

test('a folder that is ignored as a whole is sent as a whole where somebody decided so, but for dependencies', async () => {
  const root = projectWith(
    {
      '.gitignore': 'certs/\nnode_modules/\nown/\n',
      '.meshworkignore': '*.bak\n',
      'certs/server.crt': 'c',
      'certs/server.key': 'k',
      'certs/old.bak': 'b',
      'certs/in/a.txt': 'a',
      'certs/in/no.txt': 'n',
      'certs/node_modules/x/a.key': 'k',
      'own/a.key': 'k',
      'a.c': 'a',
    },
    [],
  );
  const secrets = { 'certs/': 'send', 'certs/in/no.txt': 'skip', 'node_modules/': 'send', 'gone/': 'send' } as const;
  symlinkSync('../own/a.key', join(root, 'certs/link.key'));
  const selection = await select(root, { secrets, ship: { include: ['certs/server.*'] } });
  const certs = ['certs/in/a.txt', 'certs/link.key', 'certs/server.crt', 'certs/server.key'];
  expect(named(selection)).toEqual(['.gitignore', '.meshworkignore', 'a.c', ...certs]);
  expect([...selection.secrets].toSorted()).toEqual(['certs/link.key', 'certs/server.key']);
  expect(named(await select(root, { secrets: { 'certs/in/': 'send' } }))).toContain('certs/in/no.txt');
  const excluded = await select(root, { secrets, ship: { exclude: ['certs/in'] } });
  expect(named(excluded).filter((path) => path.includes('/in/'))).toEqual([]);
  // A file in its place, a link in its way: nothing is followed out of the project.
  symlinkSync('../own', join(root, 'certs/through'));
  expect(named(await select(root, { secrets: { 'certs/through/': 'send', 'certs/server.key/': 'send' } }))).toEqual([
    '.gitignore',
    '.meshworkignore',
    'a.c',
  ]);
});

test.each([true, false])('an ignore file that is a link, or no file at all, says nothing (git: %s)', async (isGit) => {
  const root = projectWith({ 'a.c': 'a', 'sub/b.c': 'b', rules: '*.c\n' }, isGit ? [] : null);
  symlinkSync('rules', join(root, '.meshworkignore'));
  execFileSync('mkfifo', [join(root, 'sub/.meshworkignore')]);
  expect(named(await select(root))).toEqual(['.meshworkignore', 'a.c', 'rules', 'sub/b.c']);
});

test('files that git reads of itself are bounded: a project is read at once whatever lies in their place', async () => {
  const root = projectWith({ 'a.txt': '', 'sub/b.txt': '', 'fifo/c.txt': '', 'large/d.txt': '' });
  writeFileSync(join(root, 'sub/.git'), `gitdir: ${'\n'.repeat(3_000_000)}x`);
  execFileSync('mkfifo', [join(root, 'fifo/.git')]);
  writeFileSync(join(root, 'large/.git'), '');
  truncateSync(join(root, 'large/.git'), 2 ** 40);
  expect(named(await select(root))).toEqual(['a.txt', 'fifo/c.txt', 'large/d.txt', 'sub/b.txt']);
});

test('what is included from within dependencies has to name them', async () => {
  const files = {
    '.gitignore': 'node_modules/\nout/\n',
    'node_modules/x/gen/a.h': 'a',
    'out/gen/b.h': 'b',
    'a.c': 'a',
  };
  const root = projectWith(files, []);
  const wild = await select(root, { ship: { include: ['**/gen/*.h'] } });
  expect(named(wild)).toEqual(['.gitignore', 'a.c', 'out/gen/b.h']);
  const exact = await select(root, { ship: { include: ['node_modules/x/'] } });
  expect(named(exact)).toEqual(['.gitignore', 'a.c', 'node_modules/x/gen/a.h']);
  expect(exact.dependencies).toEqual([{ folder: 'node_modules' }]);
  const whole = await select(root, { ship: { ignored: ['node_modules'] } });
  expect(named(whole)).toEqual(['.gitignore', 'a.c', 'node_modules/x/gen/a.h']);
  expect(whole.dependencies).toEqual([]);
});

test('a selection that knows the one before finds the same as one that does not', async () => {
  const root = projectWith({
    'a.log': 'a',
    'src/b.log': 'b',
    'src/deep/c.log': 'c',
    'src/deep/d.c': 'd',
    '.npmrc': 'registry=x',
    'package-lock.json': '{}',
  });
  const known = new KnownNames();
  const elsewhere = temporary();
  const steps: readonly ((options: { secrets: Record<string, 'send' | 'skip'> }) => void)[] = [
    () => undefined,
    () => undefined,
    () => writeFileSync(join(root, 'src/.meshworkignore'), '*.log\n'),
    () => writeFileSync(join(root, '.npmrc'), '//x/:_authToken=abc'),
    () => rmSync(join(root, 'src/.meshworkignore')),
    () => renameSync(join(root, 'src/deep/d.c'), join(root, 'src/deep/.env')),
    ({ secrets }) => (secrets['src/deep/.env'] = 'send'),
    () => writeFileSync(join(root, 'src/deep/pyvenv.cfg'), ''),
    () => rmSync(join(root, 'src/deep/pyvenv.cfg')),
    () => writeFileSync(join(root, '.meshworkignore'), 'src/\n'),
    () => rmSync(join(root, '.meshworkignore')),
    () => undefined,
    () => writeFileSync(join(root, 'src/deep/e.c'), 'e'),
    () => renameSync(join(root, 'src/deep/e.c'), join(root, 'src/deep/f.c')),
    () => rmSync(join(root, 'src/deep/f.c')),
    () => mkdirSync(join(root, 'src/empty')),
    () => writeFileSync(join(root, 'src/empty/.npmrc'), '//x/:_authToken=abc'),
    () => rmSync(join(root, 'src/empty'), { recursive: true }),
    () => execFileSync('git', ['init', '-q', join(root, 'src/deep')]),
    () => rmSync(join(root, 'src/deep/.git'), { recursive: true }),
    () => renameSync(join(root, 'src/deep'), join(root, 'src/deeper')),
    () => symlinkSync('deeper', join(root, 'src/deep')),
    () => writeFileSync(join(root, 'src/deeper/constructor'), ''),
  ];
  const options = { secrets: {} };
  for (const step of steps) {
    // What changed a moment ago is not taken to be known.
    await diskClockMovedOn(elsewhere);
    step(options);
    const plain = ({ files, ...others }: Selection): unknown => ({ ...others, files: files.toSorted() });
    expect(plain(await select(root, { ...options, known }))).toEqual(plain(await select(root, options)));
  }
});
