import { MS_PER_SECOND } from '../../base/units.ts';

const REDRAW_MS = 200;
const PLAIN_MS = 30 * MS_PER_SECOND;
/** Without a terminal, a line at each further tenth. */
const PLAIN_SHARE = 0.1;
const CLEAR_LINE = '\r\u001B[K';
const COLUMNS_DEFAULT = 80;

/** One line on stderr: drawn over itself on a terminal, a line now and then elsewhere. */
export class ProgressBar {
  readonly #stream: NodeJS.WriteStream;
  #shown = false;
  #lastMs = -Infinity;
  #lastShare = 0;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  /**
   * @param line as of now
   * @param share finished, 0 to 1; null while the whole is not known
   * @param last draw it whenever it was drawn before, and leave it there
   */
  show(line: () => string, share: number | null, last: boolean): void {
    const nowMs = performance.now();
    if (this.#stream.isTTY) {
      if (!last && nowMs - this.#lastMs < REDRAW_MS) return;
      const text = line().slice(0, (this.#stream.columns || COLUMNS_DEFAULT) - 1);
      this.#stream.write(`${CLEAR_LINE}${text}${last ? '\n' : ''}`);
      this.#shown = !last;
    } else {
      // The end is told once, by the last call.
      if (!last && share === 1) return;
      const due = nowMs - this.#lastMs >= PLAIN_MS || (share !== null && share - this.#lastShare >= PLAIN_SHARE);
      if (!last && this.#lastMs !== -Infinity && !due) return;
      this.#stream.write(`${line()}\n`);
      this.#lastShare = share ?? 0;
    }
    this.#lastMs = nowMs;
  }

  /** Before anything else is written to the terminal. */
  clear(): void {
    if (!this.#shown) return;
    this.#stream.write(CLEAR_LINE);
    this.#shown = false;
    this.#lastMs = -Infinity;
  }
}
