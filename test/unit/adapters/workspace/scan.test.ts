import {
  chmodSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  lstatSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { scanTree, type Scanned } from '../../../../src/adapters/workspace/scan.ts';
import type { Selection } from '../../../../src/adapters/workspace/selection.ts';
import {
  NO_MEMORY,
  readScanMemory,
  writeScanMemory,
  type ScanMemory,
} from '../../../../src/adapters/workspace/stat-cache.ts';
import type { Result } from '../../../../src/base/result.ts';
import type { ScanRefusal } from '../../../../src/ports/workspace.ts';
import { decodeManifest, encodeManifest } from '../../../../src/wire/manifest-codec.ts';
import type { TreePath } from '../../../../src/wire/manifest.ts';
import { selectionOf } from '../../../fixtures/selection.ts';
import { temporaryFolders, writeTree } from '../../../fixtures/temporary-folder.ts';

const temporaryFolder = temporaryFolders();
const LIMITS = { filesMax: 1000, bytesMax: 1e9 };
/** Long ago: settled. */
const OLD = new Date('2020-01-02T03:04:05.500Z');

const selected = (root: string, paths: readonly string[], more: Partial<Selection> = {}): Selection =>
  selectionOf(root, paths, { kind: 'git', trackedFiles: paths.length, ...more });

function valueOf(result: Result<Scanned, ScanRefusal>): Scanned {
  if (!result.ok) throw new Error(result.error.message);
  return result.value;
}
const memoryOf = ({ manifest, columns }: Scanned): ScanMemory => ({ manifest, columns });
const scan = async (selection: Selection, memory = NO_MEMORY): Promise<Scanned> =>
  valueOf(await scanTree(selection, memory, LIMITS));

/** The same scan, remembering as if each file had been hashed long after its last change. */
const settled = ({ manifest, columns }: Scanned): ScanMemory => {
  columns.settled.fill(1);
  return { manifest, columns };
};

describe('scanTree', () => {
  it('makes a canonical manifest of files, links and folders, and leaves out what is gone', async () => {
    const root = temporaryFolder();
    writeTree(root, { 'b.txt': 'hello', 'a/x.sh': '#!', 'a-b': '' });
    chmodSync(join(root, 'a/x.sh'), 0o755);
    utimesSync(join(root, 'b.txt'), OLD, OLD);
    symlinkSync('a/x.sh', join(root, 'link'));
    mkdirSync(join(root, 'empty'));
    const paths = ['b.txt', 'a/x.sh', 'link', 'gone', 'gone/too', 'a-b', 'b.txt/below'];
    const { manifest, files, bytes, isSame } = await scan(selected(root, paths, { folders: ['empty' as TreePath] }));
    expect({ files, bytes, isSame }).toEqual({ files: 3, bytes: 7, isSame: false });
    expect(manifest.entries.map(({ path, kind }) => `${kind} ${path}`)).toEqual([
      'file a-b',
      'file a/x.sh',
      'file b.txt',
      'folder empty',
      'link link',
    ]);
    expect(manifest.entries[1]).toMatchObject({ mode: 0o755, size: 2, chunks: null });
    expect(manifest.entries[2]).toMatchObject({
      mtimeMs: OLD.getTime(),
      hash: '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824',
    });
    expect(decodeManifest(encodeManifest(manifest))).toEqual({ ok: true, value: manifest });
  });

  it('keeps folders whose files are all gone, where they are there still', async () => {
    const root = temporaryFolder();
    const there = { 'a/kept': '1', 'a-b': 'b', 'm/b/c/kept': '1', z: 'z' };
    writeTree(root, there);
    for (const folder of ['all/deep/er', 'above', 'a/inner', 'm/b/gone'])
      mkdirSync(join(root, folder), { recursive: true });
    symlinkSync('all', join(root, 'linked'));
    const gone = ['all/x', 'all/deep/x', 'all/deep/er/x', 'above/was/deep/x', 'a/x', 'a/inner/x', 'm/x', 'm/b/gone/x'];
    const nowhere = ['nowhere/x', 'linked/x', 'x', '.git/objects/ab/cd'];
    mkdirSync(join(root, '.git/objects/ab'), { recursive: true });
    const selection = selected(root, [...Object.keys(there), ...gone, ...nowhere]);
    const first = await scan(selection);
    expect(first.manifest.entries.map(({ path, kind }) => `${kind} ${path}`)).toEqual([
      'file a-b',
      'folder a/inner',
      'file a/kept',
      'folder above',
      'folder all/deep/er',
      'file m/b/c/kept',
      'folder m/b/gone',
      'file z',
    ]);
    expect(decodeManifest(encodeManifest(first.manifest))).toEqual({ ok: true, value: first.manifest });
    const again = await scan(selection, settled(first));
    expect({ hashed: again.hashed, isSame: again.isSame }).toEqual({ hashed: 0, isSame: true });
    writeTree(root, { 'm/b/gone/x': 'back' });
    const back = await scan(selection, settled(again));
    expect(back.manifest.entries.map(({ path }) => path)).toContain('m/b/gone/x');
    expect(back.hashed).toBe(1);
  });

  it('takes names of any bytes', async () => {
    const root = temporaryFolder();
    const name = 'new\nline \xff\xe9';
    writeFileSync(Buffer.from(`${root}/${name}`, 'latin1'), 'x');
    expect((await scan(selected(root, [name]))).manifest.entries).toMatchObject([{ path: name, size: 1 }]);
  });

  it('reads nothing again that did not change, and gives the very same entries', async () => {
    const root = temporaryFolder();
    writeTree(root, { a: '1', b: '2', c: '3' });
    symlinkSync('a', join(root, 'l'));
    const selection = selected(root, ['a', 'b', 'c', 'l']);
    const first = await scan(selection);
    expect(first.hashed).toBe(3);
    const memory = settled(first);
    const second = await scan(selection, memory);
    expect(second).toMatchObject({ hashed: 0, isSame: true });
    expect(second.manifest).toBe(memory.manifest);
    writeFileSync(join(root, 'b'), '22');
    const third = await scan(selection, memory);
    expect(third).toMatchObject({ hashed: 1, isSame: false });
    expect(third.manifest.entries[0]).toBe(memory.manifest.entries[0]);
    const fourth = await scan(selected(root, ['a', 'c', 'l']), memory);
    expect(fourth).toMatchObject({ hashed: 0, isSame: false });
    expect(fourth.manifest.entries).toHaveLength(3);
  });

  it('sees edits of the same size, also in the tick of the scan, and with the old time set again', async () => {
    const root = temporaryFolder();
    const path = join(root, 'a');
    let memory = NO_MEMORY;
    const hashes = new Set<string>();
    for (let round = 0; round < 50; round++) {
      writeFileSync(path, `content ${String(round).padStart(4)}`);
      utimesSync(path, OLD, OLD);
      const scanned = await scan(selected(root, ['a']), memory);
      const entry = scanned.manifest.entries[0];
      if (entry?.kind === 'file') hashes.add(entry.hash);
      memory = memoryOf(scanned);
    }
    expect(hashes.size).toBe(50);
  });

  it('does not trust what it read in the tick of a change, and trusts it later', async () => {
    const root = temporaryFolder();
    let first = await scan(selected(root, []));
    // A machine that stands still between the two makes another tick of it.
    const inOneTick = async (): Promise<number | undefined> => {
      writeTree(root, { a: '1' });
      first = await scan(selected(root, ['a']));
      return first.columns.settled[0];
    };
    await expect.poll(inOneTick, { timeout: 60_000 }).toBe(0);
    await expect
      .poll(async () => (await scan(selected(root, ['a']), memoryOf(first))).columns.settled[0], { timeout: 60_000 })
      .toBe(1);
  });

  it('waits a moment for much that was written just now, so that it is hashed once', async () => {
    const root = temporaryFolder();
    writeFileSync(join(root, 'a'), Buffer.alloc(40_000_000));
    const first = await scan(selected(root, ['a']));
    expect(await scan(selected(root, ['a']), memoryOf(first))).toMatchObject({ hashed: 0 });
  });

  it('sees a file that was replaced by one with the same times and size', async () => {
    const root = temporaryFolder();
    writeTree(root, { a: '1', new: '2' });
    for (const name of ['a', 'new']) utimesSync(join(root, name), OLD, OLD);
    const memory = settled(await scan(selected(root, ['a'])));
    renameSync(join(root, 'new'), join(root, 'a'));
    expect((await scan(selected(root, ['a']), memory)).hashed).toBe(1);
  });

  it('tells a change of mode alone, and of time alone', async () => {
    const root = temporaryFolder();
    writeTree(root, { a: '1', b: '2' });
    const selection = selected(root, ['a', 'b']);
    const memory = settled(await scan(selection));
    chmodSync(join(root, 'a'), 0o700);
    utimesSync(join(root, 'b'), OLD, OLD);
    const { manifest, isSame } = await scan(selection, memory);
    expect(isSame).toBe(false);
    expect(manifest.entries).toMatchObject([{ mode: 0o700 }, { mtimeMs: OLD.getTime() }]);
  });

  it('takes what lies behind a link for gone, as git does', async () => {
    const root = temporaryFolder();
    const other = temporaryFolder();
    writeTree(other, { 'secret/b': 'x' });
    symlinkSync(join(other, 'secret'), join(root, 'a'));
    symlinkSync(other, join(root, 'l'));
    const { manifest } = await scan(selected(root, ['a/b', 'l/secret/b']));
    expect(manifest.entries).toEqual([]);
  });

  it('leaves out links that lead out, with a notice', async () => {
    const root = temporaryFolder();
    symlinkSync('/etc/passwd', join(root, 'a'));
    symlinkSync('../x', join(root, 'b'));
    const { manifest, notices, outward } = await scan(selected(root, ['a', 'b']));
    expect([manifest.entries, outward]).toEqual([[], ['a', 'b']]);
    expect(notices.join('\n')).toMatch(
      /link a is not sent: it leads out of the project, to \/etc\/passwd[\s\S]*link b/,
    );
  });

  it('takes content from elsewhere and from memory; secrets are private', async () => {
    const root = temporaryFolder();
    const other = temporaryFolder();
    writeTree(other, { HEAD: 'ref: x' });
    writeTree(root, { '.env': 'A=1' });
    const selection = selected(root, ['.env'], {
      secrets: new Set(['.env' as TreePath]),
      elsewhere: [{ path: '.git/HEAD' as TreePath, absolute: join(other, 'HEAD') }],
      virtual: [{ path: '.git/config' as TreePath, content: Buffer.from('[core]'), mode: 0o644 }],
    });
    const first = await scan(selection);
    expect(first.manifest.entries).toMatchObject([
      { path: '.env', mode: 0o600 },
      { path: '.git/HEAD', size: 6 },
      { path: '.git/config', size: 6, mode: 0o644 },
    ]);
    // A virtual file has no time of its own: unchanged, it keeps the one that it got.
    expect(await scan(selection, settled(first))).toMatchObject({ isSame: true });
  });

  it('refuses what is too large before it reads anything, and names folders', async () => {
    const root = temporaryFolder();
    writeTree(root, { 'big/a': 'x'.repeat(1000), 'big/b': 'x'.repeat(1000), c: 'x' });
    chmodSync(join(root, 'big/a'), 0);
    const few = await scanTree(selected(root, ['big/a', 'big/b', 'c']), NO_MEMORY, { filesMax: 10, bytesMax: 1999 });
    expect(few).toMatchObject({ ok: false, error: { code: 'too_large', message: expect.stringContaining('big') } });
    const many = await scanTree(selected(root, ['big/a', 'big/b', 'c']), NO_MEMORY, { filesMax: 2, bytesMax: 1e9 });
    expect(many).toMatchObject({ ok: false, error: { code: 'too_large' } });
  });

  it('names what it cannot read', async () => {
    // Nobody reads the memory at 0, root included.
    const refusal = await scanTree(selected('/proc/self', ['mem']), NO_MEMORY, LIMITS);
    expect(refusal).toMatchObject({
      ok: false,
      error: { code: 'unreadable_file', message: expect.stringMatching(/^mem /) },
    });
  });

  it('says which tracked files became folders', async () => {
    const root = temporaryFolder();
    writeTree(root, { 'a/b': 'x' });
    expect((await scan(selected(root, ['a']))).replaced).toEqual(['a']);
  });
});

describe('what is known of a scan, on the disk', () => {
  const made = async (): Promise<{ path: string; root: string; memory: ScanMemory }> => {
    const root = temporaryFolder();
    writeTree(root, { a: '1', b: '2' });
    const memory = settled(await scan(selected(root, ['a', 'b'])));
    const path = join(root, 'memory');
    writeScanMemory(path, memory);
    return { path, root, memory };
  };

  it('is read as it was written, by its owner alone', async () => {
    const { path, root, memory } = await made();
    expect(readScanMemory(path)).toEqual(memory);
    expect(lstatSync(path).mode & 0o777).toBe(0o600);
    expect(await scan(selected(root, ['a', 'b']), readScanMemory(path))).toMatchObject({ hashed: 0, isSame: true });
  });

  it('counts as nothing where it is damaged or missing', async () => {
    const { path } = await made();
    const bytes = readFileSync(path);
    for (let at = 0; at < bytes.length; at += 3) {
      const damaged = Buffer.from(bytes);
      damaged[at] = (damaged[at] ?? 0) ^ 0x40;
      writeFileSync(path, damaged);
      expect(readScanMemory(path)).toBe(NO_MEMORY);
      writeFileSync(path, bytes.subarray(0, at));
      expect(readScanMemory(path)).toBe(NO_MEMORY);
    }
    rmSync(path);
    expect(readScanMemory(path)).toBe(NO_MEMORY);
  });
});
