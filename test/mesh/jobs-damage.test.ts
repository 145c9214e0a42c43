import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { seededRandom } from '../../src/base/random.ts';
import { background, finished, jobSpec, readLog } from '../fixtures/job-rig.ts';
import { fullMesh, NodeSet, type TestNode } from '../fixtures/mesh-nodes.ts';

const END_MS_MAX = 60_000;
const soak = process.env['MESHWORK_SOAK'] === '1';
const SEEDS = Array.from({ length: soak ? 20 : 2 }, (_, i) => i + 1);
const NEWLINE = 0x0a;
const JOURNALS = ['origin.journal', 'executor.journal'] as const;

const set = new NodeSet();
let nodes: readonly TestNode[] = [];

beforeAll(async () => {
  nodes = await set.mesh(['a', 'b']);
});
afterAll(() => set.close());

/** What a disk or an interrupted write does to a file. */
const DAMAGES: Readonly<Record<string, (bytes: Buffer, random: () => number) => Buffer>> = {
  'cut off': (bytes, random) => bytes.subarray(0, Math.floor(random() * bytes.length)),
  'flipped bits': (bytes, random) => {
    const flipped = Buffer.from(bytes);
    for (let i = 0; i < 8; i++) {
      const at = Math.floor(random() * flipped.length);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << Math.floor(random() * 8));
    }
    return flipped;
  },
  'a hole of zeroes': (bytes, random) => {
    const holed = Buffer.from(bytes);
    const at = Math.floor(random() * holed.length);
    return holed.fill(0, at, at + 512);
  },
};

describe.each(JOURNALS)('%s damaged while the daemon is down', (name) => {
  it.each(Object.keys(DAMAGES).flatMap((how) => SEEDS.map((seed) => [how, seed] as const)))(
    '%s (seed %i): it starts, says so, tells what is whole and takes jobs',
    async (how, seed) => {
      const [a, b] = nodes;
      if (a === undefined || b === undefined) throw new Error('two nodes');
      const random = seededRandom(seed);
      // This node's own jobs, so that it is origin and executor of them.
      const before: string[] = [];
      for (let i = 0; i < 6; i++) before.push(await background(a, jobSpec(`echo ${i}; exit ${i}`, 'a')));
      for (const job of before) await finished(a, job, END_MS_MAX);
      await a.kill();
      const path = join(a.home, 'jobs', name);
      const bytes = readFileSync(path);
      expect(bytes.length, 'the journal has something to lose').toBeGreaterThan(100);
      const damaged = DAMAGES[how]?.(bytes, () => random.next()) ?? bytes;
      writeFileSync(path, damaged);
      await a.up();
      await fullMesh([a, b], END_MS_MAX);
      if (!damaged.equals(bytes) && !isCutBetween(damaged, bytes)) {
        expect((await a.status()).notices.join('\n')).toMatch(/journal/);
        expect(a.log).toMatch(/journal/);
      }
      for (const [code, job] of before.entries()) {
        const record = await (await a.api()).call('job', { job }).catch((error: { code?: string }) => error);
        if ('code' in record) expect(record.code, job).toMatch(/^job_(unknown|expired)$/);
        // A line that was lost may have been its end: then it cannot be told, but nothing else is.
        else if ('state' in record && record.reason === 'exited') expect(record).toMatchObject({ return_code: code });
      }
      for (const on of ['a', 'b']) {
        const job = await background(a, jobSpec('echo still here; exit 3', on));
        expect(await finished(a, job, END_MS_MAX)).toMatchObject({ reason: 'exited', return_code: 3 });
        expect(await readLog(a, job)).toBe('still here\n');
      }
    },
  );
});

/** A cut between two lines is no damage that anybody could see; neither is the loss of a newline alone, which is put back. */
const isCutBetween = (damaged: Buffer, bytes: Buffer): boolean =>
  damaged.length < bytes.length &&
  (damaged.length === 0 || damaged.at(-1) === NEWLINE || bytes[damaged.length] === NEWLINE);
