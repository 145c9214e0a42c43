import { setMaxListeners } from 'node:events';
import { describe, expect, test, vi } from 'vitest';
import type { JobId, NodeId } from '../../../src/base/ids.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { JobAnswers } from '../../../src/node/job-answers.ts';
import { JobDirectory } from '../../../src/node/job-directory.ts';
import { unknownEnds } from '../../../src/node/job-lists.ts';
import { JobOutput } from '../../../src/node/job-output.ts';
import { JobQuestions } from '../../../src/node/job-questions.ts';
import type { ExecutorJobs, OriginJobs, OutputRequest, OwnOutput } from '../../../src/node/job-sources.ts';
import { loopbackMuxes } from '../../../src/node/loopback-peer.ts';
import { OutputSink } from '../../../src/node/output-sink.ts';
import { OwnJobs } from '../../../src/node/own-jobs.ts';
import type { ReadEnd } from '../../../src/ports/runner.ts';
import { queryMessageSchema, type QueryMessage } from '../../../src/wire/job-query.ts';
import type { JobRecord } from '../../../src/wire/job-record.ts';
import type { StreamMux } from '../../../src/wire/stream-mux.ts';
import { ended, jobRecord } from '../../fixtures/job-record.ts';

const idOf = (name: string) => name.repeat(52) as NodeId;
const jobId = (tail: string) => `01ARZ3NDEK${tail.padEnd(16, 'Z')}` as JobId;
const J1 = jobId('A1');
const J2 = jobId('A2');
const LIVE = new AbortController().signal;
/** Long enough for a link in memory to follow the one that was cut. */
const RELINK_MS = 200;

/** Two muxes joined in memory, frames in a later turn, as links deliver them. */
function muxPair(): [StreamMux, StreamMux] {
  const { origin, executor } = loopbackMuxes();
  return [origin, executor];
}

/** A node that knows the jobs and the output that a test gives it. */
class FakeNode implements OriginJobs, ExecutorJobs, OwnOutput {
  readonly id: NodeId;
  readonly cancelled: JobId[] = [];
  readonly asked: string[] = [];
  readonly directory: JobDirectory;
  readonly output: JobOutput;
  readonly questions: JobQuestions;
  readonly answers: JobAnswers;
  asOrigin: JobRecord[] = [];
  asExecutor: JobRecord[] = [];
  dropped: number | null = null;
  /** Bytes by job, and where the log has a gap. */
  log = '';
  gap: { readonly from: number; readonly to: number } | null = null;
  logEnded = true;
  /** A runner that stops in the middle and waits, for links that are cut. */
  pauseAt: number | null = null;
  waiting: ((record: JobRecord) => void)[] = [];

  constructor(name: string, net: Net) {
    this.id = idOf(name);
    const self = () => this.id;
    const jobs = { records: (prefix: string) => this.asExecutor.filter(({ job }) => job.startsWith(prefix)) };
    const executor: ExecutorJobs = { ...jobs, droppedAt: () => null, cancel: (job) => this.#cancelAttempt(job) };
    const own = new OwnJobs({ self, nodeName: name, origin: this, executor, output: this });
    this.questions = new JobQuestions({
      send: (to, message) => net.send(this.id, to, message),
      nameOf: (node) => node.slice(0, 1),
      relinkMs: RELINK_MS,
    });
    this.answers = new JobAnswers({
      log: silentLogger,
      jobs: own,
      mayAsk: (node) => !net.unwelcome.has(node),
      peer: (node) => net.peer(this.id, node),
    });
    const members = () => net.others(this.id).map((id) => ({ id, name: id.slice(0, 1) }));
    this.directory = new JobDirectory({ self, own, questions: this.questions, members });
    const muxOf = (node: NodeId) => net.peer(this.id, node)?.mux ?? null;
    this.output = new JobOutput({ self, own, directory: this.directory, questions: this.questions, muxOf });
  }

  records = (): readonly JobRecord[] => this.asOrigin;
  find = (prefix: string): readonly JobRecord[] => this.asOrigin.filter(({ job }) => job.startsWith(prefix));
  droppedAt = (): number | null => this.dropped;
  parentOf = (): JobId | null => null;
  wait = (job: JobId, waitMs: number): Promise<JobRecord | null> => {
    const record = this.asOrigin.find((one) => one.job === job) ?? null;
    if (record === null || record.state === 'finished' || waitMs === 0) return Promise.resolve(record);
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(this.find(job)[0] ?? null), waitMs);
      this.waiting.push((end) => {
        clearTimeout(timer);
        resolve(end);
      });
    });
  };
  cancel = (job: JobId): boolean => {
    const known = this.asOrigin.some((one) => one.job === job && one.state !== 'finished');
    if (known) this.cancelled.push(job);
    return known;
  };

  #cancelAttempt(job: JobId): boolean {
    const known = this.asExecutor.some((one) => one.job === job && one.state !== 'finished');
    if (known) this.cancelled.push(job);
    return known;
  }

  /** As RunnerOutput does it: through a mux, to a gap or the end. */
  async read(request: OutputRequest, sink: OutputSink): Promise<ReadEnd> {
    this.asked.push(`${request.attempt}@${request.offset}`);
    const bytes = Buffer.from(this.log);
    if (request.offset > bytes.length) {
      return { ok: false, kind: 'past_end', end: bytes.length, message: 'past the end' };
    }
    const { gap } = this;
    if (gap !== null && request.offset >= gap.from && request.offset < gap.to) {
      return { ok: true, from: gap.to, next_offset: gap.to, ended: false };
    }
    const stop = this.pauseAt ?? (gap !== null && request.offset < gap.from ? gap.from : bytes.length);
    const [ours, theirs] = muxPair();
    const id = ours.nextId();
    const taking = sink.take(theirs, id);
    const out = ours.openOutgoing(id, 1 << 20, {});
    out.write(bytes.subarray(request.offset, stop));
    if (this.pauseAt !== null) this.pauseAt = null;
    else out.end();
    const how = await taking.done;
    if (how === 'gone') return { ok: false, kind: 'io', end: 0, message: 'its reader is gone' };
    const next = gap !== null && stop === gap.from ? gap.to : stop;
    return { ok: true, from: request.offset, next_offset: next, ended: next === bytes.length && this.logEnded };
  }
}

/** Full mesh of fake nodes; messages are checked against their schema on the way. */
class Net {
  readonly unwelcome = new Set<NodeId>();
  readonly deaf = new Set<NodeId>();
  /** What came for nodes that stand still. */
  readonly held = new Map<NodeId, (() => void)[]>();
  readonly nodes = new Map<NodeId, FakeNode>();
  readonly #links = new Map<string, StreamMux>();

  constructor(names: string) {
    for (const name of names) this.nodes.set(idOf(name), new FakeNode(name, this));
    for (const a of this.nodes.keys()) for (const b of this.nodes.keys()) if (a < b) this.link(a, b);
  }

  node(name: string): FakeNode {
    const node = this.nodes.get(idOf(name));
    if (node === undefined) throw new Error(`no node ${name}`);
    return node;
  }

  link(a: NodeId, b: NodeId): void {
    const [first, second] = muxPair();
    this.#links.set(`${a} ${b}`, first).set(`${b} ${a}`, second);
    this.nodes.get(a)?.questions.linkUp(b);
    this.nodes.get(b)?.questions.linkUp(a);
  }

  /** As if they had never been linked. */
  unlink(a: NodeId, b: NodeId): void {
    for (const name of [`${a} ${b}`, `${b} ${a}`]) {
      this.#links.get(name)?.close();
      this.#links.delete(name);
    }
  }

  cut(a: NodeId, b: NodeId): void {
    this.unlink(a, b);
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      this.nodes.get(from)?.questions.linkDown(to);
      this.nodes.get(from)?.answers.linkDown(to);
    }
  }

  /** Out of everybody's reach. */
  isolate(name: string): void {
    for (const other of this.others(idOf(name))) this.cut(idOf(name), other);
  }

  others(id: NodeId): NodeId[] {
    return [...this.nodes.keys()].filter((one) => one !== id);
  }

  peer(from: NodeId, to: NodeId) {
    const mux = this.#links.get(`${from} ${to}`);
    return mux === undefined ? null : { mux, send: (message: QueryMessage) => this.send(from, to, message) };
  }

  send(from: NodeId, to: NodeId, raw: QueryMessage): boolean {
    const link = this.#links.get(`${from} ${to}`);
    if (link === undefined) return false;
    const message = queryMessageSchema.parse(structuredClone(raw));
    const target = this.nodes.get(to);
    const deliver = (): void => {
      // What was under way over a link that was cut is lost, also where there is another by now.
      if (this.deaf.has(to) || this.#links.get(`${from} ${to}`) !== link) return;
      if (message.t === 'query.answer') target?.questions.receive(from, message.id, message.answer);
      else target?.answers.receive(from, message);
    };
    setImmediate(() => {
      const held = this.held.get(to);
      if (held === undefined) deliver();
      else held.push(deliver);
    });
    return true;
  }
}

const runsOn = (name: string) => ({ executed_on: name, executed_on_id: idOf(name) });
const ofOrigin = (name: string) => ({ origin: name, origin_id: idOf(name) });

/** A client's end: what it got, and a sink for the node. */
function reader() {
  const [daemon, client] = muxPair();
  const id = client.nextId();
  let text = '';
  let isEnded = false;
  const stream = client.openIncoming(id, 1 << 20, {
    onData: (bytes) => {
      text += Buffer.from(bytes).toString();
      stream.consumed(bytes.byteLength);
    },
    onEnd: () => {
      isEnded = true;
    },
    onAbort: () => undefined,
  });
  const gone = new AbortController();
  const sink = new OutputSink({ mux: daemon, id, creditBytes: 1 << 20 }, () => gone.abort());
  return { text: () => text, isEnded: () => isEnded, stream, sink, gone: gone.signal };
}
const PLAIN = { job: J1, attempt: null, stream: 'stdout', offset: 0, follow: false } as const;

describe('jobs of the mesh', () => {
  test('are those of every node, unfinished first and newest first, each once', async () => {
    const net = new Net('abc');
    const [old, newer, done] = [jobId('B1'), jobId('B2'), jobId('B9')];
    net.node('b').asOrigin = [
      jobRecord({ job: old, ...ofOrigin('b'), ...runsOn('c') }),
      jobRecord({ job: done, ...ofOrigin('b'), ...ended }),
    ];
    net.node('c').asExecutor = [jobRecord({ job: old, ...ofOrigin('b'), command: 'as its executor tells' })];
    net.node('a').asOrigin = [jobRecord({ job: newer })];
    const { jobs, notices, more } = await net.node('a').directory.jobs(false, LIVE);
    expect(jobs.map(({ job, command }) => [job, command])).toEqual([
      [newer, 'make'],
      [old, 'make'],
      [done, 'make'],
    ]);
    expect([notices, more]).toEqual([[], 0]);
  });

  test('name who is out of reach and who does not answer', async () => {
    const net = new Net('abc');
    net.isolate('b');
    net.deaf.add(idOf('c'));
    const { notices } = await net.node('a').directory.jobs(false, LIVE);
    expect(notices).toHaveLength(2);
    expect(notices.join('\n')).toMatch(/b is not reachable/);
    expect(notices.join('\n')).toMatch(/c did not answer within 2 s/);
  });

  test('show of the ended ones the last few, all where asked, and never more than fit a message', async () => {
    const net = new Net('ab');
    const many = Array.from({ length: 700 }, (_, i) =>
      jobRecord({ job: jobId(`C${String(i).padStart(4, '0')}`), ...ofOrigin('b'), ...ended }),
    );
    net.node('b').asOrigin = many;
    const few = await net.node('a').directory.jobs(false, LIVE);
    expect([few.jobs.length, few.more]).toEqual([20, 680]);
    const all = await net.node('a').directory.jobs(true, LIVE);
    expect([all.jobs.length, all.more]).toEqual([500, 200]);
    net.node('b').asOrigin = many.map((one) => ({ ...one, command: 'x'.repeat(2000) }));
    const large = await net.node('a').directory.jobs(true, LIVE);
    expect(Buffer.byteLength(JSON.stringify(large))).toBeLessThan(1024 * 1024);
    expect(large.jobs.length + large.more).toBe(700);
  });

  test('are not told to a node without the right, which still sees its own', async () => {
    const net = new Net('ab');
    net.node('a').asOrigin = [jobRecord({ job: J1 })];
    net.node('b').asOrigin = [jobRecord({ job: J2, ...ofOrigin('b') })];
    net.unwelcome.add(idOf('a'));
    const { jobs, notices } = await net.node('a').directory.jobs(true, LIVE);
    expect(jobs.map(({ job }) => job)).toEqual([J1]);
    expect(notices[0]).toMatch(/^b: only members with the role/);
    await expect(net.node('a').directory.find(J2, LIVE)).rejects.toMatchObject({ code: 'job_unknown' });
    const cancel = await net.node('a').questions.ask(idOf('b'), { kind: 'cancel', job: J2 }, 2000);
    expect(cancel).toMatchObject({ kind: 'error', code: 'not_permitted' });
    expect(net.node('b').cancelled).toEqual([]);
  });
});

describe('one job', () => {
  test('is found by the beginning of its id, in small letters too, from any node', async () => {
    const net = new Net('abc');
    net.node('c').asOrigin = [jobRecord({ job: J1, ...ofOrigin('c') })];
    for (const name of 'abc') {
      expect(await net.node(name).directory.find('01arz3ndeka1', LIVE)).toMatchObject({ job: J1, origin: 'c' });
      expect(await net.node(name).directory.find(J1, LIVE)).toMatchObject({ job: J1 });
    }
  });

  test.each([
    ['too short', '01A', 'job_unknown', /at least 4 characters/],
    ['no id at all', 'my job!', 'job_unknown', /is no job id/],
    ['nobody knows it', '01ARZ9', 'job_unknown', /no node of this mesh knows/],
    ['several begin so', '01ARZ3', 'job_ambiguous', new RegExp(`${J2}.*${J1}`)],
  ])('is refused where it is %s', async (_what, name, code, message) => {
    const net = new Net('ab');
    net.node('a').asOrigin = [jobRecord({ job: J1 })];
    net.node('b').asOrigin = [jobRecord({ job: J2, ...ofOrigin('b') })];
    const failure = expect(net.node('a').directory.find(name, LIVE)).rejects;
    await failure.toMatchObject({ code, message: expect.stringMatching(message) as string });
  });

  test('is one of many that begin so: the newest are named, wherever they are', async () => {
    const net = new Net('ab');
    const ids = Array.from({ length: 10 }, (_, index) => jobId(`B${index}`));
    net.node('a').asOrigin = ids.slice(0, 8).map((job) => jobRecord({ job }));
    net.node('b').asOrigin = ids.slice(8).map((job) => jobRecord({ job, ...ofOrigin('b') }));
    const newest = ids.toReversed().slice(0, 8).join('.*');
    await expect(net.node('a').directory.find('01ARZ3', LIVE)).rejects.toMatchObject({
      code: 'job_ambiguous',
      message: expect.stringMatching(new RegExp(`${newest}.*and 2 more`)) as string,
    });
  });

  test('that was dropped is told by whom and when', async () => {
    const net = new Net('ab');
    net.node('b').dropped = Date.UTC(2030, 0, 2);
    await expect(net.node('a').directory.find(J1, LIVE)).rejects.toMatchObject({
      code: 'job_expired',
      message: expect.stringMatching(/b dropped it at 2030-01-02/) as string,
    });
  });

  test('is found at a member that stands still for longer than a list waits', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const net = new Net('abc');
      net.node('b').asOrigin = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('b') })];
      const held: (() => void)[] = [];
      net.held.set(idOf('b'), held);
      const { directory } = net.node('a');
      const [list, found, cancelled] = [
        directory.jobs(false, LIVE),
        directory.find(J1, LIVE),
        directory.cancel(J1.slice(0, 20), LIVE),
      ];
      await vi.advanceTimersByTimeAsync(5000);
      expect((await list).notices.join()).toMatch(/b did not answer within 2 s/);
      net.held.delete(idOf('b'));
      for (const deliver of held) deliver();
      expect(await found).toMatchObject({ job: J1, origin: 'b' });
      expect(await cancelled).toEqual({ cancelled: true, job: J1 });
    } finally {
      vi.useRealTimers();
    }
  });

  test('is told by its executor where its origin is away; who could not be asked is named', async () => {
    const net = new Net('abc');
    net.node('b').asOrigin = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('c') })];
    net.node('c').asExecutor = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('c'), detail: 'here' })];
    net.isolate('b');
    expect(await net.node('a').directory.find(J1, LIVE)).toMatchObject({ detail: 'here' });
    net.isolate('c');
    await expect(net.node('a').directory.find(J1, LIVE)).rejects.toMatchObject({
      code: 'job_unknown',
      message: expect.stringMatching(/b is not reachable; c is not reachable/) as string,
    });
  });
});

describe('a member that lies', () => {
  const claim = (name: string, changes: Partial<JobRecord> = {}) =>
    jobRecord({ job: J1, ...ofOrigin(name), ...runsOn(name), ...changes });

  test("cannot pass for the origin of another node's job: both claims are told, and nothing is done", async () => {
    const net = new Net('abc');
    net.node('b').asOrigin = [claim('b')];
    net.node('c').asOrigin = [claim('c', { ...ended })];
    const { directory } = net.node('a');
    const failure = { code: 'job_ambiguous', message: expect.stringMatching(/b and c each say/) as string };
    await expect(directory.find(J1, LIVE)).rejects.toMatchObject(failure);
    await expect(directory.cancel(J1, LIVE)).rejects.toMatchObject(failure);
    expect((await directory.jobs(true, LIVE)).notices.join()).toMatch(/b and c each say/);
    // Who was asked first is of no use to it: the node itself knows what was submitted there.
    expect(await net.node('b').directory.find(J1, LIVE)).toMatchObject({ origin: 'b' });
  });

  test('is not heard on jobs that are neither its own nor asked for', async () => {
    const net = new Net('abc');
    net.node('b').asOrigin = [claim('b')];
    const lies = [claim('b', { attempt: 9 }), jobRecord({ job: J2, ...ofOrigin('c') })];
    net.node('c').find = () => lies;
    net.node('c').records = () => lies.slice(0, 1);
    expect(await net.node('a').directory.find(J1, LIVE)).toMatchObject({ job: J1, attempt: 1 });
    expect((await net.node('a').directory.jobs(true, LIVE)).jobs.map(({ attempt }) => attempt)).toEqual([1]);
  });

  test('and answers a wait at once, again and again, is asked again after a while only', async () => {
    const net = new Net('ab');
    net.node('b').asOrigin = [claim('b')];
    let asked = 0;
    net.node('b').wait = (job) => {
      asked += 1;
      return Promise.resolve(net.node('b').asOrigin.find((one) => one.job === job) ?? null);
    };
    expect(await net.node('a').directory.wait(J1, 700, LIVE)).toMatchObject({ state: 'running' });
    expect(await net.node('b').directory.wait(J1, 700, LIVE)).toMatchObject({ state: 'running' });
    expect(asked).toBeLessThan(10);
  });

  test('tells no time that is none', () => {
    const answer = (changes: object) => ({
      t: 'query.answer',
      id: 1,
      answer: { kind: 'records', records: [claim('b')], more: 0, dropped_ms: null, ...changes },
    });
    expect(queryMessageSchema.safeParse(answer({})).success).toBe(true);
    for (const changes of [
      { dropped_ms: 9e15 },
      { records: [claim('b', { submitted_ms: 9e15 })] },
      { records: [claim('b', { duration_ms: 1e308 })] },
    ]) {
      expect(queryMessageSchema.safeParse(answer(changes)).success).toBe(false);
    }
  });
});

describe('a member that floods', () => {
  test('has so many lists and so many reads, and keeps nobody waiting here', async () => {
    const net = new Net('ab');
    const [a, b] = [net.node('a'), net.node('b')];
    b.asOrigin = [jobRecord({ job: J1, ...ofOrigin('b') })];
    const lists = await Promise.all(
      Array.from({ length: 100 }, () => a.questions.ask(b.id, { kind: 'find', prefix: '01AR' }, 5000)),
    );
    expect(lists.filter(({ kind }) => kind === 'error').length).toBeGreaterThan(30);
    b.log = 'x';
    Object.defineProperty(b, 'pauseAt', { get: () => 1, set: () => undefined });
    const client = new AbortController();
    setMaxListeners(40, client.signal);
    const mux = net.peer(a.id, b.id)?.mux;
    const what = { kind: 'read', job: J1, attempt: 1, stream: 'stdout', offset: 0, follow: true } as const;
    const reads = Array.from({ length: 40 }, (_, index) => {
      const stream_id = 1001 + 2 * index;
      mux?.openIncoming(stream_id, 1, { onData: () => undefined, onEnd: () => undefined, onAbort: () => undefined });
      return a.questions.ask(b.id, { ...what, stream_id, window_bytes: 1 }, null, client.signal);
    });
    const refused = await Promise.race(reads);
    expect(refused).toMatchObject({ kind: 'error', code: 'limit' });
    client.abort();
    await Promise.all(reads);
  });
});

test('members may be many: no warning of a leak comes of their questions', async () => {
  const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
  const net = new Net('abcdefghijklmnop');
  await expect(net.node('a').directory.find(J1, LIVE)).rejects.toMatchObject({ code: 'job_unknown' });
  expect(warned.mock.calls).toEqual([]);
  warned.mockRestore();
});

describe('wait', () => {
  test('is answered at the end of the job, or as it is then', async () => {
    const net = new Net('ab');
    const b = net.node('b');
    b.asOrigin = [jobRecord({ job: J1, ...ofOrigin('b') })];
    expect(await net.node('a').directory.wait(J1, 30, LIVE)).toMatchObject({ state: 'running' });
    // On a busy machine the time is over before the question could be asked.
    const asked = b.waiting.length;
    const waited = net.node('a').directory.wait(J1, null, LIVE);
    await vi.waitFor(() => expect(b.waiting.length).toBeGreaterThan(asked), { timeout: 60_000 });
    const done = jobRecord({ job: J1, ...ofOrigin('b'), ...ended });
    b.asOrigin = [done];
    for (const settle of b.waiting) settle(done);
    expect(await waited).toMatchObject({ state: 'finished', return_code: 0 });
  });

  test('goes on with the executor where the origin goes away', async () => {
    const net = new Net('abc');
    net.node('b').asOrigin = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('c') })];
    net.node('c').asExecutor = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('c') })];
    const waited = net.node('a').directory.wait(J1, null, LIVE);
    await vi.waitFor(() => expect(net.node('b').waiting).toHaveLength(1), { timeout: 60_000 });
    net.isolate('b');
    net.node('c').asExecutor = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('c'), ...ended })];
    expect(await waited).toMatchObject({ state: 'finished' });
  });

  test('is given up with its client', async () => {
    const net = new Net('ab');
    net.node('b').asOrigin = [jobRecord({ job: J1, ...ofOrigin('b') })];
    const client = new AbortController();
    const waited = net.node('a').directory.wait(J1, null, client.signal);
    await vi.waitFor(() => expect(net.node('b').waiting).toHaveLength(1), { timeout: 60_000 });
    client.abort();
    expect(await waited).toMatchObject({ state: 'running' });
  });
});

describe('cancel', () => {
  test('goes to the origin', async () => {
    const net = new Net('abc');
    net.node('b').asOrigin = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('c') })];
    expect(await net.node('a').directory.cancel('01ARZ3', LIVE)).toEqual({ cancelled: true, job: J1 });
    expect(net.node('b').cancelled).toEqual([J1]);
  });

  test('goes to the executor where the origin is away', async () => {
    const net = new Net('abc');
    net.node('c').asExecutor = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('c') })];
    net.isolate('b');
    expect(await net.node('a').directory.cancel(J1, LIVE)).toEqual({ cancelled: true, job: J1 });
    expect(net.node('c').cancelled).toEqual([J1]);
  });

  test('of one that has ended says how', async () => {
    const net = new Net('ab');
    net.node('b').asOrigin = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('b'), ...ended, return_code: 3 })];
    await expect(net.node('a').directory.cancel(J1, LIVE)).rejects.toMatchObject({
      code: 'job_finished',
      message: expect.stringMatching(/has ended on b: exit code 3; nothing was done/) as string,
    });
  });
});

describe('output', () => {
  test.each(['a', 'b', 'c'])('is read at node %s from any offset', async (name) => {
    const net = new Net('abc');
    net.node('b').asOrigin = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('c'), ...ended })];
    net.node('c').log = '0123456789';
    for (const offset of [0, 4, 10]) {
      const { sink, text, isEnded } = reader();
      const read = await net.node(name).output.read({ ...PLAIN, offset }, sink, LIVE);
      expect(read).toEqual({ from: offset, next_offset: 10, ended: true, job: J1, attempt: 1, run_again: null });
      sink.end();
      await vi.waitFor(() => expect(isEnded()).toBe(true), { timeout: 60_000 });
      expect(text()).toBe('0123456789'.slice(offset));
    }
  });

  test.each([
    [-1, /negative/],
    [11, /stdout of job .* has 10 bytes/],
  ])('is refused from offset %s', async (offset, message) => {
    const net = new Net('ab');
    net.node('b').asOrigin = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('b'), ...ended })];
    net.node('b').log = '0123456789';
    for (const name of ['a', 'b']) {
      const read = net.node(name).output.read({ ...PLAIN, offset }, reader().sink, LIVE);
      await expect(read).rejects.toMatchObject({
        code: 'offset_out_of_range',
        message: expect.stringMatching(message) as string,
      });
    }
  });

  test('ends at a gap and goes on behind it', async () => {
    const net = new Net('ab');
    net.node('b').asOrigin = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('b'), ...ended })];
    net.node('b').log = '0123456789';
    net.node('b').gap = { from: 3, to: 7 };
    const read = (offset: number) => net.node('a').output.read({ ...PLAIN, offset }, reader().sink, LIVE);
    expect(await read(0)).toMatchObject({ from: 0, next_offset: 7, ended: false });
    expect(await read(5)).toMatchObject({ from: 7, next_offset: 7, ended: false });
    expect(await read(7)).toMatchObject({ from: 7, next_offset: 10, ended: true });
  });

  test('goes on without gap or repeat after the link was cut', async () => {
    const net = new Net('ab');
    const b = net.node('b');
    b.asOrigin = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('b') })];
    b.log = '0123456789';
    b.pauseAt = 6;
    const { sink, text } = reader();
    const read = net.node('a').output.read({ ...PLAIN, follow: true }, sink, LIVE);
    await vi.waitFor(() => expect(text()).toBe('012345'), { timeout: 60_000 });
    net.cut(idOf('a'), idOf('b'));
    net.link(idOf('a'), idOf('b'));
    expect(await read).toMatchObject({ from: 0, next_offset: 10, ended: true });
    await vi.waitFor(() => expect(text()).toBe('0123456789'), { timeout: 60_000 });
    expect(b.asked).toEqual(['1@0', '1@6']);
  });

  test('of a job that is run again is that of its newest attempt', async () => {
    const net = new Net('abc');
    const b = net.node('b');
    b.asOrigin = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('c') })];
    net.node('c').log = 'first';
    net.node('c').pauseAt = 5;
    const { sink, text } = reader();
    const read = net.node('a').output.read({ ...PLAIN, follow: true }, sink, LIVE);
    await vi.waitFor(() => expect(text()).toBe('first'), { timeout: 60_000 });
    // First its files travel: until they are there, that node has no output of it, and is not asked for any.
    b.asOrigin = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('b'), state: 'syncing' })];
    net.isolate('c');
    await vi.waitFor(() => expect(b.waiting.length).toBeGreaterThan(0), { timeout: 60_000 });
    expect(b.asked).toEqual([]);
    b.asOrigin = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('b'), attempt: 2 })];
    expect(await read).toMatchObject({ attempt: 1, run_again: 2, ended: false });
    b.log = 'second';
    const again = await net.node('a').output.read({ ...PLAIN, attempt: 2, follow: true }, reader().sink, LIVE);
    expect(again).toMatchObject({ attempt: 2, next_offset: 6, ended: true });
  });

  test('stops when its reader leaves', async () => {
    const net = new Net('ab');
    const b = net.node('b');
    b.asOrigin = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('b') })];
    b.log = '0123456789';
    b.pauseAt = 6;
    const { sink, text, stream, gone } = reader();
    const read = net.node('a').output.read({ ...PLAIN, follow: true }, sink, gone);
    await vi.waitFor(() => expect(text()).toBe('012345'), { timeout: 60_000 });
    stream.abort();
    expect(await read).toMatchObject({ from: 0, next_offset: 6, ended: false });
  });

  test.each([
    { state: 'queued', executed_on: null, executed_on_id: null },
    { state: 'syncing', ...runsOn('b') },
    { state: 'preparing', ...runsOn('b') },
  ] as const)('of a job that is $state is waited for, or is nothing yet', async (waiting) => {
    const net = new Net('ab');
    const b = net.node('b');
    b.asOrigin = [jobRecord({ job: J1, ...ofOrigin('b'), attempt: 0, ...waiting })];
    const none = await net.node('a').output.read(PLAIN, reader().sink, LIVE);
    expect(none).toMatchObject({ next_offset: 0, ended: false });
    const { sink, text } = reader();
    const read = net.node('a').output.read({ ...PLAIN, follow: true }, sink, LIVE);
    await vi.waitFor(() => expect(b.waiting.length).toBeGreaterThan(0), { timeout: 60_000 });
    b.log = 'now';
    b.asOrigin = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('b'), ...ended })];
    expect(await read).toMatchObject({ next_offset: 3, ended: true });
    await vi.waitFor(() => expect(text()).toBe('now'), { timeout: 60_000 });
  });

  test('of an executor that is away says where it is', async () => {
    const net = new Net('abc');
    net.node('b').asOrigin = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('c'), ...ended })];
    net.isolate('c');
    await expect(net.node('a').output.read(PLAIN, reader().sink, LIVE)).rejects.toMatchObject({
      code: 'job_unreachable',
      message: expect.stringMatching(/^c, where job/) as string,
    });
  });
});

describe('a link that is replaced by another', () => {
  const [A, B] = [idOf('a'), idOf('b')];

  test('loses no question: it is asked again', async () => {
    const net = new Net('ab');
    net.node('b').asOrigin = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('b') })];
    const found = net.node('a').directory.find(J1, LIVE);
    const waited = net.node('a').questions.ask(B, { kind: 'wait', job: J1, wait_ms: 60_000 }, null);
    net.cut(A, B);
    // Asked between the two links.
    const cancelled = net.node('a').directory.cancel(J1, LIVE);
    net.link(A, B);
    expect(await found).toMatchObject({ job: J1 });
    expect(await cancelled).toEqual({ cancelled: true, job: J1 });
    expect(net.node('b').waiting).toHaveLength(1);
    net.node('b').waiting[0]?.(jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('b') }));
    expect(await waited).toMatchObject({ kind: 'records' });
  });

  /** Half of an output came over a link that is cut now. */
  async function halfRead() {
    const net = new Net('ab');
    const b = net.node('b');
    b.asOrigin = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('b'), ...ended })];
    b.log = '0123456789';
    b.pauseAt = 6;
    const { sink, text } = reader();
    const read = net.node('a').output.read(PLAIN, sink, LIVE);
    await vi.waitFor(() => expect(text()).toBe('012345'), { timeout: 60_000 });
    net.cut(A, B);
    return { net, read, text };
  }

  test('loses no output, also where it is not followed', async () => {
    const { net, read, text } = await halfRead();
    net.link(A, B);
    expect(await read).toMatchObject({ from: 0, next_offset: 10, ended: true });
    await vi.waitFor(() => expect(text()).toBe('0123456789'), { timeout: 60_000 });
  });

  test('and a link that does not come back ends what was asked over it', async () => {
    const { net, read } = await halfRead();
    await expect(read).rejects.toMatchObject({ code: 'job_unreachable' });
    await expect(net.node('a').directory.find(J1, LIVE)).rejects.toMatchObject({ code: 'job_unknown' });
  });
});

describe('a member that is not linked yet when this node starts', () => {
  const [A, B] = [idOf('a'), idOf('b')];

  test('is asked once it is', async () => {
    const net = new Net('ab');
    net.unlink(A, B);
    net.node('b').asOrigin = [jobRecord({ job: J1, ...ofOrigin('b'), ...runsOn('b') })];
    net.node('a').questions.linkExpected(B);
    const listed = net.node('a').directory.jobs(false, LIVE);
    net.link(A, B);
    expect(await listed).toMatchObject({ jobs: [{ job: J1 }], notices: [] });
  });

  test('and is out of reach where it is not after a moment', async () => {
    const net = new Net('ab');
    net.unlink(A, B);
    net.node('a').questions.linkExpected(B);
    const listed = await net.node('a').directory.jobs(false, LIVE);
    expect(listed.notices).toEqual([expect.stringMatching(/^b is not reachable/)]);
    expect(net.node('a').questions.isRelinking(B)).toBe(false);
  });
});

test('the open questions of one member are bounded, and end with its link', async () => {
  const net = new Net('ab');
  net.node('b').asOrigin = [jobRecord({ job: J1, ...ofOrigin('b') })];
  const asking = Array.from({ length: 129 }, () =>
    net.node('a').questions.ask(idOf('b'), { kind: 'wait', job: J1, wait_ms: 60_000 }, null),
  );
  expect(await asking[128]).toMatchObject({ kind: 'error', code: 'limit' });
  net.cut(idOf('a'), idOf('b'));
  for (const answer of await Promise.all(asking.slice(0, 128))) {
    expect(answer).toMatchObject({ kind: 'error', code: 'job_unreachable' });
  }
});

test('status tells of unknown outcomes for a day, of the newest by its id', () => {
  const day = 24 * 3_600_000;
  const unknown = { ...ended, reason: 'unknown', return_code: null } as const;
  const records = [
    jobRecord({ ...unknown, job: J1, finished_ms: 10 }),
    jobRecord({ ...unknown, job: J2, finished_ms: 10 }),
    jobRecord(ended),
  ];
  expect(unknownEnds(records, day)).toEqual([expect.stringContaining(`2 jobs submitted here`)]);
  expect(unknownEnds(records, day)[0]).toContain(J2);
  expect(unknownEnds(records, day + 10)).toEqual([]);
  expect(unknownEnds([jobRecord(ended)], day)).toEqual([]);
});
