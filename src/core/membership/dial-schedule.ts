import type { Random } from '../../base/random.ts';
import { MS_PER_SECOND } from '../../base/units.ts';
import type { MemberAddress } from '../../wire/membership.ts';

const DIAL_BACKOFF_MIN_MS = 250;
const DIAL_BACKOFF_MAX_MS = 30 * MS_PER_SECOND;
/** Between the starts of two addresses of one target: for whoever carries out a dial. */
export const DIAL_STAGGER_MS = 250;
export const DIAL_TARGETS_MAX = 2048;
export const DIALS_UNDER_WAY_MAX = 32;

export interface Dial {
  readonly key: string;
  readonly addresses: readonly MemberAddress[];
}

type Target = { readonly addresses: readonly MemberAddress[]; readonly failures: number } & (
  | { readonly state: 'waiting'; readonly atMs: number }
  | { readonly state: 'dialling' }
  | { readonly state: 'linked' }
);

/**
 * Whom to dial when: every wanted target that has no link, with a jittered exponential back-off of 250 ms to 30 s.
 *
 *     want -> waiting -> (due) dialling -> linked -> (link closed) waiting, due at once
 *                ^------- failed ------'
 *
 * A target's key is a node id, or whatever names an address of which the node is not known. Each dial that `takeDue`
 * gives out is ended by one `linked`, `failed` or `unwant`.
 */
export class DialSchedule {
  readonly #random: Random;
  readonly #targets = new Map<string, Target>();

  constructor(random: Random) {
    this.#random = random;
  }

  /** @returns false where there are too many targets already and this is a new one */
  want(key: string, addresses: readonly MemberAddress[], nowMs: number): boolean {
    const target = this.#targets.get(key);
    if (target === undefined && this.#targets.size >= DIAL_TARGETS_MAX) return false;
    if (target === undefined) {
      this.#targets.set(key, { addresses, failures: 0, state: 'waiting', atMs: nowMs });
    } else if (target.state === 'waiting' && !sameAddresses(target.addresses, addresses)) {
      // Another address is news: whatever failed before says little about it.
      this.#targets.set(key, { addresses, failures: 0, state: 'waiting', atMs: nowMs });
    } else {
      this.#targets.set(key, { ...target, addresses });
    }
    return true;
  }

  unwant(key: string): void {
    this.#targets.delete(key);
  }

  /** A link stands, whoever dialled it. */
  linked(key: string): void {
    const target = this.#targets.get(key);
    if (target !== undefined) this.#targets.set(key, { addresses: target.addresses, failures: 0, state: 'linked' });
  }

  /** The link closed: dial at once, since the answer tells a dead peer from a lost link. */
  unlinked(key: string, nowMs: number): void {
    const target = this.#targets.get(key);
    if (target === undefined || target.state !== 'linked') return;
    this.#targets.set(key, { addresses: target.addresses, failures: 0, state: 'waiting', atMs: nowMs });
  }

  /** Every address failed. */
  failed(key: string, nowMs: number): void {
    const target = this.#targets.get(key);
    if (target === undefined || target.state !== 'dialling') return;
    const failures = target.failures + 1;
    const atMs = nowMs + dialBackoffMs(failures, this.#random.next());
    this.#targets.set(key, { addresses: target.addresses, failures, state: 'waiting', atMs });
  }

  /** The network changed, or this machine woke: all back-off is void. */
  hurry(nowMs: number): void {
    for (const [key, target] of this.#targets) {
      if (target.state !== 'waiting') continue;
      this.#targets.set(key, { ...target, failures: 0, atMs: Math.min(target.atMs, nowMs) });
    }
  }

  /** The dials that are due now, longest due first; they count as under way from here on. */
  takeDue(nowMs: number): Dial[] {
    let underWay = 0;
    const due: { readonly key: string; readonly atMs: number; readonly target: Target }[] = [];
    for (const [key, target] of this.#targets) {
      if (target.state === 'dialling') underWay += 1;
      if (target.state !== 'waiting' || target.atMs > nowMs || target.addresses.length === 0) continue;
      due.push({ key, atMs: target.atMs, target });
    }
    const taken = due.sort((a, b) => a.atMs - b.atMs).slice(0, Math.max(0, DIALS_UNDER_WAY_MAX - underWay));
    for (const { key, target } of taken) {
      this.#targets.set(key, { addresses: target.addresses, failures: target.failures, state: 'dialling' });
    }
    return taken.map(({ key, target }) => ({ key, addresses: target.addresses }));
  }

  /** When `takeDue` will next have something, or null (also while as many dials as allowed are under way). */
  nextDeadlineMs(): number | null {
    let next: number | null = null;
    let underWay = 0;
    for (const target of this.#targets.values()) {
      if (target.state === 'dialling') underWay += 1;
      if (target.state !== 'waiting' || target.addresses.length === 0) continue;
      next = next === null ? target.atMs : Math.min(next, target.atMs);
    }
    return underWay >= DIALS_UNDER_WAY_MAX ? null : next;
  }
}

/**
 * @param failures in a row, 1 or more
 * @param jitter in [0, 1): the delay is between half and all of the exponential step
 */
export function dialBackoffMs(failures: number, jitter: number): number {
  const step = Math.min(DIAL_BACKOFF_MAX_MS, DIAL_BACKOFF_MIN_MS * 2 ** Math.min(failures - 1, 20));
  return Math.round(step * (0.5 + jitter / 2));
}

function sameAddresses(a: readonly MemberAddress[], b: readonly MemberAddress[]): boolean {
  return a.length === b.length && a.every((one, i) => one.host === b[i]?.host && one.port === b[i]?.port);
}
