import { describe, expect, test } from 'vitest';
import { makeJobId, type JobId, type LeaseId, type NodeId } from '../../../../src/base/ids.ts';
import { seededRandom } from '../../../../src/base/random.ts';
import type { Candidate } from '../../../../src/core/scheduling/candidate.ts';
import { Origin } from '../../../../src/core/scheduling/origin.ts';
import type { JobResult, OriginEffect, OriginInput } from '../../../../src/core/scheduling/origin-job.ts';
import { IMPOSSIBLE_GRACE_MS, LINK_GRACE_MS, QUEUED_JOBS_MAX } from '../../../../src/core/scheduling/origin-limits.ts';
import { ATTEMPTS_MAX, type JobMessage, type Reason } from '../../../../src/wire/jobs.ts';
import type { Load } from '../../../../src/wire/facts.ts';
import { candidate, idOf, LOAD, request, RULES, self, type Overrides } from './nodes.ts';

const FULL: Partial<Load> = { slots_free: 0, jobs_running: 4 };
const LEASE = 'a'.repeat(26) as LeaseId;
const jobId = (number: number): JobId => makeJobId(number, new Uint8Array(16));

/** An origin whose nodes the test changes; remembers all effects. */
class World {
  nowMs = 1000;
  nodes: Candidate[];
  readonly effects: OriginEffect[] = [];
  readonly origin: Origin;

  constructor(...nodes: Candidate[]) {
    this.nodes = nodes;
    this.origin = new Origin({ nodes: () => this.nodes, rules: RULES, random: seededRandom(1) });
  }

  step(input: OriginInput): OriginEffect[] {
    const effects = this.origin.step(input, this.nowMs);
    this.effects.push(...effects);
    return effects;
  }

  submit(number: number, asked: Parameters<typeof request>[0] = { target: { kind: 'any' } }): JobId {
    const job = jobId(number);
    const evidence = { home_relative: null, boot_id: null, device: '1', inode: '2', clean_commit: null };
    this.step({
      kind: 'submit',
      submission: {
        job,
        command: { kind: 'line', line: 'make' },
        cwd: { path: '/work', git_prefix: null, ...evidence },
        placement: request(asked),
      },
    });
    return job;
  }

  grant(from: string, job: JobId, attempt = 1, load: Partial<Load> = FULL): void {
    const terms = { instance: 'i', ttl_ms: 10_000, cwd: '/there', load: { ...LOAD, ...load } };
    this.receive(from, { t: 'job.reserved', job, attempt, lease: LEASE, ...terms });
  }

  refuse(from: string, job: JobId, code: Reason['code'], load: Partial<Load> = FULL): void {
    const reasons = [{ code, text: `is ${code}` }];
    this.receive(from, {
      t: 'job.refused',
      job,
      attempt: 1,
      reasons,
      full: code === 'full',
      load: { ...LOAD, ...load },
    });
  }

  receive(from: string, message: JobMessage): void {
    this.step({ kind: 'message', from: idOf(from), message });
  }

  end(from: string, job: JobId): void {
    const counts = {
      stdout_bytes: 0,
      stderr_bytes: 0,
      truncated: false,
      left_running: 0,
      changes: null,
      duration_ms: 1,
    };
    this.receive(from, { t: 'job.ended', job, attempt: 1, outcome: { kind: 'exited', code: 3 }, ...counts });
  }

  waitFor(deadlineMs: number): void {
    for (;;) {
      const nextMs = this.origin.nextDeadlineMs();
      if (nextMs === null || nextMs > deadlineMs) break;
      this.nowMs = nextMs;
      this.step({ kind: 'timer' });
    }
    this.nowMs = deadlineMs;
  }

  result(job: JobId): JobResult | undefined {
    return this.effects.flatMap((effect) => (effect.kind === 'finish' && effect.job === job ? [effect.result] : []))[0];
  }

  /** `job@node` for each reservation asked, in order. */
  asked(): string[] {
    return this.effects.flatMap((effect) =>
      effect.kind === 'send' && effect.message.t === 'job.reserve'
        ? [`${this.numberOf(effect.message.job)}@${this.nameOf(effect.to)}`]
        : [],
    );
  }

  numberOf(job: JobId): number {
    for (let number = 0; number < 100; number++) if (jobId(number) === job) return number;
    return -1;
  }

  nameOf(id: NodeId): string {
    return this.nodes.find((node) => node.id === id)?.name ?? '?';
  }
}

const slotless = self({ facts: { slots: 0 }, load: { slots_free: 0 } });
const one = (name: string, overrides: Overrides = {}): Candidate =>
  candidate(name, {
    ...overrides,
    facts: { slots: 1, ...overrides.facts },
    load: { slots_free: 1, ...overrides.load },
  });

describe('one job', () => {
  test('what its result tells', () => {
    const world = new World(slotless, one('beta'));
    const job = world.submit(1);
    world.nowMs = 1010;
    world.grant('beta', job);
    world.nowMs = 1030;
    world.receive('beta', { t: 'job.started', job, attempt: 1 });
    world.nowMs = 5000;
    world.end('beta', job);
    expect(world.result(job)).toMatchObject({
      kind: 'ended',
      attempts: 1,
      queueMs: 0,
      dispatchMs: 30,
      automatic: true,
      route: 'beta: `make` is heavy; the only capable node',
      place: { name: 'beta', cwd: '/there', instance: 'i', lease: LEASE },
      ended: { outcome: { kind: 'exited', code: 3 } },
    });
    expect(world.origin.jobsKept).toBe(0);
    expect(world.origin.nextDeadlineMs()).toBeNull();
  });

  test('the reservation says whether the node was named', () => {
    const world = new World(self(), one('beta'));
    world.submit(1, { target: { kind: 'node', node: 'beta' } });
    world.submit(2, { target: { kind: 'local' } });
    const reserves = world.effects.flatMap((effect) =>
      effect.kind === 'send' && effect.message.t === 'job.reserve' ? [effect.message] : [],
    );
    expect(reserves.map(({ explicit, dry_run }) => [explicit, dry_run])).toEqual([
      [true, false],
      [false, false],
    ]);
    expect(world.asked()).toEqual(['1@beta', '2@here']);
  });

  test('an impossible one is refused at once', () => {
    const world = new World(self(), one('beta'));
    const job = world.submit(1, { requires: { capabilities: ['gpu'] } });
    expect(world.result(job)).toMatchObject({ kind: 'refused', code: 'no_capable_node', attempts: 0 });
    expect(world.asked()).toEqual([]);
  });

  test('refused for its files everywhere, it runs here and says why', () => {
    const world = new World(self({ load: { overloaded: true, cpu_percent: 95 } }), one('beta'), one('gamma'));
    const job = world.submit(1);
    for (const { id, name } of world.nodes) {
      if (name !== 'here' && world.asked().at(-1) === `1@${world.nameOf(id)}`) world.refuse(name, job, 'files');
    }
    for (const name of ['beta', 'gamma']) if (world.asked().at(-1) === `1@${name}`) world.refuse(name, job, 'files');
    expect(world.asked().at(-1)).toBe('1@here');
    world.grant('here', job);
    world.end('here', job);
    const route = world.result(job)?.route ?? '';
    expect(route).toContain('beta refused: is files');
    expect(route).toContain('gamma refused: is files');
  });

  test('a named node that refuses is the end', () => {
    const world = new World(self(), one('beta'));
    const job = world.submit(1, { target: { kind: 'node', node: 'beta' } });
    world.refuse('beta', job, 'cwd_missing');
    expect(world.result(job)).toMatchObject({ kind: 'refused', code: 'cwd_missing' });
  });

  test('want of memory is no lasting refusal', () => {
    const world = new World(slotless, one('beta'));
    const requires = { memory_bytes: 2 ** 32 };
    const job = world.submit(1, { target: { kind: 'any' }, requires });
    const short = { memory_available_bytes: 2 ** 31, slots_free: 1 };
    world.refuse('beta', job, 'memory', short);
    expect(world.result(job)).toBeUndefined();
    world.nowMs += 2000;
    world.nodes = [slotless, one('beta', { node: { loadAtMs: world.nowMs } })];
    world.step({ kind: 'nodes_changed' });
    expect(world.asked()).toEqual(['1@beta', '1@beta']);
  });

  test('not started again and again ends in a refusal', () => {
    const world = new World(slotless, one('beta'));
    const job = world.submit(1);
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      world.grant('beta', job, attempt);
      world.receive('beta', { t: 'job.not_started', job, attempt, reason: { code: 'other', text: 'too late' } });
    }
    expect(world.result(job)).toMatchObject({ kind: 'refused', code: 'refused', attempts: ATTEMPTS_MAX });
  });

  test('at most once: a link that goes down after start asks no other node', () => {
    const world = new World(slotless, one('beta'), one('gamma'));
    const job = world.submit(1);
    const first = world.asked()[0]?.slice(2) ?? '';
    world.grant(first, job);
    world.step({ kind: 'link_down', node: idOf(first) });
    expect(world.result(job)).toBeUndefined();
    world.waitFor(world.nowMs + LINK_GRACE_MS);
    expect(world.result(job)).toMatchObject({ kind: 'unknown', attempts: 1 });
    expect(world.asked()).toHaveLength(1);
  });

  test('replies to dry runs are nobody here', () => {
    const world = new World(slotless, one('beta'));
    const terms = { instance: 'i', ttl_ms: 1, cwd: '/', load: LOAD };
    world.receive('beta', { t: 'job.reserved', job: jobId(9), attempt: 1, lease: null, ...terms });
    expect(world.effects).toEqual([]);
  });

  test('a job id comes once', () => {
    const world = new World(slotless, one('beta'));
    world.submit(1);
    expect(() => world.submit(1)).toThrow(/twice/);
  });
});

describe('the queue', () => {
  test('a round asks four nodes, then waits; each is asked once', () => {
    const names = ['b', 'c', 'd', 'e', 'f', 'g'];
    const world = new World(slotless, ...names.map((name) => one(name)));
    const job = world.submit(1);
    for (let i = 0; i < 4; i++) world.refuse(world.asked().at(-1)?.slice(2) ?? '', job, 'full');
    // Two more have free slots as far as is known: the next round begins with them.
    world.refuse(world.asked().at(-1)?.slice(2) ?? '', job, 'full');
    world.refuse(world.asked().at(-1)?.slice(2) ?? '', job, 'full');
    expect(new Set(world.asked()).size).toBe(6);
    expect(world.asked()).toHaveLength(6);
    expect(world.origin.jobsQueued).toBe(1);
  });

  test('is first in, first out for the same slots', () => {
    const world = new World(slotless, one('beta'));
    for (const number of [1, 2, 3, 4]) world.submit(number);
    expect(world.asked()).toEqual(['1@beta']);
    world.grant('beta', jobId(1));
    world.refuse('beta', jobId(2), 'full');
    for (const number of [1, 2, 3]) {
      world.end('beta', jobId(number));
      world.receive('beta', { t: 'job.slot_free', load: { ...LOAD, slots_free: 1 } });
      world.grant('beta', jobId(number + 1));
      world.refuse('beta', jobId(number + 2), 'full');
    }
    const firsts = world.asked().filter((text, i, all) => all.indexOf(text) === i);
    expect(firsts).toEqual(['1@beta', '2@beta', '3@beta', '4@beta']);
  });

  test('a job that fits one busy node does not hold up the others', () => {
    const world = new World(
      slotless,
      one('beta', { facts: { gpus: ['x'] } }),
      one('gamma', { load: { slots_free: 0 } }),
    );
    world.submit(1, { target: { kind: 'any' }, requires: { capabilities: ['gpu'] } });
    world.grant('beta', jobId(1));
    world.submit(2, { target: { kind: 'any' }, requires: { capabilities: ['gpu'] } });
    world.refuse('beta', jobId(2), 'full');
    world.submit(3, { target: { kind: 'any' } });
    world.refuse('gamma', jobId(3), 'full');
    world.receive('gamma', { t: 'job.slot_free', load: { ...LOAD, slots_free: 1 } });
    expect(world.asked()).toEqual(['1@beta', '2@beta', '3@gamma', '3@gamma']);
  });

  test('no more is asked than is free, but one that finds out', () => {
    const world = new World(slotless, candidate('beta'));
    for (let number = 1; number <= 20; number++) world.submit(number);
    expect(world.asked()).toHaveLength(4);
    expect(world.origin.jobsQueued).toBe(16);
    for (const number of [1, 2, 3, 4]) world.grant('beta', jobId(number));
    expect(world.asked()).toHaveLength(5);
    world.refuse('beta', jobId(5), 'full');
    expect(world.asked()).toHaveLength(5);
  });

  test('is tried again even if no hint comes', () => {
    const world = new World(slotless, one('beta'));
    const job = world.submit(1);
    world.refuse('beta', job, 'full');
    world.waitFor(world.nowMs + 1250);
    expect(world.asked()).toHaveLength(2);
  });

  test('a silent node is passed over', () => {
    const world = new World(slotless, one('beta'), one('gamma'));
    world.submit(1);
    world.waitFor(world.nowMs + 2000);
    expect(new Set(world.asked())).toEqual(new Set(['1@beta', '1@gamma']));
  });

  test('is bounded', () => {
    const world = new World(slotless, one('beta', { load: { slots_free: 0 } }));
    for (let number = 0; number <= QUEUED_JOBS_MAX; number++) world.submit(number);
    expect(world.origin.jobsQueued).toBe(QUEUED_JOBS_MAX);
    const job = world.submit(QUEUED_JOBS_MAX + 1);
    expect(world.result(job)).toMatchObject({ kind: 'refused', code: 'queue_full' });
    expect(world.origin.jobsKept).toBe(QUEUED_JOBS_MAX + 1);
  });

  test('waits a while for its only node to come back, not for one that is gone', () => {
    const suspect = one('beta', { node: { state: 'suspect', reachable: false } });
    for (const state of ['suspect', 'dead'] as const) {
      const world = new World(slotless, one('beta'));
      const job = world.submit(1);
      world.refuse('beta', job, 'full');
      world.nodes = [slotless, { ...suspect, state }];
      const sinceMs = world.nowMs;
      world.waitFor(sinceMs + IMPOSSIBLE_GRACE_MS - 500);
      expect(world.result(job)?.kind, state).toBe(state === 'dead' ? 'refused' : undefined);
      world.waitFor(sinceMs + IMPOSSIBLE_GRACE_MS + 3000);
      expect(world.result(job)).toMatchObject({ kind: 'refused' });
    }
  });
});

describe('what is known of nodes', () => {
  test('replies are fresher than older heartbeats, newer heartbeats than replies', () => {
    const world = new World(slotless, candidate('beta'));
    const job = world.submit(1);
    expect(world.origin.candidates()[1]?.inFlight).toBe(1);
    world.grant('beta', job, 1, { slots_free: 3, jobs_running: 1 });
    expect(world.origin.candidates()[1]).toMatchObject({ inFlight: 0, load: { slots_free: 3 } });
    world.nodes = [slotless, candidate('beta', { load: { slots_free: 2 }, node: { loadAtMs: 1001 } })];
    expect(world.origin.candidates()[1]).toMatchObject({ load: { slots_free: 2 } });
  });

  test('an end of our own frees a slot before the node says so', () => {
    const world = new World(slotless, one('beta'));
    const job = world.submit(1);
    world.grant('beta', job);
    world.end('beta', job);
    expect(world.origin.candidates()[1]).toMatchObject({ load: { slots_free: 1, jobs_running: 3 } });
  });
});
