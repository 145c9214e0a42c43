import { addressGroup } from './address-text.ts';
import {
  ADDRESSES_MAX,
  FAILURES_PER_ADDRESS_BURST,
  FAILURES_PER_ADDRESS_PER_S,
  MEMBER_PENDING_MAX,
  MEMBER_PENDING_PER_ADDRESS_MAX,
  MEMBERS_PER_ADDRESS_BURST,
  MEMBERS_PER_ADDRESS_PER_S,
  PENDING_MAX,
  PENDING_PER_ADDRESS_MAX,
  PENDING_YIELDS_AFTER_MS,
} from './limits.ts';
import { TokenBucket } from '../../base/token-bucket.ts';

/** A connection that has not shown a trusted key yet. It ends once; later calls do nothing. */
export interface Ticket {
  /** Its key is trusted: it counts for its address no more. */
  trusted(): void;
  /** Its key is unknown, or it got nowhere: one failure of its address. */
  failed(nowMs: number): void;
}

interface Pending {
  readonly sinceMs: number;
  readonly evict: () => void;
  readonly fail: (nowMs: number) => void;
}

interface AddressEntry {
  readonly failures: TokenBucket;
  readonly pending: Set<Pending>;
  readonly members: TokenBucket;
  readonly memberPending: Set<Pending>;
}

/**
 * Decides at TCP accept whether an address may try TLS. Nobody's key is known then, so:
 *
 * - At most PENDING_PER_ADDRESS_MAX connections of an address, and PENDING_MAX of all, are without a trusted key. When
 *   that is full, one older than PENDING_YIELDS_AFTER_MS gives way: who never finishes a handshake cannot keep
 *   others out, and who sends a burst cannot push out handshakes that are going on.
 * - An address whose connections fail is let in at the rate of its failure bucket. A trusted key costs no token.
 * - Who is turned away by that may knock (knock.ts): with the mesh's knock in the first bytes it is let in by
 *   `admitMember`, which has bounds of its own. So a stranger's flood from a trusted peer's address, or of all
 *   addresses, does not keep trusted peers out. A knock proves nothing: TLS and the key decide as ever. Who overheard
 *   one can use up that lane of his own address too; then the others there get the share that their tries have of all.
 *
 * IPv6 addresses count by their /64, which one machine may have all of. Time is an argument: tests need no clock.
 */
export class AdmissionGate {
  readonly #addresses = new Map<string, AddressEntry>();
  readonly #pending = new Set<Pending>();
  readonly #memberPending = new Set<Pending>();

  get pendingCount(): number {
    return this.#pending.size + this.#memberPending.size;
  }

  get addressCount(): number {
    return this.#addresses.size;
  }

  /** @param evict called where this connection must give way to a newer one; its ticket has failed by then */
  admit(host: string, nowMs: number, evict: () => void): Ticket | null {
    const entry = this.#entry(addressGroup(host), nowMs);
    if (entry === null || !entry.failures.has(nowMs)) return null;
    if (!makeRoom(entry.pending, PENDING_PER_ADDRESS_MAX, nowMs)) return null;
    if (!makeRoom(this.#pending, PENDING_MAX, nowMs)) return null;
    return issue(entry, [entry.pending, this.#pending], nowMs, evict);
  }

  /** For a connection that `admit` turned away and that knocked. */
  admitMember(host: string, nowMs: number, evict: () => void): Ticket | null {
    const entry = this.#entry(addressGroup(host), nowMs);
    if (entry === null || !makeRoom(entry.memberPending, MEMBER_PENDING_PER_ADDRESS_MAX, nowMs)) return null;
    if (!makeRoom(this.#memberPending, MEMBER_PENDING_MAX, nowMs) || !entry.members.take(nowMs)) return null;
    return issue(entry, [entry.memberPending, this.#memberPending], nowMs, evict);
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
      failures: new TokenBucket(FAILURES_PER_ADDRESS_PER_S, FAILURES_PER_ADDRESS_BURST, nowMs),
      pending: new Set(),
      members: new TokenBucket(MEMBERS_PER_ADDRESS_PER_S, MEMBERS_PER_ADDRESS_BURST, nowMs),
      memberPending: new Set(),
    };
    this.#addresses.set(group, entry);
    return entry;
  }

  /** Prefers one that says nothing any more; else the longest unused without a connection. */
  #forgetOne(nowMs: number): boolean {
    let fallback: string | null = null;
    let looked = 0;
    for (const [group, entry] of this.#addresses) {
      if (entry.pending.size > 0 || entry.memberPending.size > 0) continue;
      if (entry.failures.isFull(nowMs) && entry.members.isFull(nowMs)) return this.#addresses.delete(group);
      fallback ??= group;
      if (++looked >= FORGET_LOOKS_MAX) break;
    }
    return fallback !== null && this.#addresses.delete(fallback);
  }
}

/** How many addresses are looked at for one to forget: bounds the work of an accept. */
const FORGET_LOOKS_MAX = 64;

function issue(
  entry: AddressEntry,
  counts: readonly [Set<Pending>, Set<Pending>],
  nowMs: number,
  evict: () => void,
): Ticket {
  const [ofAddress, ofAll] = counts;
  const end = (): boolean => ofAddress.delete(pending) && ofAll.delete(pending);
  const fail = (atMs: number): void => {
    if (end()) entry.failures.charge(atMs);
  };
  const pending: Pending = { sinceMs: nowMs, evict, fail };
  ofAddress.add(pending);
  ofAll.add(pending);
  return { failed: fail, trusted: () => void end() };
}

function makeRoom(pending: ReadonlySet<Pending>, max: number, nowMs: number): boolean {
  if (pending.size < max) return true;
  const [oldest] = pending;
  if (oldest === undefined || nowMs - oldest.sinceMs < PENDING_YIELDS_AFTER_MS) return false;
  oldest.fail(nowMs);
  oldest.evict();
  return true;
}
