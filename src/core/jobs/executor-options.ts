import type { LeaseId } from '../../base/ids.ts';
import type { AdmissionOptions } from './admission.ts';

/** A slot that was granted and not used goes back after this. */
export const LEASE_TTL_MS = 10_000;
/** Requests whose policy and directory are being judged at once. */
export const CHECKS_MAX = 256;
/** Of them, those of one origin: no member's flood keeps the others, or this node's own jobs, from being judged. */
export const CHECKS_PER_ORIGIN_MAX = 64;
/** A foreground attempt goes on so long without its origin. */
export const ORIGIN_GRACE_MS = 60_000;

/** Pure getters of this node as it is now; `jobs_running` and `slots_free` of the load are replaced by the executor's own. */
export interface ExecutorOptions extends AdmissionOptions {
  readonly slots: number;
  /** Names this run of the runner. */
  readonly instance: () => string;
  /** Unguessable, from the runtime. */
  readonly newLeaseId: () => LeaseId;
  /** ORIGIN_GRACE_MS where it is left out. */
  readonly originGraceMs?: number;
}
