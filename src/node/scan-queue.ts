import type { Result } from '../base/result.ts';
import type { ProjectFiles, Scan, ScanRefusal, ScanRequest } from '../ports/workspace.ts';
import { nowMs } from './core-loop.ts';

export interface Scanned {
  readonly result: Result<Scan, ScanRefusal>;
  /** When it began, monotonic: what was changed before is in it. */
  readonly atMs: number;
}

interface Running {
  readonly done: Promise<Scanned>;
  next: Promise<Scanned> | null;
}

/**
 * Scans, one at a time for the same request: whoever asks while one is under way shares the one after it, with all others
 * who ask meanwhile. So what was written before the question is in the answer, and a thousand jobs at once cost two scans.
 */
export class ScanQueue {
  readonly #files: Pick<ProjectFiles, 'scan'>;
  /** Bounded by the jobs that wait for one. */
  readonly #running = new Map<string, Running>();

  constructor(files: Pick<ProjectFiles, 'scan'>) {
    this.#files = files;
  }

  scan(request: ScanRequest): Promise<Scanned> {
    const name = JSON.stringify(request);
    const running = this.#running.get(name);
    if (running === undefined) return this.#start(name, request);
    running.next ??= this.#after(running.done, name, request);
    return running.next;
  }

  /** How the one before ended is told to those who wait for that one. */
  #after(done: Promise<Scanned>, name: string, request: ScanRequest): Promise<Scanned> {
    const start = (): Promise<Scanned> => this.#start(name, request);
    return done.then(start, start);
  }

  #start(name: string, request: ScanRequest): Promise<Scanned> {
    const running: Running = { done: this.#scan(request), next: null };
    this.#running.set(name, running);
    const over = (): void => {
      if (this.#running.get(name) === running && running.next === null) this.#running.delete(name);
    };
    running.done.then(over, over);
    return running.done;
  }

  async #scan(request: ScanRequest): Promise<Scanned> {
    const atMs = nowMs();
    return { result: await this.#files.scan(request), atMs };
  }
}
