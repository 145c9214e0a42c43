import type { TrustEffect, TrustInput, TrustMachine } from '../core/trust/trust-machine.ts';
import { nowMs, type Machine } from './core-loop.ts';

/** A set that is to change soon is looked at no more often than this. */
const EXPIRY_LOOK_MS_MIN = 1000;

/** The trust machine on the loop: grants end by the wall clock, the loop's timer runs on the monotonic one. */
export function onBothClocks(trust: TrustMachine): Machine<TrustInput, TrustEffect> {
  return {
    step: (input, now) => trust.step(input, { nowMs: now, wallMs: Date.now() }),
    nextDeadlineMs: () => {
      const { nextExpiryWallMs } = trust.trust;
      if (nextExpiryWallMs === null) return null;
      return nowMs() + Math.max(EXPIRY_LOOK_MS_MIN, nextExpiryWallMs - Date.now());
    },
  };
}
