import { escapeControls } from '../../base/escape.ts';
import type { JobEvent } from '../../node/api-types.ts';
import { ProgressBar } from './progress-bar.ts';

/** What is over sooner is not worth a line. */
const QUIET_MS = 300;
const REDRAW_MS = 250;

/** While a job's files travel or its dependencies are prepared: one line on a terminal, drawn over itself. */
export class SyncLine {
  readonly #bar: ProgressBar | null;
  #text = '';
  #timer: NodeJS.Timeout | null = null;

  /** @param stream nothing is drawn where it is no terminal */
  constructor(stream: NodeJS.WriteStream) {
    this.#bar = stream.isTTY ? new ProgressBar(stream) : null;
  }

  onEvent(event: JobEvent): void {
    if (this.#bar === null || event.kind !== 'state') return;
    if (event.state !== 'syncing' && event.state !== 'preparing') return this.clear();
    this.#text = syncText(event);
    this.#timer ??= setTimeout(this.#draw, QUIET_MS).unref();
  }

  /** Before anything else is written, and at the end. */
  clear(): void {
    if (this.#timer === null) return;
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#bar?.clear();
  }

  readonly #draw = (): void => {
    this.#bar?.show(() => this.#text, null, false);
    this.#timer = setTimeout(this.#draw, REDRAW_MS).unref();
  };
}

/** `sends the project's files to b: 120 of 7,500 files, 1 of 58 MB, 3 s left`: the daemon's words where it has some. */
export function syncText(event: Extract<JobEvent, { kind: 'state' }>): string {
  const where = event.node === null ? '' : ` on ${event.node}`;
  return escapeControls(event.detail === '' ? `${event.state}${where}` : event.detail);
}
