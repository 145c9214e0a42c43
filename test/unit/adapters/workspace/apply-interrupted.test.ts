import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { applyChanges } from '../../../../src/adapters/workspace/apply.ts';
import { isTemporary } from '../../../../src/adapters/workspace/temporary-name.ts';
import { PackBuilder } from '../../../../src/adapters/workspace/pack-builder.ts';
import { encodeChangeList } from '../../../../src/wire/change-pack.ts';
import type { FileEntry, ManifestHash, ObjectHash, TreePath } from '../../../../src/wire/manifest.ts';
import { sortEntries } from '../../../../src/wire/manifest-codec.ts';
import { readTree } from '../../../fixtures/temporary-folder.ts';

/** Stands in for a power cut or a full disk at one call of those that change the disk. */
const disk = vi.hoisted(() => ({
  calls: 0,
  failsAt: -1,
  makeError: (): Error => new Error('cut off'),
  freeBytes: 1e9,
}));

vi.mock('node:fs', async (importOriginal) => {
  const real = await importOriginal<typeof fs>();
  const guarded = (name: 'renameSync' | 'unlinkSync' | 'rmdirSync' | 'mkdirSync' | 'writeSync' | 'symlinkSync') => [
    name,
    (...args: unknown[]): unknown => {
      if (disk.failsAt >= 0 && disk.calls++ >= disk.failsAt) throw disk.makeError();
      return Reflect.apply(real[name], real, args);
    },
  ];
  const changed = (['renameSync', 'unlinkSync', 'rmdirSync', 'mkdirSync', 'writeSync', 'symlinkSync'] as const).map(
    guarded,
  );
  const statfsSync = () => ({ bavail: disk.freeBytes, bsize: 1 });
  return { ...real, ...Object.fromEntries(changed), statfsSync };
});

const sha256 = (bytes: string | Uint8Array): ObjectHash =>
  createHash('sha256').update(bytes).digest('hex') as ObjectHash;
const entry = (path: string, content: string): FileEntry => ({
  kind: 'file',
  path: path as TreePath,
  size: content.length,
  mode: 0o644,
  mtimeMs: 1_700_000_000_000,
  hash: sha256(content),
  chunks: null,
});

const OLD: Readonly<Record<string, string>> = {
  a: 'old a',
  'd/b': 'old b',
  'd/c': 'old c',
  e: 'old e',
  f: 'old f',
  g: 'g',
  h: 'h',
  'q/r/s/t': 'old t',
  'q/r/u': 'old u',
};
const NEW: Readonly<Record<string, string>> = {
  a: 'new a',
  'd/b': 'new b',
  'n/n': 'new n',
  f: 'new f',
  g: 'g',
  h: 'h',
  'e/x': 'new x',
};
const DELETED = ['d/c', 'e', 'q/r/s/t', 'q/r/u'];

let folder: string;
let root: string;
beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'meshwork-cut-'));
  root = join(folder, 'project');
});
afterEach(() => {
  disk.failsAt = -1;
  disk.freeBytes = 1e9;
  fs.rmSync(folder, { recursive: true, force: true });
});

function reset(): void {
  disk.failsAt = -1;
  fs.rmSync(root, { recursive: true, force: true });
  for (const [path, content] of Object.entries(OLD)) {
    fs.mkdirSync(dirname(join(root, path)), { recursive: true });
    fs.writeFileSync(join(root, path), content);
  }
}

async function apply(): Promise<unknown> {
  const changed = Object.entries(NEW).filter(([path, content]) => OLD[path] !== content);
  const builder = new PackBuilder();
  for (const [, content] of changed) builder.add(sha256(content), Buffer.from(content), true);
  const list = sortEntries(changed.map(([path, content]) => entry(path, content)));
  const bytes = Buffer.concat([
    encodeChangeList({ changed: list, deleted: DELETED as TreePath[], earlier: [] }),
    builder.take(true),
  ]);
  fs.writeFileSync(join(folder, 'pack'), bytes);
  const sent = { entries: sortEntries(Object.entries(OLD).map(([path, content]) => entry(path, content))) };
  return applyChanges(
    {
      project: { root, key: 'k', kind: 'plain' },
      manifest: 'ab'.repeat(32) as ManifestHash,
      pack: join(folder, 'pack'),
      packSha256: sha256(bytes),
      outputs: [],
      scannedMs: 0,
      conflicts: join(folder, 'conflicts'),
      held: false,
    },
    { manifests: { load: () => sent } },
  );
}

const contents = (): Record<string, string> =>
  Object.fromEntries(Object.entries(readTree(root)).filter(([path]) => !isTemporary(basename(path))));

describe('an apply that is cut off', () => {
  it('leaves each file old or new, wherever that is; the next one finishes', async () => {
    let cuts = 0;
    for (;;) {
      reset();
      disk.calls = 0;
      disk.failsAt = cuts;
      const end = await apply().then(
        () => 'done',
        (error: Error) => error.message,
      );
      disk.failsAt = -1;
      if (end === 'done') break;
      expect(end).toBe('cut off');
      for (const [path, content] of Object.entries(contents())) expect([OLD[path], NEW[path]]).toContain(content);
      // What neither the job nor anybody deleted is there.
      for (const path of Object.keys(OLD)) if (!DELETED.includes(path)) expect(Object.keys(contents())).toContain(path);
      const again = await apply();
      expect(again).toMatchObject({ value: { counts: { returned: 5, deleted: 4, conflicts: 0, heldBack: 0 } } });
      // What the first one left half written is gone, too.
      expect(readTree(root)).toEqual(NEW);
      expect(fs.readdirSync(root).toSorted()).toEqual(['a', 'd', 'e', 'f', 'g', 'h', 'n']);
      expect(fs.existsSync(join(folder, 'conflicts'))).toBe(false);
      cuts++;
    }
    expect(cuts).toBeGreaterThan(12);
    expect(contents()).toEqual(NEW);
  });

  it('needs room for the rest alone when it is applied again', async () => {
    const toCome = (): number => ['n/n', 'e/x'].filter((path) => !fs.existsSync(join(root, path))).length;
    reset();
    // Five bytes for each of the two that take the place of none.
    disk.freeBytes = 9;
    await expect(apply()).rejects.toThrow(/needs 10 B, the disk has 9 B free; nothing was changed/);
    disk.freeBytes = 10;
    for (let failsAt = 1; toCome() === 2; failsAt++) {
      reset();
      disk.calls = 0;
      disk.failsAt = failsAt;
      await expect(apply()).rejects.toThrow('cut off');
    }
    disk.failsAt = -1;
    expect(toCome()).toBe(1);
    disk.freeBytes = 5;
    expect(await apply()).toMatchObject({ ok: true });
    expect(contents()).toEqual(NEW);
  });

  it('says what was applied where the disk is full, and goes on when it no longer is', async () => {
    reset();
    disk.calls = 0;
    // The second file's content.
    disk.failsAt = 2;
    disk.makeError = () => Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
    await expect(apply()).rejects.toMatchObject({
      code: 'io',
      message: expect.stringMatching(
        /^the disk is full at d\/b: 1 files were applied before that \(a\), 0 were deleted/,
      ),
    });
    disk.failsAt = -1;
    expect(contents()).toEqual({ ...OLD, a: 'new a' });
    expect(await apply()).toMatchObject({ ok: true });
    expect(contents()).toEqual(NEW);
  });

  it('makes a copy of what can not be put into its place for want of permission', async () => {
    reset();
    disk.calls = 0;
    disk.failsAt = 0;
    const denied = Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' });
    disk.makeError = () => {
      disk.failsAt = -1;
      return denied;
    };
    expect(await apply()).toMatchObject({
      value: { changes: { conflicts: ['a'] }, notices: [expect.stringMatching(/a could not be written \(EACCES\)/)] },
    });
    expect(contents()).toEqual({ ...NEW, a: 'old a' });
    expect(fs.readFileSync(join(folder, 'conflicts/a'), 'utf8')).toBe('new a');
  });
});
