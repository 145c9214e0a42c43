import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../../src/base/random.ts';
import type { Candidate } from '../../../../src/core/scheduling/candidate.ts';
import { NO_HISTORY } from '../../../../src/core/scheduling/placement-request.ts';
import { rank } from '../../../../src/core/scheduling/ranking.ts';
import { expectationOf, scoreOf } from '../../../../src/core/scheduling/score.ts';
import { candidate } from './nodes.ts';

const expected = (jobClass: 'heavy' | 'other') => expectationOf(jobClass, 4, NO_HISTORY);
const score = (jobClass: 'heavy' | 'other', node: Candidate) => scoreOf(jobClass, node, expected(jobClass));
const order = (nodes: readonly Candidate[], seed = 1): string[] =>
  rank('heavy', nodes, expected('heavy'), seededRandom(seed)).map(({ node }) => node.name);

describe('the score', () => {
  test('each further job raises it, whether running, leased or asked for', () => {
    for (const cores of [1, 2, 8, 64]) {
      let before = 0;
      for (let jobs = 0; jobs <= 12; jobs++) {
        const running = Math.floor(jobs / 2);
        const load = { jobs_running: running, slots_free: 8 - Math.min(8, running) };
        const node = candidate('a', { facts: { cores, slots: 8 }, load, node: { inFlight: jobs - running } });
        const { finishS } = score('heavy', node);
        expect(finishS, `${cores} cores, ${jobs} jobs`).toBeGreaterThan(before);
        before = finishS;
      }
    }
  });

  test('is the sum of its named terms', () => {
    const node = candidate('a', { load: { slots_free: 0, jobs_running: 4, cpu_percent: 50 }, node: { rttMs: 500 } });
    const { finishS, queueWaitS, runS, syncS, rttS } = score('other', node);
    expect(finishS).toBe(queueWaitS + runS + syncS + rttS);
    expect(queueWaitS).toBeGreaterThan(0);
    expect(rttS).toBe(0.5);
  });

  test('a busy node is slower, more cores help heavy work', () => {
    const idle = score('heavy', candidate('a')).finishS;
    expect(score('heavy', candidate('a', { load: { cpu_percent: 95 } })).finishS).toBeGreaterThan(5 * idle);
    expect(score('heavy', candidate('a', { facts: { cores: 32 } })).finishS).toBeLessThan(idle * 0.7);
    expect(score('other', candidate('a', { facts: { cores: 32 } })).finishS).toBeCloseTo(
      score('other', candidate('a')).finishS,
    );
  });
});

describe('the order', () => {
  test('near ties: the least share of slots taken, then chance', () => {
    const many = { facts: { cores: 64, slots: 64 } };
    const used = { ...many, load: { jobs_running: 2, slots_free: 62 } };
    for (let seed = 0; seed < 20; seed++) {
      const free = { ...many, load: { slots_free: 64 } };
      expect(order([candidate('a', used), candidate('b', free)], seed)).toEqual(['b', 'a']);
    }
    const firsts = new Set(
      Array.from({ length: 40 }, (_, seed) => order([candidate('a'), candidate('b'), candidate('c')], seed)[0]),
    );
    expect(firsts).toEqual(new Set(['a', 'b', 'c']));
  });

  test('not overloaded with a free slot first; the others compete as usual', () => {
    const overloaded = candidate('o', { load: { overloaded: true, cpu_percent: 10 }, facts: { cores: 64 } });
    const full = candidate('f', { load: { slots_free: 0, jobs_running: 4 } });
    const slow = candidate('s', { load: { cpu_percent: 90 } });
    expect(order([overloaded, full, slow])).toEqual(['s', 'o', 'f']);
    const asked = candidate('s', { load: { slots_free: 1 }, node: { inFlight: 1 } });
    expect(order([overloaded, asked])).toEqual(['o', 's']);
  });
});
