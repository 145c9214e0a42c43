import { escapeControls } from '../../base/escape.ts';
import type { JobEvent } from '../../node/api-types.ts';
import { ProgressBar } from './progress-bar.ts';

/** While a job's files travel or its dependencies are prepared: one line on a terminal, drawn over itself. */
export class SyncLine {
  readonly #bar: ProgressBar | null;

  /** @param stream nothing is drawn where it is no terminal */
  constructor(stream: NodeJS.WriteStream) {
    this.#bar = stream.isTTY ? new ProgressBar(stream) : null;
  }

  onEvent(event: JobEvent): void {
    if (this.#bar === null || event.kind !== 'state') return;
    if (event.state === 'syncing' || event.state === 'preparing') this.#bar.show(() => syncText(event), null, false);
    else this.#bar.clear();
  }

  /** Before anything else is written, and at the end. */
  clear(): void {
    this.#bar?.clear();
  }
}

/** `syncing to b: 120 of 7500 files, 1.2 MiB of 58 MiB, about 3 s left`; the daemon's words where it has some. */
export function syncText(event: Extract<JobEvent, { kind: 'state' }>): string {
  const to = event.state === 'syncing' ? 'to' : 'on';
  const where = event.node === null ? '' : ` ${to} ${event.node}`;
  return escapeControls(`${event.state}${where}${event.detail === '' ? '' : `: ${event.detail}`}`);
}
