import { createHash } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { background, finished, GatedCommand, jobSpec, numberedLines, readLog } from '../fixtures/job-rig.ts';
import { NodeSet, processesWith, until, WAIT_MS_MAX, type TestNode } from '../fixtures/mesh-nodes.ts';

const END_MS_MAX = 60_000;
const LINES = 200_000;

const set = new NodeSet();
let nodes: readonly TestNode[] = [];

beforeAll(async () => {
  nodes = await set.mesh(['a', 'b', 'c']);
});
afterAll(() => set.close());

const three = (): readonly [TestNode, TestNode, TestNode] => {
  const [a, b, c] = nodes;
  if (a === undefined || b === undefined || c === undefined) throw new Error('three nodes are wanted');
  return [a, b, c];
};

describe('output of a job that ran on b for a', () => {
  it('read from an offset at each of three nodes it is the tail, during and after the run', async () => {
    const [a] = three();
    const gate = join(set.folder, 'logs-gate');
    const half = LINES / 2;
    const line = `seq 1 ${half}; echo half >&2; while [ ! -e ${gate} ]; do sleep 0.05; done; seq ${half + 1} ${LINES}; exit 5`;
    const job = await background(a, jobSpec(line, 'b'));
    const first = numberedLines(half);
    const all = Array.from({ length: LINES }, (_, i) => `${i + 1}\n`).join('');
    await until('half of it is there', END_MS_MAX, async () => {
      const text = await readLog(a, job, { offset: first.bytes - 1 });
      return text.length === 1;
    });
    const offsets = [0, 1, 4095, 65_536, Math.floor(first.bytes / 3), first.bytes];
    for (const asked of nodes) {
      for (const offset of offsets) {
        const text = await readLog(asked, job, { offset });
        expect(text === all.slice(offset, first.bytes), `during, at ${asked.name} from ${offset}`).toBe(true);
      }
    }
    const followed = nodes.map((asked) => readLog(asked, job, { offset: 1000, follow: true }));
    writeFileSync(gate, '');
    for (const [index, text] of (await Promise.all(followed)).entries()) {
      expect(text === all.slice(1000), `followed at node ${index}: ${text.length} bytes`).toBe(true);
    }
    const record = await finished(a, job, END_MS_MAX);
    expect(record).toMatchObject({ reason: 'exited', return_code: 5, stdout_bytes: all.length, stderr_bytes: 5 });
    for (const asked of nodes) {
      for (const offset of [...offsets, all.length - 1, all.length]) {
        const text = await readLog(asked, job, { offset });
        expect(text === all.slice(offset), `after, at ${asked.name} from ${offset}`).toBe(true);
      }
      expect(await readLog(asked, job, { stream: 'stderr' })).toBe('half\n');
    }
    const digest = createHash('sha256').update(all).digest('hex');
    expect(numberedLines(LINES).digest).toBe(digest);
  });

  it.each([
    [-1, /negative/],
    [1_000_000, /\b6\b/],
  ])('an offset of %i is refused, and why', async (offset, why) => {
    const [a, , c] = three();
    const job = await background(a, jobSpec('echo hello', 'b'));
    await finished(a, job, END_MS_MAX);
    for (const asked of [a, c]) {
      await expect(readLog(asked, job, { offset })).rejects.toMatchObject({ code: 'offset_out_of_range' });
      await expect(readLog(asked, job, { offset })).rejects.toThrow(why);
    }
  });
});

describe('cancel from a third node', () => {
  it('ends the tree; a second one says how it ended', async () => {
    const [a, , c] = three();
    const command = new GatedCommand(set.folder);
    const job = await background(a, jobSpec(command.line(0), 'b'));
    await command.started();
    await (await c.api()).call('cancel', { job });
    await command.gone(WAIT_MS_MAX);
    expect(await finished(c, job, END_MS_MAX)).toMatchObject({ reason: 'cancelled' });
    await expect((await c.api()).call('cancel', { job })).rejects.toMatchObject({ code: 'job_finished' });
  });

  it('of a tree that ignores TERM: the same', async () => {
    const [a, , c] = three();
    const stubborn = join(set.folder, 'stubborn');
    const job = await background(a, jobSpec(`trap '' TERM; touch ${stubborn}; while :; do sleep 0.2; done`, 'b'));
    await until('it runs', END_MS_MAX, () => existsSync(stubborn));
    await (await c.api()).call('cancel', { job });
    expect(await finished(c, job, END_MS_MAX)).toMatchObject({ reason: 'cancelled' });
    await until('nothing of it is left', WAIT_MS_MAX, () => processesWith(stubborn).length === 0);
  });
});

describe('ids', () => {
  it('unknown ones are told apart from ambiguous beginnings', async () => {
    const [a, , c] = three();
    const jobs = await Promise.all([0, 1].map(() => background(a, jobSpec('true', 'b'))));
    await Promise.all(jobs.map((job) => finished(a, job, END_MS_MAX)));
    const [one = '', other = ''] = jobs;
    // Ids begin with the time, so those of one second begin alike.
    const common = [...one].findIndex((char, at) => char !== other[at]);
    expect(common).toBeGreaterThanOrEqual(4);
    const ambiguous = (await c.api()).call('job', { job: one.slice(0, common) });
    await expect(ambiguous).rejects.toMatchObject({ code: 'job_ambiguous' });
    const unknown = (await c.api()).call('job', { job: '7ZZZZZZZZZZZZZZZZZZZZZZZZZ' });
    await expect(unknown).rejects.toMatchObject({ code: 'job_unknown' });
    expect(await (await c.api()).call('job', { job: one })).toMatchObject({ job: one, state: 'finished' });
  });
});
