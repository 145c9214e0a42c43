import { KIB } from '../../base/units.ts';
import type { BatchApi } from './map-job.ts';
import type { Waiting } from './map-lineup.ts';

/** One question: well below a frame of the control socket. */
const QUESTION_CHARS_MAX = 256 * KIB;
const QUESTION_COMMANDS_MAX = 5000;
/** What history is asked of a command is no longer than this. */
const COMMAND_CHARS_MAX = 4096;

interface Asked {
  readonly seq: number;
  readonly arg: string;
  readonly command: string;
}

/** Asks history for many commands at a time, in the order in which they come. Bounded by whoever asks. */
export class EstimateDesk {
  #api: Pick<BatchApi, 'call'> | null;
  readonly #cwd: string;
  readonly #answer: (waiting: readonly Waiting[]) => void;
  #asked: Asked[] = [];
  #busy = false;

  /** @param api null where nobody wants to know: then answers come at once, and know nothing */
  constructor(api: Pick<BatchApi, 'call'> | null, cwd: string, answer: (waiting: readonly Waiting[]) => void) {
    this.#api = api;
    this.#cwd = cwd;
    this.#answer = answer;
  }

  ask(seq: number, arg: string, command: string): void {
    this.#asked.push({ seq, arg, command: command.slice(0, COMMAND_CHARS_MAX) });
    if (this.#busy) return;
    this.#busy = true;
    // After all that is there by now has been asked for.
    setImmediate(() => void this.#answerAll());
  }

  async #answerAll(): Promise<void> {
    while (this.#asked.length > 0) {
      const question = this.#next();
      const seconds = await this.#estimates(question.map(({ command }) => command));
      this.#answer(question.map(({ seq, arg }, at) => ({ seq, arg, estimateS: seconds[at] ?? null })));
    }
    this.#busy = false;
  }

  #next(): Asked[] {
    let count = 0;
    let chars = 0;
    for (const { command } of this.#asked) {
      chars += command.length;
      if (count > 0 && (chars > QUESTION_CHARS_MAX || count >= QUESTION_COMMANDS_MAX)) break;
      count += 1;
    }
    return this.#asked.splice(0, count);
  }

  async #estimates(commands: readonly string[]): Promise<readonly (number | null)[]> {
    if (this.#api === null) return [];
    try {
      const { seconds } = await this.#api.call('estimate', { cwd: this.#cwd, commands: [...commands] });
      return seconds;
    } catch {
      // History is for speed alone: without it the jobs go in the order given, and what is wrong shows with the first of them.
      this.#api = null;
      return [];
    }
  }
}
