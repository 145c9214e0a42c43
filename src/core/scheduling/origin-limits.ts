/** Bounds and deadlines of the origin's scheduler. */
export const QUEUED_JOBS_MAX = 4096;
/** Queued, asked for and running: the queue is bounded apart, the rest by the slots of the mesh. */
export const ORIGIN_JOBS_MAX = 8192;
/** Nodes asked before a job goes back to the queue (DESIGN §5.3). */
export const TRIES_PER_ROUND_MAX = 4;
/** Queued jobs looked at for a free slot that the first in the queue cannot use. */
export const LOOK_AHEAD_JOBS_MAX = 32;
export const RESERVE_TIMEOUT_MS = 2000;
/** TERM, 5 s, KILL, and the way back. */
export const CANCEL_TIMEOUT_MS = 8000;
/** Hints may be lost: the queue is tried this often whatever happens, ± a quarter. */
export const RETRY_MS = 1000;
/** So long a queued job waits for the only node that could take it, while that is suspect or unreachable. */
export const IMPOSSIBLE_GRACE_MS = 10_000;
