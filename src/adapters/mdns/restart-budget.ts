import { MS_PER_SECOND } from '../../base/units.ts';

export const RESTARTS_PER_HOUR_MAX = 10;
const HOUR_MS = 3600 * MS_PER_SECOND;
const DELAY_MS_MAX = 60 * MS_PER_SECOND;

/** How long to wait before the next restart: doubling with jitter, and at most `RESTARTS_PER_HOUR_MAX` in any hour. */
export class RestartBudget {
  readonly #firstDelayMs: number;
  #restartsMs: number[] = [];

  constructor(firstDelayMs: number) {
    this.#firstDelayMs = firstDelayMs;
  }

  /**
   * Counts one restart, made after the delay.
   *
   * @param random in [0, 1)
   * @returns the delay in milliseconds
   */
  next(nowMs: number, random: number): number {
    this.#restartsMs = this.#restartsMs.filter((atMs) => nowMs - atMs < HOUR_MS);
    const recent = this.#restartsMs.length;
    const oldest = this.#restartsMs[recent - RESTARTS_PER_HOUR_MAX];
    const backoffMs = Math.min(this.#firstDelayMs * 2 ** recent, DELAY_MS_MAX) * (0.5 + random);
    const delayMs = Math.max(backoffMs, oldest === undefined ? 0 : oldest + HOUR_MS - nowMs);
    this.#restartsMs.push(nowMs + delayMs);
    return delayMs;
  }
}
