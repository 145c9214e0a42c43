import { MS_PER_SECOND } from './units.ts';

/** `perS` tokens a second, at most `burst` saved up. Time is given by the caller, in milliseconds of one clock. */
export class TokenBucket {
  readonly #perS: number;
  readonly #burst: number;
  #tokens: number;
  #atMs: number;

  constructor(perS: number, burst: number, nowMs: number) {
    this.#perS = perS;
    this.#burst = burst;
    this.#tokens = burst;
    this.#atMs = nowMs;
  }

  has(nowMs: number): boolean {
    this.#refill(nowMs);
    return this.#tokens >= 1;
  }

  /** Full: nothing is lost by forgetting this bucket. */
  isFull(nowMs: number): boolean {
    this.#refill(nowMs);
    return this.#tokens >= this.#burst;
  }

  /** Takes a token, or what is left of one. */
  charge(nowMs: number): void {
    this.#refill(nowMs);
    this.#tokens = Math.max(0, this.#tokens - 1);
  }

  /** @returns whether there was a token; it is spent then */
  take(nowMs: number): boolean {
    if (!this.has(nowMs)) return false;
    this.charge(nowMs);
    return true;
  }

  #refill(nowMs: number): void {
    const elapsedMs = Math.max(0, nowMs - this.#atMs);
    this.#tokens = Math.min(this.#burst, this.#tokens + (elapsedMs * this.#perS) / MS_PER_SECOND);
    this.#atMs = nowMs;
  }
}
