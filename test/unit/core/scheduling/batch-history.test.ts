import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../../src/base/random.ts';
import type { CommandKey } from '../../../../src/core/history/command-key.ts';
import { DurationHistory } from '../../../../src/core/history/duration-history.ts';
import type { Candidate } from '../../../../src/core/scheduling/candidate.ts';
import { place } from '../../../../src/core/scheduling/placement.ts';
import { candidate, request, RULES, self } from './nodes.ts';

const SLOTS = 2;
/** Times as long as here; what the nodes say of themselves is the same. */
const SLOWNESS = [1, 1, 5];
const REQUEST = request({ jobClass: 'other', target: { kind: 'any' }, tools: [] });
const keyOf = (job: number): CommandKey => ({ exact: `work ${job}`, general: 'work #' });

interface Running {
  readonly node: number;
  readonly job: number;
  readonly seconds: number;
  readonly endS: number;
}

/** A batch in order, each job placed as the origin would, every second and whenever a slot frees. @returns its makespan, seconds */
function makespanOf(works: readonly number[], history: DurationHistory | null, seed: number): number {
  const random = seededRandom(seed);
  const bare = [self(), candidate('quick'), candidate('slow')].map((node) => ({
    ...node,
    facts: { ...node.facts, slots: SLOTS },
  }));
  let running: Running[] = [];
  let nowS = 0;
  let passedOverSinceS: number | null = null;
  const waiting = works.map((_, job) => job);
  const nodesNow = (): Candidate[] =>
    bare.map((node, at) => {
      const jobs = running.filter((run) => run.node === at).length;
      const load = node.load === null ? null : { ...node.load, jobs_running: jobs, slots_free: SLOTS - jobs };
      return { ...node, load };
    });
  const startNext = (): boolean => {
    const job = waiting[0];
    if (job === undefined) return false;
    const nodes = nodesNow();
    const placement = place(REQUEST, {
      nodes,
      rules: RULES,
      random,
      backlog: {
        jobs: waiting.length - 1,
        passedOverMs: passedOverSinceS === null ? 0 : (nowS - passedOverSinceS) * 1000,
      },
      ...(history === null
        ? {}
        : { history: { durationS: history.estimate(keyOf(job)), slownessOf: (node) => history.slownessOf(node) } }),
    });
    const ordered = placement.kind === 'candidates' ? placement.ordered : [];
    const at = nodes.findIndex(({ id }) => id === ordered.find(({ freeSlots }) => freeSlots > 0)?.id);
    if (at < 0) {
      passedOverSinceS ??= placement.kind === 'candidates' && placement.passedOver.length > 0 ? nowS : null;
      return false;
    }
    const seconds = (works[job] ?? 0) * (SLOWNESS[at] ?? 1);
    running.push({ node: at, job, seconds, endS: nowS + seconds });
    waiting.shift();
    passedOverSinceS = null;
    return true;
  };
  for (;;) {
    while (startNext());
    if (running.length === 0) return nowS;
    nowS = Math.min(nowS + 1, ...running.map(({ endS }) => endS));
    for (const { node, job, seconds } of running.filter(({ endS }) => endS <= nowS)) {
      history?.record(keyOf(job), bare[node]?.id ?? self().id, seconds);
    }
    running = running.filter(({ endS }) => endS > nowS);
  }
}

describe('a batch on three nodes of which one is secretly five times slower', () => {
  test.each([
    [9, 1.6],
    [16, 1.6],
    [24, 1.3],
    [60, 1.2],
  ])('of %i jobs: the last ones do not wait for it, which an earlier batch told', (count, limit) => {
    const known: number[] = [];
    const unknown: number[] = [];
    const bounds: number[] = [];
    for (let seed = 1; seed <= 10; seed += 1) {
      const random = seededRandom(seed);
      const batchOf = (jobs: number): number[] => Array.from({ length: jobs }, () => 4 + 4 * random.next());
      const history = new DurationHistory();
      makespanOf(batchOf(60), history, seed);
      const works = batchOf(count);
      const capacity = SLOWNESS.reduce((sum, times) => sum + SLOTS / times, 0);
      bounds.push(Math.max(works.reduce((sum, work) => sum + work, 0) / capacity, ...works));
      unknown.push(makespanOf(works, null, seed));
      known.push(makespanOf(works, history, seed));
    }
    const meanOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / 10;
    const context = `with ${String(known)}, without ${String(unknown)}, bounds ${String(bounds)} s`;
    expect(meanOf(known), context).toBeLessThan(meanOf(unknown));
    expect(meanOf(known), context).toBeLessThan(limit * meanOf(bounds));
  });
});
