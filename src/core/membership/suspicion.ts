import { MS_PER_SECOND } from '../../base/units.ts';

/** A linked member that says nothing for this long is suspect (2.5 heartbeats). */
export const SILENCE_MS = 5 * MS_PER_SECOND;
export const HEARTBEAT_MS = 2 * MS_PER_SECOND;
/** Load that changed much is sent early, but never sooner than this after the last heartbeat. */
export const HEARTBEAT_MIN_MS = MS_PER_SECOND;
/** A step this late means that this process did not run: what it seems not to have heard proves nothing. */
export const FREEZE_LATE_MS = 2 * MS_PER_SECOND;
/** After a freeze: time to work off what arrived meanwhile before refused dials count again. */
export const CATCH_UP_MS = 2 * MS_PER_SECOND;
/** After sleep: how long at most to wait for another node's digest before accusing anyone. */
export const WAKE_SYNC_MS_MAX = 10 * MS_PER_SECOND;

/** How long a suspicion lasts before its subject is declared dead. */
export interface SuspicionLimits {
  /** With every wanted confirmation. */
  readonly minMs: number;
  /** With none. */
  readonly maxMs: number;
  /** Other accusers that bring the time from max down to min; 0 where everyone sees for itself. */
  readonly confirmationsWanted: number;
}

/** In a full mesh every node has a link of its own to the subject, so that confirmations add nothing. */
export const FULL_MESH_SUSPICION: SuspicionLimits = {
  minMs: 4 * MS_PER_SECOND,
  maxMs: 4 * MS_PER_SECOND,
  confirmationsWanted: 0,
};

/**
 * How long to wait yet before a suspect is declared dead: the more independent accusers, the shorter, on a logarithmic
 * scale (Lifeguard, Dadgar et al. 2017, §IV-B).
 *
 * @param elapsedMs since the suspicion began, or since the last first-hand word if that was later
 * @param confirmations distinct other nodes that accuse it too
 * @returns milliseconds; zero or below means now
 */
export function remainingSuspicionMs(elapsedMs: number, confirmations: number, limits: SuspicionLimits): number {
  const { minMs, maxMs, confirmationsWanted } = limits;
  const share =
    confirmationsWanted <= 0 ? 1 : Math.min(1, Math.log(confirmations + 1) / Math.log(confirmationsWanted + 1));
  return Math.floor(maxMs - share * (maxMs - minMs)) - elapsedMs;
}
