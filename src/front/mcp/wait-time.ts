import { MS_PER_SECOND } from '../../base/units.ts';

/** Claude Code gives a call 120 s before it puts it aside; other clients give 60 s. Both leave time for the answer. */
const CLAUDE_WAIT_S = 110;
const OTHER_WAIT_S = 45;

/**
 * How long a call waits for the command that it started, queue and preparation included.
 *
 * @param client the name that the client gave of itself
 */
export function waitOf(
  asked: number | undefined,
  settings: { readonly waitS: number | null },
  client: string,
): { readonly waitMs: number; readonly usualS: number } {
  const usualS = settings.waitS ?? (/claude/i.test(client) ? CLAUDE_WAIT_S : OTHER_WAIT_S);
  return { waitMs: (asked ?? usualS) * MS_PER_SECOND, usualS };
}

/** Tells, at a time, that a call waits no longer for what it started. */
export class HandOut {
  readonly #controller = new AbortController();
  #timer: NodeJS.Timeout | null = null;

  /** @param atMs on the clock of performance.now(); a time that has passed counts at once */
  constructor(atMs: number) {
    this.moveTo(atMs);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Another time; without effect once it was told. */
  moveTo(atMs: number): void {
    this.end();
    const leftMs = atMs - performance.now();
    if (leftMs <= 0) this.#controller.abort();
    else if (!this.signal.aborted) this.#timer = setTimeout(() => this.#controller.abort(), leftMs);
  }

  end(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
