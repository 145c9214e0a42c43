import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { messageOf } from '../base/errors.ts';
import { isJobId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { type AttemptKey, attemptName } from '../adapters/process/tree.ts';

/** @returns null of what names no attempt */
export function parseAttemptName(name: string): AttemptKey | null {
  const [job = '', digits = '', rest] = name.split('.');
  if (rest !== undefined || !isJobId(job) || !/^[1-9]\d{0,3}$/.test(digits)) return null;
  return { job, attempt: Number(digits) };
}

/**
 * Which attempts were begun and not acknowledged, as one empty file each: where runner and daemon are both killed, the
 * next runner ends what they left and tells how they ended. Two system calls per attempt; it is listed before its process
 * exists.
 */
export class AttemptJournal {
  readonly #folder: string;
  readonly #log: Logger;

  constructor(folder: string, log: Logger) {
    this.#folder = folder;
    this.#log = log;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  /** Those of earlier runners. */
  list(): AttemptKey[] {
    return readdirSync(this.#folder)
      .map(parseAttemptName)
      .filter((key) => key !== null);
  }

  add(key: AttemptKey): void {
    try {
      writeFileSync(path.join(this.#folder, attemptName(key)), '', { mode: 0o600 });
    } catch (error) {
      // A full disk: the command runs all the same; only the double crash would leave its tree behind.
      this.#log.warn('cannot note an attempt', { job: key.job, error: messageOf(error) });
    }
  }

  remove(key: AttemptKey): void {
    try {
      rmSync(path.join(this.#folder, attemptName(key)), { force: true });
    } catch (error) {
      this.#log.warn('cannot strike an attempt off', { job: key.job, error: messageOf(error) });
    }
  }
}
