import { describe, expect, test } from 'vitest';
import { makeJobId, type JobId, type LeaseId, type NodeId } from '../../../../src/base/ids.ts';
import { seededRandom } from '../../../../src/base/random.ts';
import { Origin } from '../../../../src/core/scheduling/origin.ts';
import type { OriginEffect, OriginInput, Submission } from '../../../../src/core/scheduling/origin-job.ts';
import type { PlacementRequest, WorkspaceTerms } from '../../../../src/core/scheduling/placement-request.ts';
import type { JobMessage } from '../../../../src/wire/jobs.ts';
import { candidate, idOf, LOAD, request, RULES, self } from './nodes.ts';

/** Every state of a job at its origin × everything that can happen, and what the origin does about it. */
type State =
  | 'queued'
  | 'reserving'
  | 'reserving, with files'
  | 'syncing'
  | 'syncing, preparing'
  | 'starting'
  | 'running'
  | 'cancelling'
  | 'detached'
  | 'detached, asked'
  | 'detached, to be ended'
  | 'unknown'
  | 'gone';
type Event =
  | 'reserved'
  | 'reserved, other lease'
  | 'reserved by another node'
  | 'reserved, other attempt'
  | 'refused: full'
  | 'refused for good'
  | 'refused by the last'
  | 'started'
  | 'not_started'
  | 'not_started, other attempt'
  | 'ended'
  | 'ended by another node'
  | 'attached'
  | 'attached by another node'
  | 'gone: not_started'
  | 'gone: not_started, another instance'
  | 'gone: unknown'
  | 'slot_free'
  | 'link_up'
  | 'link_up of another'
  | 'link_down'
  | 'link_down of another'
  | 'nodes_changed'
  | 'cancel'
  | 'client_gone'
  | 'start_not_written'
  | 'sync_progress'
  | 'synced'
  | 'synced, other lease'
  | 'synced, other job'
  | 'sync_failed'
  | 'sync_failed for good'
  | 'sync_failed for good at the last'
  | 'timer';

const JOB = makeJobId(1, new Uint8Array(16));
const LEASE = 'a'.repeat(26) as LeaseId;
const OTHER_LEASE = 'b'.repeat(26) as LeaseId;
const FULL = { ...LOAD, slots_free: 0, jobs_running: 4 };
const CWD = { home_relative: null, boot_id: null, device: '1', inode: '2', clean_commit: null, git_prefix: null };

const FILES: WorkspaceTerms = { staysHere: null, refused: null, bytesTo: () => 0, productsAt: null };

const submission = (job: JobId, more: Partial<PlacementRequest> = {}): Submission => ({
  job,
  command: { kind: 'line', line: 'make' },
  cwd: { path: '/work', ...CWD },
  placement: { ...request({ target: { kind: 'any' } }), ...more },
});

/** This node has no slots, beta is the better of the two others. */
class World {
  nowMs = 1000;
  readonly beta = candidate('beta');
  readonly gamma = candidate('gamma', { load: { cpu_percent: 60 } });
  readonly origin = new Origin({
    nodes: () => [self({ facts: { slots: 0 }, load: { slots_free: 0 } }), this.beta, this.gamma],
    rules: RULES,
    random: seededRandom(1),
  });

  step(input: OriginInput): string {
    return summary(this.origin.step(input, this.nowMs));
  }

  receive(from: NodeId, message: JobMessage): string {
    return this.step({ kind: 'message', from, message });
  }
}

function summary(effects: readonly OriginEffect[]): string {
  const names = new Map([
    [idOf('beta'), 'beta'],
    [idOf('gamma'), 'gamma'],
  ]);
  const texts = effects.flatMap((effect) => {
    switch (effect.kind) {
      case 'send':
        return `${effect.message.t.slice(4)} ${names.get(effect.to)}`;
      case 'sync':
        return `sync ${names.get(effect.place.node)} #${effect.attempt}`;
      case 'sync_abort':
        return `abort ${names.get(effect.node)} #${effect.attempt}`;
      case 'start':
        return `start ${names.get(effect.place.node)} #${effect.attempt}`;
      case 'attach':
        return `attach ${names.get(effect.place.node)} #${effect.attempt}${effect.loose ? ' loose' : ''}`;
      case 'detached':
      case 'requeued':
        return `${effect.kind} #${effect.attempt}`;
      case 'rerun':
      case 'late':
      case 'given_up':
        return `${effect.kind} #${effect.loose.attempt}`;
      case 'state':
        return [];
      case 'finish':
        return `finish ${effect.result.kind}`;
    }
  });
  return texts.length === 0 ? '-' : texts.join(', ');
}

const key = { job: JOB, attempt: 1 };
const reserved = (lease: LeaseId, attempt = 1): JobMessage => {
  const terms = { instance: 'i', ttl_ms: 10_000, cwd: '/work' };
  return { t: 'job.reserved', job: JOB, attempt, lease, ...terms, load: LOAD };
};
const refused = (full: boolean): JobMessage => {
  const reasons = [{ code: full ? 'full' : 'files', text: 'no' } as const];
  return { t: 'job.refused', ...key, reasons, full, load: full ? FULL : LOAD };
};
const notStarted: JobMessage = { t: 'job.not_started', ...key, reason: { code: 'other', text: 'too late' } };
const ended: JobMessage = {
  t: 'job.ended',
  ...key,
  outcome: { kind: 'exited', code: 0 },
  stdout_bytes: 0,
  stderr_bytes: 0,
  truncated: false,
  left_running: 0,
  changes: null,
  duration_ms: 1,
};

const attached: JobMessage = { t: 'job.attached', ...key, running: true, stdin_offset: 0 };
const gone = (kind: 'not_started' | 'unknown', instance = 'i'): JobMessage => {
  return { t: 'job.gone', ...key, instance, kind, message: 'it is not here' };
};

const beta = idOf('beta');
const gamma = idOf('gamma');

const REACH: Record<State, (world: World) => void> = {
  queued: (world) => {
    REACH.reserving(world);
    world.receive(beta, refused(true));
    world.receive(gamma, refused(true));
  },
  reserving: (world) => {
    expect(world.step({ kind: 'submit', submission: submission(JOB) })).toBe('reserve beta');
  },
  'reserving, with files': (world) => {
    const shipped = submission(JOB, { workspace: FILES });
    expect(world.step({ kind: 'submit', submission: shipped })).toBe('reserve beta');
  },
  syncing: (world) => {
    REACH['reserving, with files'](world);
    expect(world.receive(beta, reserved(LEASE))).toBe('sync beta #1');
  },
  'syncing, preparing': (world) => {
    REACH.syncing(world);
    expect(HAPPEN.sync_progress(world)).toBe('-');
  },
  starting: (world) => {
    REACH.reserving(world);
    expect(world.receive(beta, reserved(LEASE))).toBe('start beta #1');
  },
  running: (world) => {
    REACH.starting(world);
    world.receive(beta, { t: 'job.started', ...key });
  },
  cancelling: (world) => {
    REACH.running(world);
    expect(world.step({ kind: 'cancel', job: JOB })).toBe('cancel beta');
  },
  detached: (world) => {
    REACH.running(world);
    expect(world.step({ kind: 'link_down', node: beta })).toBe('detached #1');
  },
  'detached, asked': (world) => {
    REACH.detached(world);
    expect(world.step({ kind: 'link_up', node: beta })).toBe('attach beta #1');
  },
  'detached, to be ended': (world) => {
    REACH.detached(world);
    expect(world.step({ kind: 'cancel', job: JOB })).toBe('-');
  },
  unknown: (world) => {
    REACH.cancelling(world);
    expect(HAPPEN.timer(world)).toBe('finish unknown');
  },
  gone: (world) => {
    REACH.queued(world);
    expect(world.step({ kind: 'cancel', job: JOB })).toBe('finish cancelled');
  },
};

const NO_ROOM = { code: 'sync', text: 'has no room for its files' } as const;

const HAPPEN: Record<Event, (world: World) => string> = {
  reserved: (world) => world.receive(beta, reserved(LEASE)),
  'reserved, other lease': (world) => world.receive(beta, reserved(OTHER_LEASE)),
  'reserved by another node': (world) => world.receive(gamma, reserved(OTHER_LEASE)),
  'reserved, other attempt': (world) => world.receive(beta, reserved(OTHER_LEASE, 2)),
  'refused: full': (world) => world.receive(beta, refused(true)),
  'refused for good': (world) => world.receive(beta, refused(false)),
  'refused by the last': (world) => {
    world.receive(beta, refused(false));
    return world.receive(gamma, refused(false));
  },
  started: (world) => world.receive(beta, { t: 'job.started', ...key }),
  not_started: (world) => world.receive(beta, notStarted),
  'not_started, other attempt': (world) => world.receive(beta, { ...notStarted, attempt: 2 } as JobMessage),
  ended: (world) => world.receive(beta, ended),
  'ended by another node': (world) => world.receive(gamma, ended),
  attached: (world) => world.receive(beta, attached),
  'attached by another node': (world) => world.receive(gamma, attached),
  'gone: not_started': (world) => world.receive(beta, gone('not_started')),
  'gone: not_started, another instance': (world) => world.receive(beta, gone('not_started', 'j')),
  'gone: unknown': (world) => world.receive(beta, gone('unknown')),
  link_up: (world) => world.step({ kind: 'link_up', node: beta }),
  'link_up of another': (world) => world.step({ kind: 'link_up', node: gamma }),
  slot_free: (world) => world.receive(beta, { t: 'job.slot_free', load: LOAD }),
  link_down: (world) => world.step({ kind: 'link_down', node: beta }),
  'link_down of another': (world) => world.step({ kind: 'link_down', node: gamma }),
  nodes_changed: (world) => world.step({ kind: 'nodes_changed' }),
  cancel: (world) => world.step({ kind: 'cancel', job: JOB }),
  client_gone: (world) => world.step({ kind: 'client_gone', job: JOB }),
  start_not_written: (world) => world.step({ kind: 'start_not_written', ...key, reason: 'no link' }),
  sync_progress: (world) =>
    world.step({ kind: 'sync_progress', ...key, lease: LEASE, phase: 'preparing', detail: 'npm ci' }),
  synced: (world) => world.step({ kind: 'synced', ...key, lease: LEASE, cwd: '/there' }),
  'synced, other lease': (world) => world.step({ kind: 'synced', ...key, lease: OTHER_LEASE, cwd: '/there' }),
  'synced, other job': (world) => {
    const job = makeJobId(2, new Uint8Array(16));
    return world.step({ kind: 'synced', job, attempt: 1, lease: LEASE, cwd: '/there' });
  },
  sync_failed: (world) => world.step({ kind: 'sync_failed', ...key, lease: LEASE, reason: NO_ROOM, final: false }),
  'sync_failed for good': (world) =>
    world.step({ kind: 'sync_failed', ...key, lease: LEASE, reason: NO_ROOM, final: true }),
  'sync_failed for good at the last': (world) => {
    world.receive(gamma, refused(false));
    return HAPPEN['sync_failed for good'](world);
  },
  timer: (world) => {
    world.nowMs = world.origin.nextDeadlineMs() ?? world.nowMs;
    return world.step({ kind: 'timer' });
  },
};

const NOTHING = '-';
/** What no state waits for. */
const STALE = {
  'reserved, other lease': 'release beta',
  'reserved by another node': 'release gamma',
  'reserved, other attempt': 'release beta',
  'refused: full': NOTHING,
  'refused for good': NOTHING,
  'ended by another node': NOTHING,
  'link_down of another': NOTHING,
  'not_started, other attempt': NOTHING,
  nodes_changed: NOTHING,
  attached: NOTHING,
  'attached by another node': NOTHING,
  'gone: not_started': NOTHING,
  'gone: not_started, another instance': NOTHING,
  'gone: unknown': NOTHING,
  link_up: NOTHING,
  'link_up of another': NOTHING,
  sync_progress: NOTHING,
  synced: NOTHING,
  'synced, other lease': NOTHING,
  'synced, other job': NOTHING,
  sync_failed: NOTHING,
  'sync_failed for good': NOTHING,
  'sync_failed for good at the last': NOTHING,
} as const;
/** Nothing has run: the lease goes back, and so does the job, with the same attempt. */
const SYNCING = {
  ...STALE,
  reserved: NOTHING,
  'refused by the last': NOTHING,
  started: NOTHING,
  not_started: 'abort beta #1, release beta, reserve gamma',
  ended: NOTHING,
  slot_free: NOTHING,
  link_down: 'abort beta #1, reserve beta',
  cancel: 'abort beta #1, release beta, finish cancelled',
  client_gone: 'abort beta #1, release beta, finish cancelled',
  start_not_written: NOTHING,
  synced: 'start beta #1',
  sync_failed: 'release beta, reserve gamma',
  'sync_failed for good': 'release beta, reserve gamma',
  'sync_failed for good at the last': 'release beta, finish refused',
  timer: 'abort beta #1, release beta, reserve gamma',
} as const;

const TABLE: Record<State, Record<Event, string>> = {
  queued: {
    ...STALE,
    reserved: 'release beta',
    'refused by the last': 'finish refused',
    started: NOTHING,
    not_started: NOTHING,
    ended: NOTHING,
    slot_free: 'reserve beta',
    link_down: 'reserve beta',
    'link_down of another': 'reserve gamma',
    cancel: 'finish cancelled',
    client_gone: 'finish cancelled',
    start_not_written: NOTHING,
    timer: 'reserve beta',
  },
  reserving: {
    ...STALE,
    reserved: 'start beta #1',
    'reserved, other lease': 'start beta #1',
    'refused: full': 'reserve gamma',
    'refused for good': 'reserve gamma',
    'refused by the last': 'finish refused',
    started: NOTHING,
    not_started: NOTHING,
    ended: NOTHING,
    slot_free: NOTHING,
    link_down: 'reserve gamma',
    cancel: 'finish cancelled',
    client_gone: 'finish cancelled',
    start_not_written: NOTHING,
    timer: 'reserve gamma',
  },
  'reserving, with files': {
    ...STALE,
    reserved: 'sync beta #1',
    'reserved, other lease': 'sync beta #1',
    'refused: full': 'reserve gamma',
    'refused for good': 'reserve gamma',
    'refused by the last': 'finish refused',
    started: NOTHING,
    not_started: NOTHING,
    ended: NOTHING,
    slot_free: NOTHING,
    link_down: 'reserve gamma',
    cancel: 'finish cancelled',
    client_gone: 'finish cancelled',
    start_not_written: NOTHING,
    timer: 'reserve gamma',
  },
  syncing: SYNCING,
  'syncing, preparing': SYNCING,
  starting: {
    ...STALE,
    reserved: NOTHING,
    'refused by the last': NOTHING,
    started: NOTHING,
    not_started: 'requeued #1, reserve beta',
    ended: 'finish ended',
    slot_free: NOTHING,
    link_down: 'detached #1',
    cancel: 'cancel beta',
    client_gone: 'cancel beta',
    start_not_written: 'requeued #1, reserve beta',
    timer: 'attach beta #1',
  },
  running: {
    ...STALE,
    reserved: NOTHING,
    'refused by the last': NOTHING,
    started: NOTHING,
    not_started: NOTHING,
    ended: 'finish ended',
    slot_free: NOTHING,
    link_down: 'detached #1',
    cancel: 'cancel beta',
    client_gone: 'cancel beta',
    start_not_written: NOTHING,
    timer: NOTHING,
  },
  cancelling: {
    ...STALE,
    reserved: NOTHING,
    'refused by the last': NOTHING,
    started: NOTHING,
    not_started: 'finish cancelled',
    ended: 'finish ended',
    slot_free: NOTHING,
    link_down: 'detached #1',
    cancel: NOTHING,
    client_gone: NOTHING,
    start_not_written: 'finish cancelled',
    timer: 'finish unknown',
  },
  detached: {
    ...STALE,
    reserved: NOTHING,
    'refused by the last': NOTHING,
    started: NOTHING,
    slot_free: NOTHING,
    not_started: 'requeued #1, reserve beta',
    // O5: what it said before it was asked is not the end of what its streams carry.
    ended: NOTHING,
    link_up: 'attach beta #1',
    link_down: 'detached #1',
    cancel: NOTHING,
    client_gone: NOTHING,
    start_not_written: 'requeued #1, reserve beta',
    timer: NOTHING,
  },
  'detached, asked': {
    ...STALE,
    reserved: NOTHING,
    'refused by the last': NOTHING,
    started: NOTHING,
    slot_free: NOTHING,
    attached: NOTHING,
    'gone: not_started': 'requeued #1, reserve beta',
    'gone: not_started, another instance': 'finish unknown',
    'gone: unknown': 'finish unknown',
    not_started: 'requeued #1, reserve beta',
    ended: NOTHING,
    link_down: 'detached #1',
    cancel: 'cancel beta',
    client_gone: 'cancel beta',
    start_not_written: 'requeued #1, reserve beta',
    timer: 'finish unknown',
  },
  'detached, to be ended': {
    ...STALE,
    reserved: NOTHING,
    'refused by the last': NOTHING,
    started: NOTHING,
    slot_free: NOTHING,
    not_started: 'finish cancelled',
    ended: NOTHING,
    link_up: 'cancel beta, attach beta #1',
    link_down: 'detached #1',
    cancel: NOTHING,
    client_gone: NOTHING,
    start_not_written: 'finish cancelled',
    timer: 'finish unknown',
  },
  unknown: {
    ...STALE,
    reserved: 'release beta',
    'refused by the last': NOTHING,
    started: NOTHING,
    slot_free: NOTHING,

    not_started: NOTHING,
    ended: 'late #1',
    'gone: not_started': 'given_up #1',
    'gone: not_started, another instance': 'given_up #1',
    'gone: unknown': 'given_up #1',
    link_up: 'cancel beta, attach beta #1 loose',
    link_down: NOTHING,
    cancel: NOTHING,
    client_gone: NOTHING,
    start_not_written: NOTHING,
    timer: NOTHING,
  },
  gone: {
    ...STALE,
    reserved: 'release beta',
    'refused by the last': NOTHING,
    started: NOTHING,
    not_started: NOTHING,
    ended: NOTHING,
    slot_free: NOTHING,
    link_down: NOTHING,
    cancel: NOTHING,
    client_gone: NOTHING,
    start_not_written: NOTHING,
    timer: NOTHING,
  },
};

describe.each(Object.keys(TABLE) as State[])('a job that is %s', (state) => {
  test.each(Object.entries(TABLE[state]) as [Event, string][])('%s: %s', (event, expected) => {
    const world = new World();
    REACH[state](world);
    expect(HAPPEN[event](world)).toBe(expected);
  });
});
