/** Of an encoded manifest: some hundred thousand entries. */
export const LARGE_MANIFEST_BYTES = 8 * 1024 * 1024;

/**
 * Lets one call at a time work on a tree with a large manifest, whosever it is: two such trees in memory are what the
 * thread's heap has room for. Calls about smaller ones go on meanwhile.
 */
export class OneLargeTree {
  #tail: Promise<unknown> = Promise.resolve();

  run<T>(isLarge: boolean, act: () => Promise<T> | T): Promise<T> | T {
    if (!isLarge) return act();
    const result = this.#tail.then(act);
    // Whoever asked is told how it ended; who comes next does not care.
    this.#tail = Promise.allSettled([result]);
    return result;
  }
}
