import { MeshError } from '../../base/errors.ts';
import type { JobHandle } from '../../node/api-client.ts';
import type { JobEvent, TerminalSize } from '../../node/api-types.ts';

const CELLS_MAX = 10_000;

/**
 * The terminal that `run --tty` lends to its command. While the command waits for a node the terminal stays as it is, so
 * that Ctrl-C ends the wait; once it runs every key goes there as it is, Ctrl-C too. However the command ends, the
 * terminal is as it was before.
 */
export class LentTerminal {
  #job: JobHandle | null = null;
  #isRaw = false;

  /** @throws MeshError `bad_argument` where stdin or stdout is no terminal */
  static open(): LentTerminal {
    const missing = [...(process.stdin.isTTY ? [] : ['stdin']), ...(process.stdout.isTTY ? [] : ['stdout'])];
    if (missing.length === 0) return new LentTerminal();
    const text = `--tty needs a terminal, and ${missing.join(' and ')} here ${missing.length === 1 ? 'is none' : 'are none'}; nothing was run: leave --tty out`;
    throw new MeshError('bad_argument', text);
  }

  get size(): TerminalSize {
    return { columns: cells(process.stdout.columns, 80), rows: cells(process.stdout.rows, 24) };
  }

  lendTo(job: JobHandle): void {
    this.#job = job;
    process.stdout.on('resize', this.#onResize);
    process.on('SIGCONT', this.#onContinue);
    process.on('exit', this.#restore);
  }

  onEvent(event: JobEvent): void {
    if (event.kind !== 'state') return;
    if (event.state === 'running' && event.node !== null) this.#setRaw(true);
    // Run again elsewhere, or the daemon is away: until then Ctrl-C ends the wait.
    else this.#setRaw(false);
  }

  takeBack(): void {
    this.#restore();
    process.stdout.off('resize', this.#onResize);
    process.off('SIGCONT', this.#onContinue);
    process.off('exit', this.#restore);
  }

  #setRaw(raw: boolean): void {
    if (this.#isRaw === raw) return;
    this.#isRaw = raw;
    process.stdin.setRawMode(raw);
  }

  readonly #onResize = (): void => this.#job?.resize(this.size);

  /** A shell that had stopped us has set the terminal to its own liking. */
  readonly #onContinue = (): void => {
    if (this.#isRaw) process.stdin.setRawMode(true);
    this.#onResize();
  };

  readonly #restore = (): void => this.#setRaw(false);
}

/** A terminal that does not know its size says 0. */
const cells = (count: number, unknown: number): number =>
  Math.min(CELLS_MAX, Math.max(1, Math.floor(count) || unknown));
