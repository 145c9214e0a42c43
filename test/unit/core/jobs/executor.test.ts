import { describe, expect, test } from 'vitest';
import { base32, makeJobId, type LeaseId, type NodeId } from '../../../../src/base/ids.ts';
import { CHECKS_MAX, CHECKS_PER_ORIGIN_MAX } from '../../../../src/core/jobs/executor-options.ts';
import { Executor } from '../../../../src/core/jobs/executor.ts';
import type { ExecutorEffect, ExecutorInput } from '../../../../src/core/jobs/executor-state.ts';
import { HINT_HOLD_MS, Waiters, WAITERS_MAX } from '../../../../src/core/jobs/waiters.ts';
import type { Requirements } from '../../../../src/wire/job-spec.ts';
import type { JobMessageOf } from '../../../../src/wire/jobs.ts';
import { FACTS, LOAD, NO_REQUIREMENTS } from '../scheduling/nodes.ts';
import { PLAIN_ATTEMPT } from '../../../fixtures/plain-spec.ts';

const nodeId = (number: number): NodeId =>
  base32(Uint8Array.from({ length: 33 }, (_, i) => (i === 0 ? number >> 8 : number & 255))).slice(0, 52) as NodeId;
const [A, B, C, SELF] = [nodeId(1), nodeId(2), nodeId(3), nodeId(4)];

class World {
  nowMs = 0;
  #leases = 0;
  readonly executor: Executor;

  constructor(slots: number) {
    const newLeaseId = (): LeaseId => base32(Uint8Array.of(++this.#leases, 0, 0, 0, 0, 0, 0, 0, 0)) as LeaseId;
    const [facts, load, instance] = [() => FACTS, () => LOAD, () => 'runner'];
    const share = { onBattery: false, yieldToOwner: true };
    const self = (): NodeId => SELF;
    this.executor = new Executor({ slots, facts, load, instance, newLeaseId, self, share, originGraceMs: 0 });
  }

  step(input: ExecutorInput): ExecutorEffect[] {
    return this.executor.step(input, this.nowMs);
  }

  /** Asks and judges at once; what was answered to whom, `slot_free`s included. */
  reserve(from: NodeId, number: number, requires: Partial<Requirements> = {}, toolsFound: string[] = []): string[] {
    const message = this.message(number, requires);
    const first = this.step({ kind: 'message', from, message });
    const { job, attempt } = message;
    const checked = { kind: 'checked', job, attempt, from, verdict: { ok: true, cwd: '/', toolsFound } } as const;
    return [...first, ...this.step(checked)].flatMap(textOf);
  }

  message(number: number, requires: Partial<Requirements> = {}): JobMessageOf<'job.reserve'> {
    const evidence = { home_relative: null, boot_id: null, device: '1', inode: '2', clean_commit: null };
    return {
      t: 'job.reserve',
      job: makeJobId(number, new Uint8Array(16)),
      attempt: 1,
      dry_run: false,
      command: { kind: 'line', line: 'make' },
      requires: { ...NO_REQUIREMENTS, ...requires },
      cwd: { path: '/', git_prefix: null, ...evidence },
      tools: [],
      explicit: false,
      workspace: false,
      parent: null,
    };
  }

  cancel(from: NodeId, number: number): string[] {
    const { job, attempt } = this.message(number);
    return this.step({ kind: 'message', from, message: { t: 'job.cancel', job, attempt } }).flatMap(textOf);
  }

  timer(): string[] {
    return this.step({ kind: 'timer' }).flatMap(textOf);
  }
}

function textOf(effect: ExecutorEffect): string[] {
  if (effect.kind !== 'send') return [];
  const name = effect.to === A ? 'A' : effect.to === B ? 'B' : effect.to === C ? 'C' : '?';
  const { message } = effect;
  if (message.t === 'job.refused')
    return [`${name} ${message.full ? 'full' : message.reasons.map(({ code }) => code).join(' ')}`];
  return [`${name} ${message.t.slice(4)}`];
}

describe('slots', () => {
  test('are counted at the grant, not when the request came', () => {
    const world = new World(1);
    for (const number of [1, 2]) world.step({ kind: 'message', from: A, message: world.message(number) });
    const verdict = { ok: true, cwd: '/', toolsFound: [] } as const;
    const answers = [1, 2].flatMap((number) => {
      const { job, attempt } = world.message(number);
      return world.step({ kind: 'checked', job, attempt, from: A, verdict }).flatMap(textOf);
    });
    expect(answers).toEqual(['A reserved', 'A full']);
    expect(world.executor.slotsFree).toBe(0);
  });

  test('fewer slots end nothing, and nothing is granted until there is room', () => {
    const world = new World(2);
    expect([world.reserve(A, 1), world.reserve(A, 2)].flat()).toEqual(['A reserved', 'A reserved']);
    world.step({ kind: 'slots_changed', slots: 1 });
    world.cancel(A, 1);
    expect(world.reserve(B, 3)).toEqual(['B full']);
    expect(world.cancel(A, 2)).toEqual(['B slot_free']);
  });

  test("requests being judged are bounded, and no origin's flood takes the share of another", () => {
    const world = new World(4);
    const ask = (from: NodeId, number: number): string[] =>
      world.step({ kind: 'message', from, message: world.message(number) }).flatMap(textOf);
    let number = 0;
    for (; number < CHECKS_PER_ORIGIN_MAX; number++) expect(ask(A, number)).toEqual([]);
    expect(ask(A, number++)[0]).toBe('A full');
    expect(world.reserve(B, number++)).toContain('B reserved');
    for (let origin = 10; number < CHECKS_MAX + 2; origin++) {
      for (let i = 0; i < CHECKS_PER_ORIGIN_MAX; i++) ask(nodeId(origin), number++);
    }
    expect(ask(B, number)[0]).toBe('B full');
  });
});

test("a job that runs for one origin is not started for another: its end ends all processes of that job's id", () => {
  const world = new World(3);
  const start = (from: NodeId, attempt: number): string[] => {
    const reserve = { ...world.message(1), attempt };
    const { job, command } = reserve;
    world.step({ kind: 'message', from, message: reserve });
    const verdict = { ok: true, cwd: '/', toolsFound: [] } as const;
    const [granted] = world.step({ kind: 'checked', job, attempt, from, verdict });
    if (granted?.kind !== 'send' || granted.message.t !== 'job.reserved' || granted.message.lease === null) return [];
    const spec = { command, env: {}, umask: 0, timeout_ms: null, stdin: false, ...PLAIN_ATTEMPT };
    const streams = { stdin: null, stdout: 1, stderr: 3 };
    const { lease } = granted.message;
    const message = { t: 'job.start', job, attempt, lease, spec, cwd: '/', streams, window_bytes: 1 } as const;
    return world.step({ kind: 'message', from, message }).map(({ kind }) => kind);
  };
  expect(start(A, 1)).toEqual(['run']);
  expect(start(B, 2)).toEqual(['send']);
  expect([world.executor.jobsRunning, world.executor.slotsFree]).toEqual([1, 2]);
});

describe('requirements are compared again', () => {
  test('all failed ones are told, whatever the slots', () => {
    const world = new World(0);
    expect(world.reserve(A, 1, { os: 'darwin', cpus: 99, memory_bytes: 2 ** 50 })).toEqual(['A os cpus memory']);
  });

  test('a required tool may be one that the facts do not list', () => {
    const world = new World(1);
    const requires = { capabilities: ['tool:rare'] };
    expect(world.reserve(A, 1, requires)).toEqual(['A capability']);
    expect(world.reserve(A, 2, requires, ['rare'])).toEqual(['A reserved']);
  });
});

describe('who waits for a slot', () => {
  test('is told in turn, one for each free slot', () => {
    const world = new World(2);
    world.reserve(A, 1);
    world.reserve(A, 2);
    for (const [from, number] of [
      [B, 3],
      [C, 4],
      [B, 5],
    ] as const) {
      world.reserve(from, number);
    }
    expect(world.cancel(A, 1)).toEqual(['B slot_free']);
    expect(world.cancel(A, 2)).toEqual(['C slot_free']);
  });

  test('finds the slot kept, though others ask before', () => {
    const world = new World(1);
    world.reserve(A, 1);
    world.reserve(B, 2);
    expect(world.cancel(A, 1)).toEqual(['B slot_free']);
    expect(world.reserve(A, 3)).toEqual(['A full']);
    expect(world.reserve(B, 2)).toEqual(['B reserved']);
    expect(world.cancel(B, 2)).toEqual(['A slot_free']);
  });

  test('loses it when it does not come: the next is told', () => {
    const world = new World(1);
    world.reserve(A, 1);
    world.reserve(B, 2);
    world.reserve(C, 3);
    expect(world.cancel(A, 1)).toEqual(['B slot_free']);
    expect(world.executor.nextDeadlineMs()).toBe(HINT_HOLD_MS);
    world.nowMs = HINT_HOLD_MS;
    expect(world.timer()).toEqual(['C slot_free']);
    expect(world.executor.nextDeadlineMs()).toBeNull();
    world.nowMs += HINT_HOLD_MS;
    expect(world.reserve(A, 4)).toEqual(['A reserved']);
  });

  test('is forgotten with its link', () => {
    const world = new World(1);
    world.reserve(A, 1);
    world.reserve(B, 2);
    world.step({ kind: 'link_down', peer: B });
    expect(world.cancel(A, 1)).toEqual([]);
  });

  test('is one of a bounded number', () => {
    const waiters = new Waiters();
    for (let number = 0; number < WAITERS_MAX + 5; number++) waiters.add(nodeId(number), 'slot');
    expect(waiters.tell(() => 10_000, 0)).toHaveLength(WAITERS_MAX);
  });
});

test('a peer that goes takes its leases with it, and its running commands end', () => {
  const world = new World(3);
  world.reserve(A, 1);
  world.reserve(B, 2);
  world.reserve(C, 3);
  world.reserve(C, 4);
  const effects = world.step({ kind: 'link_down', peer: A });
  expect(effects.flatMap(textOf)).toEqual(['C slot_free']);
  expect(world.executor.slotsFree).toBe(1);
});
