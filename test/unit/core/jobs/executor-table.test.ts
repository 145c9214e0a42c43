import { describe, expect, test } from 'vitest';
import { base32, makeJobId, type LeaseId, type NodeId } from '../../../../src/base/ids.ts';
import { Executor } from '../../../../src/core/jobs/executor.ts';
import { LEASE_TTL_MS, ORIGIN_GRACE_MS } from '../../../../src/core/jobs/executor-options.ts';
import type {
  AttemptResult,
  ExecutorEffect,
  ExecutorInput,
  RestoredAttempt,
} from '../../../../src/core/jobs/executor-state.ts';
import type { JobMessage, JobMessageOf } from '../../../../src/wire/jobs.ts';
import { FACTS, LOAD, NO_REQUIREMENTS } from '../scheduling/nodes.ts';
import { PLAIN_ATTEMPT } from '../../../fixtures/plain-spec.ts';

/** Every state of an attempt at its executor × everything that can happen, and what the executor does about it. */
type State =
  | 'unknown'
  | 'checking'
  | 'leased'
  | 'leased, files to come'
  | 'leased, files on their way'
  | 'leased, files in place'
  | 'running'
  | 'running, told'
  | 'running, durable'
  | 'killed'
  | 'orphaned'
  | 'durable, link down'
  | 'attaching'
  | 'restored, running'
  | 'ended'
  | 'ended, link down'
  | 'ended, attaching'
  | 'restored, ended'
  | 'acknowledged'
  | 'answered not_started';
type Event =
  | 'reserve'
  | 'reserve by another origin'
  | 'dry run of another job'
  | 'checked: yes'
  | 'checked: no'
  | 'release'
  | 'release, other lease'
  | 'start'
  | 'start, other lease'
  | 'start by another origin'
  | 'start of another command'
  | 'attach'
  | 'attach by another origin'
  | 'attach of an earlier runner'
  | 'attach_ready'
  | 'detach'
  | 'detach by another origin'
  | 'ack'
  | 'ack by another origin'
  | 'resize'
  | 'cancel'
  | 'cancel by another origin'
  | 'cancel by a third node'
  | 'started'
  | 'ended'
  | 'not_run'
  | 'link_down'
  | 'link_down of another'
  | 'no slots any more'
  | 'runner_lost'
  | 'dropped'
  | 'renew'
  | 'ready'
  | 'ready, other lease'
  | 'unlease'
  | 'unlease, other lease'
  | 'lease time passes'
  | 'grace time passes';

const JOB = makeJobId(1, new Uint8Array(16));
const OTHER_JOB = makeJobId(2, new Uint8Array(16));
const ORIGIN = base32(new Uint8Array(33).fill(1)).slice(0, 52) as NodeId;
const OTHER = base32(new Uint8Array(33).fill(2)).slice(0, 52) as NodeId;
const SELF = base32(new Uint8Array(33).fill(3)).slice(0, 52) as NodeId;
const LEASE = 'a'.repeat(26) as LeaseId;
const OTHER_LEASE = 'b'.repeat(26) as LeaseId;
const PLACED = { cwd: '/workspaces/tree', ttlMs: LEASE_TTL_MS };
const key = { job: JOB, attempt: 1 };
const command = { kind: 'line', line: 'make' } as const;

const evidence = { home_relative: null, boot_id: null, device: '1', inode: '2', clean_commit: null, git_prefix: null };
const reserve: JobMessageOf<'job.reserve'> = {
  t: 'job.reserve',
  ...key,
  dry_run: false,
  command,
  requires: NO_REQUIREMENTS,
  cwd: { path: '/work', ...evidence },
  tools: [],
  explicit: false,
  workspace: false,
  parent: null,
};
const start: JobMessageOf<'job.start'> = {
  t: 'job.start',
  ...key,
  lease: LEASE,
  spec: { command, env: {}, umask: 18, timeout_ms: null, stdin: false, ...PLAIN_ATTEMPT },
  cwd: '/elsewhere',
  streams: { stdin: null, stdout: 1, stderr: 2 },
  window_bytes: 1,
};
const attach: JobMessageOf<'job.attach'> = {
  t: 'job.attach',
  ...key,
  instance: 'runner',
  streams: null,
  stdout_offset: 0,
  stderr_offset: 0,
  window_bytes: 1,
};
const RESULT: AttemptResult = {
  outcome: { kind: 'exited', code: 0 },
  stdoutBytes: 1,
  stderrBytes: 2,
  truncated: false,
  leftRunning: 0,
  durationMs: 3,
};

class World {
  nowMs = 1000;
  readonly executor = new Executor({
    slots: 1,
    self: () => SELF,
    share: { onBattery: false, yieldToOwner: true },
    facts: () => FACTS,
    load: () => LOAD,
    instance: () => 'runner',
    newLeaseId: () => LEASE,
  });

  step(input: ExecutorInput): string {
    const effects = this.executor.step(input, this.nowMs);
    return effects.length === 0 ? '-' : effects.map(summary).join(', ');
  }

  receive(message: JobMessage, from: NodeId = ORIGIN): string {
    return this.step({ kind: 'message', from, message });
  }
}

function summary(effect: ExecutorEffect): string {
  if (effect.kind === 'run') return `run in ${effect.cwd}`;
  if (effect.kind === 'attach') return `attach ${effect.isRunning ? 'running' : 'over'}`;
  if (effect.kind !== 'send') return effect.kind;
  const { message } = effect;
  return `${message.t.slice(4)}${detailOf(message)}${effect.to === OTHER ? ' to the other' : ''}`;
}

function detailOf(message: JobMessage): string {
  if (message.t === 'job.refused' && message.full) return ' full';
  if (message.t === 'job.ended') return ` ${message.outcome.kind}`;
  if (message.t === 'job.gone') return ` ${message.kind}`;
  return message.t === 'job.attached' ? ` ${message.running ? 'running' : 'over'} ${message.stdin_offset}` : '';
}

const verdict = { ok: true, cwd: '/work', toolsFound: [] } as const;
const REACH: Record<State, (world: World) => void> = {
  unknown: () => undefined,
  checking: (world) => void expect(world.receive(reserve)).toBe('check'),
  leased: (world) => {
    REACH.checking(world);
    expect(HAPPEN['checked: yes'](world)).toBe('reserved');
  },
  'leased, files to come': (world) => {
    expect(world.receive({ ...reserve, workspace: true })).toBe('check');
    expect(HAPPEN['checked: yes'](world)).toBe('reserved');
  },
  'leased, files on their way': (world) => {
    REACH['leased, files to come'](world);
    expect(HAPPEN.renew(world)).toBe('-');
  },
  'leased, files in place': (world) => {
    REACH['leased, files to come'](world);
    expect(HAPPEN.ready(world)).toBe('-');
  },
  running: (world) => {
    REACH.leased(world);
    expect(world.receive(start)).toBe('run in /work');
  },
  'running, told': (world) => {
    REACH.running(world);
    expect(world.step({ kind: 'started', ...key })).toBe('started');
  },
  killed: (world) => {
    REACH.running(world);
    expect(world.receive({ t: 'job.cancel', ...key })).toBe('kill');
  },
  'running, durable': (world) => {
    REACH['running, told'](world);
    expect(world.receive({ t: 'job.detach', ...key })).toBe('detach');
  },
  orphaned: (world) => {
    REACH['running, told'](world);
    expect(world.step({ kind: 'link_down', peer: ORIGIN })).toBe('-');
  },
  'durable, link down': (world) => {
    REACH['running, durable'](world);
    expect(world.step({ kind: 'link_down', peer: ORIGIN })).toBe('-');
  },
  attaching: (world) => {
    REACH.orphaned(world);
    expect(world.receive(attach)).toBe('attach running');
  },
  'restored, running': (world) => restore(world, [{ ...GIVEN, kind: 'running' }]),
  ended: (world) => {
    REACH['running, told'](world);
    expect(world.step({ kind: 'ended', ...key, result: RESULT })).toBe('ended exited');
  },
  'ended, link down': (world) => {
    REACH.orphaned(world);
    expect(world.step({ kind: 'ended', ...key, result: RESULT })).toBe('-');
  },
  'ended, attaching': (world) => {
    REACH['ended, link down'](world);
    expect(world.receive(attach)).toBe('attach over');
  },
  'restored, ended': (world) => restore(world, [{ ...GIVEN, kind: 'ended', result: RESULT }]),
  acknowledged: (world) => {
    REACH.ended(world);
    expect(world.receive({ t: 'job.ack', ...key })).toBe('acked');
  },
  'answered not_started': (world) => expect(world.receive(attach)).toBe('gone not_started'),
};

const NO_GRANT = { cpus: 0, memoryBytes: 0, parent: null, lender: null };
const GIVEN = { ...key, from: ORIGIN, durable: false, nesting: 0, grant: NO_GRANT };
function restore(world: World, attempts: readonly RestoredAttempt[]): void {
  expect(world.step({ kind: 'restored', attempts, given: [], isWhole: true })).toBe('-');
}

const HAPPEN: Record<Event, (world: World) => string> = {
  reserve: (world) => world.receive(reserve),
  'reserve by another origin': (world) => world.receive(reserve, OTHER),
  'dry run of another job': (world) => {
    const dry = { ...reserve, job: OTHER_JOB, dry_run: true };
    expect(world.receive(dry, OTHER)).toBe('check');
    return world.step({ kind: 'checked', job: OTHER_JOB, attempt: 1, from: OTHER, verdict });
  },
  'checked: yes': (world) => world.step({ kind: 'checked', ...key, from: ORIGIN, verdict }),
  'checked: no': (world) => {
    const reasons = [{ code: 'files', text: 'has other files' } as const];
    return world.step({ kind: 'checked', ...key, from: ORIGIN, verdict: { ok: false, reasons } });
  },
  release: (world) => world.receive({ t: 'job.release', ...key, lease: LEASE }),
  'release, other lease': (world) => world.receive({ t: 'job.release', ...key, lease: 'b'.repeat(26) as LeaseId }),
  start: (world) => world.receive(start),
  'start, other lease': (world) => world.receive({ ...start, lease: 'b'.repeat(26) as LeaseId }),
  'start by another origin': (world) => world.receive(start, OTHER),
  'start of another command': (world) =>
    world.receive({ ...start, spec: { ...start.spec, command: { kind: 'line', line: 'rm -rf /' } } }),
  cancel: (world) => world.receive({ t: 'job.cancel', ...key }),
  'cancel by another origin': (world) => world.receive({ t: 'job.cancel', ...key }, OTHER),
  'cancel by a third node': (world) => world.step({ kind: 'cancel', job: JOB }),
  attach: (world) => world.receive(attach),
  'attach by another origin': (world) => world.receive(attach, OTHER),
  'attach of an earlier runner': (world) => world.receive({ ...attach, instance: 'earlier' }),
  attach_ready: (world) => world.step({ kind: 'attach_ready', ...key, stdinOffset: 9 }),
  detach: (world) => world.receive({ t: 'job.detach', ...key }),
  'detach by another origin': (world) => world.receive({ t: 'job.detach', ...key }, OTHER),
  ack: (world) => world.receive({ t: 'job.ack', ...key }),
  'ack by another origin': (world) => world.receive({ t: 'job.ack', ...key }, OTHER),
  resize: (world) => world.receive({ t: 'job.resize', ...key, size: { columns: 80, rows: 24 } }),
  dropped: (world) => world.step({ kind: 'dropped', ...key }),
  started: (world) => world.step({ kind: 'started', ...key }),
  ended: (world) => world.step({ kind: 'ended', ...key, result: RESULT }),
  not_run: (world) => world.step({ kind: 'not_run', ...key, reason: { code: 'other', text: 'no runner' } }),
  link_down: (world) => world.step({ kind: 'link_down', peer: ORIGIN }),
  'link_down of another': (world) => world.step({ kind: 'link_down', peer: OTHER }),
  'no slots any more': (world) => world.step({ kind: 'slots_changed', slots: 0 }),
  runner_lost: (world) => world.step({ kind: 'runner_lost', message: 'it died' }),
  renew: (world) => world.step({ kind: 'renew', ...key, lease: LEASE, ttlMs: LEASE_TTL_MS }),
  ready: (world) => world.step({ kind: 'ready', ...key, lease: LEASE, ...PLACED }),
  'ready, other lease': (world) => world.step({ kind: 'ready', ...key, lease: OTHER_LEASE, ...PLACED }),
  unlease: (world) => world.step({ kind: 'unlease', ...key, lease: LEASE, wasted: false }),
  'unlease, other lease': (world) => world.step({ kind: 'unlease', ...key, lease: OTHER_LEASE, wasted: false }),
  'lease time passes': (world) => {
    world.nowMs += LEASE_TTL_MS;
    return world.step({ kind: 'timer' });
  },
  'grace time passes': (world) => {
    world.nowMs += ORIGIN_GRACE_MS;
    return world.step({ kind: 'timer' });
  },
};

const NOTHING = '-';
/** Where nothing that the event names is there. */
const IGNORED = {
  'checked: yes': NOTHING,
  'checked: no': NOTHING,
  release: NOTHING,
  'release, other lease': NOTHING,
  attach_ready: NOTHING,
  detach: NOTHING,
  'detach by another origin': NOTHING,
  ack: NOTHING,
  'ack by another origin': NOTHING,
  resize: NOTHING,
  cancel: NOTHING,
  'cancel by another origin': NOTHING,
  'cancel by a third node': NOTHING,
  started: NOTHING,
  ended: NOTHING,
  not_run: NOTHING,
  link_down: NOTHING,
  'link_down of another': NOTHING,
  'no slots any more': NOTHING,
  runner_lost: NOTHING,
  dropped: NOTHING,
  renew: NOTHING,
  ready: NOTHING,
  'ready, other lease': NOTHING,
  unlease: NOTHING,
  'unlease, other lease': NOTHING,
  'lease time passes': NOTHING,
  'grace time passes': NOTHING,
} as const;
const NOT_STARTED = {
  start: 'not_started',
  'start, other lease': 'not_started',
  'start by another origin': 'not_started to the other',
  'start of another command': 'not_started',
} as const;
/** Nothing was given to the runner, and nothing will be. */
const NOT_HERE = {
  attach: 'gone not_started',
  'attach by another origin': 'gone not_started to the other',
  'attach of an earlier runner': 'gone unknown',
} as const;
const RUNNING = {
  ...IGNORED,
  reserve: 'refused',
  'reserve by another origin': 'refused to the other',
  'dry run of another job': 'refused full to the other',
  // A duplicate: the attempt runs, and saying otherwise would make it run twice.
  start: NOTHING,
  'start, other lease': NOTHING,
  'start by another origin': 'not_started to the other',
  'start of another command': NOTHING,
  attach: 'attach running',
  'attach by another origin': 'gone unknown to the other',
  // The runner that it was given to is gone, or survived its daemon: the attempt is known to run either way.
  'attach of an earlier runner': 'attach running',
  detach: 'detach',
  resize: 'resize',
  cancel: 'kill',
  'cancel by a third node': 'kill',
  ended: 'ended exited',
  not_run: 'not_started',
  runner_lost: 'ended unknown',
} as const;
/** Its files are sent: who sends them is told when that is for nothing. */
const SHIPPED = {
  ...IGNORED,
  ...NOT_STARTED,
  reserve: 'reserved',
  'reserve by another origin': 'refused to the other',
  'dry run of another job': 'refused full to the other',
  start: 'lease_ended, not_started',
  'start of another command': 'lease_ended, not_started',
  attach: 'lease_ended, gone not_started',
  'attach by another origin': 'gone unknown to the other',
  'attach of an earlier runner': 'lease_ended, gone unknown',
  release: 'lease_ended',
  cancel: 'lease_ended',
  link_down: 'lease_ended',
  unlease: 'lease_ended',
  'lease time passes': 'lease_ended',
  'grace time passes': 'lease_ended',
} as const;
const UNHEARD = { ended: NOTHING, not_run: NOTHING, runner_lost: NOTHING } as const;
const OVER = {
  ...IGNORED,
  reserve: 'refused',
  'reserve by another origin': 'refused to the other',
  'dry run of another job': 'reserved to the other',
  start: NOTHING,
  'start, other lease': NOTHING,
  'start by another origin': NOTHING,
  'start of another command': NOTHING,
} as const;
const ENDED = {
  ...OVER,
  attach: 'attach over',
  'attach by another origin': 'gone unknown to the other',
  'attach of an earlier runner': 'attach over',
  ack: 'acked',
} as const;

const TABLE: Record<State, Record<Event, string>> = {
  unknown: {
    ...IGNORED,
    ...NOT_STARTED,
    ...NOT_HERE,
    reserve: 'check',
    'reserve by another origin': 'check',
    'dry run of another job': 'reserved to the other',
  },
  checking: {
    ...IGNORED,
    ...NOT_STARTED,
    ...NOT_HERE,
    reserve: NOTHING,
    'reserve by another origin': 'refused to the other',
    'dry run of another job': 'reserved to the other',
    'checked: yes': 'reserved',
    'checked: no': 'refused',
    'attach by another origin': 'gone unknown to the other',
  },
  leased: {
    ...IGNORED,
    ...NOT_STARTED,
    ...NOT_HERE,
    reserve: 'reserved',
    'reserve by another origin': 'refused to the other',
    'dry run of another job': 'refused full to the other',
    start: 'run in /work',
    'attach by another origin': 'gone unknown to the other',
  },
  'leased, files to come': SHIPPED,
  'leased, files on their way': SHIPPED,
  'leased, files in place': { ...SHIPPED, start: 'run in /workspaces/tree' },
  running: { ...RUNNING, started: 'started' },
  'running, told': { ...RUNNING },
  'running, durable': { ...RUNNING, detach: NOTHING },
  killed: { ...RUNNING, started: 'started', cancel: NOTHING, 'cancel by a third node': NOTHING },
  orphaned: { ...RUNNING, ...UNHEARD, 'grace time passes': 'kill' },
  'durable, link down': { ...RUNNING, ...UNHEARD, detach: NOTHING },
  attaching: {
    ...RUNNING,
    ...UNHEARD,
    attach_ready: 'attached running 9',
    // It was asked what became of it.
    not_run: 'gone not_started',
  },
  'restored, running': { ...RUNNING, ...UNHEARD, 'grace time passes': 'kill' },
  ended: { ...ENDED },
  'ended, link down': { ...ENDED },
  'ended, attaching': { ...ENDED, attach_ready: 'attached over 9, ended exited' },
  'restored, ended': { ...ENDED },
  acknowledged: {
    ...OVER,
    attach: 'gone unknown',
    'attach by another origin': 'gone unknown to the other',
    'attach of an earlier runner': 'gone unknown',
  },
  'answered not_started': {
    ...IGNORED,
    ...NOT_STARTED,
    ...NOT_HERE,
    reserve: 'check',
    'reserve by another origin': 'check',
    'dry run of another job': 'reserved to the other',
  },
};

/** Slots free afterwards, of one, where the event changes that; the slot is taken while leased or running. */
const ENDS: readonly Event[] = ['ended', 'not_run', 'runner_lost'];
const ENDS_LEASE: readonly Event[] = [
  'release',
  'start of another command',
  'cancel',
  'link_down',
  'lease time passes',
  'grace time passes',
  'attach',
  'attach of an earlier runner',
];
const FREES: Partial<Record<State, readonly Event[]>> = {
  leased: ENDS_LEASE,
  'leased, files to come': [...ENDS_LEASE, 'unlease', 'start'],
  'leased, files on their way': [...ENDS_LEASE, 'unlease', 'start'],
  'leased, files in place': [...ENDS_LEASE, 'unlease'],
  running: ENDS,
  'running, told': ENDS,
  'running, durable': ENDS,
  killed: ENDS,
  orphaned: ENDS,
  'durable, link down': ENDS,
  attaching: ENDS,
  'restored, running': ENDS,
};

describe.each(Object.keys(TABLE) as State[])('an attempt that is %s', (state) => {
  test.each(Object.entries(TABLE[state]) as [Event, string][])('%s: %s', (event, expected) => {
    const world = new World();
    REACH[state](world);
    expect(HAPPEN[event](world)).toBe(expected);
    const frees = FREES[state];
    const becomesLeased = state === 'checking' && event === 'checked: yes';
    const taken = event === 'no slots any more' || becomesLeased || (frees !== undefined && !frees.includes(event));
    expect(world.executor.slotsFree).toBe(taken ? 0 : 1);
  });
});
