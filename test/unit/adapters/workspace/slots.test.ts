import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { compressManifest } from '../../../../src/adapters/workspace/manifest-transport.ts';
import { compareManifests, encodeDifference } from '../../../../src/wire/manifest-difference.ts';
import { diskClockMovedOn } from '../../../fixtures/disk-clock.ts';
import { FIRST_MTIME_MS, originId, sentOf, TestExecutor } from '../../../fixtures/sent-project.ts';

const MIB = 1024 * 1024;
let executor: TestExecutor;
beforeEach(() => {
  executor = new TestExecutor();
});
afterEach(() => executor.remove());

const FILES = { '.gitignore': 'node_modules/\nout/\n.venv/\nbuild/\n*.o\n', 'a.c': '1', 'b.c': '1' };

/** As a job leaves it long enough ago for nothing to be under way. */
const settled = (): Promise<void> => diskClockMovedOn(executor.home);

describe('slots', () => {
  it('gives each job a folder of its own, the same again when it is free, the warmest first', async () => {
    const one = await executor.sync(FILES);
    const two = await executor.sync({ ...FILES, 'a.c': '2' });
    expect(two.tree).not.toBe(one.tree);
    writeFileSync(join(one.tree, 'mine'), '');
    expect(existsSync(join(two.tree, 'mine'))).toBe(false);
    await executor.files.close(one.id);
    await executor.files.close(two.id);
    expect((await executor.open(sentOf(FILES))).id).toBe(one.id);
    expect((await executor.open(sentOf(FILES))).id).toBe(two.id);
  });

  it('knows what it has, so that only the difference need be sent', async () => {
    const first = await executor.sync(FILES);
    expect(first.base).toBeNull();
    await executor.files.close(first.id);
    const again = await executor.open(sentOf(FILES));
    expect(again.base).toBe(executor.request(sentOf(FILES)).manifest);
    expect(await executor.files.takeManifest(again.id, null)).toMatchObject({
      ok: true,
      value: { objects: 0, bytes: 0 },
    });
    expect(await executor.files.place(again.id, () => undefined)).toMatchObject({
      ok: true,
      value: { written: 0, removed: 0 },
    });
  });

  it('is sent a whole manifest again where a power cut took the one that it had', async () => {
    const lose = (): void => {
      const meta = join(executor.workspaces, 'for', originId(), 'c0ffee'.padEnd(32, '0'), '1.slot');
      for (const name of readdirSync(meta)) if (name.startsWith('manifest-')) writeFileSync(join(meta, name), '');
      executor.restart();
    };
    const first = await executor.sync(FILES);
    writeFileSync(join(first.tree, 'a.o'), 'product');
    await executor.files.close(first.id);
    lose();
    const same = await executor.open(sentOf(FILES));
    await expect(executor.files.takeManifest(same.id, null)).rejects.toMatchObject({ code: 'io' });
    await executor.files.close(same.id);
    const whole = await executor.sync(FILES);
    expect(whole).toMatchObject({ tree: first.tree, base: null });
    expect(readFileSync(join(whole.tree, 'a.o'), 'utf8')).toBe('product');
    await executor.files.close(whole.id);
    lose();
    const changed = sentOf({ ...FILES, 'a.c': '2' });
    const other = await executor.open(changed);
    const before = sentOf(FILES);
    const compared = compareManifests(before.manifest, changed.manifest);
    const difference = compressManifest(encodeDifference(executor.request(before).manifest, compared));
    expect(await executor.files.takeManifest(other.id, difference)).toMatchObject({ ok: false, error: { code: 'io' } });
    await executor.files.close(other.id);
    expect(await executor.sync({ ...FILES, 'a.c': '2' })).toMatchObject({ tree: first.tree, base: null });
    expect(readFileSync(join(first.tree, 'a.c'), 'utf8')).toBe('2');
  });

  it('has nothing left of a slot whose removal a crash interrupted', async () => {
    const first = await executor.sync(FILES);
    await executor.files.close(first.id);
    const project = join(first.tree, '../..');
    const limits = { quotaBytes: 2 ** 40, keepDays: 1000 };
    // In the middle of what was moved away, and between the two folders of a slot.
    mkdirSync(join(project, 'trash/3/below'), { recursive: true });
    writeFileSync(join(project, 'trash/3/below/file'), '');
    const second = join(project, '2');
    mkdirSync(join(second, 'app'), { recursive: true });
    executor.restart();
    await executor.files.sweep(limits);
    expect(readdirSync(join(project, 'trash'))).toEqual([]);
    expect(existsSync(second)).toBe(false);
    expect((await executor.files.list()).workspaces).toMatchObject([{ slots: 1 }]);
    rmSync(join(project, '1.slot'), { recursive: true });
    mkdirSync(join(project, 'trash/4'));
    executor.restart();
    await executor.files.sweep(limits);
    expect(existsSync(project)).toBe(false);
  });

  it('clones a second slot with its products and times, without what is tied to its folder or being written', async () => {
    const first = await executor.sync(FILES);
    const make = (path: string, text: string): void => {
      mkdirSync(join(first.tree, path, '..'), { recursive: true });
      writeFileSync(join(first.tree, path), text);
      utimesSync(join(first.tree, path), 1_700_000_000, 1_700_000_000);
    };
    make('node_modules/x/index.js', 'module');
    symlinkSync(join(first.tree, 'node_modules/x/index.js'), join(first.tree, 'node_modules/absolute'));
    make('out/p', 'product');
    make('.venv/pyvenv.cfg', 'home = /usr');
    make('build/paths', `made in ${first.tree}`);
    make('a.o', 'object');
    await executor.files.writeNote(first.id, 'prepared', 'stamp');
    await executor.collect(first.id);
    await executor.files.close(first.id);
    await settled();
    const used = await executor.sync({ ...FILES, 'a.c': 'changed' });
    expect(used.tree).toBe(first.tree);
    await settled();
    writeFileSync(join(used.tree, 'out/p'), 'half');
    const second = await executor.sync(FILES);
    expect(second.tree).not.toBe(used.tree);
    expect(readFileSync(join(second.tree, 'node_modules/x/index.js'), 'utf8')).toBe('module');
    expect(readFileSync(join(second.tree, 'node_modules/absolute'), 'utf8')).toBe('module');
    expect(
      existsSync(join(second.tree, 'node_modules/absolute')) &&
        lstatSync(join(second.tree, 'node_modules/absolute')).isSymbolicLink(),
    ).toBe(true);
    expect(readFileSync(join(second.tree, 'a.o'), 'utf8')).toBe('object');
    expect(Math.floor(statSync(join(second.tree, 'a.o')).mtimeMs)).toBe(1_700_000_000_000);
    for (const left of ['out', '.venv', 'build']) expect(existsSync(join(second.tree, left))).toBe(false);
    expect(await executor.files.readNote(second.id, 'prepared')).toBe('stamp');
    // Products were made from what the first slot had: what differs from that is newer than they are.
    expect(Math.floor(statSync(join(second.tree, 'b.c')).mtimeMs)).toBe(FIRST_MTIME_MS);
    expect(statSync(join(second.tree, 'a.c')).mtimeMs).toBeGreaterThan(1_700_000_000_000);
  });

  it('takes up an attempt again after a restart, and frees those that nobody knows', async () => {
    const sent = sentOf(FILES);
    const [kept, gone] = [executor.request(sent), executor.request(sent)];
    await executor.files.open(kept);
    await executor.files.open(gone);
    executor.restart();
    await executor.files.releaseAllBut([{ job: kept.job, attempt: 1 }]);
    expect(await executor.files.reopen(kept.job, 1)).toMatchObject({ base: null });
    expect(await executor.files.reopen(gone.job, 1)).toBeNull();
    expect(await executor.files.reopen(kept.job, 2)).toBeNull();
    expect((await executor.files.list()).workspaces).toMatchObject([{ slots: 2, inUse: 1 }]);
  });

  it('gives the same folder when an attempt is asked again', async () => {
    const request = executor.request(sentOf(FILES));
    const [one, two] = [await executor.files.open(request), await executor.files.open(request)];
    expect(two).toEqual(one);
  });

  it('opens an attempt that is asked again while it is being closed', async () => {
    const many = Object.fromEntries(Array.from({ length: 4000 }, (_, index) => [`f${index}`, 'x']));
    const sent = sentOf(many);
    const request = executor.request(sent);
    const first = await executor.files.open(request);
    if (!first.ok) throw new Error(first.error.message);
    const { id, tree } = first.value;
    await executor.send(id, sent);
    const placing = executor.files.place(id, () => undefined);
    const closing = executor.files.close(id);
    expect(await executor.files.open(request)).toMatchObject({ ok: true, value: { id } });
    await Promise.allSettled([placing, closing]);
    await executor.send(id, sent);
    expect(await executor.files.place(id, () => undefined)).toMatchObject({ ok: true });
    expect(readdirSync(tree)).toHaveLength(4000);
  });

  it('keeps notes and tells what lies where', async () => {
    const { id, tree } = await executor.sync(FILES);
    mkdirSync(join(tree, 'node_modules'));
    expect(await executor.files.readNote(id, '../x')).toBeNull();
    await executor.files.writeNote(id, '../x', 'text');
    expect(await executor.files.readNote(id, '../x')).toBe('text');
    const [a, folder, nothing] = await executor.files.digest(id, ['a.c', 'node_modules', 'none/x']);
    expect([a, folder, nothing]).toEqual([
      '6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b',
      'folder',
      null,
    ]);
  });

  it('makes a name of a folder of any label', async () => {
    const { tree } = await executor.sync({ a: '1' }, { label: '../../x\n' });
    expect(tree.startsWith(executor.workspaces)).toBe(true);
    expect(tree.endsWith('/.._.._x_')).toBe(true);
    expect(
      (await executor.open(sentOf({ a: '1' }), { label: '..', project: '1'.repeat(32) })).tree.endsWith('/project'),
    ).toBe(true);
  });

  it('closes a folder that is being filled, and gives it to another', async () => {
    const files = Object.fromEntries(Array.from({ length: 3000 }, (_, index) => [`f${index}`, 'x']));
    const sent = sentOf(files);
    const opened = await executor.open(sent);
    // In an empty tree files would be made while packs come.
    writeFileSync(join(opened.tree, 'extra'), '');
    await executor.send(opened.id, sent);
    const placing = executor.files.place(opened.id, () => undefined);
    await executor.files.close(opened.id);
    expect(
      (await placing.then(
        (placed) => placed.ok,
        () => false,
      )) || readdirSync(opened.tree).length < 3000,
    ).toBe(true);
    const again = await executor.sync({ a: '1' });
    expect(again.tree).toBe(opened.tree);
    expect(readdirSync(again.tree)).toEqual(['a']);
  });
});

describe('what is kept', () => {
  it('is listed, and removed where no job uses it', async () => {
    const one = await executor.sync(FILES);
    const other = await executor.sync({ a: '1' }, { project: '1'.repeat(32), label: 'other', origin: originId('b') });
    await executor.files.close(other.id);
    const { workspaces, storeBytes } = await executor.files.list();
    expect(workspaces.map((kept) => [kept.name, kept.inUse])).toEqual([
      ['app-c0ffee00', 1],
      ['other-11111111', 0],
    ]);
    expect(workspaces[0]?.bytes).toBe(sizeOf(FILES));
    expect(storeBytes).toBeGreaterThan(0);
    expect(await executor.files.remove(null)).toEqual({ removed: ['other-11111111'], bytes: 1 });
    expect(await executor.files.remove(['app-c0ffee00'])).toEqual({ removed: [], bytes: 0 });
    await executor.files.close(one.id);
    expect(await executor.files.remove(['app-c0ffee00'])).toMatchObject({ removed: ['app-c0ffee00'] });
    expect((await executor.files.list()).workspaces).toEqual([]);
    expect(existsSync(one.tree)).toBe(false);
  });

  it('is removed when nobody used it for long, never while it is in use', async () => {
    const used = await executor.sync(FILES);
    const idle = await executor.sync({ a: '1' }, { project: '1'.repeat(32) });
    await executor.files.close(idle.id);
    await settled();
    await executor.files.sweep({ quotaBytes: 2 ** 40, keepDays: 0 });
    expect(existsSync(idle.tree)).toBe(false);
    expect(existsSync(used.tree)).toBe(true);
  });

  it('stays within the quota: the oldest goes, and what cannot fit is refused', async () => {
    const big = (letter: string): Record<string, string> => ({ big: letter.repeat(MIB) });
    const first = await executor.sync(big('a'), { project: '1'.repeat(32) });
    await executor.files.close(first.id);
    const second = await executor.sync(big('b'), { project: '2'.repeat(32), quotaBytes: 3 * MIB });
    expect(existsSync(first.tree)).toBe(false);
    const third = sentOf(big('c'));
    const opened = await executor.open(third, { project: '3'.repeat(32), quotaBytes: 3 * MIB });
    await expect(executor.send(opened.id, third)).rejects.toThrow(/workspaces may have 3\.0 MiB/);
    expect(existsSync(second.tree)).toBe(true);
    // Another origin has its own.
    await executor.sync(big('c'), { project: '3'.repeat(32), quotaBytes: 3 * MIB, origin: originId('b') });
  });

  it('starts anew where its records are damaged', async () => {
    const { id, tree } = await executor.sync(FILES);
    await executor.files.close(id);
    const meta = join(tree, '../../1.slot');
    writeFileSync(join(meta, 'state'), 'rubbish');
    executor.restart();
    await executor.files.close((await executor.sync({ ...FILES, 'a.c': '2' })).id);
    expect(readFileSync(join(tree, 'a.c'), 'utf8')).toBe('2');
    writeFileSync(join(meta, 'slot.json'), '{');
    executor.restart();
    const again = await executor.sync(FILES);
    expect(again.tree).toBe(tree);
    expect(readFileSync(join(tree, 'a.c'), 'utf8')).toBe('1');
    rmSync(meta, { recursive: true });
  });
});

const sizeOf = (files: Readonly<Record<string, string>>): number =>
  Object.values(files).reduce((sum, text) => sum + text.length, 0);
