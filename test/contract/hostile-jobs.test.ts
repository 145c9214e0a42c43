import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { signGrant } from '../../src/adapters/tls/statement-signatures.ts';
import { verifier } from '../../src/adapters/tls/verifier.ts';
import { systemCodeOf } from '../../src/base/errors.ts';
import type { JobRecord } from '../../src/wire/job-record.ts';
import { HostileMesh, leaseFor } from '../fixtures/hostile-mesh.ts';
import {
  type HostileLink,
  identityOf,
  newJob,
  reserve,
  start,
  staysSmall,
  type Message,
} from '../fixtures/hostile-peer.ts';
import { ended, jobRecord } from '../fixtures/job-record.ts';
import { processesWith, until, WAIT_MS_MAX, type TestNode } from '../fixtures/mesh-nodes.ts';
import { makeTestIdentity } from '../fixtures/test-certificate.ts';

const MIB = 1024 * 1024;
const GROWTH_BYTES_MAX = 64 * MIB;
const FLOOD = 20_000;

const hostile = new HostileMesh();
let target: TestNode;
let friend: TestNode;
beforeAll(() => {
  ({ target, friend } = hostile);
});
const open = (): Promise<HostileLink> => hostile.open();
const line = (text: string) => ({ kind: 'line', line: text });

async function answered(link: HostileLink, id: number, timeoutMs = WAIT_MS_MAX): Promise<Record<string, unknown>> {
  const found = await until(`question ${id} is answered`, timeoutMs, () =>
    link.messages.find(({ t, id: of }) => t === 'query.answer' && of === id),
  );
  return found['answer'] as Record<string, unknown>;
}

let lastId = 0;
function ask(link: HostileLink, question: object): number {
  lastId += 1;
  link.send({ t: 'query.ask', id: lastId, question });
  return lastId;
}

let gates = 0;
/** A foreground job of an honest node on another one, which has said `1`; it says `2` and ends once `end` is called. */
async function innocent([from, on] = [friend, 'target']) {
  gates += 1;
  const gate = join(hostile.set.folder, `gate-${gates}`);
  let id = '';
  const job = await from.submit(`echo 1; until [ -e ${gate} ]; do sleep 0.05; done; echo 2`, {
    on,
    onEvent: (event) => {
      if (event.kind === 'accepted') id = event.job;
    },
  });
  // Of a test that fails, nobody looks at it.
  job.ended.catch(() => undefined);
  await until('it runs', WAIT_MS_MAX, () => job.out() !== '');
  const end = () => {
    writeFileSync(gate, '');
    return job.ended;
  };
  return { id, end };
}

async function unharmed(): Promise<void> {
  expect((await target.status()).daemon_pid).toBe(target.pid);
  expect((await friend.run('echo well', { on: 'target' })).out).toBe('well\n');
}

describe("another node's attempt", () => {
  it('is neither attached, detached, acknowledged, resized nor cancelled', async () => {
    const job = await innocent();
    const link = await open();
    const key = { job: job.id, attempt: 1 };
    const streams = { stdin: 5, stdout: 1, stderr: 3 };
    link.send({
      t: 'job.attach',
      ...key,
      instance: 'x',
      streams,
      stdout_offset: 0,
      stderr_offset: 0,
      window_bytes: MIB,
    });
    expect(await link.next('job.gone')).toMatchObject({ kind: 'unknown' });
    link.send({ t: 'job.detach', ...key });
    link.send({ t: 'job.ack', ...key });
    link.send({ t: 'job.cancel', ...key });
    link.send({ t: 'job.resize', ...key, size: { columns: 1, rows: 1 } });
    await link.settled();
    expect(link.frames).toEqual([]);
    expect((await job.end()).out).toBe('1\n2\n');
    await unharmed();
  });

  it('is not shown, read or ended for a member without the role submit', async () => {
    const job = await innocent();
    const made = await makeTestIdentity();
    const admin = await identityOf(target.home);
    const grant = signGrant(admin, verifier, {
      kind: 'grant',
      mesh: hostile.mesh,
      by: admin.nodeId,
      at: Date.now(),
      node: made.nodeId,
      spki: Buffer.from(made.spki).toString('base64'),
      name: 'runner',
      roles: ['run'],
    }).statement;
    (await open()).send({ t: 'trust.statements', mesh: hostile.mesh, statements: [grant] });
    const link = await until('the grant counts', WAIT_MS_MAX, () => hostile.dial(made).catch(() => undefined));
    const read = { attempt: 1, stream: 'stdout', offset: 0, follow: true, stream_id: 7, window_bytes: 1024 };
    for (const question of [
      { kind: 'list', all: true },
      { kind: 'find', prefix: job.id },
      { kind: 'wait', job: job.id, wait_ms: 0 },
      { kind: 'cancel', job: job.id },
      { kind: 'read', job: job.id, ...read },
    ]) {
      expect(await answered(link, ask(link, question))).toMatchObject({ kind: 'error', code: 'not_permitted' });
    }
    expect(link.frames).toEqual([]);
    expect((await job.end()).out).toBe('1\n2\n');
  });
});

describe('its own attempts', () => {
  it('attached at offsets beyond all bounds, on streams in use, again and again: answered, and the slot comes back', async () => {
    const link = await open();
    const job = newJob();
    const mark = `77${process.pid}21`;
    const command = line(`echo out; sleep ${mark}`);
    const lease = await leaseFor(link, job, command);
    link.send(start(job, lease['lease'], command));
    await link.next('job.started');
    const attach = (stdout: number, offset: number, stderr = stdout + 2): void =>
      link.send({
        t: 'job.attach',
        job,
        attempt: 1,
        instance: lease['instance'],
        streams: { stdin: null, stdout, stderr },
        stdout_offset: offset,
        stderr_offset: offset,
        window_bytes: 1,
      });
    attach(101, Number.MAX_SAFE_INTEGER);
    expect(await link.next('job.attached')).toMatchObject({ running: true });
    attach(103, 0, 103);
    expect(await link.next('job.gone')).toMatchObject({ kind: 'unknown' });
    await staysSmall(target, GROWTH_BYTES_MAX, async () => {
      for (let index = 0; index < 2000; index++) attach(1001 + 4 * (index % 50), index % 7);
      await link.settled();
    });
    expect(link.closed).toBe(null);
    link.send({ t: 'job.cancel', job, attempt: 1 });
    await until('its tree is gone', WAIT_MS_MAX, () => processesWith(mark).length === 0);
    link.send({ t: 'job.ack', job, attempt: 1 });
    link.end();
    await unharmed();
  });

  it('that are nested in each other without end hold no more than they may', async () => {
    const link = await open();
    const mark = `77${process.pid}22`;
    const command = line(`sleep ${mark}`);
    const jobs: string[] = [];
    let refused: Message | undefined;
    for (let index = 0; index < 40 && refused === undefined; index++) {
      const job = newJob();
      const from = link.messages.length;
      link.send(reserve(job, command, { parent: jobs.at(-1) ?? null }));
      const answer = await until('an answer', WAIT_MS_MAX, () =>
        link.messages.slice(from).find(({ t, job: of }) => of === job && /reserved|refused/.test(t)),
      );
      if (answer.t === 'job.refused') refused = answer;
      else {
        const streams = { stdin: null, stdout: 2001 + 4 * index, stderr: 2003 + 4 * index };
        link.send(start(job, answer['lease'], command, { streams }));
        await until('it is started', WAIT_MS_MAX, () =>
          link.messages.some(({ t, job: of }) => t === 'job.started' && of === job),
        );
        jobs.push(job);
      }
    }
    for (const job of jobs) link.send({ t: 'job.cancel', job, attempt: 1 });
    await until('all are gone', WAIT_MS_MAX, () => processesWith(mark).length === 0);
    expect(refused).toMatchObject({ full: true });
    expect(jobs.length).toBeLessThan(20);
    link.end();
    await unharmed();
  });
});

describe('questions', () => {
  it(`${FLOOD} of each kind, dropped or never read: the daemon answers others meanwhile, and stays small`, async () => {
    const job = await innocent([target, 'friend']);
    await staysSmall(target, GROWTH_BYTES_MAX, async () => {
      const link = await open();
      for (let index = 0; index < FLOOD; index++) {
        const id = ask(link, { kind: 'wait', job: job.id, wait_ms: 60_000 });
        link.send({ t: 'query.drop', id });
        if (index % 4 === 0) ask(link, { kind: 'list', all: true });
        if (index % 4 === 1) ask(link, { kind: 'find', prefix: job.id.slice(0, 4) });
      }
      // Who waits for the same job here is neither starved nor answered before its time.
      const { record, tookMs } = await waitedHere(job.id, 1500);
      expect(record.state).toBe('running');
      expect(tookMs).toBeGreaterThan(1000);
      await link.settledOrGone();
      const unread = await open();
      unread.control.pause();
      unread.bulk.pause();
      for (let index = 0; index < FLOOD; index++) ask(unread, { kind: 'list', all: true });
      for (let index = 0; index < 200; index++) {
        const what = { job: job.id, attempt: 1, stream: 'merged', offset: 0, follow: true };
        ask(unread, { kind: 'read', ...what, stream_id: 3001 + 2 * index, window_bytes: 4 * MIB });
      }
      await target.status();
      unread.end();
      link.end();
    });
    expect((await job.end()).out).toBe('1\n2\n');
    await unharmed();
  });

  it('with offsets, attempts and streams that are none end in an error, or end the link', async () => {
    const job = await innocent();
    const link = await open();
    const read = { kind: 'read', job: job.id, attempt: 1, stream: 'stdout', offset: 0, follow: false };
    const streams = { stream_id: 11, window_bytes: 1024 };
    const past = await answered(link, ask(link, { ...read, ...streams, offset: Number.MAX_SAFE_INTEGER }));
    expect(past).toMatchObject({ kind: 'error', code: 'offset_out_of_range' });
    const other = await answered(link, ask(link, { ...read, ...streams, stream_id: 13, attempt: 16 }));
    expect(other).toMatchObject({ kind: 'error', code: 'job_unknown' });
    const follows = { ...read, stream_id: 15, window_bytes: 1024, follow: true, attempt: 1 };
    const id = ask(link, follows);
    expect(await answered(link, ask(link, follows))).toMatchObject({ kind: 'error', code: 'bad_argument' });
    link.send({ t: 'query.drop', id });
    await link.settled();
    ask(link, { ...read, ...streams, job: '../../../etc/passwd' });
    await link.gone();
    expect((await job.end()).out).toBe('1\n2\n');
    await unharmed();
  });
});

async function waitedHere(job: string, waitMs: number): Promise<{ record: JobRecord; tookMs: number }> {
  const api = await target.api();
  const startedMs = performance.now();
  const record = await api.call('wait', { job, wait_ms: waitMs });
  return { record, tookMs: performance.now() - startedMs };
}

describe('answers', () => {
  it('about jobs of others, painted, or of no date are worth nothing', async () => {
    const job = await innocent();
    const link = await open();
    const forged = (): JobRecord =>
      jobRecord({
        job: job.id as JobRecord['job'],
        origin_id: hostile.id as JobRecord['origin_id'],
        origin: '\u001B[2Jevil',
        executed_on: '\u009B31mevil\u202E',
        executed_on_id: hostile.id as JobRecord['executed_on_id'],
        command: '\u001B]0;owned\u0007make',
        detail: '\u001B[1A',
        // Nobody waits for its end.
        ...ended,
      });
    let isLying = true;
    link.answer('query.ask', ({ id }) => {
      if (!isLying) return;
      const answer = { kind: 'records', records: [forged()], more: 0, dropped_ms: null };
      link.send({ t: 'query.answer', id, answer });
      friend.signal('SIGCONT');
    });
    try {
      // A lie that comes a tenth of a second after the truth is heard by nobody: it comes first.
      friend.signal('SIGSTOP');
      const cancelled = await target.cli('cancel', job.id);
      expect([cancelled.code, cancelled.stderr]).toEqual([125, expect.stringMatching(/each say that job/) as string]);
      for (const words of [
        ['jobs', '--all'],
        ['jobs', '--json'],
        ['wait', job.id.slice(0, 25)],
        ['logs', job.id],
      ]) {
        const { stdout, stderr } = await target.cli(...words);
        // oxlint-disable-next-line no-control-regex -- these are what is looked for
        expect(stdout + stderr, words.join(' ')).not.toMatch(/[\u0000-\u0009\u000B-\u001F\u007F-\u009F\u202E]/);
      }
    } finally {
      isLying = false;
      friend.signal('SIGCONT');
    }
    expect((await job.end()).out).toBe('1\n2\n');
    const asked = link.messages.length;
    const api = await target.api();
    const listed = api.call('jobs', { all: false });
    const question = await link.next('query.ask', asked);
    const answer = { kind: 'records', records: [], more: 0, dropped_ms: 1e300 };
    link.send({ t: 'query.answer', id: question['id'], answer });
    await link.gone();
    expect((await listed).jobs.length).toBeGreaterThan(0);
    await unharmed();
  });
});

/** What goes while we look holds nothing. */
function unlessGone<T>(look: () => T, gone: T): T {
  try {
    return look();
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return gone;
    throw error;
  }
}
const bytesOf = (path: string): Buffer => unlessGone(() => readFileSync(path), Buffer.alloc(0));
const namesIn = (folder: string): string[] => unlessGone(() => readdirSync(folder), []);

describe('the disk', () => {
  it('keeps what others must not see to the owner, and no name from the outside', async () => {
    const ran = await target.cli('run', '--local', '--background', '--env', 'SECRET=hush', '--', 'echo hello; sleep 3');
    expect(ran.code).toBe(0);
    const visit = (folder: string): void => {
      for (const name of namesIn(folder)) {
        const path = join(folder, name);
        // Of a socket, or of a file that goes while we look, there is nothing to read.
        const stats = statSync(path, { throwIfNoEntry: false });
        if (stats?.isDirectory() === true) visit(path);
        const holds = stats?.isFile() === true && bytesOf(path).includes('hush');
        if (holds) expect([path, stats.mode & 0o077]).toEqual([path, 0]);
      }
    };
    visit(target.home);
    for (const name of ['jobs', 'runner-jobs', 'runner.key']) {
      expect([name, statSync(join(target.home, name)).mode & 0o077]).toEqual([name, 0]);
    }
  });
});
