import type { JobId } from '../base/ids.ts';
import type { Command } from '../wire/job-spec.ts';

/** What is so of a project with each of its jobs is told with the first, and again after this. */
const AGAIN_MS = 30 * 60_000;
const KEPT_MAX = 256;

interface Told {
  readonly job: JobId;
  readonly atMs: number;
}

/** Which of a project's standing notices a job is to tell: a batch of a thousand would say each a thousand times. */
export class StandingNotices {
  /** By project and text, the oldest first. */
  readonly #told = new Map<string, Told>();

  /** @param command one that names git is told each time: its output may be what misleads */
  dueFor(job: JobId, command: Command, project: string, notices: readonly string[], nowMs: number): string[] {
    const isGit = /\bgit\b/.test(command.kind === 'line' ? command.line : command.argv.join(' '));
    return notices.filter((text) => {
      const name = `${project}\0${text}`;
      const told = this.#told.get(name);
      // One whose files are sent once more tells the same.
      if (told?.job === job) return true;
      const isDue = told === undefined || nowMs - told.atMs >= AGAIN_MS;
      if (isDue) this.#note(name, { job, atMs: nowMs });
      return isDue || isGit;
    });
  }

  #note(name: string, told: Told): void {
    this.#told.delete(name);
    this.#told.set(name, told);
    const [oldest] = this.#told.keys();
    if (this.#told.size > KEPT_MAX && oldest !== undefined) this.#told.delete(oldest);
  }
}
