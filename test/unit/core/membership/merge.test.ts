import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { mergeClaim, type Claim, type MemberStamp, type Merged } from '../../../../src/core/membership/merge.ts';
import type { MemberState } from '../../../../src/wire/membership.ts';

type View = MemberState | 'unknown';
/** Of which incarnation, with or without the record, what is claimed. */
type Event =
  | `older: ${'alive' | 'dead'}, record`
  | `same: ${MemberState}`
  | `same: ${'alive' | 'suspect' | 'dead'}, newer record`
  | 'same: newer record that leaves'
  | `newer: ${'suspect' | 'dead'}`
  | `newer: ${'alive' | 'suspect' | 'dead'}, record`
  | 'newer: record that leaves';
/** '=' nothing changes; '+' the claim's record replaces ours. */
type Expected = '=' | `${MemberState}` | `${MemberState} +`;

const INCARNATION = 5;
const VERSION = 3;

const claim = (offset: number, state: MemberState, record: 'here' | 'left' | null): Claim => ({
  incarnation: INCARNATION + offset,
  version: record === null ? VERSION : VERSION + 1,
  state,
  record,
});

const EVENTS: Record<Event, Claim> = {
  'older: alive, record': claim(-1, 'alive', 'here'),
  'older: dead, record': claim(-1, 'dead', 'here'),
  'same: alive': claim(0, 'alive', null),
  'same: suspect': claim(0, 'suspect', null),
  'same: dead': claim(0, 'dead', null),
  'same: left': claim(0, 'left', null),
  'same: alive, newer record': claim(0, 'alive', 'here'),
  'same: suspect, newer record': claim(0, 'suspect', 'here'),
  'same: dead, newer record': claim(0, 'dead', 'here'),
  'same: newer record that leaves': claim(0, 'left', 'left'),
  'newer: suspect': claim(1, 'suspect', null),
  'newer: dead': claim(1, 'dead', null),
  'newer: alive, record': claim(1, 'alive', 'here'),
  'newer: suspect, record': claim(1, 'suspect', 'here'),
  'newer: dead, record': claim(1, 'dead', 'here'),
  'newer: record that leaves': claim(1, 'left', 'left'),
};

const UNKNOWN: Record<Event, Expected> = {
  'older: alive, record': 'alive +',
  'older: dead, record': 'suspect +',
  'same: alive': '=',
  'same: suspect': '=',
  'same: dead': '=',
  'same: left': '=',
  'same: alive, newer record': 'alive +',
  'same: suspect, newer record': 'suspect +',
  'same: dead, newer record': 'suspect +',
  'same: newer record that leaves': 'left +',
  'newer: suspect': '=',
  'newer: dead': '=',
  'newer: alive, record': 'alive +',
  'newer: suspect, record': 'suspect +',
  'newer: dead, record': 'suspect +',
  'newer: record that leaves': 'left +',
};

const ANY_KNOWN = {
  'older: alive, record': '=',
  'older: dead, record': '=',
  'same: alive': '=',
  'same: left': '=',
  'newer: suspect': '=',
  'newer: dead': '=',
  'newer: alive, record': 'alive +',
  'newer: suspect, record': 'suspect +',
  'newer: dead, record': 'suspect +',
  'newer: record that leaves': 'left +',
} as const;

/** Every state × event cell, where the member was not heard first-hand. */
const HEARSAY: Record<View, Record<Event, Expected>> = {
  unknown: UNKNOWN,
  alive: {
    ...ANY_KNOWN,
    'same: suspect': 'suspect',
    'same: dead': 'suspect',
    'same: alive, newer record': 'alive +',
    'same: suspect, newer record': 'suspect +',
    'same: dead, newer record': 'suspect +',
    'same: newer record that leaves': 'left +',
  },
  suspect: {
    ...ANY_KNOWN,
    'same: suspect': '=',
    'same: dead': '=',
    'same: alive, newer record': 'suspect +',
    'same: suspect, newer record': 'suspect +',
    'same: dead, newer record': 'suspect +',
    'same: newer record that leaves': 'left +',
  },
  dead: {
    ...ANY_KNOWN,
    'same: suspect': '=',
    'same: dead': '=',
    'same: alive, newer record': 'dead +',
    'same: suspect, newer record': 'dead +',
    'same: dead, newer record': 'dead +',
    'same: newer record that leaves': 'left +',
  },
  left: {
    ...ANY_KNOWN,
    'same: suspect': '=',
    'same: dead': '=',
    'same: alive, newer record': '=',
    'same: suspect, newer record': '=',
    'same: dead, newer record': '=',
    'same: newer record that leaves': 'left +',
  },
};

const FIRST_HAND_ALIVE: Record<Event, Expected> = {
  ...HEARSAY.alive,
  'same: suspect': '=',
  'same: dead': '=',
  'same: suspect, newer record': 'alive +',
  'same: dead, newer record': 'alive +',
  'newer: suspect, record': 'alive +',
  'newer: dead, record': 'alive +',
};

const cell = (merged: Merged | null): string =>
  merged === null ? '=' : `${merged.state}${merged.takesRecord ? ' +' : ''}`;
const viewOf = (state: View): MemberStamp | null =>
  state === 'unknown' ? null : { incarnation: INCARNATION, version: VERSION, state };

describe.each(Object.entries(HEARSAY))('a member that is %s', (state, row) => {
  test.each(Object.entries(row))('%s -> %s', (event, expected) => {
    expect(cell(mergeClaim(viewOf(state as View), EVENTS[event as Event], false))).toBe(expected);
  });
});

test.each(Object.entries(FIRST_HAND_ALIVE))('alive and heard just now: %s -> %s', (event, expected) => {
  expect(cell(mergeClaim(viewOf('alive'), EVENTS[event as Event], true))).toBe(expected);
});

const honest = (one: { incarnation: number; version: number; state: MemberState }): Claim =>
  // Leaving is the last thing that an incarnation says.
  one.version === 4 ? { ...one, state: 'left', record: 'left' } : { ...one, record: 'here' };
const mergeAll = (all: readonly Claim[]): MemberStamp | null => {
  let view: MemberStamp | null = null;
  for (const one of all) {
    const merged = mergeClaim(view, one, false);
    if (merged === null) continue;
    const stamp: MemberStamp | Claim = merged.takesRecord || view === null ? one : view;
    view = { incarnation: stamp.incarnation, version: stamp.version, state: merged.state };
  }
  return view;
};

test('claims with records come to one view in whatever order and however often they arrive', () => {
  const claims = fc.array(
    fc.record({
      incarnation: fc.integer({ min: 1, max: 3 }),
      version: fc.integer({ min: 1, max: 4 }),
      state: fc.constantFrom<MemberState>('alive', 'suspect', 'dead'),
    }),
    { minLength: 1, maxLength: 8 },
  );
  fc.assert(
    fc.property(claims, fc.infiniteStream(fc.nat()), (raw, order) => {
      const all = raw.map(honest);
      const shuffled = [...all, ...all]
        .map((one) => ({ one, key: Number(order.next().value) }))
        .sort((a, b) => a.key - b.key)
        .map(({ one }) => one);
      expect(mergeAll(shuffled)).toEqual(mergeAll(all));
    }),
  );
});
