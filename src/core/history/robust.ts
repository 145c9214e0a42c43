import { assert } from '../../base/assert.ts';

/** The middle value, or the mean of the two middle ones. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >>> 1;
  const [upper, lower] = [sorted[middle], sorted[middle - 1]];
  assert(upper !== undefined, 'nothing has a median');
  return sorted.length % 2 === 1 || lower === undefined ? upper : (lower + upper) / 2;
}

/** How many times larger the third quartile is than the first; 1 where all are alike. Values are positive. */
export function spreadOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const quarter = Math.floor((sorted.length - 1) / 4);
  const [low, high] = [sorted[quarter], sorted[sorted.length - 1 - quarter]];
  assert(low !== undefined && high !== undefined, 'nothing has a spread');
  return high / Math.max(low, Number.MIN_VALUE);
}
