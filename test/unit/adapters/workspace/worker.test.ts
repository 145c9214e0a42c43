import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expandManifest } from '../../../../src/adapters/workspace/manifest-transport.ts';
import { WorkspaceThread } from '../../../../src/adapters/workspace/workspace-thread.ts';
import { decodeManifest, objectsOf } from '../../../../src/wire/manifest-codec.ts';
import { encodeWant } from '../../../../src/wire/want-list.ts';
import { parsePack } from '../../../../src/wire/object-pack.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import type { Project, Scan } from '../../../../src/ports/workspace.ts';
import { temporaryFolders, writeTree } from '../../../fixtures/temporary-folder.ts';

const temporaryFolder = temporaryFolders();
const SOURCE = resolve(import.meta.dirname, '../../../../src/adapters/workspace/worker.ts');
const BUNDLED = mkdtempSync(join(tmpdir(), 'meshwork-worker-'));
const BUNDLE = join(BUNDLED, 'worker.mjs');

beforeAll(async () => {
  await build({
    entryPoints: [SOURCE],
    outfile: BUNDLE,
    bundle: true,
    format: 'esm',
    platform: 'node',
    logLevel: 'error',
  });
});
afterAll(() => rmSync(BUNDLED, { recursive: true, force: true }));

async function scanned(thread: WorkspaceThread, root: string): Promise<{ project: Project; scan: Scan }> {
  const found = await thread.findProject(root, root);
  if (!found.ok || found.value === null) throw new Error('no project');
  const project = found.value;
  const scan = await thread.scan({
    project,
    ship: { include: [], exclude: [], ignored: [], git: true },
    secrets: {},
    filesMax: 1000,
    bytesMax: 1e9,
  });
  if (!scan.ok) throw new Error(scan.error.message);
  return { project, scan: scan.value };
}

function started(): WorkspaceThread {
  const [folder, env] = [temporaryFolder(), { PATH: process.env['PATH'] ?? '' }];
  const log = silentLogger;
  return new WorkspaceThread({ workerUrl: pathToFileURL(BUNDLE), folder, home: '/nowhere', env, user: null, log });
}

describe('the thread itself', () => {
  it('never gives the packs of one project to the transfer of another, which an earlier thread began', async () => {
    const root = temporaryFolder();
    writeTree(root, { '.meshwork.toml': '', a: 'content' });
    const [lost, next] = [started(), started()];
    try {
      const sources: number[] = [];
      for (const thread of [lost, next]) {
        const { project, scan } = await scanned(thread, root);
        sources.push(
          (await thread.openPacks(
            project,
            scan.manifest,
            encodeWant(2, () => true),
          )) ?? 0,
        );
      }
      const [before = 0, now = 0] = sources;
      await expect(next.nextPack(before)).rejects.toMatchObject({ code: 'internal' });
      await next.closePacks(before);
      expect(await next.nextPack(now)).toMatchObject({ ok: true });
    } finally {
      await Promise.all([lost.stop(), next.stop()]);
    }
  });

  it('finds a project, scans it, sends it, and answers while it does', async () => {
    const root = temporaryFolder();
    writeTree(root, { '.meshwork.toml': '', 'a/b': 'content', c: 'c' });
    writeFileSync(join(root, 'large'), Buffer.alloc(5_000_000, 'large '));
    const thread = started();
    try {
      const { project, scan } = await scanned(thread, root);
      expect(scan.files).toBe(4);
      const again = await Promise.all([scanned(thread, root), thread.cost(scan.manifest, null)]);
      expect(again[0].scan.manifest).toBe(scan.manifest);
      expect(again[1].files).toBe(4);
      const manifest = await thread.encodeManifest(scan.manifest, null);
      expect(manifest.byteLength).toBe(manifest.buffer.byteLength);

      const encoded = expandManifest(manifest);
      const decoded = decodeManifest(encoded.ok ? encoded.value : new Uint8Array());
      if (!decoded.ok) throw new Error(decoded.error);
      const wanted = objectsOf(decoded.value.entries).length;
      const want = encodeWant(wanted, () => true);
      const source = await thread.openPacks(project, scan.manifest, want);
      let objects = 0;
      for (;;) {
        const pack = await thread.nextPack(source ?? 0);
        if (!pack.ok) throw new Error(pack.error.message);
        if (pack.value === null) break;
        const parsed = parsePack(pack.value);
        if (!parsed.ok) throw new Error(parsed.error);
        for (const block of parsed.value) objects += block.objects;
      }
      await thread.closePacks(source ?? 0);
      expect(objects).toBe(wanted);
      await expect(thread.nextPack(source ?? 0)).rejects.toMatchObject({ code: 'internal' });
    } finally {
      await thread.stop();
    }
  });
});
