import type { LeaseId } from '../../base/ids.ts';
import type { Facts, Load } from '../../wire/facts.ts';
import type { ExecutorEffect, ExecutorInput } from './executor-state.ts';

export interface ExecutorOptions {
  readonly slots: number;
  /** Pure getters of this node as it is now; `jobs_running` and `slots_free` of the load are replaced by our own. */
  readonly facts: () => Facts;
  readonly load: () => Load;
  /** Names this run of the runner. */
  readonly instance: () => string;
  /** Unguessable, from the runtime. */
  readonly newLeaseId: () => LeaseId;
}

export interface Executor {
  step(input: ExecutorInput, nowMs: number): ExecutorEffect[];
  nextDeadlineMs(): number | null;
  /** For this node's load. */
  readonly jobsRunning: number;
  readonly slotsFree: number;
}
