import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fullMesh, NodeSet, processesWith, until, WAIT_MS_MAX, type TestNode } from '../fixtures/mesh-nodes.ts';

const FREEZE_MS = 8_000;
const EXIT_MESHWORK = 125;

const set = new NodeSet();
let nodes: readonly TestNode[] = [];
const node = (index: number): TestNode => {
  const found = nodes[index];
  if (found === undefined) throw new Error(`no node ${index}`);
  return found;
};
let lastMark = 0;
/** A command whose tree has a child in its group and one that left it, all with a mark of their own; it says `up`. */
function tree(): { readonly mark: string; readonly command: string } {
  lastMark += 1;
  // Padded, so that no other's begins like it.
  const mark = `9870${String(process.pid).padStart(7, '0')}${String(lastMark).padStart(3, '0')}`;
  return { mark, command: `setsid sleep ${mark} & sleep ${mark} & echo up; wait` };
}
/** Waits for `up`, and for both sleeps, so that what is gone later was there. */
async function runs(mark: string, out: () => string): Promise<void> {
  const sleeps = () => processesWith(`sleep\0${mark}`).length === 2;
  await until('the command runs', WAIT_MS_MAX, () => out().includes('up') && sleeps());
}
const treeGone = async (mark: string, timeoutMs = WAIT_MS_MAX): Promise<void> => {
  await until(`the tree of ${mark} is gone`, timeoutMs, () => processesWith(mark).length === 0);
};
/** The command goes on without its daemon; the next one hears from the origin that nobody waits for it any more. */
async function endedOnceBack(of: TestNode, mark: string): Promise<void> {
  expect(processesWith(mark)).not.toEqual([]);
  await of.up();
  await fullMesh(nodes);
  await treeGone(mark);
}
/** An executor waits 60 s for an origin that is gone: it may be back and go on with its job. */
const ORIGIN_AWAY_MS_MAX = 80_000;

beforeAll(async () => {
  nodes = await set.mesh(['a', 'b', 'c']);
});
afterAll(() => set.close());

describe('a node that dies', () => {
  it('is suspect, then dead, gets no job meanwhile, and is back soon after its start', async () => {
    const [a, b, c] = [node(0), node(1), node(2)];
    await c.kill();
    // One that looks away for long may miss the one and see the other.
    const isSuspect = (of: TestNode) => async () => /suspect|dead/.test((await of.row(c))?.state ?? '');
    await Promise.all([a, b].map((of) => until(`${of.name} suspects c`, WAIT_MS_MAX, isSuspect(of))));
    const ends = await Promise.all(Array.from({ length: 12 }, () => a.run('true')));
    expect(ends.map(({ reason }) => reason)).toEqual(ends.map(() => 'exited'));
    expect(ends.map(({ executed_on: on }) => on)).not.toContain('c');
    const named = await a.run('true', { on: 'c' });
    expect(named.reason).toBe('refused');
    const isDead = (of: TestNode) => async () => (await of.row(c))?.state === 'dead';
    await Promise.all([a, b].map((of) => until(`${of.name} holds c dead`, WAIT_MS_MAX, isDead(of))));
    await c.up();
    await fullMesh(nodes);
    expect((await b.run('true', { on: 'c' })).executed_on).toBe('c');
  });
});

describe('a member that was silent since this node started', () => {
  it('is told as out of reach, not as unknown, and runs what it is given once it is back', async () => {
    const [a, b, c] = [node(0), node(1), node(2)];
    await c.kill();
    // Both forget what they held of it, so that nobody tells them.
    await Promise.all([a, b].map((of) => of.kill()));
    await a.up();
    const named = await a.run('true', { on: 'c' });
    expect(named).toMatchObject({ reason: 'refused', error: { code: 'node_unreachable' } });
    expect(named.error?.message).toContain('c: is known, but nothing was heard of it');
    expect(await a.run('true')).toMatchObject({ reason: 'exited', executed_on: 'a' });
    await Promise.all([b, c].map((of) => of.up()));
    await fullMesh(nodes);
    expect((await a.run('true', { on: 'c' })).executed_on).toBe('c');
  });
});

describe('a node that froze', () => {
  it('accuses nobody when it wakes, and is alive again for the others', async () => {
    const [a, c] = [node(0), node(2)];
    const frozen = performance.now();
    c.signal('SIGSTOP');
    let linesBefore = 0;
    try {
      await until('a suspects c', WAIT_MS_MAX, async () => /suspect|dead/.test((await a.row(c))?.state ?? ''));
      await until('the freeze has lasted', FREEZE_MS, () => performance.now() - frozen >= FREEZE_MS);
      linesBefore = c.log.split('\n').length;
    } finally {
      c.signal('SIGCONT');
    }
    await fullMesh(nodes);
    const accused = c.log
      .split('\n')
      .slice(linesBefore - 1)
      .filter((line) => /"state":"(suspect|dead)"/.test(line));
    expect(accused).toEqual([]);
    expect((await a.run('true', { on: 'c' })).reason).toBe('exited');
  });
});

describe('what runs when something dies', () => {
  it("the executor's daemon: exit 125, and the daemon that comes back ends the command", async () => {
    const [a, b] = [node(0), node(1)];
    const { mark, command } = tree();
    const cli = a.spawnCli('run', '--on', 'b', '--', command);
    let [out, err] = ['', ''];
    cli.stdout?.on('data', (data: Buffer) => (out += data.toString()));
    cli.stderr?.on('data', (data: Buffer) => (err += data.toString()));
    const ended = new Promise<number | null>((resolve) => cli.once('close', resolve));
    await runs(mark, () => out);
    await b.kill();
    expect(await ended).toBe(EXIT_MESHWORK);
    expect(err).toMatch(/unknown/);
    await endedOnceBack(b, mark);
  });

  it("the executor's daemon, asked in JSON: reason unknown, nothing claimed", async () => {
    const [a, b] = [node(0), node(1)];
    const { mark, command } = tree();
    const job = await a.submit(command, { on: 'b' });
    await runs(mark, job.out);
    await b.kill();
    const end = await job.ended;
    expect(end).toMatchObject({ reason: 'unknown', return_code: null, success: false, attempts: 1 });
    expect(end.error?.code).toBe('unknown_outcome');
    await endedOnceBack(b, mark);
  });

  it("the origin's daemon, and with it the client: the executor ends the tree, after a while", async () => {
    const [a, b] = [node(0), node(1)];
    const { mark, command } = tree();
    const job = await a.submit(command, { on: 'b' });
    const lost = expect(job.ended).rejects.toThrow(/lost/);
    await runs(mark, job.out);
    await a.kill();
    await lost;
    await a.up();
    await treeGone(mark, ORIGIN_AWAY_MS_MAX);
    await until('its slot is free', WAIT_MS_MAX, async () => {
      const own = await b.row(b);
      return own?.jobs_running === 0;
    });
    await fullMesh(nodes);
  });

  it('the runner: outcome unknown, the trees gone, and another runner takes the next job', async () => {
    const [a, b] = [node(0), node(1)];
    const { mark, command } = tree();
    const job = await a.submit(command, { on: 'b' });
    await runs(mark, job.out);
    const runner = b.runnerPid();
    expect(runner).not.toBeNull();
    process.kill(runner ?? 0, 'SIGKILL');
    expect(await job.ended).toMatchObject({ reason: 'unknown', success: false });
    await treeGone(mark);
    const next = await until('the next job works', WAIT_MS_MAX, async () => {
      const end = await a.run('echo again', { on: 'b' });
      return end.reason === 'exited' ? end : undefined;
    });
    expect(next).toMatchObject({ out: 'again\n', return_code: 0, executed_on: 'b' });
    expect(b.runnerPid()).not.toBe(runner);
  });

  it('the CLI: the tree is gone, on a peer and here', async () => {
    const a = node(0);
    for (const where of ['a', 'b']) {
      const { mark, command } = tree();
      const cli = a.spawnCli('run', '--on', where, '--', command);
      let out = '';
      cli.stdout?.on('data', (data: Buffer) => (out += data.toString()));
      await runs(mark, () => out);
      cli.kill('SIGKILL');
      await treeGone(mark);
    }
  });
});
