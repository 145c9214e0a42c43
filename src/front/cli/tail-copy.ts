/** A job at the end of its batch that has run this many times longer than expected gets a second copy elsewhere. */
export const TAIL_FACTOR = 1.5;
/** Below this a second copy would cost more than it saves. */
export const TAIL_AGE_MS_MIN = 1000;
/** The last durations that the median is taken of. */
export const TAIL_SAMPLES_MAX = 512;
/** Fewer finished jobs say nothing of what is usual. */
const TAIL_SAMPLES_MIN = 3;

/**
 * When the last jobs of a batch are worth a second copy. Long-running stragglers are usually due to their machine, not to
 * themselves (Dean and Ghemawat, MapReduce, OSDI 2004, section 3.6).
 *
 * @param expectedMs what history says of the job, as far as this batch bears it out; null where it knows nothing
 * @param finishedMs durations of jobs of this batch that have finished
 * @returns after how many milliseconds of running a copy is due, or null where nothing can be compared
 */
export function tailCopyAfterMs(expectedMs: number | null, finishedMs: readonly number[]): number | null {
  const usualMs = expectedMs ?? (finishedMs.length < TAIL_SAMPLES_MIN ? null : medianOf(finishedMs));
  return usualMs === null ? null : Math.max(TAIL_AGE_MS_MIN, TAIL_FACTOR * usualMs);
}

export function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
}
