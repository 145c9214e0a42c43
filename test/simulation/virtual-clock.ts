import { assert } from '../../src/base/assert.ts';
import { EventQueue } from './event-queue.ts';

const EVENTS_MAX = 3_000_000;

/** Time that jumps from event to event: a day takes as long as what happens in it. */
export class VirtualClock {
  readonly #events = new EventQueue();
  #nowMs = 0;
  #steps = 0;

  get nowMs(): number {
    return this.#nowMs;
  }

  at(atMs: number, run: () => void): void {
    this.#events.push(Math.max(atMs, this.#nowMs), run);
  }

  after(delayMs: number, run: () => void): void {
    this.at(this.#nowMs + delayMs, run);
  }

  /** Runs what is due until then, or until the condition holds. */
  run(untilMs: number, isDone: () => boolean = () => false): void {
    while (!isDone()) {
      const event = this.#events.popUntil(untilMs);
      if (event === null) {
        this.#nowMs = Math.max(this.#nowMs, untilMs);
        return;
      }
      this.#nowMs = event.atMs;
      event.run();
      assert(++this.#steps < EVENTS_MAX, 'the simulation does not come to an end');
    }
  }
}
