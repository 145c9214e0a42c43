import type { Load } from '../../wire/facts.ts';

/** Percentage points by which a percentage must move, and percent of its value for the load average. */
const LOAD_CHANGE_PERCENT = 5;

/** True where others should know before the next heartbeat: placement would judge this node differently. */
export function loadChangedMuch(was: Load | null, is: Load): boolean {
  if (was === null) return true;
  if (was.overloaded !== is.overloaded || was.slots_free !== is.slots_free) return true;
  if (was.jobs_running !== is.jobs_running || was.jobs_queued !== is.jobs_queued) return true;
  return (
    Math.abs(was.cpu_percent - is.cpu_percent) > LOAD_CHANGE_PERCENT ||
    Math.abs(was.memory_percent - is.memory_percent) > LOAD_CHANGE_PERCENT ||
    Math.abs((was.psi_cpu_some_avg10 ?? 0) - (is.psi_cpu_some_avg10 ?? 0)) > LOAD_CHANGE_PERCENT ||
    Math.abs(was.load_1m - is.load_1m) > Math.max(was.load_1m, 1) * (LOAD_CHANGE_PERCENT / 100)
  );
}
