import { execFileSync } from 'node:child_process';
import { brotliDecompressSync } from 'node:zlib';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import type { ApplyContext } from '../../../../src/adapters/workspace/apply.ts';
import { ObjectStore } from '../../../../src/adapters/workspace/object-store.ts';
import { OriginOperations } from '../../../../src/adapters/workspace/origin-operations.ts';
import type { Selection } from '../../../../src/adapters/workspace/selection.ts';
import type { JobId } from '../../../../src/base/ids.ts';
import { ok } from '../../../../src/base/result.ts';
import type { ApplyRequest, Project, Scan, ScanRequest } from '../../../../src/ports/workspace.ts';
import { decodeManifest, objectsOf } from '../../../../src/wire/manifest-codec.ts';
import { applyDifference } from '../../../../src/wire/manifest-difference.ts';
import type { Manifest, ManifestHash, ObjectHash, TreePath } from '../../../../src/wire/manifest.ts';
import { CHANGED_PACK_BYTES_MAX } from '../../../../src/wire/workspace.ts';
import { encodeWant } from '../../../../src/wire/want-list.ts';
import { selectionOf } from '../../../fixtures/selection.ts';
import { filesBelow, temporaryFolders, writeTree } from '../../../fixtures/temporary-folder.ts';

const temporaryFolder = temporaryFolders();

interface Rig {
  readonly root: string;
  readonly folder: string;
  readonly project: Project;
  readonly origin: OriginOperations;
  /** Beside the files of the root. */
  readonly more: { current: Partial<Selection> };
  selections: number;
  scan(): Promise<Scan>;
  manifest(hash: ManifestHash): Promise<Manifest>;
}

function rig(folder = temporaryFolder(), root = temporaryFolder()): Rig {
  const project: Project = { root, key: createHash('sha256').update(root).digest('hex').slice(0, 32), kind: 'plain' };
  const made: Rig = {
    root,
    folder,
    project,
    more: { current: {} },
    selections: 0,
    origin: new OriginOperations(
      { folder, home: '/nowhere', env: {}, user: null },
      {
        select: async () => {
          made.selections += 1;
          return ok({ ...filesOf(root), ...made.more.current });
        },
        apply: async () => ({ ok: false, error: { code: 'no_project', message: '' } }),
      },
    ),
    scan: async () => {
      const scanned = await made.origin.scan(requestOf(project));
      if (!scanned.ok) throw new Error(scanned.error.message);
      return scanned.value;
    },
    manifest: async (hash) => {
      const decoded = decodeManifest(brotliDecompressSync(await made.origin.encodeManifest(hash, null)));
      if (!decoded.ok) throw new Error(decoded.error);
      return decoded.value;
    },
  };
  return made;
}

const requestOf = (project: Project): ScanRequest => ({
  project,
  ship: { include: [], exclude: [], ignored: [], git: true },
  secrets: {},
  filesMax: 10_000,
  bytesMax: 1e9,
});

const filesOf = (root: string): Selection => selectionOf(root, filesBelow(root));

/** What an executor does: asks for what its store lacks. @returns bytes that were sent */
async function sync(from: Rig, hash: ManifestHash, store: ObjectStore): Promise<number> {
  const objects = objectsOf((await from.manifest(hash)).entries);
  const want = encodeWant(objects.length, (index) => {
    const object = objects[index];
    return object !== undefined && !store.has(object.hash);
  });
  const source = await from.origin.openPacks(from.project, hash, want);
  if (source === null) throw new Error('the want list does not fit');
  let sent = 0;
  for (;;) {
    const pack = await from.origin.nextPack(source);
    if (!pack.ok) throw new Error(pack.error.message);
    if (pack.value === null) break;
    sent += pack.value.length;
    expect(store.add(pack.value)).toMatchObject({ ok: true });
    // As a link does: what comes next is made meanwhile.
    await new Promise((resolve) => setImmediate(resolve));
  }
  await from.origin.closePacks(source);
  for (const { hash: object, size } of objects) expect(store.read(object)?.length).toBe(size);
  return sent;
}

function noise(size: number, seed: number): Buffer {
  const bytes = Buffer.allocUnsafe(size);
  let state = seed | 1;
  for (let at = 0; at + 4 <= size; at += 4) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes.writeInt32LE(state, at);
  }
  return bytes;
}

describe('the origin of a sync', () => {
  it('sends all objects of a tree once, and only what changed after that', async () => {
    const from = rig();
    const files = Object.fromEntries(
      Array.from({ length: 300 }, (_, n) => [`d${n % 7}/f${n}`, `text ${n % 50} `.repeat(n)]),
    );
    writeTree(from.root, { ...files, empty: '' });
    writeFileSync(join(from.root, 'large.bin'), noise(9 * 1024 * 1024, 5));
    const store = ObjectStore.open(temporaryFolder());
    const first = await from.scan();
    expect(first.files).toBe(302);
    const cost = await from.origin.cost(first.manifest, null);
    expect(cost.bytes).toBeLessThanOrEqual(first.bytes);
    expect(await sync(from, first.manifest, store)).toBeGreaterThan(9 * 1024 * 1024);
    expect(await sync(from, first.manifest, store)).toBe(0);

    const large = readFileSync(join(from.root, 'large.bin'));
    writeFileSync(
      join(from.root, 'large.bin'),
      Buffer.concat([large.subarray(0, 4e6), Buffer.from('+'), large.subarray(4e6)]),
    );
    writeFileSync(join(from.root, 'd1/f1'), 'new');
    const second = await from.scan();
    expect(await from.origin.cost(second.manifest, first.manifest)).toMatchObject({ files: 2 });
    const sent = await sync(from, second.manifest, store);
    expect(sent).toBeLessThan(2 * 1024 * 1024);
    expect((await from.origin.cost(second.manifest, first.manifest)).bytes).toBeLessThan(2 * 1024 * 1024);
    store.close();
  });

  it('encodes a difference from a base that it knows, all from one that it does not', async () => {
    const from = rig();
    writeTree(from.root, Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`f${n}`, String(n)])));
    const { manifest: base } = await from.scan();
    writeTree(from.root, { f5: 'changed', g: 'new' });
    const { manifest: next } = await from.scan();
    const whole = await from.origin.encodeManifest(next, 'f'.repeat(64) as ManifestHash);
    const difference = await from.origin.encodeManifest(next, base);
    expect(difference.length).toBeLessThan(whole.length / 10);
    const applied = applyDifference(await from.manifest(base), base, brotliDecompressSync(difference));
    expect(applied).toEqual({ ok: true, value: await from.manifest(next) });
  });

  it('sends what a node lacks along with the difference, unless that is much, or not what it was', async () => {
    const from = rig();
    writeTree(from.root, { a: 'A', b: 'B', moved: 'M' });
    const { manifest: base } = await from.scan();
    writeTree(from.root, { b: 'changed', new: 'B', more: 'M', 'sub/c': 'changed' });
    rmSync(join(from.root, 'moved'));
    const { manifest: next } = await from.scan();
    const change = await from.origin.encodeChanged(from.project, next, base);
    expect(applyDifference(await from.manifest(base), base, brotliDecompressSync(change.manifest))).toEqual({
      ok: true,
      value: await from.manifest(next),
    });
    const store = ObjectStore.open(temporaryFolder());
    expect(store.add(change.pack ?? new Uint8Array())).toEqual({ ok: true, value: { objects: 1, bytes: 7 } });
    store.close();
    const unknown = await from.origin.encodeChanged(from.project, next, 'f'.repeat(64) as ManifestHash);
    expect(unknown.pack).toBeNull();
    expect(decodeManifest(brotliDecompressSync(unknown.manifest))).toEqual({
      ok: true,
      value: await from.manifest(next),
    });
    writeFileSync(join(from.root, 'b'), 'chAnged');
    writeFileSync(join(from.root, 'sub/c'), 'chAnged');
    expect((await from.origin.encodeChanged(from.project, next, base)).pack).toBeNull();
    writeFileSync(join(from.root, 'b'), noise(CHANGED_PACK_BYTES_MAX, 3));
    const { manifest: large } = await from.scan();
    expect((await from.origin.encodeChanged(from.project, large, base)).pack).toBeNull();
  });

  it('goes on after a restart of the thread: manifests, contents and what is known of files are on the disk', async () => {
    const from = rig();
    writeTree(from.root, { a: 'A' });
    const virtual = [{ path: '.git/config' as TreePath, content: Buffer.from('[core]'), mode: 0o644 }];
    from.more.current = { virtual };
    const { manifest } = await from.scan();
    const again = rig(from.folder, from.root);
    const store = ObjectStore.open(temporaryFolder());
    expect(await sync(again, manifest, store)).toBeGreaterThan(0);
    again.more.current = { virtual };
    expect((await again.scan()).manifest).toBe(manifest);
    store.close();
  });

  it('refuses to send a file that is not what was scanned any more, by its name', async () => {
    const edits: readonly [string, (path: string) => void][] = [
      ['changed', (path) => writeFileSync(path, 'X')],
      ['longer', (path) => writeFileSync(path, 'AB')],
      ['gone', (path) => rmSync(path)],
      ['a folder', (path) => mkdirSync((rmSync(path), path))],
      ['a FIFO', (path) => execFileSync('mkfifo', [(rmSync(path), path)])],
    ];
    for (const [, edit] of edits) {
      const from = rig();
      writeTree(from.root, { a: 'A' });
      const { manifest } = await from.scan();
      edit(join(from.root, 'a'));
      const source = (await from.origin.openPacks(from.project, manifest, new Uint8Array([1]))) ?? 0;
      const pack = await from.origin.nextPack(source);
      expect(pack).toMatchObject({
        ok: false,
        error: { code: 'unstable', message: expect.stringMatching(/^a changed/) },
      });
      await from.origin.closePacks(source);
    }
  });

  it('refuses so, too, where it finds that while it makes a pack ahead', async () => {
    const from = rig();
    writeTree(from.root, { a: 'A'.repeat(1024 * 1024), b: 'B' });
    const { manifest } = await from.scan();
    const source = (await from.origin.openPacks(from.project, manifest, new Uint8Array([3]))) ?? 0;
    expect(await from.origin.nextPack(source)).toMatchObject({ ok: true });
    rmSync(join(from.root, 'b'));
    mkdirSync(join(from.root, 'b'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(await from.origin.nextPack(source)).toMatchObject({ ok: false, error: { code: 'unstable' } });
    await from.origin.closePacks(source);
  });

  it.each([
    ['compresses what waits for the link', 'away', true],
    ['leaves as it is what waits for the processor of this machine', 'here', false],
  ] as const)('%s', async (_, end, isCompressed) => {
    const from = rig();
    const text = 'const value = node->next;\n'.repeat(60_000);
    writeTree(from.root, { a: `a${text}`, b: `b${text}`, c: `c${text}` });
    const { manifest } = await from.scan();
    const source = (await from.origin.openPacks(from.project, manifest, new Uint8Array([7]), end)) ?? 0;
    const now = vi.spyOn(performance, 'now');
    try {
      let clockMs = 0;
      now.mockImplementation(() => clockMs);
      const sizes: number[] = [];
      for (let pack = await from.origin.nextPack(source); pack.ok && pack.value !== null;) {
        sizes.push(pack.value.length);
        await new Promise((resolve) => setImmediate(resolve));
        clockMs += 10;
        pack = await from.origin.nextPack(source);
      }
      expect(sizes).toHaveLength(3);
      expect(sizes.some((size) => size < text.length)).toBe(isCompressed);
    } finally {
      now.mockRestore();
      await from.origin.closePacks(source);
    }
  });

  it('knows how many files are whole after so many objects, where large ones have several', async () => {
    const from = rig();
    writeTree(from.root, { a: 'A', c: 'C' });
    const small = await from.scan();
    const plain = await from.origin.openPacks(from.project, small.manifest, new Uint8Array([3]));
    expect(await from.origin.filesAfter(plain ?? 0)).toBeNull();
    writeFileSync(join(from.root, 'b'), Buffer.from(Array.from({ length: 3_000_000 }, (_, at) => (at * at) >> 7)));
    const { manifest } = await from.scan();
    const objects = objectsOf((await from.manifest(manifest)).entries).length;
    const want = encodeWant(objects, () => true);
    const source = (await from.origin.openPacks(from.project, manifest, want)) ?? 0;
    const after = await from.origin.filesAfter(source);
    expect(after?.length).toBe(objects + 1);
    expect([after?.[0], after?.[1], after?.at(-3), after?.at(-2), after?.at(-1)]).toEqual([0, 1, 1, 2, 3]);
    await from.origin.closePacks(source);
    expect(await from.origin.filesAfter(source)).toBeNull();
  });

  it('refuses want lists that are none of the manifest', async () => {
    const from = rig();
    writeTree(from.root, { a: 'A', b: 'B' });
    const { manifest } = await from.scan();
    for (const want of [[], [3, 0], [4], [0xff]]) {
      expect(await from.origin.openPacks(from.project, manifest, new Uint8Array(want))).toBeNull();
    }
    expect(await from.origin.openPacks(from.project, manifest, new Uint8Array([3]))).toBe(1);
  });

  it('scans once for all that ask while one is under way, and again for who asks later', async () => {
    const from = rig();
    writeTree(from.root, { a: 'A' });
    const first = from.scan();
    const others = Array.from({ length: 5 }, async () => from.scan());
    await Promise.all([first, ...others]);
    expect(from.selections).toBeLessThanOrEqual(2);
    writeTree(from.root, { a: 'B' });
    expect((await from.scan()).manifest).not.toBe((await first).manifest);
  });

  it('knows of contents that came back since when they are here', async () => {
    const contexts: ApplyContext[] = [];
    const origin = new OriginOperations(
      { folder: temporaryFolder(), home: '/nowhere', env: {}, user: null },
      {
        select: () => Promise.reject(new Error('not asked for')),
        apply: async (_, context) => {
          contexts.push(context);
          return { ok: false, error: { code: 'no_project', message: '' } };
        },
      },
    );
    const pack = join(temporaryFolder(), 'pack');
    writeFileSync(pack, '');
    await origin.apply({ pack } as ApplyRequest);
    const [context] = contexts;
    const hash = 'ab'.repeat(32) as ObjectHash;
    expect(context?.returnedMs?.(hash)).toBeNull();
    const beforeMs = Date.now();
    const file = { kind: 'file', path: 'a' as TreePath, size: 1, mode: 0o644, mtimeMs: 0, hash, chunks: null } as const;
    context?.onApplied?.([file]);
    expect(context?.returnedMs?.(hash)).toBeGreaterThanOrEqual(beforeMs);
  });

  it('keeps a pinned manifest however many follow, and forgets the oldest others', async () => {
    const from = rig();
    writeTree(from.root, { a: '0' });
    const { manifest: first } = await from.scan();
    writeTree(from.root, { a: '1' });
    const { manifest: second } = await from.scan();
    const job = '0'.repeat(26) as JobId;
    await from.origin.pinManifest(first, job);
    for (let n = 2; n < 270; n++) {
      writeTree(from.root, { a: String(n) });
      await from.scan();
    }
    const kept = new Set(readdirSync(join(from.folder, 'sent')));
    expect(kept.has(first)).toBe(true);
    expect(kept.has(second)).toBe(false);
    // What an earlier daemon left for a job that never went on holds nothing.
    const left = '1'.repeat(26) as JobId;
    await from.origin.pinManifest(first, left);
    await from.origin.unpinAllBut([job]);
    expect(readdirSync(join(from.folder, 'sent/pins'))).toEqual([job]);
    await from.origin.unpinManifest(job);
    await expect(from.origin.encodeManifest(second, null)).rejects.toMatchObject({ code: 'io' });
  });

  it('takes a damaged manifest for one that is gone', async () => {
    const from = rig();
    writeTree(from.root, { a: 'A' });
    const { manifest } = await from.scan();
    writeFileSync(join(from.folder, 'sent', manifest), 'nonsense');
    const again = rig(from.folder, from.root);
    await expect(again.origin.encodeManifest(manifest, null)).rejects.toMatchObject({ code: 'io' });
    expect((await again.scan()).manifest).toBe(manifest);
    expect((await again.manifest(manifest)).entries).toHaveLength(1);
  });
});
