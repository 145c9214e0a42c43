import type { NodeId } from '../../base/ids.ts';
import {
  MEMBERS_MAX,
  TOMBSTONE_MS,
  type DigestEntry,
  type MemberState,
  type RecordItem,
} from '../../wire/membership.ts';
import type { Contacts } from './contacts.ts';
import type { ChangeCause, Member, MembershipEffect } from './contract.ts';
import { mergeClaim, type MemberStamp } from './merge.ts';
import { ageForWire, digestEntry, isNewer, type SignedRecord } from './record.ts';
import { FULL_MESH_SUSPICION, remainingSuspicionMs, SILENCE_MS } from './suspicion.ts';

type MemberStatus =
  | { readonly state: 'alive'; readonly sinceMs: number }
  /** `deadSinceMs`: since when others hold it dead, by their word; kept so that tombstones everywhere end together. */
  | { readonly state: 'suspect'; readonly sinceMs: number; readonly deadSinceMs: number | null }
  | { readonly state: 'dead'; readonly sinceMs: number }
  | { readonly state: 'left'; readonly sinceMs: number };

/** What we hold of one other member. */
interface MemberView {
  readonly signed: SignedRecord;
  readonly status: MemberStatus;
  /** When the newest record of it arrived: a member heard of just now is given time to show itself. */
  readonly learnedMs: number;
}

/** The other members, with this node and the tombstones at most MEMBERS_MAX, and how time changes them. */
export class MemberTable {
  readonly #views = new Map<NodeId, MemberView>();
  readonly #contacts: Contacts;
  readonly #emit: (effect: MembershipEffect) => void;
  #quietFloorMs = Number.NEGATIVE_INFINITY;

  constructor(contacts: Contacts, emit: (effect: MembershipEffect) => void) {
    this.#contacts = contacts;
    this.#emit = emit;
  }

  /** The stamp of what we hold, or null of an unknown member. */
  stamp(id: NodeId): MemberStamp | null {
    const view = this.#views.get(id);
    return view === undefined ? null : stampOf(view);
  }

  row(id: NodeId): Member | null {
    const view = this.#views.get(id);
    return view === undefined ? null : this.#row(id, view);
  }

  rows(): Member[] {
    return [...this.#views].map(([id, view]) => this.#row(id, view));
  }

  digest(nowMs: number): DigestEntry[] {
    return [...this.#views.values()].map(({ signed, status }) =>
      digestEntry(signed.record, status.state, ageForWire(status.state, status.sinceMs, nowMs)),
    );
  }

  /** The records that a peer with this digest lacks. */
  missingFrom(theirs: ReadonlyMap<NodeId, DigestEntry>, nowMs: number): RecordItem[] {
    const items: RecordItem[] = [];
    for (const [id, { signed, status }] of this.#views) {
      const entry = theirs.get(id);
      if (entry !== undefined && !isNewer(signed.record, entry)) continue;
      items.push({ ...signed, state: status.state, age_ms: ageForWire(status.state, status.sinceMs, nowMs) });
    }
    return items;
  }

  /** Another node's word about a record that we hold. */
  hearsay(entry: DigestEntry, nowMs: number): void {
    const view = this.#views.get(entry.id);
    if (view === undefined) return;
    const claim = { ...entry, record: null };
    const merged = mergeClaim(stampOf(view), claim, this.#contacts.heardLately(entry.id, nowMs));
    if (merged !== null) this.#setStatus(entry.id, view, statusFor(merged.state, entry, nowMs), 'hearsay');
  }

  /** A record whose signature was checked. `own`: it came on its subject's own link. */
  adopt(item: RecordItem, own: boolean, nowMs: number): void {
    const { record } = item;
    const view = this.#views.get(record.id);
    // A tombstone that ended here must not come back from where it has not ended yet.
    if (view === undefined && item.age_ms >= TOMBSTONE_MS) return;
    const state = own ? 'alive' : item.state;
    const claim = { incarnation: record.incarnation, version: record.version, state, record: record.state_claim };
    const firstHand = own || this.#contacts.heardLately(record.id, nowMs);
    const merged = mergeClaim(view === undefined ? null : stampOf(view), claim, firstHand);
    if (merged === null) return;
    const kept = view !== undefined && view.status.state === merged.state && sameSpell(view, record.incarnation);
    const status = kept ? view.status : statusFor(merged.state, { state, age_ms: item.age_ms }, nowMs);
    const signed = view === undefined || merged.takesRecord ? { record, sig: item.sig } : view.signed;
    if (view === undefined && !this.#makeRoom(status)) return;
    this.#views.set(record.id, { signed, status, learnedMs: nowMs });
    this.#changed(record.id, view?.status.state ?? null, status.state, 'record');
    if (status.state === 'left') this.#emit({ kind: 'dial_unwanted', peer: record.id });
    else if (!this.#contacts.linked(record.id)) this.wantDial(record.id);
  }

  /** Nobody listens where a member was: suspect at once. */
  refused(id: NodeId, nowMs: number): void {
    const view = this.#views.get(id);
    if (view === undefined || view.status.state !== 'alive' || this.#contacts.linked(id)) return;
    this.#setStatus(id, view, { state: 'suspect', sinceMs: nowMs, deadSinceMs: null }, 'refused');
  }

  linkChanged(id: NodeId, cause: 'linked' | 'unlinked'): void {
    const view = this.#views.get(id);
    if (view === undefined) return;
    this.#changed(id, view.status.state, view.status.state, cause);
    if (cause === 'unlinked' && view.status.state !== 'left') this.wantDial(id);
  }

  wantDial(id: NodeId): void {
    const view = this.#views.get(id);
    if (view !== undefined) this.#emit({ kind: 'dial_wanted', peer: id, addresses: view.signed.record.addresses });
  }

  keepOnly(trusted: ReadonlySet<NodeId>): void {
    for (const [id, { status }] of this.#views) if (!trusted.has(id)) this.#forget(id, status.state, 'untrusted');
  }

  /** Silence counts from now on: this process did not run, so that it heard nobody. */
  restartClocks(nowMs: number): void {
    this.#quietFloorMs = nowMs;
  }

  /** Silence, unrefuted suspicions, ended tombstones. `accusing` is false while nobody may be accused. */
  passTime(nowMs: number, accusing: boolean): void {
    for (const [id, view] of this.#views) {
      if (this.#deadlineMs(id, view, accusing) > nowMs) continue;
      const { status } = view;
      if (status.state === 'alive') {
        this.#setStatus(id, view, { state: 'suspect', sinceMs: nowMs, deadSinceMs: null }, 'silence');
      } else if (status.state === 'suspect') {
        this.#setStatus(id, view, { state: 'dead', sinceMs: status.deadSinceMs ?? nowMs }, 'unrefuted');
        // A link that stands but carries nothing: only a fresh one can show that the peer is back.
        if (this.#contacts.linked(id)) this.#emit({ kind: 'close_link', peer: id, reason: 'dead: nothing heard' });
        else this.wantDial(id);
      } else {
        this.#forget(id, status.state, 'forgotten');
      }
    }
  }

  /** When `passTime` will next change something; infinite where nothing is to come. */
  nextDeadlineMs(accusing: boolean): number {
    let next = Number.POSITIVE_INFINITY;
    for (const [id, view] of this.#views) next = Math.min(next, this.#deadlineMs(id, view, accusing));
    return next;
  }

  #deadlineMs(id: NodeId, view: MemberView, accusing: boolean): number {
    const { status } = view;
    if (status.state === 'dead' || status.state === 'left') return status.sinceMs + TOMBSTONE_MS;
    if (!accusing) return Number.POSITIVE_INFINITY;
    const quietMs = Math.max(view.learnedMs, this.#contacts.get(id)?.heardMs ?? view.learnedMs, this.#quietFloorMs);
    if (status.state === 'alive') return quietMs + SILENCE_MS;
    return Math.max(status.sinceMs, quietMs) + remainingSuspicionMs(0, 0, FULL_MESH_SUSPICION);
  }

  #setStatus(id: NodeId, view: MemberView, status: MemberStatus, cause: ChangeCause): void {
    this.#views.set(id, { ...view, status });
    this.#changed(id, view.status.state, status.state, cause);
  }

  #forget(id: NodeId, was: MemberState, cause: ChangeCause): void {
    this.#views.delete(id);
    this.#emit({ kind: 'dial_unwanted', peer: id });
    this.#changed(id, was, null, cause);
  }

  /** @returns false where the table is full of members that matter more */
  #makeRoom(status: MemberStatus): boolean {
    if (this.#views.size < MEMBERS_MAX - 1) return true;
    if (status.state !== 'alive') return false;
    const tombstones = [...this.#views].filter(([, view]) => isTombstone(view.status.state));
    const oldest = tombstones.sort(([, a], [, b]) => a.status.sinceMs - b.status.sinceMs)[0];
    if (oldest === undefined) return false;
    this.#forget(oldest[0], oldest[1].status.state, 'forgotten');
    return true;
  }

  #changed(peer: NodeId, was: MemberState | null, state: MemberState | null, cause: ChangeCause): void {
    this.#emit({ kind: 'changed', peer, was, state, cause });
  }

  #row(id: NodeId, view: MemberView): Member {
    const { record } = view.signed;
    const contact = this.#contacts.get(id);
    return {
      id,
      state: view.status.state,
      reachable: this.#contacts.linked(id),
      facts: record.facts,
      addresses: record.addresses,
      load: contact?.load ?? null,
      loadAtMs: contact?.loadAtMs ?? null,
      heardAtMs: Math.max(view.learnedMs, contact?.heardMs ?? view.learnedMs),
      incarnation: record.incarnation,
      version: record.version,
      sinceMs: view.status.sinceMs,
    };
  }
}

function stampOf(view: MemberView): MemberStamp {
  const { incarnation, version } = view.signed.record;
  return { incarnation, version, state: view.status.state };
}

/** A state goes on through new versions of a record; a new incarnation ends it, but for one that stays alive. */
function sameSpell(view: MemberView, incarnation: number): boolean {
  return view.status.state === 'alive' || view.signed.record.incarnation === incarnation;
}

function isTombstone(state: MemberState): boolean {
  return state === 'dead' || state === 'left';
}

function statusFor(
  state: MemberState,
  claim: { readonly state: MemberState; readonly age_ms: number },
  nowMs: number,
): MemberStatus {
  const ageMs = isTombstone(claim.state) ? claim.age_ms : 0;
  if (state !== 'suspect') return { state, sinceMs: state === 'left' ? nowMs - ageMs : nowMs };
  return { state, sinceMs: nowMs, deadSinceMs: claim.state === 'dead' ? nowMs - ageMs : null };
}
