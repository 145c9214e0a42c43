import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { diskClockMovedOn } from '../../../fixtures/disk-clock.ts';
import { FIRST_MTIME_MS, sentOf, TestExecutor, type SentFiles } from '../../../fixtures/sent-project.ts';

let executor: TestExecutor;
beforeEach(() => {
  executor = new TestExecutor();
});
afterEach(() => executor.remove());

const mtimeOf = (path: string): number => Math.floor(statSync(path).mtimeMs);
const textOf = (path: string): string => readFileSync(path, 'utf8');

async function run(files: SentFiles, job: (tree: string) => void = () => undefined, more = {}): Promise<string> {
  const { id, tree } = await executor.sync(files, more);
  job(tree);
  await executor.collect(id);
  await executor.files.close(id);
  return tree;
}

/** As if so much time had passed. */
async function laterBy(ms: number, act: () => Promise<unknown>): Promise<void> {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + ms });
  try {
    await act();
  } finally {
    vi.useRealTimers();
  }
}

describe('placing a tree', () => {
  it('makes files, links, folders, modes and times of the manifest', async () => {
    const tree = await run({
      'a.txt': 'a',
      'bin/run': { text: '#!/bin/sh\n', mode: 0o755 },
      secret: { text: 'x', mode: 0o600 },
      shared: { text: 'x', mode: 0o666 },
      readonly: { text: 'x', mode: 0o444 },
      'deep/er/link': { link: '../../a.txt' },
      'empty/folder': null,
      'new\nline': 'n',
      'bytes:caf\xe9': 'latin',
      grün: 'utf8',
      none: '',
    });
    expect(textOf(join(tree, 'a.txt'))).toBe('a');
    expect(mtimeOf(join(tree, 'a.txt'))).toBe(FIRST_MTIME_MS);
    expect(statSync(join(tree, 'bin/run')).mode & 0o7777).toBe(0o755);
    expect(statSync(join(tree, 'secret')).mode & 0o7777).toBe(0o600);
    expect(statSync(join(tree, 'shared')).mode & 0o7777).toBe(0o666);
    expect(statSync(join(tree, 'readonly')).mode & 0o7777).toBe(0o444);
    expect(readlinkSync(join(tree, 'deep/er/link'))).toBe('../../a.txt');
    expect(readdirSync(join(tree, 'empty/folder'))).toEqual([]);
    expect(textOf(join(tree, 'new\nline'))).toBe('n');
    expect(readdirSync(Buffer.from(tree), { encoding: 'buffer' }).map((name) => name.toString('latin1'))).toContain(
      'caf\xe9',
    );
    expect(textOf(join(tree, 'grün'))).toBe('utf8');
    expect(textOf(join(tree, 'none'))).toBe('');
    expect(tree.endsWith('/app')).toBe(true);
    for (let folder = tree; folder !== executor.home; folder = join(folder, '..')) {
      expect(statSync(folder).mode & 0o777).toBe(0o700);
    }
  });

  it('never gives a time of the future', async () => {
    const tree = await run({ a: { text: 'a', mtimeMs: Date.now() + 1e9 } });
    expect(mtimeOf(join(tree, 'a'))).toBeLessThanOrEqual(Date.now() + 1);
  });

  it('leaves what is right, and gives now to what changed or was touched', async () => {
    const before = Date.now();
    const tree = await run({ same: '1', changed: '1', touched: '1', mode: { text: '1', mode: 0o644 } });
    const inode = statSync(join(tree, 'same')).ino;
    await run({
      same: '1',
      changed: '2',
      touched: { text: '1', mtimeMs: FIRST_MTIME_MS + 5 },
      mode: { text: '1', mode: 0o755 },
      added: 'x',
    });
    expect(statSync(join(tree, 'same')).ino).toBe(inode);
    expect(mtimeOf(join(tree, 'same'))).toBe(FIRST_MTIME_MS);
    expect(textOf(join(tree, 'changed'))).toBe('2');
    for (const name of ['changed', 'touched', 'added'])
      expect(mtimeOf(join(tree, name))).toBeGreaterThanOrEqual(before);
    expect(mtimeOf(join(tree, 'mode'))).toBe(FIRST_MTIME_MS);
    expect(statSync(join(tree, 'mode')).mode & 0o777).toBe(0o755);
  });

  it('leaves a file that a job made and that came back with its time', async () => {
    const tree = await run({ 'a.c': '1' }, (there) => writeFileSync(join(there, 'a.c'), 'by the job'));
    const mtimeMs = mtimeOf(join(tree, 'a.c'));
    const { ino } = statSync(join(tree, 'a.c'));
    await run({ 'a.c': { text: 'by the job', mtimeMs } });
    expect(statSync(join(tree, 'a.c'))).toMatchObject({ ino });
    expect(mtimeOf(join(tree, 'a.c'))).toBe(mtimeMs);
  });

  it('gives now to what a job changed and the origin did not take', async () => {
    const tree = await run({ 'a.c': '1' }, (there) => writeFileSync(join(there, 'a.c'), '2'));
    await run({ 'a.c': '1' });
    expect(textOf(join(tree, 'a.c'))).toBe('1');
    expect(mtimeOf(join(tree, 'a.c'))).toBeGreaterThan(FIRST_MTIME_MS);
  });

  it('removes what is gone and what jobs left, and keeps ignored products', async () => {
    const files = { '.gitignore': 'out/\n*.o\n', a: '1', 'old/b': '2', 'old/c': '3' };
    const tree = await run(files, (there) => {
      mkdirSync(join(there, 'out/deep'), { recursive: true });
      writeFileSync(join(there, 'out/deep/p'), 'p');
      writeFileSync(join(there, 'old/b.o'), 'o');
      mkdirSync(join(there, 'extra/deep'), { recursive: true });
      writeFileSync(join(there, 'extra/deep/file'), 'x');
      writeFileSync(join(there, 'extra/deep/file.o'), 'x');
      mkdirSync(join(there, 'gone/deep'), { recursive: true });
      writeFileSync(join(there, 'gone/deep/file'), 'x');
    });
    await run({ '.gitignore': files['.gitignore'], a: '1' });
    expect(readdirSync(tree).toSorted()).toEqual(['.gitignore', 'a', 'extra', 'old', 'out']);
    expect(readdirSync(join(tree, 'old'))).toEqual(['b.o']);
    expect(readdirSync(join(tree, 'extra/deep'))).toEqual(['file.o']);
    expect(textOf(join(tree, 'out/deep/p'))).toBe('p');
    await run({ '.gitignore': files['.gitignore'], a: '1' }, () => undefined, { clean: true });
    expect(readdirSync(tree).toSorted()).toEqual(['.gitignore', 'a']);
  });

  it('writes nothing down where nothing changed, and looks at every file once a job may have run', async () => {
    const files = { 'a/1': '1', 'a/2': '2' };
    const first = await executor.sync(files);
    await diskClockMovedOn(executor.home);
    await executor.collect(first.id);
    await executor.files.close(first.id);
    await diskClockMovedOn(executor.home);
    const state = join(`${dirname(first.tree)}.slot`, 'state');
    const { ino, mtimeMs } = statSync(state);
    const second = await executor.sync(files);
    expect(statSync(state).ino).toBe(ino);
    expect(statSync(state).mtimeMs).not.toBe(mtimeMs);
    // In place, which its folder does not tell; the job ends without a collecting, as when its daemon is killed.
    writeFileSync(join(second.tree, 'a/2'), '3');
    await executor.files.close(second.id);
    const tree = await run(files);
    expect(textOf(join(tree, 'a/2'))).toBe('2');
  });

  it.each([0, 11_000])(
    'looks at changed folders alone after a collecting, and misses nothing, %i ms later',
    async (laterMs) => {
      const files = {
        '.gitignore': 'out/\n',
        'a/1': '1',
        'a/2': '2',
        'b/1': '1',
        'b/c/1': '1',
        'd/1': '1',
        'e/1': '1',
        'e/f/1': '1',
      };
      const outside = join(executor.home, 'outside');
      mkdirSync(outside);
      const first = await executor.sync(files);
      await diskClockMovedOn(executor.home);
      await executor.collect(first.id);
      await executor.files.close(first.id);
      await diskClockMovedOn(executor.home);
      // The second collecting finds folders that hold still.
      const tree = await run(files, (there) => {
        mkdirSync(join(there, 'out'));
        writeFileSync(join(there, 'out/p'), 'p');
        writeFileSync(join(there, 'a/2'), 'by the job');
      });
      await diskClockMovedOn(executor.home);
      // Nobody should write there now; whoever puts names into a folder is noticed.
      rmSync(join(tree, 'd/1'));
      writeFileSync(join(tree, 'd/2'), 'x');
      renameSync(join(tree, 'e'), join(outside, 'e'));
      symlinkSync(join(outside, 'e'), join(tree, 'e'));
      const next = {
        '.gitignore': 'out/\n',
        'a/1': '1',
        'a/2': '2',
        'a/3': '3',
        'b/c/1': '2',
        'd/1': '1',
        'e/1': '1',
        'e/f/1': '1',
      };
      await laterBy(laterMs, () => run(next));
      const found = spawnSync('find', ['.', '-type', 'f'], { cwd: tree, encoding: 'utf8' }).stdout.trim().split('\n');
      expect(found.toSorted()).toEqual([...Object.keys(next), 'out/p'].map((name) => `./${name}`).toSorted());
      for (const [name, text] of Object.entries(next)) expect(textOf(join(tree, name))).toBe(text);
      expect(readdirSync(outside)).toEqual(['e']);
      await diskClockMovedOn(executor.home);
      await run({ '.gitignore': 'out/\n', 'a/1': '1' });
      expect(readdirSync(tree).toSorted()).toEqual(['.gitignore', 'a', 'out']);
      expect(readdirSync(join(tree, 'a'))).toEqual(['1']);
    },
  );

  it('looks at every file where a while has passed since the collecting', async () => {
    const files = { 'a/1': '1', 'a/2': '2' };
    await run(files);
    await diskClockMovedOn(executor.home);
    const tree = await run(files);
    await diskClockMovedOn(executor.home);
    writeFileSync(join(tree, 'a/1'), 'by a person');
    await laterBy(11_000, () => run(files, (there) => expect(textOf(join(there, 'a/1'))).toBe('1')));
  });

  it('turns files into folders and back, also where products are in the way', async () => {
    const tree = await run({ '.gitignore': '*.o\n', x: 'file', 'y/deep/z': 'file' }, (there) =>
      writeFileSync(join(there, 'y/deep/p.o'), ''),
    );
    await run({ 'x/inside': 'now a folder', y: 'now a file' });
    expect(textOf(join(tree, 'x/inside'))).toBe('now a folder');
    expect(textOf(join(tree, 'y'))).toBe('now a file');
    await run({ x: { link: 'y' }, 'y/z': '1' });
    expect(readlinkSync(join(tree, 'x'))).toBe('y');
    expect(textOf(join(tree, 'y/z'))).toBe('1');
  });

  it('never follows a link that a job put in the place of a folder or a file', async () => {
    const outside = join(executor.home, 'outside');
    mkdirSync(outside);
    writeFileSync(join(outside, 'file'), 'untouched');
    const files = { 'src/file': '1', 'src/deep/file': '1', top: '1' };
    const tree = await run(files, (there) => {
      renameSync(join(there, 'src'), join(there, 'moved'));
      symlinkSync(outside, join(there, 'src'));
      rmSync(join(there, 'top'));
      symlinkSync(join(outside, 'file'), join(there, 'top'));
    });
    await run({ 'src/file': '2', 'src/deep/file': '2', top: '2' });
    expect(readdirSync(outside)).toEqual(['file']);
    expect(textOf(join(outside, 'file'))).toBe('untouched');
    expect(lstatSync(join(tree, 'src')).isDirectory()).toBe(true);
    expect(textOf(join(tree, 'src/file'))).toBe('2');
    expect(lstatSync(join(tree, 'top')).isFile()).toBe(true);
    expect(existsSync(join(tree, 'moved'))).toBe(false);
  });

  it('does not write through another name of a file', async () => {
    const outside = join(executor.home, 'mine');
    writeFileSync(outside, 'same');
    utimesSync(outside, 1, 1);
    chmodSync(outside, 0o600);
    await run({ a: 'other' }, (there) => {
      rmSync(join(there, 'a'));
      spawnSync('ln', [outside, join(there, 'a')]);
    });
    await run({ a: { text: 'same', mode: 0o755 } });
    expect(statSync(outside).mode & 0o777).toBe(0o600);
    expect(statSync(outside).mtimeMs).toBe(1000);
  });

  it('puts right what a job made unreadable, unwritable or special', async () => {
    const files = { 'a/b': '1', 'c/d': '1', e: '1', 'f/g/h': '1' };
    const tree = await run(files, (there) => {
      chmodSync(join(there, 'a/b'), 0o000);
      chmodSync(join(there, 'a'), 0o000);
      chmodSync(join(there, 'c'), 0o555);
      rmSync(join(there, 'e'));
      spawnSync('mkfifo', [join(there, 'e')]);
      mkdirSync(join(there, 'f/locked'));
      writeFileSync(join(there, 'f/locked/x'), '');
      chmodSync(join(there, 'f/locked'), 0o000);
    });
    await run({ 'a/b': '2', 'c/d': '2', e: '2', 'f/g/h': '2' });
    for (const name of ['a/b', 'c/d', 'e', 'f/g/h']) expect(textOf(join(tree, name))).toBe('2');
    expect(existsSync(join(tree, 'f/locked'))).toBe(false);
  });

  it('removes folders that a job nested deeper than any path reaches', async () => {
    const nest = "import os\nfor i in range(3000):\n  os.mkdir('deep'); os.chdir('deep')\nopen('file','w').close()";
    const tree = await run({ '.gitignore': 'out/\n', a: '1' }, (there) => {
      spawnSync('python3', ['-c', nest], { cwd: there });
      mkdirSync(join(there, 'out'));
      spawnSync('python3', ['-c', nest], { cwd: join(there, 'out') });
    });
    expect(existsSync(join(tree, 'deep/deep'))).toBe(true);
    await run({ '.gitignore': 'out/\n', a: '1' });
    expect(readdirSync(tree).toSorted()).toEqual(['.gitignore', 'a', 'out']);
    await run({ a: '1' }, () => undefined, { clean: true });
    expect(readdirSync(tree)).toEqual(['a']);
  });

  it('writes large files from chunks, and refuses chunks that are another file', async () => {
    const large = Buffer.alloc(3 * 1024 * 1024, 'large file ');
    const tree = await run({ large: { text: large, chunkBytes: 1024 * 1024 } });
    expect(readFileSync(join(tree, 'large')).equals(large)).toBe(true);
    const sent = sentOf({ large: { text: Buffer.alloc(3 * 1024 * 1024, 'x'), chunkBytes: 1024 * 1024 } });
    const entry = sent.manifest.entries[0];
    if (entry?.kind !== 'file') throw new Error('no file');
    const lying = { ...sent, manifest: { entries: [{ ...entry, hash: 'ab'.repeat(32) as typeof entry.hash }] } };
    const opened = await executor.open(lying);
    await executor.send(opened.id, lying);
    expect(await executor.files.place(opened.id, () => undefined)).toMatchObject({
      ok: false,
      error: { code: 'refused' },
    });
    expect(readFileSync(join(tree, 'large')).equals(large)).toBe(true);
  });

  it.each([
    ['each of them', false],
    ['all of the folder', true],
  ])('removes very many files that a job left while others of the thread get on: %s', async (_what, clean) => {
    await run({ a: '1' });
    const sent = sentOf({ a: '2' });
    const opened = await executor.open(sent, { clean });
    await executor.send(opened.id, sent);
    mkdirSync(join(opened.tree, 'many'));
    for (let file = 0; file < 3_000; file++) writeFileSync(join(opened.tree, `many/${file}`), '');
    symlinkSync('nowhere', join(opened.tree, 'dangling'));
    // Each turn is over when it is asked for: how fast this machine is does not matter.
    let nowMs = 0;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => (nowMs += 1000));
    const state = { isOver: false };
    const placing = executor.files.place(opened.id, () => undefined).finally(() => (state.isOver = true));
    let turns = 0;
    for (; !state.isOver; turns++) await new Promise((resolve) => setImmediate(resolve));
    expect(await placing).toMatchObject({ ok: true, value: { removed: 3_002 } });
    clock.mockRestore();
    expect(turns).toBeGreaterThan(30);
    expect(readdirSync(opened.tree)).toEqual(['a']);
  });

  it('compares and writes a large file while others of the thread get on', async () => {
    const large = (letter: string) => ({ text: Buffer.alloc(32 * 1024 * 1024, letter), chunkBytes: 1024 * 1024 });
    await run({ same: large('s'), large: large('a'), blocked: 'x' });
    const sent = sentOf({ same: large('s'), large: large('b'), blocked: large('c') });
    const opened = await executor.open(sent);
    await executor.send(opened.id, sent);
    const at = (name: string) => join(opened.tree, name);
    utimesSync(at('same'), 1, 1);
    rmSync(at('blocked'));
    mkdirSync(join(at('blocked'), 'folder'), { recursive: true });
    const inode = statSync(at('same')).ino;
    const state = { isOver: false };
    const placing = executor.files.place(opened.id, () => undefined).finally(() => (state.isOver = true));
    let turns = 0;
    for (; !state.isOver; turns++) await new Promise((resolve) => setImmediate(resolve));
    expect(await placing).toMatchObject({ ok: true });
    expect(turns).toBeGreaterThan(2);
    expect(statSync(at('same')).ino).toBe(inode);
    for (const [name, letter] of [
      ['same', 's'],
      ['large', 'b'],
      ['blocked', 'c'],
    ] as const) {
      expect(readFileSync(at(name)).equals(large(letter).text)).toBe(true);
    }
  });

  it('goes on after it was interrupted in the middle', async () => {
    const files = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`f${index}`, `content ${index}`]));
    const sent = sentOf(files);
    const opened = await executor.open(sent);
    // One object is missing: half of the tree is placed.
    const [missing] = [...sent.objects.keys()].toSorted().slice(150);
    const objects = new Map([...sent.objects].filter(([hash]) => hash !== missing));
    await executor.send(opened.id, { ...sent, objects });
    expect(await executor.files.place(opened.id, () => undefined)).toMatchObject({ ok: false });
    await executor.files.close(opened.id);
    executor.restart();
    const tree = await run(files);
    for (const [name, text] of Object.entries(files)) expect(textOf(join(tree, name))).toBe(text);
    expect(readdirSync(tree)).toHaveLength(300);
  });

  it('works with make: up to date at the second run, one recompile after a touch', async () => {
    const makefile = 'prog: a.o b.o\n\tcat a.o b.o > prog\n%.o: %.c\n\t@echo CC $<\n\tcp $< $@\n';
    const files = { '.gitignore': '*.o\nprog\n', Makefile: makefile, 'a.c': 'a', 'b.c': 'b' };
    const output: string[] = [];
    const make = (there: string): void => void output.push(spawnSync('make', { cwd: there, encoding: 'utf8' }).stdout);
    await run(files, make);
    await run(files, make);
    await run({ ...files, 'a.c': { text: 'a', mtimeMs: FIRST_MTIME_MS + 60_000 } }, make);
    expect(output[0]).toContain('CC a.c');
    expect(output[1]).toContain('up to date');
    expect(output[2]).toContain('CC a.c');
    expect(output[2]).not.toContain('CC b.c');
  });
});
