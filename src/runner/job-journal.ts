import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { messageOf } from '../base/errors.ts';
import { isJobId, type JobId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';

/**
 * Which jobs have processes now, as one empty file each: where runner and daemon are both killed, the next runner ends
 * what they left. Two system calls per job; a job is listed before its process exists.
 */
export class JobJournal {
  readonly #folder: string;
  readonly #log: Logger;

  constructor(folder: string, log: Logger) {
    this.#folder = folder;
    this.#log = log;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  /** Jobs of an earlier runner that did not live to end them. */
  leftover(): JobId[] {
    return readdirSync(this.#folder).filter(isJobId);
  }

  add(job: JobId): void {
    try {
      writeFileSync(path.join(this.#folder, job), '', { mode: 0o600 });
    } catch (error) {
      // A full disk: the job runs all the same; only the double crash would leave its tree behind.
      this.#log.warn('cannot note a job', { job, error: messageOf(error) });
    }
  }

  remove(job: JobId): void {
    try {
      rmSync(path.join(this.#folder, job), { force: true });
    } catch (error) {
      this.#log.warn('cannot strike a job off', { job, error: messageOf(error) });
    }
  }
}
