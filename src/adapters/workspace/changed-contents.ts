import { systemCodeOf } from '../../base/errors.ts';
import type { ObjectHash } from '../../wire/manifest.ts';
import type { ObjectStore } from './object-store.ts';

/** Of one job. What is beyond is sent there again, should it come back and stay. */
export const CHANGED_KEPT_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Puts what a job made into its origin's store: once it came back it is part of the project, and need not be sent to where
 * it was made. It saves time and nothing else, so a disk that does not take it is no fault of the job.
 */
export class ChangedContents {
  readonly #store: Pick<ObjectStore, 'has' | 'put'>;
  #bytesLeft: number;

  /** @param freeBytes of the disk */
  constructor(store: Pick<ObjectStore, 'has' | 'put'>, freeBytes: number, bytesMax = CHANGED_KEPT_BYTES_MAX) {
    this.#store = store;
    this.#bytesLeft = Math.min(freeBytes, bytesMax);
  }

  /** @param hash that of `bytes` */
  keep(hash: ObjectHash, bytes: Uint8Array): void {
    if (bytes.length > this.#bytesLeft || this.#store.has(hash)) return;
    this.#bytesLeft -= bytes.length;
    try {
      if (!this.#store.put(hash, bytes).ok) this.#bytesLeft = 0;
    } catch (error) {
      if (systemCodeOf(error) === '') throw error;
      this.#bytesLeft = 0;
    }
  }
}
