export interface QueuedEvent {
  readonly atMs: number;
  readonly run: () => void;
}

interface Entry extends QueuedEvent {
  readonly order: number;
}

/** A binary heap by time; events of one time run in the order in which they came. */
export class EventQueue {
  readonly #heap: Entry[] = [];
  #order = 0;

  push(atMs: number, run: () => void): void {
    const heap = this.#heap;
    heap.push({ atMs, run, order: this.#order++ });
    let at = heap.length - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#swapIfEarlier(at, parent)) break;
      at = parent;
    }
  }

  /** The earliest event that is due by then, or null. */
  popUntil(endMs: number): QueuedEvent | null {
    const heap = this.#heap;
    const first = heap[0];
    if (first === undefined || first.atMs > endMs) return null;
    const last = heap.pop();
    if (last !== undefined && heap.length > 0) {
      heap[0] = last;
      this.#sink();
    }
    return first;
  }

  #sink(): void {
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#heap.length) return;
      if (this.#earlier(child + 1, child)) child += 1;
      if (!this.#swapIfEarlier(child, at)) return;
      at = child;
    }
  }

  #swapIfEarlier(lower: number, upper: number): boolean {
    if (!this.#earlier(lower, upper)) return false;
    const [a, b] = [this.#heap[lower], this.#heap[upper]];
    if (a === undefined || b === undefined) return false;
    this.#heap[lower] = b;
    this.#heap[upper] = a;
    return true;
  }

  #earlier(one: number, other: number): boolean {
    const [a, b] = [this.#heap[one], this.#heap[other]];
    if (a === undefined || b === undefined) return false;
    return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
  }
}
