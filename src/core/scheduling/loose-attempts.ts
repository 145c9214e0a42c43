import type { NodeId } from '../../base/ids.ts';
import type { LooseAttempt } from './origin-job.ts';
import { LOOSE_ATTEMPTS_MAX } from './origin-limits.ts';

/** Attempts whose end nobody knows, oldest first: their nodes are asked when they are back. */
export class LooseAttempts {
  readonly #attempts = new Map<string, LooseAttempt>();

  /** @returns the oldest one where there was no room for both */
  add(loose: LooseAttempt): LooseAttempt | null {
    this.#attempts.set(keyOf(loose), loose);
    const [oldest] = this.#attempts.values();
    if (this.#attempts.size <= LOOSE_ATTEMPTS_MAX || oldest === undefined) return null;
    this.#attempts.delete(keyOf(oldest));
    return oldest;
  }

  at(node: NodeId): LooseAttempt[] {
    return [...this.#attempts.values()].filter(({ place }) => place.node === node);
  }

  /** Removes it. Null where none is known, or not at that node. */
  take(key: Pick<LooseAttempt, 'job' | 'attempt'>, from: NodeId): LooseAttempt | null {
    const loose = this.#attempts.get(keyOf(key));
    if (loose === undefined || loose.place.node !== from) return null;
    this.#attempts.delete(keyOf(key));
    return loose;
  }
}

const keyOf = ({ job, attempt }: Pick<LooseAttempt, 'job' | 'attempt'>): string => `${job}/${attempt}`;
