import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FREE_BYTES_MIN } from '../../../../src/adapters/workspace/kept-bytes.ts';
import { compressManifest } from '../../../../src/adapters/workspace/manifest-transport.ts';
import { PackBuilder } from '../../../../src/adapters/workspace/pack-builder.ts';
import { encodeManifest } from '../../../../src/wire/manifest-codec.ts';
import { sentOf, sha256, TestExecutor } from '../../../fixtures/sent-project.ts';

const MIB = 1024 * 1024;
/** 64 MiB of any disk are left alone. */
const DISK_BYTES = 84 * MIB;

const disk = mkdtempSync(join(tmpdir(), 'meshwork-disk-'));
const isMounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'none', disk]).status === 0;
if (!isMounted) process.stderr.write('a full disk: left out, since only root can mount a small one\n');

/** Leaves so much of the disk. */
function fillUpTo(freeBytes: number): void {
  const stat = statfsSync(disk);
  writeFileSync(join(disk, 'ballast'), Buffer.alloc(Math.max(0, stat.bavail * stat.bsize - freeBytes)));
}

let executor: TestExecutor;
beforeEach(() => {
  executor = new TestExecutor();
  executor.useFolder(join(disk, 'workspaces'));
});
afterEach(() => {
  rmSync(join(disk, 'ballast'), { force: true });
  rmSync(join(disk, 'workspaces'), { recursive: true, force: true });
  executor.remove();
});
afterAll(() => {
  if (isMounted) spawnSync('umount', ['-l', disk]);
  rmSync(disk, { recursive: true, force: true });
});

describe.runIf(isMounted)('a full disk', () => {
  const text = (letter: string): string => letter.repeat(MIB);

  it('is told before anything is sent, where it can be known', async () => {
    const sent = sentOf(Object.fromEntries([...'abcdefghij'].map((letter) => [letter, text(letter)])));
    const opened = await executor.open(sent);
    await expect(executor.send(opened.id, sent)).rejects.toThrow(
      /the disk there has .* free, the project needs 20\.0 MiB/,
    );
  });

  it('leaves each file old or new, and the next placing goes on', async () => {
    const files = { a: text('a'), b: text('b'), c: text('c') };
    await executor.files.close((await executor.sync(files)).id);
    const next = { a: text('1'), b: text('2'), c: text('3'), d: text('4'), e: text('5') };
    const sent = sentOf(next);
    const opened = await executor.open(sent);
    await executor.send(opened.id, sent);
    fillUpTo(1.5 * MIB);
    const placed = await executor.files.place(opened.id, () => undefined);
    expect(placed).toMatchObject({ ok: false, error: { code: 'no_space' } });
    for (const name of ['a', 'b', 'c'] as const) {
      expect([text(name), next[name]]).toContain(readFileSync(join(opened.tree, name), 'utf8'));
    }
    rmSync(join(disk, 'ballast'));
    expect(await executor.files.place(opened.id, () => undefined)).toMatchObject({ ok: true });
    for (const [name, content] of Object.entries(next))
      expect(readFileSync(join(opened.tree, name), 'utf8')).toBe(content);
  });

  it('is told where the changes of a job do not fit', async () => {
    const { id, tree } = await executor.sync({ a: '1' });
    writeFileSync(join(tree, 'a'), Buffer.from(Array.from({ length: MIB }, () => Math.floor(Math.random() * 256))));
    fillUpTo(16 * 1024);
    const changes = await executor.files.collect({
      id,
      pack: join(disk, 'workspaces/pack'),
      returns: true,
      outputs: [],
      prepared: [],
    });
    expect(changes).toMatchObject({ changed: 0, pack_bytes: 0, problem: expect.stringContaining('ENOSPC') });
  });

  it('brings back what changed where only the notes about its tree do not fit', async () => {
    const files = Object.fromEntries(Array.from({ length: 6000 }, (_, index) => [`f${index}`, '']));
    const { id, tree } = await executor.sync(files);
    writeFileSync(join(tree, 'f0'), 'changed');
    fillUpTo(64 * 1024);
    const pack = join(disk, 'workspaces/pack');
    expect(await executor.files.collect({ id, pack, returns: true, outputs: [], prepared: [] })).toMatchObject({
      changed: 1,
      problem: null,
    });
    expect(statSync(pack).size).toBeGreaterThan(0);
    await executor.files.close(id);
    rmSync(join(disk, 'ballast'));
    const again = await executor.sync(files);
    expect(again.tree).toBe(tree);
    expect(readFileSync(join(tree, 'f0'), 'utf8')).toBe('');
  });

  it('is made free of what an earlier job left there', async () => {
    const { id, tree } = await executor.sync({ a: '1', '.gitignore': 'filled\n' });
    await executor.files.close(id);
    const { bavail, bsize } = statfsSync(disk);
    writeFileSync(join(tree, 'filled'), Buffer.alloc(bavail * bsize));
    const sent = sentOf({ a: '2' });
    const other = await executor.files.open(executor.request(sent, { project: '1'.repeat(32) }));
    expect(other).toMatchObject({ ok: true });
  });

  it('is left its reserve, however many sessions found it large enough', async () => {
    const sent = sentOf({ a: text('a') });
    const opened = await executor.open(sent);
    const packs = new PackBuilder();
    packs.add(sha256(text('a')), Buffer.from(text('a')), false);
    await executor.files.takeManifest(opened.id, compressManifest(encodeManifest(sent.manifest)));
    fillUpTo(FREE_BYTES_MIN);
    const taken = await executor.files.takePack(opened.id, packs.take(false));
    expect(taken).toMatchObject({ ok: false, error: { code: 'no_space' } });
  });

  it('refuses a pack that does not fit', async () => {
    const sent = sentOf({ a: text('a') });
    const opened = await executor.open(sent);
    fillUpTo(0);
    await expect(executor.send(opened.id, sent)).rejects.toThrow(/the disk there/);
    expect(await executor.files.open(executor.request(sent, { project: '1'.repeat(32) }))).toMatchObject({
      ok: false,
      error: { code: 'no_space' },
    });
    // It can be given back nonetheless.
    await executor.files.close(opened.id);
    expect((await executor.files.list()).workspaces).toMatchObject([{ inUse: 0 }]);
  });
});
