import type { TreeIndex } from './tree-index.ts';

/** Entries of manifests that are kept decoded between calls, of all sessions together: some 340 bytes each, with their encoding. */
const ENTRIES_HELD_MAX = 1_500_000;

/**
 * Decoded manifests of all sessions. Those used longest ago are let go of, and read again when they are needed: one origin
 * with many large projects takes no more of the thread's memory than that.
 */
export class HeldIndexes {
  readonly #entriesMax: number;
  readonly #letGo = new Map<TreeIndex, () => void>();
  #entries = 0;

  /** @param entriesMax only tests give another than ENTRIES_HELD_MAX */
  constructor(entriesMax: number = ENTRIES_HELD_MAX) {
    this.#entriesMax = entriesMax;
  }

  /** That one is used now. @param letGo called when it is to be kept no more */
  use(index: TreeIndex, letGo: () => void): void {
    this.drop(index);
    this.#letGo.set(index, letGo);
    this.#entries += index.manifest.entries.length;
    for (const [oldest, end] of this.#letGo) {
      if (this.#entries <= this.#entriesMax || oldest === index) return;
      this.drop(oldest);
      end();
    }
  }

  drop(index: TreeIndex): void {
    if (this.#letGo.delete(index)) this.#entries -= index.manifest.entries.length;
  }
}
