import type { OriginJob } from './job-table.ts';
import type { JobResult, OriginJobState } from './origin-job.ts';

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

/** How a job ended, without what its record tells. */
export type JobEnd = DistributiveOmit<
  JobResult,
  'attempts' | 'queueMs' | 'dispatchMs' | 'syncMs' | 'route' | 'automatic' | 'reruns'
>;

export function resultOf(job: OriginJob, end: JobEnd, nowMs: number): JobResult {
  const { state } = job;
  const at = 'place' in state ? state.place : null;
  const startedAtMs = 'startedAtMs' in state ? state.startedAtMs : null;
  return {
    ...end,
    attempts: at === null || state.kind === 'syncing' ? job.attempt - 1 : job.attempt,
    queueMs: Math.max(0, (at === null ? nowMs : at.reservedAtMs) - job.submittedAtMs),
    dispatchMs: at === null || startedAtMs === null ? 0 : Math.max(0, startedAtMs - at.reservedAtMs - at.syncMs),
    syncMs: syncMsOf(state, nowMs),
    route: job.route,
    automatic: job.automatic,
    reruns: job.reruns,
  };
}

/** How long the files of the attempt under way took, or have taken until now. */
export function syncMsOf(state: OriginJobState, nowMs: number): number {
  if (state.kind === 'syncing') return Math.max(0, nowMs - state.sinceMs);
  return 'place' in state ? state.place.syncMs : 0;
}
