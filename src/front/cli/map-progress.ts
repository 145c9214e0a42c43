import { formatDuration } from '../../base/units.ts';

/** What is known of a batch at a moment. */
export interface Progress {
  readonly finished: number;
  readonly failed: number;
  readonly running: number;
  /** Arguments so far, and whether more may come. */
  readonly arguments: number;
  readonly complete: boolean;
  readonly elapsedMs: number;
  /** Null where nothing is known to go by. */
  readonly remainingMs: number | null;
}

/** What an estimate is made of: durations in milliseconds. */
export interface Workload {
  /** Not started: the sum of what history knows, and how many it does not know. */
  readonly aheadKnownMs: number;
  readonly aheadUnknown: number;
  /** Those started, by how long they have run and what history says. */
  readonly running: readonly { readonly ranMs: number; readonly estimateMs: number | null }[];
  readonly finished: number;
  readonly finishedMs: number;
  /** Of the finished jobs that history knew: how long it said, and how long they took. */
  readonly foretoldMs: number;
  readonly foretoldTookMs: number;
  readonly elapsedMs: number;
}

const FORETOLD_MS_MIN = 1;
/** Of a job that has run longer than expected nobody knows more than that it takes a while yet: this share of its age. */
const OVERDUE_SHARE = 0.1;

/** How much longer this batch's jobs take than history says; 1 where none has shown it. */
export const calibrationOf = (work: Pick<Workload, 'foretoldMs' | 'foretoldTookMs'>): number =>
  work.foretoldMs < FORETOLD_MS_MIN ? 1 : work.foretoldTookMs / work.foretoldMs;

/**
 * How long the rest takes: the work ahead, by what has finished and by history, at the concurrency that the batch had so
 * far; at least what the longest running job still needs.
 *
 * @returns milliseconds, or null where neither a finished job nor history says anything of some job
 */
export function remainingMs(work: Workload): number | null {
  const factor = calibrationOf(work);
  const usualMs = work.finished > 0 ? work.finishedMs / work.finished : null;
  const unknownRuns = work.running.some(({ estimateMs }) => estimateMs === null);
  if (usualMs === null && (work.aheadUnknown > 0 || unknownRuns)) return null;
  const left = work.running.map(({ ranMs, estimateMs }) => {
    const whole = estimateMs === null ? (usualMs ?? 0) : estimateMs * factor;
    return Math.max(whole - ranMs, OVERDUE_SHARE * ranMs);
  });
  const ranMs = work.running.reduce((sum, job) => sum + job.ranMs, 0);
  const aheadMs = work.aheadKnownMs * factor + work.aheadUnknown * (usualMs ?? 0);
  const concurrency = Math.max(1, (work.finishedMs + ranMs) / Math.max(1, work.elapsedMs));
  const totalMs = aheadMs + left.reduce((sum, each) => sum + each, 0);
  return Math.max(totalMs / concurrency, ...left);
}

const BAR_CELLS = 24;

/** One line, such as `[######            ] 25% 25/100, 2 failed, 8 running, 12.0 s, about 36.0 s left`. */
export function progressLine(progress: Progress): string {
  const { finished, failed, running, complete } = progress;
  const total = progress.arguments;
  const share = total === 0 ? 0 : finished / total;
  const bar = '#'.repeat(Math.floor(share * BAR_CELLS)).padEnd(BAR_CELLS);
  const done = complete ? `${Math.floor(share * 100)}% ${finished}/${total}` : `${finished} of at least ${total}`;
  const parts = [
    complete ? `[${bar}] ${done}` : done,
    ...(failed > 0 ? [`${failed} failed`] : []),
    ...(running > 0 ? [`${running} running`] : []),
    formatDuration(progress.elapsedMs),
    ...leftOf(progress),
  ];
  return parts.join(', ');
}

function leftOf({ remainingMs: left, complete, finished, arguments: total }: Progress): string[] {
  if (complete && finished >= total) return [];
  if (left === null) return ['time left not known yet'];
  return [`${complete ? 'about' : 'at least'} ${formatDuration(left)} left`];
}
