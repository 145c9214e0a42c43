import { CHANGE_PROBLEM_CHARS_MAX } from '../../wire/changes.ts';

const PROBLEMS_SHOWN_MAX = 5;

/** What could not be collected, for people: a job may leave any number of such files. */
export class CollectProblems {
  readonly #shown: string[] = [];
  #count = 0;

  say(problem: string): void {
    this.#count += 1;
    if (this.#shown.length < PROBLEMS_SHOWN_MAX) this.#shown.push(problem);
  }

  /** Null where there are none. */
  text(): string | null {
    if (this.#count === 0) return null;
    const more = this.#count - this.#shown.length;
    const shown = this.#shown.join('; ');
    return (more > 0 ? `${shown}; and ${more} more` : shown).slice(0, CHANGE_PROBLEM_CHARS_MAX);
  }
}
