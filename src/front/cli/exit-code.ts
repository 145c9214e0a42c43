import { constants } from 'node:os';
import type { RunObject } from '../../node/api-types.ts';

/** meshwork itself could not do it, or cannot know how it ended: as `docker run` and `env` use 125. */
export const EXIT_MESHWORK = 125;
const EXIT_TIMEOUT = 124;
const EXIT_CANCELLED = 130;
const SIGNAL_BASE = 128;
const FAILURES_SHOWN_MAX = 100;

/** Exit code of `run`: the command's own, 128+n for a signal, 124, 125 or 130. */
export function exitCodeOf(result: RunObject): number {
  switch (result.reason) {
    case 'exited':
      return result.return_code ?? EXIT_MESHWORK;
    case 'signaled':
      return result.signal === null ? EXIT_MESHWORK : signalExitCode(result.signal);
    case 'timeout':
      return EXIT_TIMEOUT;
    case 'cancelled':
      return EXIT_CANCELLED;
    case 'refused':
    case 'lost':
    case 'unknown':
    case null:
      return EXIT_MESHWORK;
  }
}

export function signalExitCode(signal: string): number {
  const numbers: Readonly<Record<string, number>> = constants.signals;
  return SIGNAL_BASE + (numbers[signal] ?? 0);
}

/** Exit code of `map`: 0, else the number of failed jobs up to 100, 101 above. */
export function mapExitCode(failed: number): number {
  return Math.min(failed, FAILURES_SHOWN_MAX + 1);
}
