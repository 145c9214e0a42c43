/** How long an operation may hold up the others of the thread. */
const TURN_MS = 30;

/** Lets the other operations of the thread get on, now and then. */
export class Turn {
  #sinceMs = performance.now();

  /** Asking the clock costs as much as a look at a file: every few of them is enough. */
  isOver(): boolean {
    return performance.now() - this.#sinceMs > TURN_MS;
  }

  async pass(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    this.#sinceMs = performance.now();
  }

  /** Goes through what is done in steps, and lets others get on between them. */
  async through<T>(steps: Generator<void, T>): Promise<T> {
    for (;;) {
      const step = steps.next();
      if (step.done === true) return step.value;
      if (this.isOver()) await this.pass();
    }
  }
}
