import { expect, test } from 'vitest';
import { ok } from '../../../src/base/result.ts';
import { ScanQueue } from '../../../src/node/scan-queue.ts';
import type { Project, Scan, ScanRequest } from '../../../src/ports/workspace.ts';

const request = (root: string): ScanRequest => ({
  project: { root, key: '0'.repeat(32), kind: 'git' } satisfies Project,
  ship: { include: [], exclude: [], ignored: [], git: true },
  secrets: {},
  filesMax: 10,
  bytesMax: 10,
});

test('who asks while a scan is under way shares the next one; other projects do not wait', async () => {
  const begun: { readonly root: string; readonly finish: () => void }[] = [];
  const queue = new ScanQueue({
    scan: ({ project: { root } }) =>
      new Promise((resolve) => begun.push({ root, finish: () => resolve(ok({ files: begun.length } as Scan)) })),
  });
  const first = queue.scan(request('/p'));
  const second = queue.scan(request('/p'));
  const third = queue.scan(request('/p'));
  const other = queue.scan(request('/q'));
  expect(begun.map(({ root }) => root)).toEqual(['/p', '/q']);
  begun[0]?.finish();
  await first;
  await new Promise((resolve) => setImmediate(resolve));
  expect(begun.map(({ root }) => root)).toEqual(['/p', '/q', '/p']);
  begun[2]?.finish();
  expect(await second).toBe(await third);
  begun[1]?.finish();
  await other;
  void queue.scan(request('/p'));
  expect(begun).toHaveLength(4);
});

test('a scan that fails is told to those who wait for it, not to those after it', async () => {
  let fails = true;
  const queue = new ScanQueue({
    scan: () => (fails ? Promise.reject(new Error('broken')) : Promise.resolve(ok({ files: 1 } as Scan))),
  });
  const first = queue.scan(request('/p'));
  const second = queue.scan(request('/p'));
  fails = false;
  await expect(first).rejects.toThrow('broken');
  expect((await second).result).toMatchObject({ ok: true });
});
