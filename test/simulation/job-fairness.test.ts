import { describe, expect, test } from 'vitest';
import type { JobId } from '../../src/base/ids.ts';
import type { PlacementRequest } from '../../src/core/scheduling/placement-request.ts';
import { seededRandom } from '../../src/base/random.ts';
import { JobWorld } from './job-world.ts';
import { SchedulingSimulator } from './scheduling-simulator.ts';
import { shareOfSeeds } from './seeds.ts';

const HEAVY: PlacementRequest = {
  jobClass: 'heavy',
  classReason: 'make',
  target: { kind: 'any' },
  requires: { os: null, arch: null, capabilities: [], cpus: null, memory_bytes: null },
  tools: ['make'],
  toolsHere: ['make'],
  pins: {},
};

/** When the last of these ended. */
function lastMs(simulator: SchedulingSimulator, jobs: readonly JobId[]): number {
  return Math.max(...jobs.map((job) => simulator.outcomes.get(job)?.atMs ?? Number.POSITIVE_INFINITY));
}

function expectIdle(simulator: SchedulingSimulator, seed: number): void {
  expect(simulator.violations, `seed ${seed}`).toEqual([]);
  expect(simulator.unfinished, `seed ${seed}`).toBe(0);
  for (const node of simulator.nodes) {
    if (node.up) expect(node.executor.slotsFree, `seed ${seed}: node ${node.index}`).toBe(node.setup.slots);
  }
}

describe('three origins, 100 one-second jobs from each at once', () => {
  test.each(shareOfSeeds(0.1))(
    'none finishes more than a fifth later than another, slots are kept (seed %i)',
    (seed) => {
      const simulator = new SchedulingSimulator({ seed, nodes: Array.from({ length: 3 }, () => ({ slots: 4 })) });
      simulator.run(100);
      const jobs = [0, 1, 2].map((origin) => Array.from({ length: 100 }, () => simulator.submit(origin, 1000, HEAVY)));
      simulator.run(600_000, () => simulator.unfinished === 0);
      const ends = jobs.map((own) => lastMs(simulator, own) - 100);
      const context = `seed ${seed}: ${ends.map(Math.round).join(', ')} ms`;
      expect(Math.max(...ends), context).toBeLessThanOrEqual(Math.min(...ends) * 1.2);
      expect(Math.max(...ends), `${context}: 300 s of work on 12 slots`).toBeLessThan(25_000 * 1.3);
      simulator.run(simulator.nowMs + 30_000);
      expectIdle(simulator, seed);
    },
  );

  test.each(shareOfSeeds(0.1))('one origin dies midway: nothing leaks, the others finish (seed %i)', (seed) => {
    const simulator = new SchedulingSimulator({ seed, nodes: Array.from({ length: 3 }, () => ({ slots: 4 })) });
    simulator.run(100);
    for (const origin of [0, 1, 2]) for (let i = 0; i < 100; i++) simulator.submit(origin, 1000, HEAVY);
    simulator.run(10_000);
    simulator.crash(2);
    simulator.run(600_000, () => simulator.unfinished === 0);
    simulator.run(simulator.nowMs + 90_000);
    expectIdle(simulator, seed);
  });
});

describe('three submitters at one origin, 100 one-second jobs from each at once', () => {
  const SUBMITTERS = ['one', 'two', 'three'] as const;
  const submitAll = (world: JobWorld): JobId[][] =>
    SUBMITTERS.map((submitter) =>
      Array.from({ length: 100 }, () => {
        const job = world.submit(0, { durationMs: 1000, durable: false, retries: 0, cpus: null, submitter });
        if (job === null) throw new Error('no daemon');
        return job;
      }),
    );
  const makeWorld = (seed: number): JobWorld => {
    const world = new JobWorld({ seed, nodes: [0, 1, 2].map(() => ({ slots: 4, cores: 4 })) });
    world.clock.run(5000);
    return world;
  };

  test.each(shareOfSeeds(0.1))(
    'none finishes more than a fifth later than another, slots are kept (seed %i)',
    (seed) => {
      const world = makeWorld(seed);
      const jobs = submitAll(world);
      const ends = jobs.map(() => 0);
      world.clock.run(600_000, () => {
        for (const [index, own] of jobs.entries()) {
          if (ends[index] === 0 && own.every((job) => world.ledger.outcomes.has(job))) {
            ends[index] = world.clock.nowMs - 5000;
          }
        }
        return !ends.includes(0);
      });
      const context = `seed ${seed}: ${ends.map(Math.round).join(', ')} ms`;
      expect(Math.max(...ends), context).toBeLessThanOrEqual(Math.min(...ends) * 1.2);
      expect(Math.max(...ends), `${context}: 300 s of work on 12 slots`).toBeLessThan(25_000 * 1.3);
      world.clock.run(world.clock.nowMs + 30_000);
      expect([...world.ledger.violations, ...world.leaks()], context).toEqual([]);
    },
  );

  test.each(shareOfSeeds(0.1))('one of them dies midway: nothing leaks, the others finish (seed %i)', (seed) => {
    const world = makeWorld(seed);
    const [, dying = [], ...others] = submitAll(world);
    world.clock.run(15_000);
    for (const job of dying) world.clientGoes(job);
    world.clock.run(16_000);
    const alive = new Set(world.ledger.alive.map(({ job }) => job));
    world.clock.run(60_000);
    expect(dying.filter((job) => world.ledger.executionsOf(job).some(({ endMs }) => endMs === null))).toEqual([]);
    expect(alive.size, `seed ${seed}: its slots went to the others`).toBeGreaterThan(8);
    for (const job of others.flat()) {
      const told = { kind: 'ended', outcome: { kind: 'exited' } };
      expect(world.ledger.outcomes.get(job), `seed ${seed}: ${job}`).toMatchObject(told);
    }
    expect([...world.ledger.violations, ...world.leaks()], `seed ${seed}`).toEqual([]);
  });
});

describe('a batch on three nodes of which one is secretly five times slower', () => {
  test.each(shareOfSeeds(0.2))('is near its lower bound and far below round-robin (seed %i)', (seed) => {
    const slots = 2;
    const speeds = [1, 1, 0.2];
    const random = seededRandom(seed);
    const durations = Array.from({ length: 60 }, () => 500 + random.next() * 1500);
    const simulator = new SchedulingSimulator({ seed, nodes: speeds.map((speed) => ({ slots, speed })) });
    simulator.run(100);
    const jobs = durations.map((durationMs) => simulator.submit(0, durationMs, HEAVY));
    simulator.run(600_000, () => simulator.unfinished === 0);
    const makespanMs = lastMs(simulator, jobs) - 100;
    const workMs = durations.reduce((sum, ms) => sum + ms, 0);
    const capacity = speeds.reduce((sum, speed) => sum + speed * slots, 0);
    const boundMs = Math.max(workMs / capacity, Math.max(...durations));
    const context = `seed ${seed}: makespan ${Math.round(makespanMs)} ms, bound ${Math.round(boundMs)} ms`;
    expect(makespanMs, context).toBeLessThanOrEqual(1.8 * boundMs);
    expect(makespanMs, context).toBeLessThanOrEqual(0.7 * roundRobinMs(durations, speeds, slots));
    expect([...simulator.runs.values()], context).toEqual(durations.map(() => 1));
    expectIdle(simulator, seed);
  });
});

/** Job i to node i mod n, there in order on the first slot that is free. */
function roundRobinMs(durations: readonly number[], speeds: readonly number[], slots: number): number {
  const ends = speeds.map((speed, node) => {
    const free = Array.from({ length: slots }, () => 0);
    for (const durationMs of durations.filter((_, index) => index % speeds.length === node)) {
      const next = free.indexOf(Math.min(...free));
      free[next] = (free[next] ?? 0) + durationMs / speed;
    }
    return Math.max(...free);
  });
  return Math.max(...ends);
}
