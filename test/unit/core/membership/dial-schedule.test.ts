import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../../src/base/random.ts';
import {
  dialBackoffMs,
  DIALS_UNDER_WAY_MAX,
  DIAL_TARGETS_MAX,
  DialSchedule,
} from '../../../../src/core/membership/dial-schedule.ts';

const at = (last: number) => [{ host: `10.0.0.${last}`, port: 47_470 }];
const schedule = () => new DialSchedule(seededRandom(7));

test.each([
  { failures: 1, min: 125, max: 250 },
  { failures: 2, min: 250, max: 500 },
  { failures: 5, min: 2000, max: 4000 },
  { failures: 8, min: 15_000, max: 30_000 },
  { failures: 1000, min: 15_000, max: 30_000 },
])('after $failures failures: $min to $max ms', ({ failures, min, max }) => {
  expect(dialBackoffMs(failures, 0)).toBe(min);
  expect(dialBackoffMs(failures, 0.999_999)).toBe(max);
});

describe('a target', () => {
  test('is dialled at once, then backed off, and given out once at a time', () => {
    const dials = schedule();
    dials.want('b', at(2), 0);
    expect(dials.nextDeadlineMs()).toBe(0);
    expect(dials.takeDue(0)).toEqual([{ key: 'b', addresses: at(2) }]);
    expect(dials.takeDue(0)).toEqual([]);
    expect(dials.nextDeadlineMs()).toBeNull();
    dials.failed('b', 100);
    const next = dials.nextDeadlineMs() ?? 0;
    expect(next).toBeGreaterThanOrEqual(225);
    expect(next).toBeLessThanOrEqual(350);
    expect(dials.takeDue(next - 1)).toEqual([]);
    expect(dials.takeDue(next)).toHaveLength(1);
  });

  test('is left alone while linked, and dialled at once when the link closes', () => {
    const dials = schedule();
    dials.want('b', at(2), 0);
    dials.linked('b');
    expect(dials.nextDeadlineMs()).toBeNull();
    dials.want('b', at(3), 50);
    expect(dials.nextDeadlineMs()).toBeNull();
    dials.unlinked('b', 60);
    expect(dials.takeDue(60)).toEqual([{ key: 'b', addresses: at(3) }]);
  });

  test('a dial that fails after the peer dialled us changes nothing', () => {
    const dials = schedule();
    dials.want('b', at(2), 0);
    dials.takeDue(0);
    dials.linked('b');
    dials.failed('b', 10);
    expect(dials.nextDeadlineMs()).toBeNull();
  });

  test('new addresses void the back-off, the same ones do not', () => {
    const dials = schedule();
    dials.want('b', at(2), 0);
    dials.takeDue(0);
    dials.failed('b', 0);
    const backedOff = dials.nextDeadlineMs();
    dials.want('b', at(2), 1);
    expect(dials.nextDeadlineMs()).toBe(backedOff);
    dials.want('b', at(9), 1);
    expect(dials.nextDeadlineMs()).toBe(1);
  });

  test('hurry voids every back-off', () => {
    const dials = schedule();
    dials.want('b', at(2), 0);
    for (let i = 0; i < 9; i++) {
      dials.takeDue(dials.nextDeadlineMs() ?? 0);
      dials.failed('b', 1000);
    }
    dials.hurry(2000);
    expect(dials.takeDue(2000)).toHaveLength(1);
  });

  test('is gone once unwanted, even while being dialled', () => {
    const dials = schedule();
    dials.want('b', at(2), 0);
    dials.takeDue(0);
    dials.unwant('b');
    dials.failed('b', 1);
    expect(dials.nextDeadlineMs()).toBeNull();
  });

  test('without addresses waits for some', () => {
    const dials = schedule();
    dials.want('b', [], 0);
    expect(dials.nextDeadlineMs()).toBeNull();
    expect(dials.takeDue(0)).toEqual([]);
    dials.want('b', at(2), 5);
    expect(dials.takeDue(5)).toHaveLength(1);
  });
});

test('dials under way and targets are bounded, and the longest due go first', () => {
  const dials = schedule();
  for (let i = 0; i < DIALS_UNDER_WAY_MAX + 5; i++) dials.want(`n${i}`, at(i), 100 - i);
  const first = dials.takeDue(100);
  expect(first).toHaveLength(DIALS_UNDER_WAY_MAX);
  expect(first[0]?.key).toBe(`n${DIALS_UNDER_WAY_MAX + 4}`);
  expect(dials.nextDeadlineMs()).toBeNull();
  dials.linked(first[0]?.key ?? '');
  expect(dials.takeDue(100)).toHaveLength(1);
  for (let i = 0; i < DIAL_TARGETS_MAX; i++) dials.want(`m${i}`, at(1), 0);
  expect(dials.want('one more', at(1), 0)).toBe(false);
  expect(dials.want('m0', at(2), 0)).toBe(true);
});
