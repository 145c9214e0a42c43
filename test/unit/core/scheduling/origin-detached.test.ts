import { describe, expect, test } from 'vitest';
import type { AttemptPlace, RestoredJob } from '../../../../src/core/scheduling/origin-job.ts';
import {
  ATTACH_TIMEOUT_MS,
  LINK_GRACE_MS,
  REFUSED_GRACE_MS,
  RESTORE_PATIENCE_MS,
  START_SILENCE_MS,
} from '../../../../src/core/scheduling/origin-limits.ts';
import { idOf } from './nodes.ts';
import { jobId, LEASE, one, OriginWorld, slotless, submissionOf } from './origin-world.ts';

const AWAY = { reachable: false, state: 'suspect' } as const;
const PLACE: AttemptPlace = {
  node: idOf('beta'),
  name: 'beta',
  lease: LEASE,
  instance: 'i',
  cwd: '/there',
  route: 'beta: the best',
  tools: {},
  reservedAtMs: 0,
  syncMs: 0,
};
const attached = (job: ReturnType<typeof jobId>, attempt = 1) =>
  ({ t: 'job.attached', job, attempt, running: true, stdin_offset: 0 }) as const;

function detachedWorld(terms = {}, ...others: string[]) {
  const world = new OriginWorld([slotless, one('beta'), ...others.map((name) => one(name))]);
  const job = world.submit(1, terms);
  const first = world.asked()[0]?.slice(2) ?? '';
  world.run(first, job);
  world.set(first, AWAY);
  world.link(first, 'link_down');
  return { world, job, first };
}

describe('a job whose executor is out of reach', () => {
  test('goes on where it was once the link is back', () => {
    const { world, job } = detachedWorld();
    world.waitFor(world.nowMs + 30_000);
    expect(world.result(job)).toBeUndefined();
    world.set('beta', { reachable: true, state: 'alive' });
    expect(world.sent(world.link('beta', 'link_up'))).toEqual(['attach beta #1']);
    world.receive('beta', attached(job));
    expect(world.origin.view(job, world.nowMs)).toMatchObject({ state: 'running', attempt: 1 });
    world.end('beta', job);
    expect(world.result(job)).toMatchObject({ kind: 'ended', attempts: 1 });
    expect(world.origin.nextDeadlineMs()).toBeNull();
  });

  test('is unknown soon where the node is dead and nobody listens there', () => {
    const { world, job } = detachedWorld();
    const sinceMs = world.nowMs;
    world.set('beta', { refusedSinceMs: sinceMs });
    world.nowMs += 4000;
    world.set('beta', { state: 'dead' });
    world.waitFor(sinceMs + REFUSED_GRACE_MS - 1);
    expect(world.result(job)).toBeUndefined();
    world.waitFor(sinceMs + REFUSED_GRACE_MS);
    expect(world.result(job)).toMatchObject({ kind: 'unknown' });
  });

  test('is waited for where the node is dead but only silent', () => {
    const { world, job } = detachedWorld();
    const sinceMs = world.nowMs;
    world.set('beta', { state: 'dead' });
    world.waitFor(sinceMs + LINK_GRACE_MS - 1);
    expect(world.result(job)).toBeUndefined();
    world.waitFor(sinceMs + LINK_GRACE_MS);
    expect(world.result(job)).toMatchObject({ kind: 'unknown' });
  });

  test('is unknown at once where the node left or is no member any more', () => {
    const { world, job } = detachedWorld();
    world.set('beta', { state: 'left' });
    expect(world.result(job)).toMatchObject({ kind: 'unknown' });
    const members = new Set([idOf('beta')]);
    const revoked = new OriginWorld([slotless, one('beta')], { isMember: (node) => members.has(node) });
    const other = revoked.submit(1);
    revoked.run('beta', other);
    members.clear();
    revoked.link('beta', 'link_down');
    expect(revoked.result(other)).toMatchObject({ kind: 'unknown' });
  });

  test('is unknown where the node is back and does not answer', () => {
    const { world, job } = detachedWorld();
    world.link('beta', 'link_up');
    world.waitFor(world.nowMs + ATTACH_TIMEOUT_MS - 1);
    expect(world.result(job)).toBeUndefined();
    world.waitFor(world.nowMs + 1);
    expect(world.result(job)).toMatchObject({ kind: 'unknown' });
  });

  test('is asked after again over the next link', () => {
    const { world, job } = detachedWorld();
    world.link('beta', 'link_up');
    world.link('beta', 'link_down');
    expect(world.sent(world.link('beta', 'link_up'))).toEqual(['attach beta #1']);
    world.receive('beta', attached(job));
    expect(world.origin.view(job, world.nowMs)?.state).toBe('running');
  });

  test('is ended when its end was asked for meanwhile', () => {
    const { world, job } = detachedWorld();
    world.step({ kind: 'cancel', job });
    expect(world.sent(world.link('beta', 'link_up'))).toEqual(['job.cancel beta', 'attach beta #1']);
    world.receive('beta', attached(job));
    expect(world.origin.view(job, world.nowMs)?.state).toBe('cancelling');
    world.end('beta', job, 1, { kind: 'cancelled', code: null, signal: 'SIGTERM' });
    expect(world.result(job)).toMatchObject({ kind: 'ended' });
  });

  test('is known to be ended where its executor stood still for some seconds meanwhile', () => {
    const world = new OriginWorld([slotless, one('beta')]);
    const job = world.submit(1);
    world.grant('beta', job);
    world.step({ kind: 'cancel', job });
    // TERM, 5 s, KILL, and nearly as much again.
    world.waitFor(world.nowMs + 11_000);
    expect(world.result(job)).toBeUndefined();
    world.end('beta', job, 1, { kind: 'cancelled', code: null, signal: 'SIGKILL' });
    expect(world.result(job)).toMatchObject({ kind: 'ended' });
  });

  test('a start that is never answered is asked after over the living link', () => {
    const world = new OriginWorld([slotless, one('beta')]);
    const job = world.submit(1);
    world.grant('beta', job);
    world.waitFor(world.nowMs + START_SILENCE_MS);
    expect(world.sent(world.effects).at(-1)).toBe('attach beta #1');
    world.receive('beta', attached(job));
    world.end('beta', job);
    expect(world.result(job)).toMatchObject({ kind: 'ended' });
  });
});

describe('an outcome that was unknown', () => {
  test('comes late', () => {
    const { world, job } = detachedWorld();
    world.waitFor(world.nowMs + LINK_GRACE_MS);
    expect(world.result(job)).toMatchObject({ kind: 'unknown' });
    expect(world.sent(world.link('beta', 'link_up'))).toEqual(['attach beta #1']);
    expect(world.end('beta', job)).toMatchObject([{ kind: 'late', loose: { attempt: 1, unwanted: false } }]);
    expect(world.link('beta', 'link_down')).toEqual([]);
    expect(world.link('beta', 'link_up')).toEqual([]);
  });

  test('is not asked after once its executor cannot know', () => {
    const { world, job } = detachedWorld();
    world.waitFor(world.nowMs + LINK_GRACE_MS);
    const gone = {
      t: 'job.gone',
      job,
      attempt: 1,
      instance: 'j',
      kind: 'unknown',
      message: 'never heard of it',
    } as const;
    expect(world.receive('beta', gone)).toMatchObject([{ kind: 'given_up' }]);
    expect(world.link('beta', 'link_up')).toEqual([]);
  });
});

describe('a job that may be run again', () => {
  test('is, elsewhere, once its first attempt is lost; that one is ended when it is found', () => {
    const { world, job, first } = detachedWorld({ retries: 1 }, 'gamma');
    const other = first === 'beta' ? 'gamma' : 'beta';
    world.waitFor(world.nowMs + LINK_GRACE_MS);
    expect(world.effects.filter(({ kind }) => kind === 'rerun')).toHaveLength(1);
    expect(world.asked().at(-1)).toBe(`1@${other}`);
    world.run(other, job, 2);
    world.set(first, { reachable: true, state: 'alive' });
    expect(world.sent(world.link(first, 'link_up'))).toEqual([`job.cancel ${first}`, `attach ${first} #1`]);
    expect(world.end(first, job, 1)).toMatchObject([{ kind: 'late', loose: { attempt: 1, unwanted: true } }]);
    world.end(other, job, 2);
    expect(world.result(job)).toMatchObject({ kind: 'ended', attempts: 2, place: { name: other } });
    expect(world.result(job)?.reruns).toHaveLength(1);
  });

  test('is when the runner died, and only so often', () => {
    const world = new OriginWorld([slotless, one('beta'), one('gamma')]);
    const job = world.submit(1, { retries: 1 });
    const first = world.asked()[0]?.slice(2) ?? '';
    const lost = { kind: 'unknown', message: 'the runner died' } as const;
    world.run(first, job);
    world.end(first, job, 1, lost);
    const second = world.asked()[1]?.slice(2) ?? '';
    expect(second).not.toBe(first);
    world.run(second, job, 2);
    world.end(second, job, 2, lost);
    expect(world.result(job)).toMatchObject({ kind: 'ended', attempts: 2, ended: { outcome: lost } });
  });

  test('is not where it was to be ended, cannot be repeated, or has nowhere to go', () => {
    const cancelled = detachedWorld({ retries: 1 }, 'gamma');
    cancelled.world.step({ kind: 'cancel', job: cancelled.job });
    cancelled.world.waitFor(cancelled.world.nowMs + LINK_GRACE_MS);
    expect(cancelled.world.result(cancelled.job)).toMatchObject({ kind: 'unknown', attempts: 1 });
    const alone = detachedWorld({ retries: 1 });
    alone.world.set('beta', { state: 'dead' });
    alone.world.waitFor(alone.world.nowMs + LINK_GRACE_MS);
    expect(alone.world.result(alone.job)).toMatchObject({ kind: 'unknown', attempts: 1 });
    const once = new OriginWorld([slotless, one('beta'), one('gamma')], {
      rerunObstacle: () => 'its stdin is used up',
    });
    const job = once.submit(1, { retries: 1 });
    const first = once.asked()[0]?.slice(2) ?? '';
    once.run(first, job);
    once.end(first, job, 1, { kind: 'unknown', message: 'the runner died' });
    expect(once.result(job)).toMatchObject({ kind: 'ended', attempts: 1 });
  });

  test('stays unknown where it then cannot be placed after all', () => {
    const { world, job } = detachedWorld({ retries: 1 }, 'gamma');
    world.waitFor(world.nowMs + LINK_GRACE_MS);
    world.nodes = [slotless];
    world.waitFor(world.nowMs + 60_000);
    expect(world.result(job)).toMatchObject({ kind: 'unknown', attempts: 1 });
  });
});

describe('jobs of an earlier daemon', () => {
  const restored = (more: Partial<RestoredJob>): RestoredJob => ({
    submission: submissionOf(1),
    attempt: 1,
    place: null,
    cancelAsked: false,
    reruns: [],
    avoided: [],
    lostAt: null,
    queueMs: 5,
    ...more,
  });

  test('that waited are placed, once nodes are found', () => {
    const world = new OriginWorld([slotless]);
    world.step({ kind: 'restore', job: restored({}) });
    world.waitFor(world.nowMs + RESTORE_PATIENCE_MS / 2);
    expect(world.result(jobId(1))).toBeUndefined();
    world.nodes = [slotless, one('beta')];
    world.step({ kind: 'nodes_changed' });
    expect(world.asked()).toEqual(['1@beta']);
  });

  test('that no node can take are refused after a while', () => {
    const world = new OriginWorld([slotless]);
    world.step({ kind: 'restore', job: restored({}) });
    world.waitFor(world.nowMs + RESTORE_PATIENCE_MS + 2000);
    expect(world.result(jobId(1))).toMatchObject({ kind: 'refused' });
  });

  test('that ran are asked after, at once where their node is in reach', () => {
    const world = new OriginWorld([slotless, one('beta', { node: AWAY }), one('gamma')]);
    expect(world.sent(world.step({ kind: 'restore', job: restored({ place: PLACE }) }))).toEqual([]);
    expect(world.sent(world.link('beta', 'link_up'))).toEqual(['attach beta #1']);
    const second = restored({ submission: submissionOf(2), attempt: 2, place: { ...PLACE, node: idOf('gamma') } });
    expect(world.sent(world.step({ kind: 'restore', job: second }))).toEqual(['attach beta #2']);
    world.receive('beta', attached(jobId(1)));
    world.end('beta', jobId(1));
    expect(world.result(jobId(1))).toMatchObject({ kind: 'ended', queueMs: 5 });
  });

  test('that were restored after the link came up, and before anything is known of its node, are asked after', () => {
    const world = new OriginWorld([slotless]);
    world.link('beta', 'link_up');
    const asked = world.step({ kind: 'restore', job: restored({ place: PLACE }) });
    expect(world.sent(asked)).toEqual(['attach beta #1']);
    world.link('beta', 'link_down');
    const second = restored({ submission: submissionOf(2), place: PLACE });
    expect(world.sent(world.step({ kind: 'restore', job: second }))).toEqual([]);
  });

  test('of unknown outcome are asked after too', () => {
    const world = new OriginWorld([slotless, one('beta', { node: AWAY })]);
    world.step({ kind: 'restore_loose', loose: { job: jobId(1), attempt: 1, place: PLACE, unwanted: false } });
    expect(world.sent(world.link('beta', 'link_up'))).toEqual(['attach beta #1']);
    expect(world.end('beta', jobId(1))).toMatchObject([{ kind: 'late' }]);
  });
});

describe('a nested job', () => {
  test('asks its own node for the slot of its parent although that is full', () => {
    const world = new OriginWorld([one('beta', { node: { isSelf: true }, load: { slots_free: 0, jobs_running: 1 } })]);
    world.submit(1);
    world.refuse('beta', jobId(1), 'full');
    expect(world.asked()).toEqual(['1@beta']);
    world.submit(2, { parent: jobId(50) });
    expect(world.asked()).toEqual(['1@beta', '2@beta']);
    const reserve = world.effects.flatMap((effect) =>
      effect.kind === 'send' && effect.message.t === 'job.reserve' ? [effect.message] : [],
    );
    expect(reserve.at(-1)?.parent).toBe(jobId(50));
    world.refuse('beta', jobId(2), 'full');
    expect(world.asked()).toHaveLength(2);
    world.nowMs += 1000;
    world.step({ kind: 'timer' });
    expect(world.asked().filter((text) => text === '2@beta').length).toBeGreaterThan(1);
  });
});

describe('what a waiting job is told', () => {
  test('its place, of how many, and why', () => {
    const world = new OriginWorld([slotless, one('beta'), one('gamma')]);
    for (let number = 1; number <= 4; number++) world.submit(number, { submitter: `s${number}` });
    world.grant('beta', jobId(1));
    world.grant('gamma', jobId(2));
    world.refuse('beta', jobId(3), 'full');
    world.refuse('gamma', jobId(3), 'full');
    const view = world.origin.view(jobId(4), world.nowMs);
    expect(view).toMatchObject({ state: 'queued', queuePosition: 2 });
    world.waitFor(world.nowMs + 1300);
    expect(world.origin.view(jobId(4), world.nowMs)?.detail).toBe(
      'waits for a slot: 2nd of 2; all 2 nodes that can run it are full',
    );
  });
});
