import { describe, expect, test } from 'vitest';
import { base32, makeJobId, type JobId, type LeaseId, type NodeId } from '../../../../src/base/ids.ts';
import { ENDED_SHOWS_MS, OwnerShare } from '../../../../src/core/jobs/owner-share.ts';
import { Executor } from '../../../../src/core/jobs/executor.ts';
import { LEASE_TTL_MS } from '../../../../src/core/jobs/executor-options.ts';
import { WASTED_FOR_MS } from '../../../../src/core/jobs/lease-wasters.ts';
import type { ExecutorEffect, ExecutorInput, LeaseKey } from '../../../../src/core/jobs/executor-state.ts';
import type { Facts, Load } from '../../../../src/wire/facts.ts';
import type { JobMessageOf } from '../../../../src/wire/jobs.ts';
import type { Requirements } from '../../../../src/wire/job-spec.ts';
import { PLAIN_ATTEMPT } from '../../../fixtures/plain-spec.ts';
import { FACTS, LOAD, NO_REQUIREMENTS } from '../scheduling/nodes.ts';

const nodeId = (number: number): NodeId => base32(new Uint8Array(33).fill(number)).slice(0, 52) as NodeId;
const [SELF, A, B] = [nodeId(1), nodeId(2), nodeId(3)];
const jobId = (number: number): JobId => makeJobId(number, new Uint8Array(16));
const GIB = 2 ** 30;
const command = { kind: 'line', line: 'make' } as const;

interface Ask {
  readonly from?: NodeId;
  readonly requires?: Partial<Requirements>;
  readonly parent?: number;
  readonly workspace?: boolean;
}

class World {
  nowMs = 0;
  facts: Facts = FACTS;
  load: Load = LOAD;
  #leases = 0;
  readonly executor: Executor;
  readonly #leaseOf = new Map<number, LeaseId>();

  constructor(slots: number, share = { onBattery: false, yieldToOwner: true }) {
    this.executor = new Executor({
      slots,
      self: () => SELF,
      share,
      facts: () => this.facts,
      load: () => this.load,
      instance: () => 'runner',
      newLeaseId: () => base32(Uint8Array.of(++this.#leases, 0, 0, 0, 0, 0, 0, 0, 0)) as LeaseId,
    });
  }

  step(input: ExecutorInput): ExecutorEffect[] {
    return this.executor.step(input, this.nowMs);
  }

  /** @returns `yes`, or the texts of the refusal, after `full: ` where it may ask again */
  ask(number: number, { from = A, requires = {}, parent, workspace = false }: Ask = {}): string {
    const cwd = { path: '/', home_relative: null, boot_id: null, device: '1', inode: '2', clean_commit: null };
    const reserve: JobMessageOf<'job.reserve'> = {
      t: 'job.reserve',
      job: jobId(number),
      attempt: 1,
      dry_run: false,
      command,
      requires: { ...NO_REQUIREMENTS, ...requires },
      cwd: { ...cwd, git_prefix: null },
      tools: [],
      explicit: false,
      workspace,
      parent: parent === undefined ? null : jobId(parent),
    };
    const asked = this.step({ kind: 'message', from, message: reserve });
    const verdict = { ok: true, cwd: '/', toolsFound: [] } as const;
    const checked = { kind: 'checked', job: jobId(number), attempt: 1, from, verdict } as const;
    for (const effect of [...asked, ...this.step(checked)]) {
      if (effect.kind !== 'send') continue;
      const { message } = effect;
      if (message.t === 'job.reserved' && message.lease !== null) {
        this.#leaseOf.set(number, message.lease);
        return 'yes';
      }
      if (message.t === 'job.refused') {
        return `${message.full ? 'full: ' : ''}${message.reasons.map(({ text }) => text).join('; ')}`;
      }
    }
    throw new Error('not answered');
  }

  leaseOf(number: number): LeaseKey {
    return { job: jobId(number), attempt: 1, lease: this.#leaseOf.get(number) as LeaseId };
  }

  /** Asks, and runs it. */
  run(number: number, ask: Ask = {}, nesting = 0): void {
    expect(this.ask(number, ask)).toBe('yes');
    const lease = this.#leaseOf.get(number) as LeaseId;
    const spec = { command, env: {}, umask: 18, timeout_ms: null, stdin: false, ...PLAIN_ATTEMPT, nesting };
    const start = { t: 'job.start', job: jobId(number), attempt: 1, lease, spec, cwd: '/' } as const;
    const message = { ...start, streams: null, window_bytes: 1 };
    const effects = this.step({ kind: 'message', from: ask.from ?? A, message });
    expect(effects.map(({ kind }) => kind)).toEqual(['run']);
  }

  /** @returns who is told of a free slot */
  end(number: number): NodeId[] {
    const outcome = { kind: 'exited', code: 0 } as const;
    const bytes = { stdoutBytes: 0, stderrBytes: 0, truncated: false, leftRunning: 0, durationMs: 1 };
    return this.#told(this.step({ kind: 'ended', job: jobId(number), attempt: 1, result: { outcome, ...bytes } }));
  }

  timer(): NodeId[] {
    return this.#told(this.step({ kind: 'timer' }));
  }

  #told(effects: readonly ExecutorEffect[]): NodeId[] {
    return effects.flatMap((effect) =>
      effect.kind === 'send' && effect.message.t === 'job.slot_free' ? [effect.to] : [],
    );
  }
}

describe('cpus and memory that a job asks for', () => {
  test('are reserved from the lease to the end, and the refusal says how much is', () => {
    const world = new World(4);
    world.run(1, { requires: { cpus: 3 } });
    expect(world.ask(2, { requires: { cpus: 2 } })).toBe(
      'full: has 4 cores, of which 3 are reserved for other jobs; 2 are required',
    );
    expect(world.ask(3, { requires: { cpus: 1 } })).toBe('yes');
    expect(world.ask(4)).toBe('yes');
    expect(world.end(1)).toEqual([A]);
    expect(world.ask(2, { requires: { cpus: 2 } })).toBe('yes');
  });

  test('hold nobody up who asks for none, and a free slot is not offered to who waits for cpus', () => {
    const world = new World(2);
    world.run(1, { requires: { cpus: 4 } });
    expect(world.ask(2, { from: B, requires: { cpus: 1 } })).toMatch(/^full/);
    world.nowMs += 1000;
    expect(world.timer()).toEqual([]);
    world.run(3);
    expect(world.end(3)).toEqual([B]);
  });

  test('memory is reserved likewise, also before the job has used it', () => {
    const world = new World(4);
    world.run(1, { requires: { memory_bytes: 7 * GIB } });
    world.load = { ...LOAD, memory_available_bytes: 2 * GIB };
    expect(world.ask(2, { requires: { memory_bytes: 6 * GIB } })).toBe('yes');
    expect(world.ask(3, { requires: { memory_bytes: 4 * GIB } })).toMatch(
      /^full: has 16\.0 GiB of memory, of which 13\.0 GiB/,
    );
    expect(world.ask(4, { requires: { memory_bytes: 20 * GIB } })).toMatch(
      /^has 16\.0 GiB of memory, 20\.0 GiB required/,
    );
  });

  test('a lease that is not used gives them back', () => {
    const world = new World(4);
    expect(world.ask(1, { requires: { cpus: 4 } })).toBe('yes');
    expect(world.ask(2, { requires: { cpus: 1 } })).toMatch(/^full/);
    world.step({ kind: 'link_down', peer: A });
    expect(world.ask(2, { requires: { cpus: 1 } })).toBe('yes');
  });
});

describe('a nested job', () => {
  test("borrows its parent's slot where none is free, one at a time", () => {
    const world = new World(1);
    world.run(1);
    world.run(2, { parent: 1 });
    expect(world.executor.slotsFree).toBe(0);
    expect(world.executor.jobsRunning).toBe(2);
    expect(world.ask(3, { parent: 1 })).toMatch(/^full: has no free slot: 1 of 1 taken/);
    expect(world.end(2)).toEqual([A]);
    expect(world.ask(3, { parent: 1 })).toBe('yes');
  });

  test('takes a free slot first', () => {
    const world = new World(2);
    world.run(1);
    world.run(2, { parent: 1 });
    expect(world.executor.slotsFree).toBe(0);
    world.end(2);
    expect(world.executor.slotsFree).toBe(1);
  });

  test('of a nested job borrows of it in turn; each knows how deep it is', () => {
    const world = new World(1);
    world.run(1);
    world.run(2, { parent: 1 }, 1);
    world.run(3, { parent: 2 }, 2);
    expect(world.executor.slotsFree).toBe(0);
    expect([1, 2, 3, 4].map((number) => world.executor.nestingOf(jobId(number)))).toEqual([0, 1, 2, null]);
  });

  test('borrows three levels deep and no deeper, whatever its origin says of its depth', () => {
    const world = new World(1);
    world.run(1);
    for (const number of [2, 3, 4]) world.run(number, { parent: number - 1 });
    expect(world.ask(5, { parent: 4 })).toMatch(/^full/);
    expect(world.executor.jobsRunning).toBe(4);
  });

  test('keeps the slot when its parent ends before it', () => {
    const world = new World(1);
    world.run(1);
    world.run(2, { parent: 1 });
    world.end(1);
    expect(world.executor.slotsFree).toBe(0);
    expect(world.ask(3)).toMatch(/^full/);
    world.end(2);
    expect(world.executor.slotsFree).toBe(1);
  });

  test("uses its parent's cpus; what it wants beyond them must be free", () => {
    const world = new World(4);
    world.run(1, { requires: { cpus: 3 } });
    world.run(2, { parent: 1, requires: { cpus: 3 } });
    expect(world.ask(3, { requires: { cpus: 1 } })).toBe('yes');
    world.end(2);
    expect(world.ask(4, { parent: 1, requires: { cpus: 4 } })).toMatch(/^full: has 4 cores, of which 4 are reserved/);
  });

  test('borrows only of a job of its own node, or for a job of this one', () => {
    const world = new World(1);
    world.run(1);
    expect(world.ask(2, { from: B, parent: 1 })).toMatch(/^full/);
    expect(world.ask(2, { from: SELF, parent: 1 })).toBe('yes');
  });
});

describe('another attempt of a job that still runs here', () => {
  test('ends the earlier one, and waits for its end', () => {
    const world = new World(2);
    world.run(1);
    const cwd = { path: '/', home_relative: null, boot_id: null, device: '1', inode: '2', clean_commit: null };
    const effects = world.step({
      kind: 'message',
      from: A,
      message: {
        t: 'job.reserve',
        job: jobId(1),
        attempt: 2,
        dry_run: false,
        command,
        requires: NO_REQUIREMENTS,
        cwd: { ...cwd, git_prefix: null },
        tools: [],
        explicit: false,
        workspace: false,
        parent: null,
      },
    });
    expect(effects.map((effect) => (effect.kind === 'send' ? effect.message.t : effect.kind))).toEqual([
      'kill',
      'job.refused',
    ]);
    expect(world.end(1)).toEqual([A]);
  });
});

test('an origin that lets slots go unused gets one at a time for a while, and is not told of free ones meanwhile', () => {
  const world = new World(4);
  for (const number of [1, 2, 3]) expect(world.ask(number)).toBe('yes');
  world.nowMs += LEASE_TTL_MS;
  world.timer();
  expect(world.ask(4)).toBe('yes');
  expect(world.ask(5)).toBe('full: has one slot at a time for a node that let 3 go unused');
  expect(world.ask(6, { from: B })).toBe('yes');
  expect(world.ask(7, { from: B })).toBe('yes');
  expect(world.timer()).toEqual([]);
  world.nowMs += LEASE_TTL_MS;
  expect(world.timer()).toEqual([A]);
  world.nowMs += WASTED_FOR_MS;
  expect([world.ask(8), world.ask(9)]).toEqual(['yes', 'yes']);
});

describe('a lease for which files are sent', () => {
  test('lasts while it is renewed, however long that is, and is not held against its origin', () => {
    const world = new World(4);
    const numbers = [1, 2, 3];
    for (const number of numbers) expect(world.ask(number, { workspace: true })).toBe('yes');
    for (let i = 0; i < 50; i++) {
      world.nowMs += LEASE_TTL_MS - 1;
      for (const number of numbers) world.step({ kind: 'renew', ...world.leaseOf(number), ttlMs: LEASE_TTL_MS });
      expect(world.timer()).toEqual([]);
      expect(world.executor.slotsFree).toBe(1);
    }
    world.nowMs += LEASE_TTL_MS;
    world.timer();
    expect(world.executor.slotsFree).toBe(4);
    expect([world.ask(4), world.ask(5)]).toEqual(['yes', 'yes']);
  });

  test('is not made shorter, and not brought back', () => {
    const world = new World(1);
    expect(world.ask(1, { workspace: true })).toBe('yes');
    world.step({ kind: 'renew', ...world.leaseOf(1), ttlMs: 1 });
    expect(world.executor.nextDeadlineMs()).toBe(LEASE_TTL_MS);
    world.nowMs = LEASE_TTL_MS;
    world.step({ kind: 'ready', ...world.leaseOf(1), cwd: '/tree', ttlMs: LEASE_TTL_MS });
    world.timer();
    expect(world.executor.slotsFree).toBe(1);
  });

  test('of another job is left alone', () => {
    const world = new World(1);
    expect(world.ask(1)).toBe('yes');
    for (const kind of ['renew', 'unlease'] as const)
      world.step({ kind, ...world.leaseOf(1), ttlMs: 10 * LEASE_TTL_MS, wasted: false } as ExecutorInput);
    expect(world.executor.slotsFree).toBe(0);
    expect(world.executor.nextDeadlineMs()).toBe(LEASE_TTL_MS);
  });

  test('whose origin falls silent counts as unused, one that fails here does not', () => {
    const world = new World(4);
    const give = (from: number, wasted: boolean): void => {
      for (let number = from; number < from + 3; number++) {
        expect(world.ask(number, { workspace: true })).toBe('yes');
        world.step({ kind: 'unlease', ...world.leaseOf(number), wasted });
      }
    };
    give(1, false);
    expect([world.ask(10), world.ask(11)]).toEqual(['yes', 'yes']);
    give(4, true);
    expect(world.ask(12)).toBe('full: has one slot at a time for a node that let 3 go unused');
  });
});

describe('the owner of this machine', () => {
  const BUSY: Load = { ...LOAD, cpu_percent: 100, load_1m: 4, psi_cpu_some_avg10: 40 };

  test('on battery gives others nothing, and says so; its own jobs run', () => {
    const world = new World(2);
    world.facts = { ...FACTS, on_battery: true };
    expect(world.ask(1)).toBe('is on battery and takes no jobs of others then (share.on_battery)');
    expect(world.ask(2, { from: SELF })).toBe('yes');
    const sharing = new World(2, { onBattery: true, yieldToOwner: true });
    sharing.facts = { ...FACTS, on_battery: true };
    expect(sharing.ask(1)).toBe('yes');
  });

  test('who is busy keeps slots; one is lent in any case, and waiting nodes are told when it is quiet again', () => {
    const world = new World(4);
    world.load = BUSY;
    world.run(1);
    expect(world.ask(2, { from: B })).toBe(
      'full: its owner is busy: it gives others 1 of its 4 slots (share.yield_to_owner), 1 of 4 taken',
    );
    expect(world.ask(3, { from: SELF })).toBe('yes');
    expect(world.executor.slotsFree).toBe(2);
    expect(world.executor.slotsFreeFor(null, 0)).toBe(0);
    expect(world.executor.nextDeadlineMs()).toBe(1000);
    world.load = LOAD;
    world.nowMs = 1000;
    expect(world.timer()).toEqual([B]);
    expect(world.ask(2, { from: B })).toBe('yes');
  });

  test('may give all of it all the time', () => {
    const world = new World(4, { onBattery: false, yieldToOwner: false });
    world.load = BUSY;
    for (const number of [1, 2, 3, 4]) world.run(number);
  });

  test("is not seen in the load of this node's jobs, running or just ended, nor where nothing waits for a cpu", () => {
    const share = new OwnerShare();
    const machine = { slots: 4, cores: 4 };
    expect(share.slotsForOthers(machine, BUSY, 4, 0)).toBe(4);
    expect(share.slotsForOthers(machine, BUSY, 2, 0)).toBe(2);
    share.ended(2, 0);
    expect(share.slotsForOthers(machine, BUSY, 2, 0)).toBe(4);
    expect(share.slotsForOthers(machine, BUSY, 2, ENDED_SHOWS_MS)).toBe(2);
    expect(share.slotsForOthers(machine, { ...BUSY, psi_cpu_some_avg10: 3 }, 0, 9999)).toBe(4);
    expect(share.slotsForOthers(machine, { ...BUSY, load_1m: 0.4 }, 0, 9999)).toBe(4);
    expect(share.slotsForOthers(machine, { ...BUSY, psi_cpu_some_avg10: null }, 0, 9999)).toBe(1);
  });
});
