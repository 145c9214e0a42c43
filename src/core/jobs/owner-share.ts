import type { Load } from '../../wire/facts.ts';

/** Below this much waiting for the CPU (PSI `some avg10`, percent) there is enough for the owner and for others. */
const OWNER_PSI_PERCENT_MIN = 10;
/** A job that has just ended still shows in what was measured: one sample, and the time until the next. */
export const ENDED_SHOWS_MS = 2500;
/** A busy owner still lends one slot, so that a job need not wait for ever where every owner is busy. */
const OTHERS_SLOTS_MIN = 1;
/** Ends that are remembered for that time. */
const ENDS_MAX = 1024;

/**
 * How many slots other nodes may have while the owner of this machine works on it (`share.yield_to_owner`).
 *
 * What the owner uses is what is measured, less a core (or what was reserved) for each job that runs here or has just
 * ended: the smaller one of the busy cores of the last second and of the one-minute load, so that neither a moment's peak
 * nor a past one counts. A job that uses more cores than it asked for looks like a busy owner; others then wait, which on a
 * machine that is full does no harm.
 */
export class OwnerShare {
  #ends: { readonly atMs: number; readonly cores: number }[] = [];

  /** A job ended here that used so many cores. */
  ended(cores: number, nowMs: number): void {
    this.#ends.push({ atMs: nowMs, cores });
    if (this.#ends.length > ENDS_MAX) this.#ends.shift();
  }

  /**
   * @param machine slots and cores of this node
   * @param coresInUse by jobs that run here now
   */
  slotsForOthers(
    machine: { readonly slots: number; readonly cores: number },
    load: Pick<Load, 'cpu_percent' | 'load_1m' | 'psi_cpu_some_avg10'>,
    coresInUse: number,
    nowMs: number,
  ): number {
    const { slots, cores } = machine;
    if (load.psi_cpu_some_avg10 !== null && load.psi_cpu_some_avg10 < OWNER_PSI_PERCENT_MIN) return slots;
    this.#ends = this.#ends.filter(({ atMs }) => atMs > nowMs - ENDED_SHOWS_MS);
    const ended = this.#ends.reduce((sum, end) => sum + end.cores, 0);
    const busyCores = Math.min((load.cpu_percent / 100) * cores, load.load_1m);
    const ownersCores = Math.max(0, busyCores - coresInUse - ended);
    const yielded = Math.floor((ownersCores / cores) * slots);
    return Math.min(slots, Math.max(OTHERS_SLOTS_MIN, slots - yielded));
  }
}
