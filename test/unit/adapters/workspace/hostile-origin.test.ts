import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync } from 'node:zlib';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { collisionIn } from '../../../../src/adapters/workspace/name-folding.ts';
import { KeptBytes } from '../../../../src/adapters/workspace/kept-bytes.ts';
import { SlotFolders } from '../../../../src/adapters/workspace/slot-folders.ts';
import { compressManifest } from '../../../../src/adapters/workspace/manifest-transport.ts';
import { PackBuilder } from '../../../../src/adapters/workspace/pack-builder.ts';
import { hashOfManifest } from '../../../../src/adapters/workspace/slot-session.ts';
import { encodeManifest } from '../../../../src/wire/manifest-codec.ts';
import type { ManifestEntry, ManifestHash, TreePath } from '../../../../src/wire/manifest.ts';
import type { WorkspaceRefusal } from '../../../../src/ports/workspace.ts';
import type { Result } from '../../../../src/base/result.ts';
import { FIRST_MTIME_MS, sentOf, sha256, TestExecutor } from '../../../fixtures/sent-project.ts';

let executor: TestExecutor;
let canary: string;
beforeEach(() => {
  executor = new TestExecutor();
  canary = join(executor.home, 'canary');
  mkdirSync(canary);
  writeFileSync(join(canary, 'file'), 'untouched');
});
afterEach(() => {
  expect(readFileSync(join(canary, 'file'), 'utf8')).toBe('untouched');
  expect(readdirSync(canary)).toEqual(['file']);
  expect(readdirSync(executor.home).filter((name) => name !== 'workspaces')).toEqual(['canary']);
  executor.remove();
});

const file = (path: string, text = 'x'): ManifestEntry => ({
  kind: 'file',
  path: path as TreePath,
  size: text.length,
  mode: 0o644,
  mtimeMs: FIRST_MTIME_MS,
  hash: sha256(text),
  chunks: null,
});
const link = (path: string, target: string): ManifestEntry => ({ kind: 'link', path: path as TreePath, target });

async function take(frame: Uint8Array, manifest: ManifestHash): Promise<Result<unknown, WorkspaceRefusal>> {
  const opened = await executor.files.open({ ...executor.request(sentOf({})), manifest });
  if (!opened.ok) return opened;
  const taken = await executor.files.takeManifest(opened.value.id, frame);
  if (!taken.ok) {
    expect(readdirSync(opened.value.tree)).toEqual([]);
    expect(
      await executor.files
        .place(opened.value.id, () => undefined)
        .then(
          (placed) => placed.ok,
          () => false,
        ),
    ).toBe(false);
    expect(readdirSync(opened.value.tree)).toEqual([]);
  }
  await executor.files.close(opened.value.id);
  return taken;
}

function takeEntries(entries: readonly ManifestEntry[]): Promise<Result<unknown, WorkspaceRefusal>> {
  const encoded = encodeManifest({ entries });
  return take(compressManifest(encoded), hashOfManifest(encoded));
}

describe('an origin that means harm', () => {
  it.each([
    ['a path that leads out', [file('../x')]],
    ['an absolute path', [file('/etc/x')]],
    ['an empty part', [file('a//x')]],
    ['a NUL', [file('a\0x')]],
    ['hooks', [file('.git/hooks/pre-commit')]],
    ['.GIT', [file('.GIT/hooks/pre-commit')]],
    ['git~1', [file('git~1/config')]],
    ['a file below a link', [link('a', 'b'), file('a/x')]],
    ['a file below a file', [file('a'), file('a/x')]],
    ['a link that leads out', [link('a', '../../canary')]],
    ['an absolute link', [link('a', '/etc/passwd')]],
    ['a name twice', [file('a'), file('a')]],
    ['names out of order', [file('b'), file('a')]],
  ])('is refused %s', async (_what, entries) => {
    const taken = await takeEntries(entries);
    expect(taken).toMatchObject({
      ok: false,
      error: { code: 'refused', message: expect.stringContaining('nothing was changed') },
    });
  });

  it('is refused another manifest than announced, rubbish, and one that expands without end', async () => {
    const encoded = encodeManifest({ entries: [file('a')] });
    expect(await take(compressManifest(encoded), 'ab'.repeat(32) as ManifestHash)).toMatchObject({ ok: false });
    expect(await take(Buffer.from('rubbish'), hashOfManifest(encoded))).toMatchObject({ ok: false });
    const bomb = brotliCompressSync(Buffer.alloc(130 * 1024 * 1024));
    expect(await take(bomb, hashOfManifest(encoded))).toMatchObject({ ok: false, error: { code: 'refused' } });
  });

  it('is refused objects of another content or length', async () => {
    const sent = sentOf({ a: 'content' });
    const opened = await executor.open(sent);
    await executor.files.takeManifest(opened.id, compressManifest(encodeManifest(sent.manifest)));
    const packs = new PackBuilder();
    packs.add(sha256('content'), Buffer.from('another'), true);
    expect(await executor.files.takePack(opened.id, packs.take(false))).toMatchObject({
      ok: false,
      error: { code: 'refused' },
    });
    expect(await executor.files.place(opened.id, () => undefined)).toMatchObject({ ok: false });
    const short: ManifestEntry = { ...file('a', 'content'), size: 3 } as ManifestEntry;
    const lying = encodeManifest({ entries: [short] });
    const second = await executor.files.open({
      ...executor.request(sent),
      manifest: hashOfManifest(lying),
      project: '9'.repeat(32),
    });
    if (!second.ok) throw new Error(second.error.message);
    await executor.files.takeManifest(second.value.id, compressManifest(lying));
    packs.add(sha256('content'), Buffer.from('content'), true);
    await executor.files.takePack(second.value.id, packs.take(false));
    expect(await executor.files.place(second.value.id, () => undefined)).toMatchObject({
      ok: false,
      error: { code: 'refused' },
    });
    expect(readdirSync(second.value.tree)).toEqual([]);
  });

  it('is refused more than was asked for: it would fill the disk unseen', async () => {
    const sent = sentOf({ a: 'content' });
    const opened = await executor.open(sent);
    await executor.files.takeManifest(opened.id, compressManifest(encodeManifest(sent.manifest)));
    const packs = new PackBuilder();
    const others = ['another', 'content'];
    for (const text of others) packs.add(sha256(text), Buffer.from(text), false);
    expect(await executor.files.takePack(opened.id, packs.take(false))).toMatchObject({
      ok: false,
      error: { code: 'refused', message: expect.stringContaining('more was sent than was asked for') },
    });
  });

  it('is refused what a few bytes of a manifest would become in memory', async () => {
    const long = 'a/'.repeat(2000);
    const folders = Array.from({ length: 600 }, (_, index) => file(`${index}/${long}x`));
    const refused = {
      ok: false,
      error: { code: 'refused', message: expect.stringContaining('more than 1000000 folders') },
    };
    expect(await takeEntries(folders.toSorted((a, b) => (a.path < b.path ? -1 : 1)))).toMatchObject(refused);
    const names = Array.from({ length: 70_000 }, (_, index) => file(`${long}${String(index).padStart(6, '0')}`));
    expect(await takeEntries(names)).toMatchObject({
      ok: false,
      error: { message: expect.stringContaining('paths of more than') },
    });
    const text = 'x\n'.repeat(500_000);
    const ignores = Array.from({ length: 5 }, (_, index) => file(`${index}/.gitignore`, text));
    expect(await takeEntries(ignores)).toMatchObject({
      ok: false,
      error: { message: expect.stringContaining('.gitignore files') },
    });
  });

  it('is refused a pack with its manifest that is not what that manifest lacks', async () => {
    const before = await executor.sync({ a: 'content', b: 'stays' });
    await executor.files.close(before.id);
    const sent = sentOf({ a: 'changed', b: 'stays' });
    const manifest = compressManifest(encodeManifest(sent.manifest));
    const packOf = (...texts: string[]): Uint8Array => {
      const packs = new PackBuilder();
      for (const text of texts) packs.add(sha256(text), Buffer.from(text), false);
      return packs.take(false);
    };
    const lying = new PackBuilder();
    lying.add(sha256('changed'), Buffer.from('chAnged'), false);
    for (const pack of [lying.take(false), packOf('changed', 'another'), Buffer.from('rubbish')]) {
      const opened = await executor.open(sent);
      const refused = { ok: false, error: { code: 'refused' } };
      expect(await executor.files.takeManifest(opened.id, manifest, pack)).toMatchObject(refused);
      await executor.files.close(opened.id);
    }
    const opened = await executor.open(sent, { project: 'd'.repeat(32) });
    // One that has nothing of it yet, and one that gets what it has already.
    const first = await executor.files.takeManifest(opened.id, manifest, packOf('changed'));
    expect(first).toMatchObject({ ok: true, value: { objects: 0 } });
    expect(await executor.files.place(opened.id, () => undefined)).toMatchObject({ ok: true });
    const again = await executor.open(sent);
    const second = await executor.files.takeManifest(again.id, manifest, packOf('changed', 'stays'));
    expect(second).toMatchObject({ ok: true, value: { objects: 0 } });
    expect(await executor.files.place(again.id, () => undefined)).toMatchObject({ ok: true, value: { written: 1 } });
    expect(readFileSync(join(again.tree, 'a'), 'utf8')).toBe('changed');
  });

  it('is asked for what a pack with its manifest did not bring', async () => {
    const sent = sentOf({ a: 'content', b: 'more', c: 'most' });
    const opened = await executor.open(sent);
    const packs = new PackBuilder();
    packs.add(sha256('more'), Buffer.from('more'), false);
    const manifest = compressManifest(encodeManifest(sent.manifest));
    const wanted = await executor.files.takeManifest(opened.id, manifest, packs.take(false));
    expect(wanted).toEqual({ ok: true, value: { want: new Uint8Array([0b101]), objects: 2, bytes: 11 } });
    for (const text of ['content', 'most']) packs.add(sha256(text), Buffer.from(text), false);
    expect(await executor.files.takePack(opened.id, packs.take(false))).toMatchObject({ ok: true });
    expect(await executor.files.place(opened.id, () => undefined)).toMatchObject({ ok: true, value: { written: 3 } });
  });

  it('is refused settings of git that run programs', async () => {
    const sent = sentOf({
      '.git/config': '[core]\n\tfsmonitor = "/bin/sh -c evil"\n',
      '.git/HEAD': 'ref: refs/heads/main\n',
    });
    const opened = await executor.open(sent);
    await expect(executor.send(opened.id, sent)).rejects.toThrow('.git/config has settings that do not travel');
    expect(await executor.files.place(opened.id, () => undefined)).toMatchObject({
      ok: false,
      error: { code: 'refused', message: expect.stringContaining('.git/config') },
    });
    expect(readdirSync(opened.tree)).toEqual([]);
  });

  it('gets nothing of another origin by guessing a hash', async () => {
    const first = await executor.sync({ secret: 'mine' });
    await executor.files.close(first.id);
    const sent = sentOf({ secret: 'mine' });
    const other = await executor.open(sent, { origin: executor.request(sent).origin.replaceAll('a', 'b') as never });
    const wanted = await executor.files.takeManifest(other.id, compressManifest(encodeManifest(sent.manifest)));
    expect(wanted).toMatchObject({ ok: true, value: { objects: 1 } });
    expect(await executor.files.place(other.id, () => undefined)).toMatchObject({ ok: false });
  });

  it('names that are one file where case folds are found', () => {
    expect(collisionIn([file('a/README'), file('a/Readme')])).toEqual(['a/README', 'a/Readme']);
    expect(collisionIn([file('A/x'), file('a/y')])).toEqual(['A', 'a']);
    expect(collisionIn([file('a/x'), file('a/y'), file('b')])).toBeNull();
  });

  it('never gets outside, with whatever manifest', async () => {
    const part = fc.constantFrom(
      '..',
      '.',
      '',
      'a',
      'b',
      '.git',
      '.GIT',
      'hooks',
      'config',
      'canary',
      'a\0',
      '\\',
      'HEAD',
      'refs',
    );
    const path = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
    const entry = fc.oneof(
      path.map((name) => file(name)),
      fc.tuple(path, path).map(([name, target]) => link(name, target)),
      path.map((name): ManifestEntry => ({ kind: 'folder', path: name as TreePath })),
    );
    const sorted = (entries: ManifestEntry[]): ManifestEntry[] =>
      entries.toSorted((a, b) => (a.path < b.path ? -1 : 1));
    const packs = new PackBuilder();
    packs.add(sha256('x'), Buffer.from('x'), false);
    const pack = packs.take(false);
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { maxLength: 5 }), async (entries) => {
        const encoded = encodeManifest({ entries: sorted(entries) });
        const opened = await executor.files.open({
          ...executor.request(sentOf({})),
          manifest: hashOfManifest(encoded),
        });
        if (!opened.ok) throw new Error(opened.error.message);
        const taken = await executor.files.takeManifest(opened.value.id, compressManifest(encoded));
        if (taken.ok) {
          await executor.files.takePack(opened.value.id, pack);
          await executor.files.place(opened.value.id, () => undefined);
        }
        await executor.files.close(opened.value.id);
        expect(readFileSync(join(canary, 'file'), 'utf8')).toBe('untouched');
      }),
      { numRuns: 300 },
    );
  });
});

describe('very much of little', () => {
  it('manifests of very many entries are decoded while others of the thread get on', async () => {
    const entries = Array.from({ length: 150_000 }, (_, at) => file(`f${String(at).padStart(6, '0')}`, ''));
    const encoded = encodeManifest({ entries });
    const opened = await executor.open({ manifest: { entries }, objects: new Map() });
    const state = { isOver: false };
    const taking = executor.files
      .takeManifest(opened.id, compressManifest(encoded))
      .finally(() => (state.isOver = true));
    let turns = 0;
    for (; !state.isOver; turns++) await new Promise((resolve) => setImmediate(resolve));
    expect(await taking).toMatchObject({ ok: true, value: { objects: 1 } });
    expect(turns).toBeGreaterThan(3);
  });

  it('manifests count as what is kept, and an origin has so many projects at most', async () => {
    const folders = new SlotFolders(executor.workspaces);
    const kept = new KeptBytes(executor.workspaces, folders);
    const { origin } = executor.request(sentOf({}));
    const ids: string[] = [];
    for (const digit of ['1', '2', '3']) {
      const sent = sentOf(Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`${digit}-${index}`, ''])));
      const opened = await executor.open(sent, { project: digit.repeat(32) });
      await executor.files.takeManifest(opened.id, compressManifest(encodeManifest(sent.manifest)));
      ids.push(opened.id);
    }
    expect(kept.of(origin)).toBeGreaterThan(3 * 200 * 40);
    expect(await kept.hasRoomFor(origin, '3'.repeat(32), 3)).toBe(true);
    expect(await kept.hasRoomFor(origin, '4'.repeat(32), 3)).toBe(false);
    expect(folders.projects(origin)).toHaveLength(3);
    for (const id of ids.slice(0, 2)) await executor.files.close(id);
    expect(await kept.hasRoomFor(origin, '4'.repeat(32), 3)).toBe(true);
    expect(folders.projects(origin)).toEqual(['2'.repeat(32), '3'.repeat(32)]);
  });
});
