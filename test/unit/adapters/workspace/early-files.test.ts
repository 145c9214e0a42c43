import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { compressManifest } from '../../../../src/adapters/workspace/manifest-transport.ts';
import { PackBuilder } from '../../../../src/adapters/workspace/pack-builder.ts';
import { sanitiseGitConfig } from '../../../../src/core/workspace/git-config.ts';
import type { OpenedWorkspace } from '../../../../src/ports/workspace.ts';
import { encodeManifest } from '../../../../src/wire/manifest-codec.ts';
import type { ObjectHash } from '../../../../src/wire/manifest.ts';
import {
  FIRST_MTIME_MS,
  sentOf,
  sha256,
  TestExecutor,
  type Sent,
  type SentFiles,
} from '../../../fixtures/sent-project.ts';

const MIB = 1024 * 1024;
let executor: TestExecutor;
beforeEach(() => {
  executor = new TestExecutor();
});
afterEach(() => executor.remove());

const textOf = (path: string): string => readFileSync(path, 'utf8');

/** The objects of one pack, by hash. */
function packOf(sent: Sent, hashes: readonly ObjectHash[]): Uint8Array {
  const pack = new PackBuilder();
  for (const hash of hashes) pack.add(hash, sent.objects.get(hash) ?? new Uint8Array(), true);
  return pack.take(false);
}

async function begun(sent: Sent): Promise<OpenedWorkspace> {
  const opened = await executor.open(sent);
  const wanted = await executor.files.takeManifest(opened.id, compressManifest(encodeManifest(sent.manifest)));
  if (!wanted.ok) throw new Error(wanted.error.message);
  return opened;
}

const take = (id: string, sent: Sent, ...texts: readonly (string | Uint8Array)[]) =>
  executor.files.takePack(id, packOf(sent, texts.map(sha256)));
const place = (id: string) => executor.files.place(id, () => undefined);

/** Everything is there now, and known to be. */
async function expectWhole(opened: OpenedWorkspace, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, text] of Object.entries(files)) expect(textOf(join(opened.tree, name))).toBe(text);
  await executor.files.close(opened.id);
  const again = await executor.open(sentOf(files));
  expect(again.tree).toBe(opened.tree);
  expect(await executor.files.takeManifest(again.id, null)).toMatchObject({ ok: true, value: { objects: 0 } });
  expect(await place(again.id)).toMatchObject({ ok: true, value: { written: 0, removed: 0 } });
}

describe('files of an empty tree', () => {
  const files = { 'a/1': 'one', 'a/2': 'two', 'b/c/3': 'three', 'b/again': 'one', none: '' };

  it('are made while packs come, with their modes and times', async () => {
    const sent = sentOf({ ...files, 'b/c/3': { text: 'three', mode: 0o755 } });
    const opened = await begun(sent);
    expect(await take(opened.id, sent, 'one')).toMatchObject({ ok: true });
    expect(textOf(join(opened.tree, 'a/1'))).toBe('one');
    expect(textOf(join(opened.tree, 'b/again'))).toBe('one');
    expect(existsSync(join(opened.tree, 'a/2'))).toBe(false);
    expect(await take(opened.id, sent, 'three', 'two', '')).toMatchObject({ ok: true });
    expect(textOf(join(opened.tree, 'b/c/3'))).toBe('three');
    expect(statSync(join(opened.tree, 'b/c/3')).mode & 0o7777).toBe(0o755);
    expect(Math.floor(statSync(join(opened.tree, 'a/2')).mtimeMs)).toBe(FIRST_MTIME_MS);
    expect(await place(opened.id)).toMatchObject({ ok: true, value: { written: 5, removed: 0 } });
  });

  it('are known afterwards, as are those that were not made early', async () => {
    const sent = sentOf({ ...files, link: { link: 'a/1' }, 'empty/folder': null });
    const opened = await begun(sent);
    await take(opened.id, sent, 'two', 'one');
    await take(opened.id, sent, 'three', '');
    expect(await place(opened.id)).toMatchObject({ ok: true, value: { written: 6 } });
    expect(lstatSync(join(opened.tree, 'link')).isSymbolicLink()).toBe(true);
    expect(readdirSync(join(opened.tree, 'empty/folder'))).toEqual([]);
    await executor.files.close(opened.id);
    const plain = await executor.sync(files);
    await expectWhole(plain, files);
    expect(readdirSync(plain.tree).toSorted()).toEqual(['a', 'b', 'none']);
  });

  it('stay where a pack is refused in the middle, and the next sync goes on', async () => {
    const sent = sentOf(files);
    const opened = await begun(sent);
    await take(opened.id, sent, 'one');
    const pack = packOf(sent, [sha256('two'), sha256('three')]);
    expect(await executor.files.takePack(opened.id, pack.subarray(0, pack.length - 2))).toMatchObject({ ok: false });
    pack[pack.length - 1] = 0;
    expect(await executor.files.takePack(opened.id, pack)).toMatchObject({ ok: false, error: { code: 'refused' } });
    expect(readdirSync(join(opened.tree, 'a'))).toEqual(['1']);
    await executor.files.close(opened.id);
    executor.restart();
    const again = await executor.sync(files);
    expect(again.tree).toBe(opened.tree);
    await expectWhole(again, files);
  });

  it('are not made before the configs of git were judged', async () => {
    const config = sanitiseGitConfig('[core]\n\tfilemode = false\n');
    const subConfig = sanitiseGitConfig('[core]\n\tfilemode = true\n');
    const good = sentOf({ '.git/config': config, 'sub/.git/config': subConfig, a: 'one' });
    const opened = await begun(good);
    await take(opened.id, good, 'one', config);
    expect(readdirSync(opened.tree)).toEqual([]);
    expect(await take(opened.id, good, subConfig)).toMatchObject({ ok: true });
    expect(textOf(join(opened.tree, 'sub/.git/config'))).toBe(subConfig);
    expect(await place(opened.id)).toMatchObject({ ok: true, value: { written: 3 } });
    expect(textOf(join(opened.tree, 'a'))).toBe('one');
    const evil = '[core]\n\tfsmonitor = "/bin/sh -c evil"\n';
    const bad = sentOf({ '.git/config': evil, a: 'one', b: 'two' });
    const next = await executor.files.open(executor.request(bad, { project: '1'.repeat(32) }));
    if (!next.ok) throw new Error(next.error.message);
    await executor.files.takeManifest(next.value.id, compressManifest(encodeManifest(bad.manifest)));
    expect(await take(next.value.id, bad, 'two', evil)).toMatchObject({ ok: false, error: { code: 'refused' } });
    expect(await place(next.value.id)).toMatchObject({ ok: false, error: { code: 'refused' } });
    expect(readdirSync(next.value.tree)).toEqual([]);
  });

  it('go through nothing that comes into the way meanwhile', async () => {
    const outside = join(executor.home, 'outside');
    mkdirSync(outside);
    writeFileSync(join(outside, '3'), 'untouched');
    const sent = sentOf(files);
    const opened = await begun(sent);
    await take(opened.id, sent, 'one');
    rmSync(join(opened.tree, 'b'), { recursive: true });
    symlinkSync(outside, join(opened.tree, 'b'));
    writeFileSync(join(opened.tree, 'a/2'), 'in the way');
    writeFileSync(join(opened.tree, 'extra'), 'extra');
    expect(await take(opened.id, sent, 'three', 'two', '')).toMatchObject({ ok: true });
    expect(textOf(join(opened.tree, 'a/2'))).toBe('in the way');
    expect(await place(opened.id)).toMatchObject({ ok: true });
    expect(readdirSync(outside)).toEqual(['3']);
    expect(textOf(join(outside, '3'))).toBe('untouched');
    expect(readdirSync(opened.tree).toSorted()).toEqual(['a', 'b', 'none']);
    expect(textOf(join(opened.tree, 'a/2'))).toBe('two');
    expect(textOf(join(opened.tree, 'b/c/3'))).toBe('three');
  });

  it('are left to the placing where something lies in the tree', async () => {
    const sent = sentOf(files);
    const opened = await begun(sent);
    writeFileSync(join(opened.tree, 'extra'), 'extra');
    await take(opened.id, sent, 'one', 'two', 'three', '');
    expect(readdirSync(opened.tree)).toEqual(['extra']);
    expect(await place(opened.id)).toMatchObject({ ok: true, value: { removed: 1 } });
    await expectWhole(opened, files);
  });

  it('count for their own manifest alone', async () => {
    await executor.sync({ x: 'two' }, { project: '1'.repeat(32) });
    const [one, two] = [sentOf({ f: 'one', more: 'more' }), sentOf({ f: 'two' })];
    const attempt = executor.request(two);
    const opened = await executor.files.open(attempt);
    if (!opened.ok) throw new Error(opened.error.message);
    const { id, tree } = opened.value;
    const manifest = ({ manifest: of }: Sent) => executor.files.takeManifest(id, compressManifest(encodeManifest(of)));
    expect(await manifest(two)).toMatchObject({ ok: true, value: { objects: 0 } });
    await executor.files.open({ ...attempt, manifest: executor.request(one).manifest });
    expect(await manifest(one)).toMatchObject({ ok: true, value: { objects: 2 } });
    await take(id, one, 'one');
    expect(textOf(join(tree, 'f'))).toBe('one');
    await executor.files.open(attempt);
    expect(await place(id)).toMatchObject({ ok: true });
    expect(textOf(join(tree, 'f'))).toBe('two');
  });

  it('end with a session that is closed in the middle', async () => {
    const many = Object.fromEntries(Array.from({ length: 4000 }, (_, index) => [`f${index}`, 'x']));
    const sent = sentOf({ ...many, a: 'one' });
    const opened = await begun(sent);
    const taking = take(opened.id, sent, 'x');
    await executor.files.close(opened.id);
    await Promise.allSettled([taking]);
    await expect(take(opened.id, sent, 'one')).rejects.toThrow(/not open any more/);
    const again = await executor.sync({ a: 'one' });
    expect(again.tree).toBe(opened.tree);
    expect(readdirSync(again.tree)).toEqual(['a']);
  });
});

describe('large files of an empty tree', () => {
  const parts = ['a', 'b', 'a', 'c'].map((letter) => Buffer.alloc(MIB, letter));
  const [a = new Uint8Array(), b = new Uint8Array(), , c = new Uint8Array()] = parts;
  const large: SentFiles = { 'in/large': { text: Buffer.concat(parts), chunkBytes: MIB, mode: 0o640 }, small: 's' };
  const scratchOf = (tree: string): string[] => readdirSync(join(tree, '../../1.slot/scratch'));

  it('are put together as their chunks come', async () => {
    const sent = sentOf(large);
    const opened = await begun(sent);
    for (const part of [a, b]) expect(await take(opened.id, sent, part)).toMatchObject({ ok: true });
    expect(readdirSync(opened.tree)).toEqual([]);
    expect(await take(opened.id, sent, c, 's')).toMatchObject({ ok: true });
    expect(readFileSync(join(opened.tree, 'in/large')).equals(Buffer.concat(parts))).toBe(true);
    expect(statSync(join(opened.tree, 'in/large')).mode & 0o7777).toBe(0o640);
    expect(await place(opened.id)).toMatchObject({ ok: true, value: { written: 2 } });
    expect(scratchOf(opened.tree)).toEqual([]);
    expect(Math.floor(statSync(join(opened.tree, 'in/large')).mtimeMs)).toBe(FIRST_MTIME_MS);
  });

  it('come in any order', async () => {
    const sent = sentOf(large);
    const opened = await begun(sent);
    for (const part of [c, b, 's', a]) await take(opened.id, sent, part);
    expect(await place(opened.id)).toMatchObject({ ok: true });
    expect(readFileSync(join(opened.tree, 'in/large')).equals(Buffer.concat(parts))).toBe(true);
  });

  it('are left to the placing where another begins in the middle: nothing is written twice', async () => {
    const d = Buffer.alloc(MIB, 'd');
    const sent = sentOf({ ...large, other: { text: Buffer.concat([d, d, d]), chunkBytes: MIB } });
    const opened = await begun(sent);
    for (const part of [a, d, b, c, 's']) expect(await take(opened.id, sent, part)).toMatchObject({ ok: true });
    expect(readdirSync(opened.tree).toSorted()).toEqual(['other', 'small']);
    expect(await place(opened.id)).toMatchObject({ ok: true, value: { written: 3 } });
    expect(readFileSync(join(opened.tree, 'in/large')).equals(Buffer.concat(parts))).toBe(true);
    expect(scratchOf(opened.tree)).toEqual([]);
  });

  it('go on after a cut with what has arrived', async () => {
    const sent = sentOf(large);
    const opened = await begun(sent);
    await take(opened.id, sent, a);
    await executor.files.close(opened.id);
    expect(scratchOf(opened.tree)).toEqual([]);
    executor.restart();
    const again = await executor.open(sent);
    expect(await executor.files.takeManifest(again.id, compressManifest(encodeManifest(sent.manifest)))).toMatchObject({
      ok: true,
      value: { objects: 3 },
    });
    for (const part of [b, c, 's']) await take(again.id, sent, part);
    expect(readFileSync(join(opened.tree, 'in/large')).equals(Buffer.concat(parts))).toBe(true);
    expect(await place(again.id)).toMatchObject({ ok: true, value: { written: 2 } });
  });

  it('are refused where their chunks are another file, or of another size', async () => {
    const sent = sentOf(large);
    const [entry, small] = sent.manifest.entries;
    if (entry?.kind !== 'file' || small === undefined) throw new Error('no file');
    const lies = [
      { ...entry, hash: 'ab'.repeat(32) as ObjectHash },
      {
        ...entry,
        chunks: (entry.chunks ?? []).map(({ hash }, at) => ({ hash, size: at < 2 ? MIB - 1 + 2 * at : MIB })),
      },
    ];
    for (const [at, lie] of lies.entries()) {
      const lying = { ...sent, manifest: { entries: [lie, small] } };
      const opened = await executor.open(lying, { project: String(at).repeat(32) });
      const wanted = await executor.files.takeManifest(opened.id, compressManifest(encodeManifest(lying.manifest)));
      // One object of two sizes is no manifest.
      if (!wanted.ok) continue;
      for (const part of [a, b, c, 's']) await take(opened.id, lying, part);
      expect(existsSync(join(opened.tree, 'in/large'))).toBe(false);
      expect(await place(opened.id)).toMatchObject({ ok: false, error: { code: 'refused' } });
      expect(existsSync(join(opened.tree, 'in/large'))).toBe(false);
    }
  });
});
