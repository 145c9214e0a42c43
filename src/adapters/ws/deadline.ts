import type { CancelSignal, DialFailure } from '../../ports/links.ts';

/** The end of a dial that has not come to its own end: its time is up, or it is called off. Says so once. */
export class DialDeadline {
  readonly #listeners = new Set<(failure: DialFailure) => void>();
  readonly #timer: NodeJS.Timeout;
  readonly #signal: CancelSignal | undefined;
  readonly #onAbort = (): void => this.#expire({ kind: 'other', message: 'the dial was called off' });
  #failure: DialFailure | null = null;

  constructor(timeoutMs: number, signal: CancelSignal | undefined, at: string) {
    const message = `${at} did not answer within ${timeoutMs / 1000} s`;
    this.#timer = setTimeout(() => this.#expire({ kind: 'timeout', message }), timeoutMs);
    this.#signal = signal;
    if (signal?.aborted === true) this.#onAbort();
    signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  get failure(): DialFailure | null {
    return this.#failure;
  }

  /** @returns what to call when the failure is of no interest any more; called back at once where it is over already */
  onExpired(listener: (failure: DialFailure) => void): () => void {
    if (this.#failure !== null) listener(this.#failure);
    else this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Resolves after `ms`, or as soon as the deadline has passed. */
  async pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => done(), ms);
      const forget = this.onExpired(() => {
        clearTimeout(timer);
        resolve();
      });
      const done = (): void => {
        forget();
        resolve();
      };
    });
  }

  dispose(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#listeners.clear();
  }

  #expire(failure: DialFailure): void {
    if (this.#failure !== null) return;
    this.#failure = failure;
    clearTimeout(this.#timer);
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of listeners) listener(failure);
  }
}
