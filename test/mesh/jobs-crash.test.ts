import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { background, finished, foreground, GatedCommand, jobSpec, readLog } from '../fixtures/job-rig.ts';
import { fullMesh, IDLE, NodeSet, until, WAIT_MS_MAX, type TestNode } from '../fixtures/mesh-nodes.ts';

const END_MS_MAX = 60_000;

/** Only nodes that say so of themselves take it. */
const AWAY = { os: null, arch: null, capabilities: ['label:role=away'], cpus: null, memory_bytes: null };

const set = new NodeSet();
let nodes: readonly TestNode[] = [];
const node = (index: number): TestNode => {
  const found = nodes[index];
  if (found === undefined) throw new Error(`no node ${index}`);
  return found;
};

beforeAll(async () => {
  nodes = await set.mesh(['a', 'b', 'c']);
});
afterAll(() => set.close());

/** SIGKILL of the daemon and of its runner, whichever comes first. */
async function killWithRunner(victim: TestNode): Promise<void> {
  const runner = victim.runnerPid();
  if (runner === null) throw new Error('no runner');
  const killed = victim.kill();
  process.kill(runner, 'SIGKILL');
  await killed;
}

async function backUp(victim: TestNode): Promise<void> {
  await victim.up();
  await fullMesh(nodes, END_MS_MAX);
}

describe("the origin's daemon is killed during a background job", () => {
  it.each(['a', 'b'])('on %s: it goes on; started again it tells status, output and exit code', async (where) => {
    const [a, c] = [node(0), node(2)];
    const command = new GatedCommand(set.folder);
    const job = await background(a, jobSpec(command.line(7), where));
    await command.started();
    await a.kill();
    command.open();
    await command.done();
    await backUp(a);
    expect(await finished(a, job, END_MS_MAX)).toMatchObject({ reason: 'exited', return_code: 7, attempts: 1 });
    for (const asked of [a, c]) expect(await readLog(asked, job)).toBe('one\ntwo\n');
    expect(command.runs).toBe(1);
  });

  it('that ends after the restart: the same', async () => {
    const [a, b] = [node(0), node(1)];
    const command = new GatedCommand(set.folder);
    const job = await background(a, jobSpec(command.line(3), 'b'));
    await command.started();
    await a.kill();
    await backUp(a);
    // Where the origin died before it was told of the start, it asks first.
    const view = async () => (await a.api()).call('job', { job });
    await until('it is known to run', END_MS_MAX, async () => (await view()).state === 'running');
    expect(await view()).toMatchObject({ executed_on: 'b' });
    const followed = readLog(b, job, { follow: true });
    command.open();
    expect(await finished(a, job, END_MS_MAX)).toMatchObject({ reason: 'exited', return_code: 3 });
    expect(await followed).toBe('one\ntwo\n');
    expect(command.runs).toBe(1);
  });
});

describe("the executor's daemon is killed", () => {
  it('during a background job: the command goes on, its end and output are there after the restart', async () => {
    const [a, b, c] = [node(0), node(1), node(2)];
    const command = new GatedCommand(set.folder);
    const job = await background(a, jobSpec(command.line(9), 'b'));
    await command.started();
    await b.kill();
    command.open();
    await command.done();
    await backUp(b);
    expect(await finished(a, job, END_MS_MAX)).toMatchObject({ reason: 'exited', return_code: 9 });
    for (const asked of [a, b, c]) expect(await readLog(asked, job)).toBe('one\ntwo\n');
    expect(command.runs).toBe(1);
    await until('its slot is free', END_MS_MAX, async () => (await b.row(b))?.jobs_running === 0);
  });

  it('during a foreground job: its reader gets every byte once, and the exit code', async () => {
    const [a, b] = [node(0), node(1)];
    const command = new GatedCommand(set.folder);
    const job = await foreground(a, jobSpec(command.line(4), 'b'));
    await until('the first line', END_MS_MAX, () => job.text() === 'one\n');
    await b.kill();
    command.open();
    await backUp(b);
    expect(await job.handle.result).toMatchObject({ reason: 'exited', return_code: 4, attempts: 1 });
    expect(job.text()).toBe('one\ntwo\n');
    expect(command.runs).toBe(1);
  });
});

describe("the executor's daemon and runner are killed", () => {
  it('the outcome is unknown while it is away, and nothing is left once they are started again', async () => {
    const [a, b] = [node(0), node(1)];
    const command = new GatedCommand(set.folder);
    const job = await background(a, jobSpec(command.line(0), 'b'));
    await command.started();
    await killWithRunner(b);
    expect(await finished(a, job, END_MS_MAX)).toMatchObject({ reason: 'unknown', return_code: null });
    await backUp(b);
    await command.gone(WAIT_MS_MAX);
    expect(command.runs).toBe(1);
    await until('its slot is free', END_MS_MAX, async () => (await b.row(b))?.jobs_running === 0);
  });

  it('with --retry 1 it runs once more elsewhere', async () => {
    const [a, b] = [node(0), node(1)];
    const command = new GatedCommand(set.folder);
    const spec = jobSpec(command.line(0), 'b', { retries: 1, target: { kind: 'any' }, requires: AWAY });
    b.setFacts({ ...IDLE, labels: { role: 'away' } });
    await until(
      'a knows the label',
      END_MS_MAX,
      async () => (await a.row(b))?.capabilities.includes('label:role=away') ?? false,
    );
    const job = await background(a, spec);
    await command.started();
    node(2).setFacts({ ...IDLE, labels: { role: 'away' } });
    await killWithRunner(b);
    // That b is dead, and that nobody listens there, takes its time.
    await command.started(2, END_MS_MAX);
    command.open();
    expect(await finished(a, job, END_MS_MAX)).toMatchObject({
      reason: 'exited',
      return_code: 0,
      executed_on: 'c',
      attempts: 2,
    });
    expect(await readLog(a, job)).toBe('one\ntwo\n');
    await backUp(b);
    await command.gone(WAIT_MS_MAX);
    expect(command.runs).toBe(2);
  });
});
