import type { TrustEffect, TrustInput, TrustMachine } from '../core/trust/trust-machine.ts';
import { nowMs, type Machine } from './core-loop.ts';

/** A set that is to change soon is looked at no more often than this. */
const EXPIRY_LOOK_MS_MIN = 1000;
/** The wall clock may be set: however far the expiry seems, it is looked at again after this. */
const EXPIRY_LOOK_MS_MAX = 60_000;

/** The trust machine on the loop: grants end by the wall clock, the loop's timer runs on the monotonic one. */
export function onBothClocks(trust: TrustMachine): Machine<TrustInput, TrustEffect> {
  // Fixed once it is told: a deadline that is counted from each asking would never come.
  let deadline: { readonly expiryWallMs: number; readonly atMs: number } | null = null;
  return {
    step: (input, now) => {
      deadline = null;
      return trust.step(input, { nowMs: now, wallMs: Date.now() });
    },
    nextDeadlineMs: () => {
      const { nextExpiryWallMs } = trust.trust;
      if (nextExpiryWallMs === null) return null;
      if (deadline?.expiryWallMs !== nextExpiryWallMs) {
        const waitMs = Math.max(EXPIRY_LOOK_MS_MIN, Math.min(EXPIRY_LOOK_MS_MAX, nextExpiryWallMs - Date.now()));
        deadline = { expiryWallMs: nextExpiryWallMs, atMs: nowMs() + waitMs };
      }
      return deadline.atMs;
    },
  };
}
