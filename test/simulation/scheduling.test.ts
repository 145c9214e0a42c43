import { describe, expect, test } from 'vitest';
import type { JobId } from '../../src/base/ids.ts';
import type { PlacementRequest } from '../../src/core/scheduling/placement-request.ts';
import { shareOfSeeds as seeds } from './seeds.ts';
import { SchedulingSimulator, type NodeSetup } from './scheduling-simulator.ts';

const HEAVY: PlacementRequest = {
  jobClass: 'heavy',
  classReason: 'make',
  target: { kind: 'any' },
  requires: { os: null, arch: null, capabilities: [], cpus: null, memory_bytes: null },
  tools: ['make'],
  toolsHere: ['make'],
  pins: {},
};

const nodesOf = (...groups: readonly (readonly [number, NodeSetup])[]): NodeSetup[] =>
  groups.flatMap(([count, setup]) => Array.from({ length: count }, () => setup));

function expectSound(simulator: SchedulingSimulator, seed: number): void {
  const context = `seed ${seed}`;
  expect(simulator.violations, context).toEqual([]);
  expect(simulator.unfinished, context).toBe(0);
  for (const [job, count] of simulator.runs) expect(count, `${context}: runs of ${job}`).toBe(1);
  for (const [job, { result }] of simulator.outcomes) {
    const runs = simulator.runs.get(job) ?? 0;
    if (result.kind === 'ended') expect(runs, `${context}: ${job} ended`).toBe(1);
    if (result.kind === 'refused' || result.kind === 'cancelled') {
      expect(runs, `${context}: ${job} ${result.kind}`).toBe(0);
    }
  }
  for (const node of simulator.nodes) {
    if (!node.up) continue;
    expect(node.executor.slotsFree, `${context}: slots free on node ${node.index}`).toBe(node.setup.slots);
    expect(node.origin.jobsKept, `${context}: jobs kept by node ${node.index}`).toBe(0);
  }
}

describe('many origins, few nodes', () => {
  test.each(seeds(0.06))('20 origins × 50 jobs: slots kept, each runs once, all end (seed %i)', (seed) => {
    const simulator = new SchedulingSimulator({ seed, nodes: nodesOf([4, { slots: 4 }], [16, { slots: 0 }]) });
    for (let origin = 0; origin < 20; origin++) {
      for (let job = 0; job < 50; job++) {
        simulator.at(100 + simulator.random.next() * 500, () =>
          simulator.submit(origin, 50 + simulator.random.next() * 450, HEAVY),
        );
      }
    }
    simulator.run(1000);
    simulator.run(600_000, () => simulator.unfinished === 0);
    const busyMs = [...simulator.durations.values()].reduce((sum, ms) => sum + ms, 0);
    const idealMs = busyMs / 16;
    const endMs = simulator.nowMs;
    simulator.run(endMs + 30_000);
    expectSound(simulator, seed);
    expect(simulator.outcomes.size).toBe(1000);
    for (const { result } of simulator.outcomes.values()) expect(result.kind, `seed ${seed}`).toBe('ended');
    expect(endMs, `seed ${seed}: slots are not left idle while jobs wait`).toBeLessThan(idealMs * 1.3 + 1000);
  });
});

describe('spreading', () => {
  test.each(seeds(1))('twelve at once on three equal nodes: four each (seed %i)', (seed) => {
    const slots = 4 + (seed % 13);
    const simulator = new SchedulingSimulator({ seed, nodes: nodesOf([3, { slots }]) });
    simulator.run(100);
    for (let job = 0; job < 12; job++) simulator.submit(0, 1000, HEAVY);
    simulator.run(60_000, () => simulator.unfinished === 0);
    expect(simulator.ranPerNode(), `seed ${seed}, ${slots} slots`).toEqual([4, 4, 4]);
    simulator.run(simulator.nowMs + 30_000);
    expectSound(simulator, seed);
  });

  test.each(seeds(1))('a node at 95 percent CPU is avoided by 19 of 20 heavy commands (seed %i)', (seed) => {
    const busy = seed % 3;
    const nodes = nodesOf([3, { slots: 8 }]).map((node, index) =>
      index === busy ? { ...node, cpuPercent: 95 } : node,
    );
    const simulator = new SchedulingSimulator({ seed, nodes });
    simulator.run(100);
    for (let job = 0; job < 20; job++) simulator.at(100 + job * 300, () => simulator.submit(0, 1000, HEAVY));
    simulator.run(10_000);
    simulator.run(60_000, () => simulator.unfinished === 0);
    expect(simulator.ranPerNode()[busy], `seed ${seed}`).toBeLessThanOrEqual(1);
  });

  test.each(seeds(1))('all overloaded: they spread as usual (seed %i)', (seed) => {
    const simulator = new SchedulingSimulator({ seed, nodes: nodesOf([3, { slots: 4, cpuPercent: 95 }]) });
    simulator.run(100);
    for (let job = 0; job < 12; job++) simulator.submit(1, 1000, HEAVY);
    simulator.run(60_000, () => simulator.unfinished === 0);
    expect(simulator.ranPerNode(), `seed ${seed}`).toEqual([4, 4, 4]);
  });
});

describe('the queue', () => {
  test.each(seeds(0.2))('one long queue does not starve another origin (seed %i)', (seed) => {
    const simulator = new SchedulingSimulator({ seed, nodes: nodesOf([1, { slots: 2 }], [2, { slots: 0 }]) });
    simulator.run(100);
    for (let job = 0; job < 200; job++) simulator.submit(0, 200, HEAVY);
    for (let job = 0; job < 40; job++) simulator.submit(1, 200, HEAVY);
    simulator.run(2000);
    const late = simulator.submit(2, 200, HEAVY);
    simulator.run(60_000, () => simulator.unfinished === 0);
    const result = simulator.outcomes.get(late)?.result;
    expect(result?.queueMs, `seed ${seed}`).toBeLessThan(1500);
    const shorter = [...simulator.outcomes].filter(([job]) => simulator.submittedBy.get(job) === 1);
    const lastMs = Math.max(...shorter.map(([, { atMs }]) => atMs));
    expect(lastMs, `seed ${seed}: 40 jobs that share 2 slots with 200 others, turn by turn`).toBeLessThan(14_000);
  });

  test.each(seeds(0.2))('a job that only a busy node can take lets the others pass (seed %i)', (seed) => {
    const simulator = new SchedulingSimulator({
      seed,
      nodes: nodesOf([1, { slots: 1, cores: 16 }], [2, { slots: 1 }]),
    });
    simulator.run(100);
    const wide = { ...HEAVY, requires: { ...HEAVY.requires, cpus: 16 } };
    for (let job = 0; job < 10; job++) simulator.submit(1, 1000, wide);
    const others = Array.from({ length: 10 }, () => simulator.submit(1, 100, HEAVY));
    simulator.run(60_000, () => simulator.unfinished === 0);
    for (const job of others) expect(simulator.outcomes.get(job)?.result.queueMs, `seed ${seed}`).toBeLessThan(2500);
  });
});

describe('faults', () => {
  test.each(seeds(1))('cuts, crashes and cancellations leak no slot and run nothing twice (seed %i)', (seed) => {
    const simulator = new SchedulingSimulator({
      seed,
      nodes: nodesOf([4, { slots: 3 }], [2, { slots: 0 }]),
      delayMsMax: 5 + (seed % 40),
      slowShare: seed % 2 === 0 ? 0.03 : 0,
    });
    const { random } = simulator;
    const jobs: JobId[] = [];
    const any = (): number => Math.floor(random.next() * simulator.nodes.length);
    for (let i = 0; i < 150; i++) {
      simulator.at(random.next() * 5000, () => {
        const by = any();
        if (simulator.node(by).up) jobs.push(simulator.submit(by, random.next() * 800, HEAVY));
      });
    }
    for (let i = 0; i < 30; i++) {
      simulator.at(random.next() * 8000, () => {
        const job = jobs[Math.floor(random.next() * jobs.length)];
        if (job !== undefined && simulator.submittedBy.has(job)) simulator.cancel(job);
      });
      const [a, b] = [any(), any()];
      const fromMs = random.next() * 8000;
      simulator.at(fromMs, () => simulator.cutLink(a, b));
      simulator.at(fromMs + random.next() * 3000, () => simulator.healLink(a, b));
    }
    for (let i = 0; i < 3; i++) {
      const index = any();
      const fromMs = random.next() * 8000;
      simulator.at(fromMs, () => {
        if (!simulator.node(index).up) return;
        simulator.crash(index);
        simulator.at(simulator.nowMs + 500 + random.next() * 4000, () => simulator.restart(index));
      });
    }
    simulator.run(20_000);
    simulator.run(120_000, () => simulator.unfinished === 0);
    simulator.run(simulator.nowMs + 30_000);
    expectSound(simulator, seed);
    expect(simulator.runs.size, `seed ${seed}: most of it ran`).toBeGreaterThan(50);
  });
});
