import { describe, expect, test } from 'vitest';
import type { JobId, LeaseId } from '../../../../src/base/ids.ts';
import {
  LINK_GRACE_MS,
  RETRY_MS,
  SYNC_FAILURES_MAX,
  SYNC_SILENCE_MS,
} from '../../../../src/core/scheduling/origin-limits.ts';
import type { OriginEffect } from '../../../../src/core/scheduling/origin-job.ts';
import type { WorkspaceTerms } from '../../../../src/core/scheduling/placement-request.ts';
import { LOAD, self, type request } from './nodes.ts';
import { LEASE, one, OriginWorld, slotless } from './origin-world.ts';

const FILES: WorkspaceTerms = { staysHere: null, refused: null, bytesTo: () => 0, productsAt: null };
const ANY = { target: { kind: 'any' }, workspace: FILES } as const;
const BETA = { target: { kind: 'node', node: 'beta' }, workspace: FILES } as const;
const key = (job: JobId) => ({ job, attempt: 1, lease: LEASE });

/** A job whose files are on their way to beta. */
function syncing(world: OriginWorld, asked: Parameters<typeof request>[0] = ANY): JobId {
  const job = world.submit(1, {}, asked);
  world.grant('beta', job);
  expect(world.origin.view(job, world.nowMs)?.state).toBe('syncing');
  return job;
}

const states = (effects: readonly OriginEffect[]): string[] =>
  effects.flatMap((effect) => (effect.kind === 'state' ? `${effect.state}: ${effect.detail}` : []));
const kinds = (effects: readonly OriginEffect[]): string[] =>
  effects.flatMap((effect) => (effect.kind === 'state' ? [] : effect.kind));

describe('whose files are sent', () => {
  test('another node: it is told so in the reservation, and they are sent with the lease', () => {
    const world = new OriginWorld([slotless, one('beta')]);
    const job = world.submit(1, {}, ANY);
    expect(world.effects.at(-1)).toMatchObject({ kind: 'send', message: { t: 'job.reserve', workspace: true } });
    world.grant('beta', job);
    expect(world.effects).toContainEqual(expect.objectContaining({ kind: 'sync', job, attempt: 1 }));
    expect(kinds(world.effects)).not.toContain('start');
  });

  test('this node: it runs in the project itself', () => {
    const world = new OriginWorld([self({ facts: { slots: 1 }, load: { slots_free: 1 } })]);
    const job = world.submit(1, {}, ANY);
    expect(world.effects.at(-1)).toMatchObject({ kind: 'send', message: { t: 'job.reserve', workspace: false } });
    world.grant('here', job);
    expect(kinds(world.effects)).toContain('start');
    expect(kinds(world.effects)).not.toContain('sync');
  });

  test('no project: nothing is sent', () => {
    const world = new OriginWorld([slotless, one('beta')]);
    const job = world.submit(1);
    expect(world.effects.at(-1)).toMatchObject({ kind: 'send', message: { t: 'job.reserve', workspace: false } });
    world.grant('beta', job);
    expect(kinds(world.effects)).not.toContain('sync');
  });
});

describe('while files are on their way', () => {
  test('what came is told once, with its phase', () => {
    const world = new OriginWorld([slotless, one('beta')]);
    const job = syncing(world);
    const say = (phase: 'syncing' | 'preparing', detail: string): string[] =>
      states(world.step({ kind: 'sync_progress', ...key(job), phase, detail }));
    expect(say('syncing', '3 of 9 files')).toEqual(["syncing: sends the project's files to beta: 3 of 9 files"]);
    expect(say('syncing', '3 of 9 files')).toEqual([]);
    expect(say('preparing', '')).toEqual(['preparing: is prepared on beta']);
    expect(say('preparing', 'npm ci')).toEqual(['preparing: is prepared on beta: npm ci']);
    world.nowMs += 500;
    const view = world.origin.view(job, world.nowMs);
    expect(view).toMatchObject({
      state: 'preparing',
      isSent: false,
      syncMs: 500,
      startedAtMs: null,
      queuePosition: null,
    });
    expect(view?.place?.name).toBe('beta');
  });

  test('each word of it pushes the deadline', () => {
    const world = new OriginWorld([slotless, one('beta')]);
    const job = syncing(world);
    for (let i = 0; i < 5; i++) {
      world.waitFor(world.nowMs + SYNC_SILENCE_MS - 1);
      world.step({ kind: 'sync_progress', ...key(job), phase: 'syncing', detail: '' });
    }
    expect(kinds(world.effects)).not.toContain('sync_abort');
    world.waitFor(world.nowMs + SYNC_SILENCE_MS);
    expect(world.effects).toContainEqual(
      expect.objectContaining({ kind: 'sync_abort', job, attempt: 1, lease: LEASE }),
    );
  });

  test('a sync of another lease says nothing', () => {
    const world = new OriginWorld([slotless, one('beta')]);
    const job = syncing(world);
    const other = { job, attempt: 1, lease: 'b'.repeat(26) as LeaseId };
    expect(world.step({ kind: 'synced', ...other, cwd: '/x' })).toEqual([]);
    expect(world.step({ kind: 'sync_progress', ...other, phase: 'syncing', detail: 'x' })).toEqual([]);
    const reason = { code: 'sync', text: 'no' } as const;
    expect(world.step({ kind: 'sync_failed', ...other, reason, final: true })).toEqual([]);
    expect(world.origin.view(job, world.nowMs)?.state).toBe('syncing');
  });
});

describe('files that are in place', () => {
  test('the job starts in their directory; how long they took is told, apart from the rest', () => {
    const world = new OriginWorld([slotless, one('beta')]);
    const job = syncing(world);
    world.nowMs += 700;
    const [, start] = world.step({ kind: 'synced', ...key(job), cwd: '/tree/sub' });
    expect(start).toMatchObject({ kind: 'start', attempt: 1, place: { cwd: '/tree/sub', syncMs: 700, lease: LEASE } });
    world.nowMs += 50;
    world.receive('beta', { t: 'job.started', job, attempt: 1 });
    world.nowMs += 1000;
    world.end('beta', job);
    expect(world.result(job)).toMatchObject({ kind: 'ended', attempts: 1, queueMs: 0, syncMs: 700, dispatchMs: 50 });
  });

  test('what was sent twice counts the last time', () => {
    const world = new OriginWorld([slotless, one('beta')]);
    const job = syncing(world);
    world.nowMs += 300;
    world.link('beta', 'link_down');
    world.grant('beta', job);
    world.nowMs += 100;
    world.step({ kind: 'synced', ...key(job), cwd: '/tree' });
    world.receive('beta', { t: 'job.started', job, attempt: 1 });
    world.end('beta', job);
    expect(world.result(job)).toMatchObject({ attempts: 1, queueMs: 300, syncMs: 100 });
  });
});

describe('files that do not get there', () => {
  const reason = { code: 'sync', text: 'has no room for them' } as const;

  test('cancelled meanwhile: it never ran', () => {
    const world = new OriginWorld([slotless, one('beta')]);
    const job = syncing(world);
    world.nowMs += 200;
    const effects = world.step({ kind: 'cancel', job });
    expect(kinds(effects)).toEqual(['sync_abort', 'send', 'finish']);
    expect(world.sent(effects)).toEqual(['job.release beta']);
    expect(world.result(job)).toMatchObject({ kind: 'cancelled', attempts: 0, syncMs: 200, dispatchMs: 0 });
  });

  test('the link goes down: nothing is sent after it, the job keeps its attempt and waits', () => {
    const world = new OriginWorld([slotless, one('beta')]);
    const job = syncing(world);
    world.set('beta', { state: 'suspect', reachable: false });
    const effects = world.link('beta', 'link_down');
    expect(kinds(effects)).toEqual(['sync_abort']);
    expect(world.origin.view(job, world.nowMs)).toMatchObject({ state: 'queued', attempt: 1, place: null, syncMs: 0 });
    expect(kinds(world.effects)).not.toContain('requeued');
  });

  test('its only node is silent for so long that it is held dead: it is waited for, as it would be for a running job', () => {
    const world = new OriginWorld([self(), one('beta')]);
    const job = syncing(world, BETA);
    world.set('beta', { state: 'dead', reachable: false });
    world.link('beta', 'link_down');
    world.waitFor(world.nowMs + LINK_GRACE_MS - 1000);
    expect(world.result(job)).toBeUndefined();
    world.set('beta', { state: 'alive', reachable: true });
    world.link('beta', 'link_up');
    world.grant('beta', job);
    expect(world.origin.view(job, world.nowMs)).toMatchObject({ state: 'syncing', attempt: 1 });

    world.set('beta', { state: 'dead', reachable: false });
    world.link('beta', 'link_down');
    world.waitFor(world.nowMs + LINK_GRACE_MS + 2 * RETRY_MS);
    expect(world.result(job)).toMatchObject({ kind: 'refused', code: 'node_unreachable', attempts: 0 });
  });

  test('its only node comes back and refuses it for good: it is not waited for', () => {
    const world = new OriginWorld([self(), one('beta')]);
    const job = syncing(world, BETA);
    world.link('beta', 'link_down');
    world.refuse('beta', job, 'denied');
    expect(world.result(job)).toMatchObject({ kind: 'refused', attempts: 0 });
  });

  test('for good: the next node, and in the end this one', () => {
    const world = new OriginWorld([
      self({ facts: { slots: 1 }, load: { slots_free: 1, cpu_percent: 90 } }),
      one('beta'),
    ]);
    const job = syncing(world);
    world.step({ kind: 'sync_failed', ...key(job), reason, final: true });
    expect(world.asked()).toEqual(['1@beta', '1@here']);
    expect(world.origin.view(job, world.nowMs)?.route).toContain('beta refused: has no room for them');
  });

  test('for good on a named node: refused with the reason', () => {
    const world = new OriginWorld([self(), one('beta')]);
    const job = syncing(world, BETA);
    world.step({ kind: 'sync_failed', ...key(job), reason, final: true });
    expect(world.result(job)).toMatchObject({ kind: 'refused', code: 'sync_failed', attempts: 0 });
    expect(world.result(job)).toMatchObject({ message: expect.stringContaining('beta: has no room for them') });
  });

  test('for reasons that pass: asked again after a pause, and not for ever', () => {
    const world = new OriginWorld([self(), one('beta')]);
    const job = syncing(world, BETA);
    for (let failures = 1; failures < SYNC_FAILURES_MAX; failures++) {
      const effects = world.step({ kind: 'sync_failed', ...key(job), reason, final: false });
      expect(world.sent(effects)).toEqual(['job.release beta']);
      expect(world.asked()).toHaveLength(failures);
      world.receive('beta', { t: 'job.slot_free', load: LOAD });
      world.grant('beta', job);
    }
    world.step({ kind: 'sync_failed', ...key(job), reason, final: false });
    expect(world.result(job)).toMatchObject({ kind: 'refused', code: 'sync_failed' });
  });

  test('a link that is lost again and again is no reason to give up', () => {
    const world = new OriginWorld([self(), one('beta')]);
    const job = syncing(world, BETA);
    for (let i = 0; i < SYNC_FAILURES_MAX + 5; i++) {
      world.link('beta', 'link_down');
      world.grant('beta', job);
    }
    expect(world.origin.view(job, world.nowMs)?.state).toBe('syncing');
  });

  test('a job that waited behind it is not held up', () => {
    const world = new OriginWorld([slotless, one('beta')]);
    const job = syncing(world);
    const next = world.submit(2);
    world.refuse('beta', next, 'full');
    world.step({ kind: 'cancel', job });
    world.receive('beta', { t: 'job.slot_free', load: LOAD });
    expect(world.asked()).toEqual(['1@beta', '2@beta', '2@beta']);
  });
});
