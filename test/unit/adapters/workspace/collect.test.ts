import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { collectTree } from '../../../../src/adapters/workspace/collect.ts';
import { createIgnoreMatcher } from '../../../../src/adapters/workspace/ignore-matcher.ts';
import { TreeIndex } from '../../../../src/adapters/workspace/tree-index.ts';
import { TreeState } from '../../../../src/adapters/workspace/tree-state.ts';
import { ChangePackFile } from '../../../../src/adapters/workspace/change-pack-file.ts';
import {
  CHANGES_NAMED_MAX,
  CHANGES_SHOWN_CHARS_MAX,
  changePackSchema,
  NO_CHANGE_PACK,
  type ChangePack,
} from '../../../../src/wire/changes.ts';
import type { ChangeList } from '../../../../src/wire/change-pack.ts';
import { diskClockMovedOn } from '../../../fixtures/disk-clock.ts';
import { sentOf, sha256, TestExecutor, type SentFiles } from '../../../fixtures/sent-project.ts';

let executor: TestExecutor;
beforeEach(() => {
  executor = new TestExecutor();
});
afterEach(() => executor.remove());

interface Outcome {
  readonly changes: ChangePack;
  readonly list: ChangeList;
  /** Of changed files, by path. */
  readonly texts: Readonly<Record<string, string>>;
}

async function outcomeOf(
  files: SentFiles,
  job: (tree: string) => void,
  more: { outputs?: string[]; prepared?: string[]; returns?: boolean } = {},
): Promise<Outcome> {
  const { id, tree } = await executor.sync(files);
  job(tree);
  const changes = await executor.collect(id, more);
  await executor.files.close(id);
  return { changes, ...(await opened(changes)) };
}

/** While the pack is written, after its first object. */
async function collectedWhile(meanwhile: (tree: string) => void): Promise<Outcome> {
  const sent = sentOf({ 'z.c': '1' });
  const index = new TreeIndex(sent.manifest);
  const tree = join(executor.home, 'tree');
  mkdirSync(tree);
  for (const name of ['a', 'b', 'c', 'd', 'z.c']) writeFileSync(join(tree, name), `new ${name}`);
  const { changes } = await collectTree({
    tree,
    index,
    state: TreeState.of(executor.request(sent).manifest, index),
    matcher: createIgnoreMatcher({ isGit: true, rules: [], gitignores: new Map() }),
    pack: join(executor.home, 'changes.pack'),
    returns: true,
    outputs: [],
    prepared: [],
    onObject: () => meanwhile(tree),
  });
  return { changes, ...(await opened(changes)) };
}

async function opened(changes: ChangePack): Promise<Pick<Outcome, 'list' | 'texts'>> {
  if (changes.pack_bytes === 0) return { list: { changed: [], deleted: [], earlier: [] }, texts: {} };
  const pack = await ChangePackFile.open(join(executor.home, 'changes.pack'), changes.pack_sha256);
  if (!pack.ok) throw new Error(pack.error);
  const texts: Record<string, string> = {};
  for (const entry of pack.value.list.changed) {
    if (entry.kind !== 'file') continue;
    const parts = [...pack.value.partsOf(entry)].map((part) => Buffer.from(part));
    texts[entry.path] = Buffer.concat(parts).toString('latin1');
  }
  const { list } = pack.value;
  pack.value.close();
  return { list, texts };
}

const pathsOf = (outcome: Outcome): string[] => outcome.list.changed.map((entry) => entry.path);

describe('collecting what a job changed', () => {
  it('finds nothing where nothing changed', async () => {
    const { changes } = await outcomeOf({ a: '1', 'b/c': '2', link: { link: 'a' }, 'empty/x': null }, () => undefined);
    expect(changes).toEqual(NO_CHANGE_PACK);
  });

  it('finds new, changed, deleted, renamed, chmod-ed and linked files with odd names', async () => {
    const files = { a: '1', b: '2', c: '3', d: '4', e: { link: 'a' }, 'f/g': '5', 'h/i': '6', touched: '7' };
    const outcome = await outcomeOf(files, (tree) => {
      writeFileSync(join(tree, 'a'), 'one');
      rmSync(join(tree, 'b'));
      chmodSync(join(tree, 'c'), 0o755);
      renameSync(join(tree, 'd'), join(tree, 'new\nline'));
      rmSync(join(tree, 'e'));
      symlinkSync('b', join(tree, 'e'));
      rmSync(join(tree, 'f/g'));
      mkdirSync(join(tree, 'h/new'));
      writeFileSync(Buffer.from(`${tree}/caf\xe9`, 'latin1'), 'latin');
      utimesSync(join(tree, 'touched'), 5, 5);
      spawnSync('mkfifo', [join(tree, 'fifo')]);
    });
    expect(pathsOf(outcome)).toEqual(['a', 'c', 'caf\xe9', 'e', 'f', 'h/new', 'new\nline']);
    expect(outcome.list.deleted).toEqual(['b', 'd', 'f/g']);
    expect(outcome.texts).toEqual({ a: 'one', c: '3', 'caf\xe9': 'latin', 'new\nline': '4' });
    expect(outcome.list.changed[1]).toMatchObject({ mode: 0o755 });
    expect(outcome.list.changed[3]).toMatchObject({ kind: 'link', target: 'b' });
    expect(outcome.changes).toMatchObject({ changed: 7, deleted: 3, problem: null });
  });

  it('sees a change of the same length and time', async () => {
    const outcome = await outcomeOf({ a: '1' }, (tree) => {
      writeFileSync(join(tree, 'a'), '2');
      utimesSync(join(tree, 'a'), 1_600_000_000.123, 1_600_000_000.123);
    });
    expect(outcome.texts).toEqual({ a: '2' });
  });

  it('turns folders and files into each other', async () => {
    const outcome = await outcomeOf({ 'a/b': '1', c: '2' }, (tree) => {
      rmSync(join(tree, 'a'), { recursive: true });
      writeFileSync(join(tree, 'a'), 'file');
      rmSync(join(tree, 'c'));
      mkdirSync(join(tree, 'c'));
      writeFileSync(join(tree, 'c/d'), 'deep');
    });
    expect(outcome.texts).toEqual({ a: 'file', 'c/d': 'deep' });
    expect(outcome.list.deleted).toEqual(['a/b', 'c']);
  });

  it('sends large files, in chunks', async () => {
    const large = 'large file '.repeat(300_000);
    const outcome = await outcomeOf({ a: '1' }, (tree) => writeFileSync(join(tree, 'large'), large));
    expect(outcome.texts['large']).toBe(large);
  });

  it('leaves products there and names the highest; outputs come back; tracked files always do', async () => {
    const files = { '.gitignore': 'dist/\n*.o\n*.tgz\nnode_modules/\n__pycache__/\n', 'dist/tracked': '1', a: '1' };
    const outcome = await outcomeOf(
      files,
      (tree) => {
        mkdirSync(join(tree, 'dist/js'));
        mkdirSync(join(tree, 'build-x'));
        mkdirSync(join(tree, 'node_modules/x'), { recursive: true });
        mkdirSync(join(tree, '__pycache__'));
        writeFileSync(join(tree, 'dist/tracked'), '2');
        writeFileSync(join(tree, 'dist/js/a.js'), 'js');
        writeFileSync(join(tree, 'dist/b.map'), 'map');
        writeFileSync(join(tree, 'x.o'), 'object');
        writeFileSync(join(tree, 'p.tgz'), 'tgz');
        writeFileSync(join(tree, 'node_modules/x/p.tgz'), 'not this');
        writeFileSync(join(tree, '__pycache__/p.pyc'), 'cache');
      },
      { outputs: ['dist/js/**', '*.tgz'], prepared: ['node_modules'] },
    );
    expect(outcome.texts).toEqual({ 'dist/tracked': '2', 'dist/js/a.js': 'js', 'p.tgz': 'tgz' });
    expect(pathsOf(outcome)).toContain('build-x');
    expect(outcome.changes.left_there).toEqual([
      { path: 'x.o', files: 1, bytes: 6 },
      { path: 'dist/b.map', files: 1, bytes: 3 },
    ]);
  });

  it('names the first of what changed, as people read them', async () => {
    const many = Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`many/${index}`, 'x']));
    const outcome = await outcomeOf({ ...many, gone: '1', grün: '1' }, (tree) => {
      rmSync(join(tree, 'gone'));
      writeFileSync(join(tree, 'grün'), '2');
    });
    expect(outcome.changes.named).toEqual(['grün', 'gone']);
    const all = await outcomeOf(many, (tree) => rmSync(join(tree, 'many'), { recursive: true }));
    expect(all.changes.named).toHaveLength(CHANGES_NAMED_MAX);
  });

  it('names globs of outputs that nothing there matches, be it ignored, new or as it was sent', async () => {
    const outputs = ['out/**', 'a.txt', 'new.{x,y}', 'none/*', '!out/q', 'gone'];
    const outcome = await outcomeOf(
      { '.gitignore': 'out/\n', 'a.txt': '1', gone: '1' },
      (tree) => {
        mkdirSync(join(tree, 'out'));
        writeFileSync(join(tree, 'out/p'), 'p');
        writeFileSync(join(tree, 'new.y'), 'y');
        rmSync(join(tree, 'gone'));
      },
      { outputs },
    );
    expect(outcome.changes.unmatched).toEqual(['none/*', 'gone']);
  });

  it('names fewer of the products left there where names are very long: the end of the job fits a message', async () => {
    const folders = Array.from({ length: 8 }, (_, at) =>
      Array(12)
        .fill(`${at}${'\u0001'.repeat(249)}`)
        .join('/'),
    );
    const { changes } = await outcomeOf({ '.gitignore': '*.o\n' }, (tree) => {
      for (const below of folders) mkdirSync(join(tree, below), { recursive: true });
      for (const [at, below] of folders.entries()) writeFileSync(join(tree, below, 'x.o'), 'o'.repeat(at + 1));
    });
    const shown = Math.floor(CHANGES_SHOWN_CHARS_MAX / `${folders[0]}/x.o`.length);
    expect(changes.left_there.map(({ bytes }) => bytes)).toEqual([8, 7, 6, 5, 4, 3].slice(0, shown));
    expect(changes.left_more).toBe(folders.length - shown);
    expect(changePackSchema.safeParse(changes).success).toBe(true);
    const long = { path: 'x'.repeat(8000), files: 1, bytes: 1 };
    expect(changePackSchema.safeParse({ ...changes, left_there: [long, long, long] }).success).toBe(false);
    expect(changePackSchema.safeParse({ ...changes, named: [long.path, long.path, long.path] }).success).toBe(false);
  });

  it('names what earlier jobs left no more', async () => {
    const files = { '.gitignore': 'out/\n' };
    const make = (tree: string): void => {
      mkdirSync(join(tree, 'out'));
      writeFileSync(join(tree, 'out/p'), 'p');
    };
    expect((await outcomeOf(files, make)).changes.left_there).toEqual([{ path: 'out', files: 1, bytes: 1 }]);
    await diskClockMovedOn(executor.home);
    expect((await outcomeOf(files, () => undefined)).changes.left_there).toEqual([]);
  });

  it('does not bring back a folder of products alone that an earlier job made', async () => {
    const files = { '.gitignore': '*.o\n', a: '1' };
    const first = await outcomeOf(files, (tree) => {
      mkdirSync(join(tree, 'objects/deep'), { recursive: true });
      writeFileSync(join(tree, 'objects/deep/a.o'), 'object');
    });
    expect(pathsOf(first)).toEqual(['objects/deep']);
    await diskClockMovedOn(executor.home);
    const second = await outcomeOf(files, (tree) => writeFileSync(join(tree, 'a'), '2'));
    expect(pathsOf(second)).toEqual(['a']);
    await diskClockMovedOn(executor.home);
    const third = await outcomeOf(files, (tree) => writeFileSync(join(tree, 'objects/deep/b.o'), 'object'));
    expect(pathsOf(third)).toEqual(['objects/deep']);
  });

  it('reads what a job made unreadable', async () => {
    const outcome = await outcomeOf({ 'a/b': '1', c: '2' }, (tree) => {
      writeFileSync(join(tree, 'a/b'), '2');
      chmodSync(join(tree, 'a/b'), 0o000);
      chmodSync(join(tree, 'a'), 0o000);
    });
    expect(outcome.texts).toEqual({ 'a/b': '2' });
    expect(outcome.changes.problem).toBeNull();
  });

  it('notes the state alone where nothing comes back', async () => {
    const { changes } = await outcomeOf({ a: '1' }, (tree) => writeFileSync(join(tree, 'a'), '2'), { returns: false });
    expect(changes).toMatchObject({ changed: 0, pack_bytes: 0, problem: null });
    const again = await outcomeOf({ a: '1' }, () => undefined);
    expect(again.changes.changed).toBe(0);
  });

  it('tells a special file in the place of one that was sent, and says what else changed', async () => {
    const outcome = await outcomeOf({ a: '1', b: '1' }, (tree) => {
      rmSync(join(tree, 'a'));
      spawnSync('mkfifo', [join(tree, 'a')]);
      writeFileSync(join(tree, 'b'), '2');
    });
    expect(outcome.texts).toEqual({ b: '2' });
    expect(outcome.list.deleted).toEqual([]);
    expect(outcome.changes.problem).toBe('a is a FIFO now');
  });

  it('does not throw where the pack cannot be written', async () => {
    const { id, tree } = await executor.sync({ a: '1' });
    writeFileSync(join(tree, 'a'), '2');
    writeFileSync(join(executor.home, 'file'), '');
    const changes = await executor.files.collect({
      id,
      pack: join(executor.home, 'file/pack'),
      returns: true,
      outputs: [],
      prepared: [],
    });
    expect(changes).toMatchObject({
      changed: 0,
      pack_bytes: 0,
      problem: expect.stringContaining('could not be written'),
    });
  });

  it('goes on after a restart of the daemon', async () => {
    const { id, tree } = await executor.sync({ a: '1', b: '1' });
    writeFileSync(join(tree, 'a'), '2');
    executor.restart();
    expect((await opened(await executor.collect(id))).texts).toEqual({ a: '2' });
  });

  it('finds the same once more where the daemon died before it wrote down the end', async () => {
    const { id, tree } = await executor.sync({ '.gitignore': 'out/\n', a: '1' });
    writeFileSync(join(tree, 'a'), '2');
    mkdirSync(join(tree, 'out/more'), { recursive: true });
    writeFileSync(join(tree, 'out/p'), 'p');
    writeFileSync(join(tree, 'out/more/q'), 'q');
    await diskClockMovedOn(executor.home);
    const changes = await executor.collect(id, { outputs: ['out/p'] });
    const first = await opened(changes);
    expect(first.list).toMatchObject({ earlier: [], deleted: [] });
    executor.restart();
    const again = await executor.collect(id, { outputs: ['out/p'] });
    expect(again).toEqual(changes);
    expect(await opened(again)).toEqual(first);
  });
});

describe('what a job does in .git', () => {
  const git = (tree: string, ...args: string[]): string => {
    const env = {
      ...process.env,
      GIT_AUTHOR_DATE: '2024-01-01T00:00:00Z',
      GIT_COMMITTER_DATE: '2024-01-01T00:00:00Z',
      GIT_CONFIG_NOSYSTEM: '1',
      HOME: executor.home,
    };
    return spawnSync('git', ['-c', 'user.name=a', '-c', 'user.email=a@b', ...args], {
      cwd: tree,
      env,
      encoding: 'utf8',
    }).stdout;
  };

  /** A repository as files: everything that travels. */
  function repository(): SentFiles {
    const folder = join(executor.home, 'repository');
    mkdirSync(folder);
    writeFileSync(join(folder, 'a'), '1');
    git(folder, 'init', '-q', '-b', 'main');
    git(folder, 'add', 'a');
    git(folder, 'commit', '-q', '-m', 'first');
    const listed = spawnSync('find', ['.git', '-type', 'f'], { cwd: folder, encoding: 'utf8' })
      .stdout.trim()
      .split('\n');
    const travels = listed.filter((path) => /^\.git\/(?:HEAD|index|objects\/..\/|refs\/)/.test(path));
    const config = '[core]\n\tbare = "false"\n\trepositoryformatversion = "0"\n';
    return {
      a: '1',
      '.git/config': config,
      '.git/refs/tags': null,
      ...Object.fromEntries(travels.map((path) => [path, { text: readFileSync(join(folder, path)) }])),
    };
  }

  it('does not report what git status, gc and logs leave', async () => {
    const files = repository();
    // As it travels: without stat data.
    const outcome = await outcomeOf(files, (tree) => {
      expect(git(tree, 'status', '--porcelain')).toBe('');
      git(tree, 'gc', '-q');
    });
    expect(
      pathsOf(outcome).filter((path) => !/packed-refs|info\/refs/.test(path) && !path.startsWith('.git/objects')),
    ).toEqual(['.git/index'].filter((path) => pathsOf(outcome).includes(path)));
  });

  it('reports hooks and commits', async () => {
    const outcome = await outcomeOf(repository(), (tree) => {
      mkdirSync(join(tree, '.git/hooks'));
      writeFileSync(join(tree, '.git/hooks/pre-commit'), 'bad');
      writeFileSync(join(tree, 'a'), '2');
      git(tree, 'commit', '-qam', 'second');
    });
    const paths = pathsOf(outcome);
    expect(paths).toEqual(expect.arrayContaining(['.git/hooks/pre-commit', '.git/refs/heads/main', 'a']));
    expect(paths.some((path) => path.startsWith('.git/objects/'))).toBe(true);
    expect(paths.some((path) => path.startsWith('.git/logs'))).toBe(false);
  });

  it('hashes a large file while others of the thread get on', async () => {
    const { id, tree } = await executor.sync({ a: 'a', b: 'b' });
    for (const name of ['a', 'new.bin']) truncateSync(writtenEmpty(join(tree, name)), 100 * 1024 * 1024);
    const collecting = executor.collect(id, { returns: false });
    expect(await turnsUntil(collecting)).toBeGreaterThan(3);
    expect((await collecting).problem).toBeNull();
    const digesting = executor.files.digest(id, ['new.bin', 'b']);
    expect(await turnsUntil(digesting)).toBeGreaterThan(1);
    expect((await digesting)[1]).toBe(sha256('b'));
  });

  it('leaves there what no origin takes, and brings back the rest', async () => {
    const files = {
      '.git/HEAD': 'ref: refs/heads/main\n',
      '.git/refs/heads/main': 'x',
      'a.txt': 'a',
      'sub/b.txt': 'b',
    };
    const linked = await outcomeOf(files, (tree) => {
      mkdirSync(join(tree, '.git/hooks'));
      symlinkSync('../../a.txt', join(tree, '.git/hooks/pre-commit'));
      writeFileSync(join(tree, 'sub/.git'), 'gitdir: ../.git/modules/sub\n');
      writeFileSync(join(tree, 'a.txt'), 'changed');
    });
    expect([pathsOf(linked), linked.list.deleted]).toEqual([['a.txt', 'sub/.git'], []]);
    expect(linked.changes.problem).toBe('.git/hooks/pre-commit is a link within .git: it stays there');
    const replaced = await outcomeOf(files, (tree) => {
      rmSync(join(tree, '.git'), { recursive: true });
      symlinkSync('/etc', join(tree, '.git'));
      writeFileSync(join(tree, 'new.txt'), 'new');
    });
    expect([pathsOf(replaced), replaced.list.deleted]).toEqual([['new.txt'], []]);
    expect(replaced.changes.problem).toBe('.git is a link within .git: it stays there');
  });

  it('brings large files back as they are, changed, new and as before', async () => {
    const large = Buffer.alloc(9 * 1024 * 1024, 'x').toString('latin1');
    const sent = { text: large, chunkBytes: 1024 * 1024 };
    const outcome = await outcomeOf({ same: sent, changed: sent, gone: sent }, (tree) => {
      writeFileSync(join(tree, 'changed'), `${large}y`);
      writeFileSync(join(tree, 'new'), `${large}z`);
      writeFileSync(join(tree, 'same'), large);
      rmSync(join(tree, 'gone'));
      chmodSync(join(tree, 'new'), 0);
    });
    expect(outcome.changes.problem).toBeNull();
    expect(pathsOf(outcome)).toEqual(['changed', 'new']);
    expect(outcome.list.deleted).toEqual(['gone']);
    expect([outcome.texts['changed'] === `${large}y`, outcome.texts['new'] === `${large}z`]).toEqual([true, true]);
  });
});

/** How often others had a turn. */
async function turnsUntil(end: Promise<unknown>): Promise<number> {
  const state = { isOver: false };
  const over = end.finally(() => (state.isOver = true));
  let turns = 0;
  for (; !state.isOver; turns++) await new Promise((resolve) => setImmediate(resolve));
  await over;
  return turns;
}

function writtenEmpty(path: string): string {
  writeFileSync(path, '');
  return path;
}

it.each(['new', 'known'])(
  'looks at very many %s files of one folder while others of the thread get on',
  async (kind) => {
    const names = Array.from({ length: 3000 }, (_, index) => `many/${index}`);
    const { id, tree } = await executor.sync({
      a: '1',
      ...(kind === 'known' ? Object.fromEntries(names.map((name) => [name, ''])) : {}),
    });
    if (kind === 'new') mkdirSync(join(tree, 'many'));
    if (kind === 'new') for (const name of names) writeFileSync(join(tree, name), '');
    // Each turn is over when it is asked for: how fast this machine is does not matter.
    let nowMs = 0;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => (nowMs += 1000));
    const state = { isOver: false };
    const collecting = executor.collect(id, { returns: false }).finally(() => (state.isOver = true));
    let turns = 0;
    for (; !state.isOver; turns++) await new Promise((resolve) => setImmediate(resolve));
    clock.mockRestore();
    expect(await collecting).toMatchObject({ problem: null });
    expect(turns).toBeGreaterThan(60);
  },
);

describe('files that something changes while they are collected', () => {
  it('stay there, and are named; all others come back', async () => {
    const { changes, texts } = await collectedWhile((tree) => {
      writeFileSync(join(tree, 'b'), `${Math.random()}`);
      rmSync(join(tree, 'c'), { force: true });
      rmSync(join(tree, 'd'), { force: true, recursive: true });
      mkdirSync(join(tree, 'd'));
    });
    expect(texts).toEqual({ a: 'new a', 'z.c': 'new z.c' });
    expect(changes).toMatchObject({ changed: 2, deleted: 0 });
    for (const name of ['b', 'c', 'd']) {
      expect(changes.problem).toContain(`${name} changed while it was read: it stays there`);
    }
  });

  it('are not followed for ever', async () => {
    const { changes } = await collectedWhile((tree) => {
      for (const name of ['a', 'b', 'c', 'd', 'z.c']) writeFileSync(join(tree, name), `${Math.random()}`);
    });
    expect(changes).toMatchObject({ changed: 0, pack_bytes: 0 });
    expect(changes.problem).toContain('stays there');
  });
});
