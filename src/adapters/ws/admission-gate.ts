import { addressGroup } from './address-text.ts';
import {
  ADDRESSES_MAX,
  FAILURES_PER_ADDRESS_BURST,
  FAILURES_PER_ADDRESS_PER_S,
  PENDING_MAX,
  PENDING_PER_ADDRESS_MAX,
  PENDING_YIELDS_AFTER_MS,
  STANDING_BURST,
  STANDING_MS,
  STANDING_PENDING_MAX,
  STANDING_PER_S,
} from './limits.ts';
import { TokenBucket } from './token-bucket.ts';

/** A connection that has not shown a trusted key yet. It ends once; later calls do nothing. */
export interface Ticket {
  /** Its key is trusted: it counts for its address no more, and the address gains standing. */
  trusted(nowMs: number): void;
  /** Its key is unknown, or it got nowhere: one failure of its address. */
  failed(nowMs: number): void;
}

interface Pending {
  readonly sinceMs: number;
  readonly evict: () => void;
  readonly end: (nowMs: number) => void;
}

interface AddressEntry {
  readonly pending: Set<Pending>;
  readonly failures: TokenBucket;
  readonly lanePending: Set<Pending>;
  readonly lane: TokenBucket;
  trustedAtMs: number | null;
}

/**
 * Decides at TCP accept, before a byte is read, whether an address may try TLS. Nobody's key is known then, so:
 *
 * - At most PENDING_PER_ADDRESS_MAX connections of an address, and PENDING_MAX of all, are without a trusted key. When
 *   that is full, one older than PENDING_YIELDS_AFTER_MS gives way: who never finishes a handshake cannot keep
 *   others out, and who sends a burst cannot push out handshakes that are going on.
 * - An address whose connections fail is let in at the rate of its failure bucket. A trusted key costs no token.
 * - Where a trusted key was seen within STANDING_MS, a second, small lane with a rate of its own opens once the first
 *   is exhausted. So a stranger who floods from a trusted peer's address slows that peer's next link down, but cannot
 *   keep it out: the lane refills faster than once per try of a dial, and a dial tries again within its time.
 *   Links that are up are not counted here at all.
 *
 * IPv6 addresses count by their /64, which one machine may have all of. Time is an argument: tests need no clock.
 */
export class AdmissionGate {
  readonly #addresses = new Map<string, AddressEntry>();
  readonly #pending = new Set<Pending>();

  get pendingCount(): number {
    return this.#pending.size;
  }

  get addressCount(): number {
    return this.#addresses.size;
  }

  /** @param evict called where this connection must give way to a newer one; its ticket has failed by then */
  admit(host: string, nowMs: number, evict: () => void): Ticket | null {
    const entry = this.#entry(addressGroup(host), nowMs);
    if (entry === null) return null;
    if (entry.failures.has(nowMs) && makeRoom(entry.pending, PENDING_PER_ADDRESS_MAX, nowMs)) {
      return this.#issue(entry, entry.pending, nowMs, evict);
    }
    const standing = entry.trustedAtMs !== null && nowMs - entry.trustedAtMs < STANDING_MS;
    if (!standing || !makeRoom(entry.lanePending, STANDING_PENDING_MAX, nowMs)) return null;
    return entry.lane.take(nowMs) ? this.#issue(entry, entry.lanePending, nowMs, evict) : null;
  }

  /** A trusted key was found at this address by dialling it. */
  noteTrusted(host: string, nowMs: number): void {
    const entry = this.#entry(addressGroup(host), nowMs);
    if (entry !== null) entry.trustedAtMs = nowMs;
  }

  #issue(entry: AddressEntry, lane: Set<Pending>, nowMs: number, evict: () => void): Ticket | null {
    if (!makeRoom(this.#pending, PENDING_MAX, nowMs)) return null;
    const end = (): boolean => this.#pending.delete(pending) && lane.delete(pending);
    const failed = (atMs: number): void => {
      if (end()) entry.failures.charge(atMs);
    };
    const pending: Pending = { sinceMs: nowMs, evict, end: failed };
    this.#pending.add(pending);
    lane.add(pending);
    return {
      failed,
      trusted: (atMs) => {
        if (end()) entry.trustedAtMs = atMs;
      },
    };
  }

  /** Kept in the order of last use, so that the bound drops who was away longest. */
  #entry(group: string, nowMs: number): AddressEntry | null {
    const known = this.#addresses.get(group);
    if (known !== undefined) {
      this.#addresses.delete(group);
      this.#addresses.set(group, known);
      return known;
    }
    if (this.#addresses.size >= ADDRESSES_MAX && !this.#forgetOne(nowMs)) return null;
    const entry: AddressEntry = {
      pending: new Set(),
      failures: new TokenBucket(FAILURES_PER_ADDRESS_PER_S, FAILURES_PER_ADDRESS_BURST, nowMs),
      lanePending: new Set(),
      lane: new TokenBucket(STANDING_PER_S, STANDING_BURST, nowMs),
      trustedAtMs: null,
    };
    this.#addresses.set(group, entry);
    return entry;
  }

  /** Prefers what is worth nothing; else the longest unused without a connection, of which there are always some. */
  #forgetOne(nowMs: number): boolean {
    let fallback: string | null = null;
    let looked = 0;
    for (const [group, entry] of this.#addresses) {
      if (entry.pending.size > 0 || entry.lanePending.size > 0) continue;
      const standing = entry.trustedAtMs !== null && nowMs - entry.trustedAtMs < STANDING_MS;
      if (!standing && entry.failures.isFull(nowMs)) {
        this.#addresses.delete(group);
        return true;
      }
      fallback ??= group;
      if (++looked >= FORGET_LOOKS_MAX) break;
    }
    return fallback !== null && this.#addresses.delete(fallback);
  }
}

/** How many addresses are looked at for one to forget: bounds the work of an accept. */
const FORGET_LOOKS_MAX = 64;

function makeRoom(pending: ReadonlySet<Pending>, max: number, nowMs: number): boolean {
  if (pending.size < max) return true;
  const [oldest] = pending;
  if (oldest === undefined || nowMs - oldest.sinceMs < PENDING_YIELDS_AFTER_MS) return false;
  oldest.end(nowMs);
  oldest.evict();
  return true;
}
