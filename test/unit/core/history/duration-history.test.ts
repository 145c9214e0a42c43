import { describe, expect, it } from 'vitest';
import type { NodeId } from '../../../../src/base/ids.ts';
import { seededRandom } from '../../../../src/base/random.ts';
import type { CommandKey } from '../../../../src/core/history/command-key.ts';
import { DurationHistory, KEYS_MAX, NODES_MAX, SAMPLES_MAX } from '../../../../src/core/history/duration-history.ts';

const node = (name: string): NodeId => name as NodeId;
const [A, B] = [node('a'), node('b')];
const key = (exact: string, general = exact): CommandKey => ({ exact, general: `~${general}` });

describe('an estimate', () => {
  it('is null of what never ran, and the median of the last runs of what did', () => {
    const history = new DurationHistory();
    expect(history.estimate(key('make'))).toBeNull();
    history.record(key('make'), A, 10);
    expect(history.estimate(key('make'))).toBe(10);
    for (const seconds of [11, 300, 9, 10, 12]) history.record(key('make'), A, seconds);
    expect(history.estimate(key('make'))).toBe(10.5);
    for (let run = 0; run < SAMPLES_MAX; run += 1) history.record(key('make'), A, 2);
    expect(history.estimate(key('make'))).toBe(2);
  });

  it('is taken from commands that differ in numbers where these are alike, and only then', () => {
    const history = new DurationHistory();
    const shard = (n: number) => key(`shard ${n}`, 'shard #');
    history.record(shard(1), A, 20);
    history.record(shard(2), A, 24);
    expect(history.estimate(shard(9))).toBeNull();
    history.record(shard(3), A, 22);
    expect(history.estimate(shard(9))).toBe(22);
    expect(history.estimate(shard(1))).toBe(20);
    for (const n of [1, 30, 90]) history.record(key(`sleep ${n}`, 'sleep #'), A, n);
    expect(history.estimate(key('sleep 5', 'sleep #'))).toBeNull();
  });

  it('does not mistake a slow node for a long command', () => {
    const history = new DurationHistory();
    for (let n = 0; n < 10; n += 1) {
      history.record(key(`c${n}`), A, 4);
      history.record(key(`c${n}`), B, 20);
    }
    expect(history.slownessOf(B)).toBeCloseTo(5 * (history.slownessOf(A) ?? 1), 5);
    history.record(key('new'), B, 50);
    expect((history.estimate(key('new')) ?? 0) * (history.slownessOf(A) ?? 1)).toBeCloseTo(10, 1);
  });
});

describe('the slowness of a node', () => {
  it('is not told after a run or two, nor of runs that are mostly start-up', () => {
    const history = new DurationHistory();
    for (const name of ['c1', 'c2']) {
      history.record(key(name), A, 4);
      history.record(key(name), B, 20);
    }
    expect(history.slownessOf(B)).toBeNull();
    for (let n = 0; n < 9; n += 1) {
      history.record(key(`true ${n}`), A, 0.003);
      history.record(key(`true ${n}`), B, 0.03);
    }
    expect(history.slownessOf(B)).toBeNull();
  });

  it('comes out of a batch whose jobs are all different', () => {
    const random = seededRandom(7);
    const history = new DurationHistory();
    for (let n = 0; n < 120; n += 1) {
      const work = 1 + 3 * random.next();
      const on = random.next() < 0.7 ? A : B;
      history.record(key(`work ${n}`, 'work #'), on, on === B ? 5 * work : work);
    }
    const ratio = (history.slownessOf(B) ?? 1) / (history.slownessOf(A) ?? 1);
    expect(ratio).toBeGreaterThan(3);
    expect(ratio).toBeLessThan(8);
  });
});

describe('what is kept', () => {
  it('is bounded, and the longest unused goes first', () => {
    const history = new DurationHistory();
    history.record(key('first'), A, 1);
    history.record(key('second'), A, 1);
    for (let n = 0; n < KEYS_MAX; n += 1) {
      history.record(key(`c${n}`), node(`n${n}`), 1);
      if (n % 100 === 0) history.record(key('first'), A, 2);
    }
    expect(history.size).toBe(KEYS_MAX);
    expect(history.estimate(key('first'))).toBe(2);
    expect(history.estimate(key('second'))).toBeNull();
    expect(history.snapshot().nodes.length).toBeLessThanOrEqual(NODES_MAX);
  });

  it('is the same after it was stored', () => {
    const history = new DurationHistory();
    for (let n = 0; n < 20; n += 1) {
      history.record(key(`c${n}`), A, 3);
      history.record(key(`c${n}`), B, 9);
    }
    const again = new DurationHistory(history.snapshot());
    expect(again.snapshot()).toEqual(history.snapshot());
    expect(again.slownessOf(B)).toBe(history.slownessOf(B));
    expect(again.estimate(key('c3'))).toBe(history.estimate(key('c3')));
  });
});
