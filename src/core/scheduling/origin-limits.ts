/** Bounds and deadlines of the origin's scheduler. */
export const QUEUED_JOBS_MAX = 4096;
/** Queued, asked for and running: the queue is bounded apart, the rest by the slots of the mesh. */
export const ORIGIN_JOBS_MAX = 8192;
/** Nodes asked before a job goes back to the queue (DESIGN §5.3). */
export const TRIES_PER_ROUND_MAX = 4;
/** Queued jobs looked at for a free slot that the first in the queue cannot use. */
export const LOOK_AHEAD_JOBS_MAX = 32;
export const RESERVE_TIMEOUT_MS = 2000;
/** TERM, 5 s, KILL, and the way back: of a machine that stands still for seconds, too. */
export const CANCEL_TIMEOUT_MS = 12_000;
/** The same where there is no link: nobody hears of the end before there is one. */
export const CANCEL_AWAY_MS = 8000;
/** Hints may be lost: the queue is tried this often whatever happens, ± a quarter. */
export const RETRY_MS = 1000;
/** So long a queued job waits for the only node that could take it, while that is suspect or unreachable. */
export const IMPOSSIBLE_GRACE_MS = 10_000;
/** So long nothing may be heard of files under way to an executor: preparations tell of themselves every few seconds. */
export const SYNC_SILENCE_MS = 60_000;
/** Syncs of a job that may fail at one node, for reasons that pass, before it is not asked again; ends of links don't count. */
export const SYNC_FAILURES_MAX = 16;
/** An executor that said nothing after `job.start` over a living link is asked what became of it. */
export const START_SILENCE_MS = 30_000;
/** So long it may take to answer `job.attach`. */
export const ATTACH_TIMEOUT_MS = 15_000;
/** After the end of the link: a node that is dead and where nobody listens has lost what ran there. */
export const REFUSED_GRACE_MS = 10_000;
/** A node that is only silent may be behind a cut cable: so long its attempts are waited for, and it where files were under way to it. */
export const LINK_GRACE_MS = 60_000;
/** Attempts with an unknown end that are asked after when their node is back; the oldest are given up. */
export const LOOSE_ATTEMPTS_MAX = 4096;
/** A job that waits this long rises by one step of priority, up to the highest that waits: none starves. */
export const AGING_MS = 10_000;
/** Places in the queue that are told; what is behind them is told that it is. */
export const PLACES_TOLD_MAX = 256;
/** Waiting jobs that are told again, each second, how far they have come. */
export const PLACES_TOLD_AGAIN_MAX = 64;
/** After a start of this daemon, its queued jobs wait so long for the nodes that they need to be found. */
export const RESTORE_PATIENCE_MS = 30_000;
