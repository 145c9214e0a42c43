import { expect, test } from 'vitest';
import { FULL_MESH_SUSPICION, remainingSuspicionMs } from '../../../../src/core/membership/suspicion.ts';

const limits = { minMs: 4000, maxMs: 24_000, confirmationsWanted: 3 };

test.each([
  { elapsedMs: 0, confirmations: 0, expected: 24_000 },
  { elapsedMs: 1000, confirmations: 0, expected: 23_000 },
  { elapsedMs: 0, confirmations: 1, expected: 14_000 },
  { elapsedMs: 0, confirmations: 3, expected: 4000 },
  { elapsedMs: 0, confirmations: 30, expected: 4000 },
  { elapsedMs: 5000, confirmations: 3, expected: -1000 },
  { elapsedMs: 25_000, confirmations: 0, expected: -1000 },
])('$confirmations confirmations after $elapsedMs ms: $expected ms left', ({ elapsedMs, confirmations, expected }) => {
  expect(remainingSuspicionMs(elapsedMs, confirmations, limits)).toBe(expected);
});

test('in a full mesh a suspicion lasts 4 s whatever others say', () => {
  expect(remainingSuspicionMs(0, 0, FULL_MESH_SUSPICION)).toBe(4000);
  expect(remainingSuspicionMs(1500, 9, FULL_MESH_SUSPICION)).toBe(2500);
});
