import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JobSpec } from '../../src/node/api-types.ts';
import { jobSpec } from '../fixtures/job-rig.ts';
import { fullMesh, NodeSet, until, type TestNode } from '../fixtures/mesh-nodes.ts';

const END_MS_MAX = 60_000;
const LINES = 300_000;
const ALL = Array.from({ length: LINES }, (_, i) => `${i + 1}\n`).join('');

const set = new NodeSet();
let nodes: readonly TestNode[] = [];
let gates = 0;

beforeAll(async () => {
  nodes = await set.mesh(['a', 'b', 'c']);
});
afterAll(() => set.close());

const node = (name: string): TestNode => set.node(name);

/** Half of the lines, then the gate, then the other half; exits with 3. Says how often it ran. */
function gated() {
  gates += 1;
  const path = join(set.folder, `restart-gate-${gates}`);
  const half = LINES / 2;
  const line = `echo run >> ${path}.runs; seq 1 ${half}; while [ ! -e ${path} ]; do sleep 0.05; done; seq ${half + 1} ${LINES}; exit 3`;
  return {
    line,
    open: () => writeFileSync(path, ''),
    runs: () => (existsSync(`${path}.runs`) ? readFileSync(`${path}.runs`, 'utf8').split('\n').length - 1 : 0),
  };
}

async function submit(at: TestNode, spec: JobSpec) {
  let out = '';
  const handle = (await at.api()).submit(spec, {
    stdin: null,
    onStdout: (bytes) => void (out += Buffer.from(bytes).toString()),
    onStderr: () => undefined,
  });
  // The test looks at it at its end.
  handle.result.catch((error: unknown) => error);
  return { handle, out: () => out };
}

async function restart(which: TestNode): Promise<void> {
  const before = which.pid;
  const { jobs_running: running } = await (await which.api()).call('restart', {});
  expect(running).toBeGreaterThan(0);
  await until(`${which.name} has ended`, END_MS_MAX, () => !which.isAlive);
  await which.up();
  expect(which.pid).not.toBe(before);
}

it('a node knows on its disk where the others are, also those that only ever dialled it', async () => {
  const path = join(node('a').home, 'members.json');
  const others = [node('b').id, node('c').id];
  await until('a has written down where they are', END_MS_MAX, () => {
    const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
    return others.every((id) => text.includes(id));
  });
});

describe('a foreground job', () => {
  it.each([
    ["its origin's daemon", 'a', 'b'],
    ["its executor's daemon", 'b', 'b'],
    ['the daemon that is both', 'a', 'a'],
  ])('goes on while %s is restarted, and its output is whole', async (_what, restarted, on) => {
    const command = gated();
    const { handle, out } = await submit(node('a'), jobSpec(command.line, on));
    await until('half of it came', END_MS_MAX, () => out().length >= ALL.length / 3);
    await restart(node(restarted));
    command.open();
    expect(await handle.result).toMatchObject({ reason: 'exited', return_code: 3, executed_on: on });
    expect(out() === ALL, `${out().length} bytes of ${ALL.length}`).toBe(true);
    expect(command.runs()).toBe(1);
    await fullMesh(nodes);
  });
});

describe('a job in the background', () => {
  it('goes on while both daemons are restarted, and can be followed from everywhere', async () => {
    const command = gated();
    const { handle } = await submit(node('a'), jobSpec(command.line, 'b', { durable: true }));
    const { job_id: job } = await handle.result;
    await until('it runs', END_MS_MAX, () => command.runs() === 1);
    const follow = async (at: TestNode) => {
      let text = '';
      const io = { onBytes: (bytes: Uint8Array) => void (text += Buffer.from(bytes).toString()) };
      const read = await (await at.api()).logs({ job, stream: 'stdout', offset: 0, follow: true }, io);
      return { read, text };
    };
    const followed = ['a', 'c'].map((name) => follow(node(name)));
    await restart(node('a'));
    await restart(node('b'));
    await fullMesh(nodes);
    command.open();
    for (const { read, text } of await Promise.all(followed)) {
      expect(text === ALL, `${text.length} bytes of ${ALL.length}`).toBe(true);
      expect(read).toMatchObject({ ended: true, next_offset: ALL.length, job });
    }
    const record = await (await node('c').api()).call('wait', { job, wait_ms: null });
    expect(record).toMatchObject({ reason: 'exited', return_code: 3, stdout_bytes: ALL.length, late: false });
    expect(command.runs()).toBe(1);
  });

  it('of a daemon that has gone down is known to the next one', async () => {
    const api = await node('a').api();
    const { handle } = await submit(node('a'), jobSpec('echo known', 'b', { durable: true }));
    const { job_id: job } = await handle.result;
    await api.call('wait', { job, wait_ms: null });
    await api.call('down', { drain: false });
    await until('a has ended', END_MS_MAX, () => !node('a').isAlive);
    await node('a').up();
    await fullMesh(nodes);
    for (const name of ['a', 'b', 'c']) {
      const record = await (await node(name).api()).call('job', { job: job.slice(0, 20) });
      expect(record).toMatchObject({ job, state: 'finished', return_code: 0, origin: 'a' });
    }
  });
});
