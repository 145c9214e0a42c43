import type { JobId } from '../base/ids.ts';
import type { JobRecord } from '../wire/job-record.ts';

/** What `wait` may hold at once; beyond it the answer is the job as it is. */
const WAITERS_MAX = 4096;

/** Who waits for jobs to finish. */
export class JobWaits {
  readonly #waiters = new Map<JobId, Set<() => void>>();
  #waiting = 0;

  /** @param record the job as it is, null where it is unknown */
  wait(
    job: JobId,
    record: () => JobRecord | null,
    waitMs: number,
    signal: AbortSignal | undefined,
  ): Promise<JobRecord | null> {
    const now = record();
    if (now === null || now.state === 'finished' || waitMs <= 0) return Promise.resolve(now);
    if (this.#waiting >= WAITERS_MAX || signal?.aborted === true) return Promise.resolve(now);
    return new Promise((resolve) => {
      const waiters = this.#waiters.get(job) ?? new Set();
      this.#waiters.set(job, waiters);
      const settle = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', settle);
        if (!waiters.delete(settle)) return;
        this.#waiting -= 1;
        if (waiters.size === 0) this.#waiters.delete(job);
        resolve(record());
      };
      const timer = setTimeout(settle, waitMs);
      this.#waiting += 1;
      waiters.add(settle);
      signal?.addEventListener('abort', settle);
    });
  }

  finished(job: JobId): void {
    this.#waiters.get(job)?.forEach((settle) => settle());
  }
}
