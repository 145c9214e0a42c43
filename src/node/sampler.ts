import { nowMs } from './core-loop.ts';

const SAMPLE_MS = 1000;
/** Samples between two looks at this machine's own addresses. */
const ADDRESSES_EVERY = 5;
/** A clock that jumps by more than this between two samples means that the machine slept. */
const SLEPT_MS = 10_000;

export interface SamplerHandlers {
  readonly onSlept: (gapMs: number) => void;
  readonly onSample: () => void;
  readonly onAddressesDue: () => void;
}

/** The node's once-a-second look at itself. */
export class Sampler {
  readonly #handlers: SamplerHandlers;
  #timer: NodeJS.Timeout | null = null;
  #wallMs = Date.now();
  #monotonicMs = nowMs();
  #samples = 0;

  constructor(handlers: SamplerHandlers) {
    this.#handlers = handlers;
  }

  start(): void {
    this.#sample();
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS);
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
  }

  #sample(): void {
    const [wall, monotonic] = [Date.now(), nowMs()];
    // The monotonic clock of some systems stands still during sleep, that of others does not: a gap in either counts.
    const gapMs = Math.max(wall - this.#wallMs, monotonic - this.#monotonicMs) - SAMPLE_MS;
    this.#wallMs = wall;
    this.#monotonicMs = monotonic;
    if (gapMs > SLEPT_MS) this.#handlers.onSlept(gapMs);
    this.#handlers.onSample();
    this.#samples += 1;
    if (this.#samples % ADDRESSES_EVERY === 0) this.#handlers.onAddressesDue();
  }
}
