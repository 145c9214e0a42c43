import { describe, expect, test } from 'vitest';
import type { Candidate } from '../../../../src/core/scheduling/candidate.ts';
import { IMPOSSIBLE_GRACE_MS, LINK_GRACE_MS, QUEUED_JOBS_MAX } from '../../../../src/core/scheduling/origin-limits.ts';
import { ATTEMPTS_MAX } from '../../../../src/wire/jobs.ts';
import { jobId, LEASE, OriginWorld } from './origin-world.ts';
import { candidate, idOf, LOAD, self, type Overrides } from './nodes.ts';

const worldOf = (...nodes: Candidate[]): OriginWorld => new OriginWorld(nodes);

const slotless = self({ facts: { slots: 0 }, load: { slots_free: 0 } });
const one = (name: string, overrides: Overrides = {}): Candidate =>
  candidate(name, {
    ...overrides,
    facts: { slots: 1, ...overrides.facts },
    load: { slots_free: 1, ...overrides.load },
  });

describe('one job', () => {
  test('what its result tells', () => {
    const world = worldOf(slotless, one('beta'));
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
    const world = worldOf(self(), one('beta'));
    world.submit(1, {}, { target: { kind: 'node', node: 'beta' } });
    world.submit(2, {}, { target: { kind: 'local' } });
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
    const world = worldOf(self(), one('beta'));
    const job = world.submit(1, {}, { requires: { capabilities: ['gpu'] } });
    expect(world.result(job)).toMatchObject({ kind: 'refused', code: 'no_capable_node', attempts: 0 });
    expect(world.asked()).toEqual([]);
  });

  test('refused for its files everywhere, it runs here and says why', () => {
    const world = worldOf(self({ load: { overloaded: true, cpu_percent: 95 } }), one('beta'), one('gamma'));
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
    const world = worldOf(self(), one('beta'));
    const job = world.submit(1, {}, { target: { kind: 'node', node: 'beta' } });
    world.refuse('beta', job, 'cwd_missing');
    expect(world.result(job)).toMatchObject({ kind: 'refused', code: 'cwd_missing' });
  });

  test('want of memory is no lasting refusal', () => {
    const world = worldOf(slotless, one('beta'));
    const requires = { memory_bytes: 2 ** 32 };
    const job = world.submit(1, {}, { target: { kind: 'any' }, requires });
    const short = { memory_available_bytes: 2 ** 31, slots_free: 1 };
    world.refuse('beta', job, 'memory', short);
    expect(world.result(job)).toBeUndefined();
    world.nowMs += 2000;
    world.nodes = [slotless, one('beta', { node: { loadAtMs: world.nowMs } })];
    world.step({ kind: 'nodes_changed' });
    expect(world.asked()).toEqual(['1@beta', '1@beta']);
  });

  test('not started again and again ends in a refusal', () => {
    const world = worldOf(slotless, one('beta'));
    const job = world.submit(1);
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      world.grant('beta', job, attempt);
      world.receive('beta', { t: 'job.not_started', job, attempt, reason: { code: 'other', text: 'too late' } });
    }
    expect(world.result(job)).toMatchObject({ kind: 'refused', code: 'refused', attempts: ATTEMPTS_MAX });
  });

  test('at most once: a link that goes down after start asks no other node', () => {
    const world = worldOf(slotless, one('beta'), one('gamma'));
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
    const world = worldOf(slotless, one('beta'));
    const terms = { instance: 'i', ttl_ms: 1, cwd: '/', load: LOAD };
    world.receive('beta', { t: 'job.reserved', job: jobId(9), attempt: 1, lease: null, ...terms });
    expect(world.effects).toEqual([]);
  });

  test('a job id comes once', () => {
    const world = worldOf(slotless, one('beta'));
    world.submit(1);
    expect(() => world.submit(1)).toThrow(/twice/);
  });
});

describe('the queue', () => {
  test('a round asks four nodes, then waits; each is asked once', () => {
    const names = ['b', 'c', 'd', 'e', 'f', 'g'];
    const world = worldOf(slotless, ...names.map((name) => one(name)));
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
    const world = worldOf(slotless, one('beta'));
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
    const world = worldOf(slotless, one('beta', { facts: { gpus: ['x'] } }), one('gamma', { load: { slots_free: 0 } }));
    world.submit(1, {}, { target: { kind: 'any' }, requires: { capabilities: ['gpu'] } });
    world.grant('beta', jobId(1));
    world.submit(2, {}, { target: { kind: 'any' }, requires: { capabilities: ['gpu'] } });
    world.refuse('beta', jobId(2), 'full');
    world.submit(3, {}, { target: { kind: 'any' } });
    world.refuse('gamma', jobId(3), 'full');
    world.receive('gamma', { t: 'job.slot_free', load: { ...LOAD, slots_free: 1 } });
    expect(world.asked()).toEqual(['1@beta', '2@beta', '3@gamma', '3@gamma']);
  });

  test('no more is asked than is free, but one that finds out', () => {
    const world = worldOf(slotless, candidate('beta'));
    for (let number = 1; number <= 20; number++) world.submit(number);
    expect(world.asked()).toHaveLength(4);
    expect(world.origin.jobsQueued).toBe(16);
    for (const number of [1, 2, 3, 4]) world.grant('beta', jobId(number));
    expect(world.asked()).toHaveLength(5);
    world.refuse('beta', jobId(5), 'full');
    expect(world.asked()).toHaveLength(5);
  });

  test('many at once go evenly to equal nodes, before any of these has said a word', () => {
    const calm = { facts: { slots: 8 }, load: { slots_free: 8, jobs_running: 0 } };
    const world = worldOf(self(calm), candidate('beta', calm), candidate('gamma', calm));
    for (let number = 1; number <= 12; number++) world.submit(number, {}, { target: { kind: 'any' } });
    const nodes = world.asked().map((text) => text.split('@')[1]);
    expect(new Set(nodes).size).toBe(3);
    for (const name of nodes) expect(nodes.filter((other) => other === name)).toHaveLength(4);
  });

  test('is tried again even if no hint comes', () => {
    const world = worldOf(slotless, one('beta'));
    const job = world.submit(1);
    world.refuse('beta', job, 'full');
    world.waitFor(world.nowMs + 1250);
    expect(world.asked()).toHaveLength(2);
  });

  test('a silent node is passed over', () => {
    const world = worldOf(slotless, one('beta'), one('gamma'));
    world.submit(1);
    world.waitFor(world.nowMs + 2000);
    expect(new Set(world.asked())).toEqual(new Set(['1@beta', '1@gamma']));
  });

  test('is bounded', () => {
    const world = worldOf(slotless, one('beta', { load: { slots_free: 0 } }));
    for (let number = 0; number <= QUEUED_JOBS_MAX; number++) world.submit(number);
    expect(world.origin.jobsQueued).toBe(QUEUED_JOBS_MAX);
    const job = world.submit(QUEUED_JOBS_MAX + 1);
    expect(world.result(job)).toMatchObject({ kind: 'refused', code: 'queue_full' });
    expect(world.origin.jobsKept).toBe(QUEUED_JOBS_MAX + 1);
  });

  test('waits a while for its only node to come back, not for one that is gone', () => {
    const suspect = one('beta', { node: { state: 'suspect', reachable: false } });
    for (const state of ['suspect', 'dead'] as const) {
      const world = worldOf(slotless, one('beta'));
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
    const world = worldOf(slotless, candidate('beta'));
    const job = world.submit(1);
    expect(world.origin.candidates()[1]?.inFlight).toBe(1);
    world.grant('beta', job, 1, { slots_free: 3, jobs_running: 1 });
    expect(world.origin.candidates()[1]).toMatchObject({ inFlight: 0, load: { slots_free: 3 } });
    world.nodes = [slotless, candidate('beta', { load: { slots_free: 2 }, node: { loadAtMs: 1001 } })];
    expect(world.origin.candidates()[1]).toMatchObject({ load: { slots_free: 2 } });
  });

  test('an end of our own frees a slot before the node says so', () => {
    const world = worldOf(slotless, one('beta'));
    const job = world.submit(1);
    world.grant('beta', job);
    world.end('beta', job);
    expect(world.origin.candidates()[1]).toMatchObject({ load: { slots_free: 1, jobs_running: 3 } });
  });
});
