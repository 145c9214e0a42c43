import { unreachable } from '../../base/assert.ts';
import type { NodeId } from '../../base/ids.ts';
import { pick } from '../../base/random.ts';
import { MS_PER_SECOND } from '../../base/units.ts';
import type { Load } from '../../wire/facts.ts';
import type { DigestEntry, MemberMessage, MemberMessageOf, MemberState, RecordItem } from '../../wire/membership.ts';
import { Contacts } from './contacts.ts';
import type { Member, MembershipEffect, MembershipInput, MembershipOptions } from './contract.ts';
import { loadChangedMuch } from './load-change.ts';
import { MemberTable } from './member-table.ts';
import { digestEntry, isNewer, pageRecords, type SignedRecord } from './record.ts';
import { SelfRecord } from './self-record.ts';
import { CATCH_UP_MS, FREEZE_LATE_MS, HEARTBEAT_MIN_MS, HEARTBEAT_MS, WAKE_SYNC_MS_MAX } from './suspicion.ts';
import { PendingVerifications } from './verification.ts';

/** Push-pull with one random linked peer, ± 10 %. */
const SYNC_MS = 10 * MS_PER_SECOND;
/** Between two digests asked of one peer because its heartbeat showed something newer. */
const ASK_MIN_MS = MS_PER_SECOND;
/** Between two answers with records to one peer, so that asking is never cheaper than answering. */
const PUSH_MIN_MS = 500;
/** Between two refutations: each costs a durable write and a signature, and accusations are repeated anyway. */
const REFUTE_MIN_MS = MS_PER_SECOND;

/** While it lasts, nobody is accused: this process did not run, or the machine slept. */
type Hold = { readonly kind: 'none' } | { readonly kind: 'catching_up' | 'syncing'; readonly untilMs: number };

/**
 * The membership of one node in a full mesh (DESIGN §4): who is there, as far as this node knows, and its own place in
 * it. Sans-IO: put an input in, carry out the effects in order, call again at `nextDeadlineMs()` with `timer`.
 *
 * The states and their invariants are in merge.ts; this node's own record is in self-record.ts. Besides:
 *
 * 1. Only records of trusted ids, verified against their subject's key, make rows (`#recordVerified`).
 * 2. Nothing heard before a freeze or a sleep of this process counts as silence after it (`#thaw`, `#woke`).
 * 3. A first-hand word never changes a state by itself: its subject is told what is held of it (`member.accuse`) and
 *    answers with a record of a higher incarnation.
 *
 * Load is never relayed: in a full mesh every node has a link of its own to every other.
 */
export class Membership {
  readonly #options: MembershipOptions;
  readonly #self: SelfRecord;
  readonly #contacts = new Contacts();
  readonly #table: MemberTable;
  readonly #verifications = new PendingVerifications();
  #trusted: ReadonlySet<NodeId> = new Set();
  #effects: MembershipEffect[] = [];
  #nowMs = Number.NEGATIVE_INFINITY;
  #armedMs: number | null = null;
  #hold: Hold = { kind: 'none' };
  #heartbeatAtMs: number | null = null;
  #lastHeartbeatMs = Number.NEGATIVE_INFINITY;
  #lastRefutedMs = Number.NEGATIVE_INFINITY;
  #syncAtMs: number | null = null;
  #seq = 0;
  #load: { readonly load: Load; readonly atMs: number } | null = null;
  #sentLoad: Load | null = null;
  #announcedAtMs = 0;

  constructor(options: MembershipOptions) {
    this.#options = options;
    this.#self = new SelfRecord(options.mesh, options.self, options.incarnation);
    this.#table = new MemberTable(this.#contacts, (effect) => this.#emit(effect));
  }

  /**
   * @param nowMs the monotonic clock, in milliseconds; going back is read as standing still
   * @returns what to carry out, in this order
   */
  step(input: MembershipInput, nowMs: number): MembershipEffect[] {
    this.#nowMs = Math.max(this.#nowMs, nowMs);
    this.#syncAtMs ??= this.#nowMs + this.#syncDelayMs();
    if (this.#armedMs !== null && this.#nowMs - this.#armedMs > FREEZE_LATE_MS) this.#thaw();
    this.#handle(input);
    this.#passTime();
    this.#armedMs = this.nextDeadlineMs();
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  /** When to call `step` with `timer`, on the clock of its `nowMs`; null before the first step. */
  nextDeadlineMs(): number | null {
    if (this.#syncAtMs === null) return null;
    const holdMs = this.#hold.kind === 'none' ? Number.POSITIVE_INFINITY : this.#hold.untilMs;
    const heartbeatMs = this.#heartbeatAtMs ?? Number.POSITIVE_INFINITY;
    return Math.min(this.#syncAtMs, holdMs, heartbeatMs, this.#table.nextDeadlineMs(this.#hold.kind === 'none'));
  }

  /** Every member, this node first once it has announced itself; dead and left ones for 24 h. */
  members(): Member[] {
    const self = this.#selfRow();
    return self === null ? this.#table.rows() : [self, ...this.#table.rows()];
  }

  member(id: NodeId): Member | null {
    return id === this.#options.self ? this.#selfRow() : this.#table.row(id);
  }

  /** The newest signed record of this node, or null before the first signature. */
  selfRecord(): SignedRecord | null {
    return this.#self.announced;
  }

  #handle(input: MembershipInput): void {
    switch (input.kind) {
      case 'link_up':
        return this.#linkUp(input.peer, input.link, input.instance);
      case 'link_down':
        return this.#linkDown(input.peer, input.link, input.redialRefused ?? false);
      case 'dial_refused':
        return this.#dialRefused(input.peer);
      case 'message':
        return this.#message(input.from, input.msg);
      case 'local_changed':
        return this.#emit(...this.#self.change(input.facts, input.addresses));
      case 'load':
        return this.#loadSampled(input.load);
      case 'trust_changed':
        return this.#trustChanged(input.trusted);
      case 'signed':
        return this.#selfSigned(input.token, input.sig);
      case 'verified':
        return this.#recordVerified(input.token, input.ok);
      case 'persisted':
        return this.#emit(...this.#self.persisted(input.incarnation));
      case 'persist_failed':
        return this.#self.persistFailed(input.incarnation);
      case 'leave':
        return this.#emit(...this.#self.leave());
      case 'timer':
        return;
      case 'woke':
        return this.#woke();
      default:
        return unreachable(input);
    }
  }

  #linkUp(peer: NodeId, link: number, instance: number): void {
    if (!this.#trusted.has(peer) || peer === this.#options.self) {
      return this.#emit({ kind: 'close_link', peer, reason: 'not trusted' });
    }
    this.#contacts.linkUp(peer, link, instance, this.#nowMs);
    this.#send(peer, this.#digest(false));
    const heartbeat = this.#nextHeartbeat();
    if (heartbeat !== null) this.#send(peer, heartbeat);
    this.#table.linkChanged(peer, 'linked');
  }

  #linkDown(peer: NodeId, link: number, redialRefused: boolean): void {
    if (!this.#contacts.linkDown(peer, link)) return;
    this.#table.linkChanged(peer, 'unlinked');
    if (redialRefused) this.#dialRefused(peer);
  }

  #dialRefused(peer: NodeId): void {
    if (this.#hold.kind === 'none') this.#table.refused(peer, this.#nowMs);
  }

  #trustChanged(trusted: ReadonlySet<NodeId>): void {
    const added = [...trusted].some((id) => !this.#trusted.has(id));
    this.#trusted = new Set(trusted);
    for (const peer of this.#contacts.keepOnly(trusted)) {
      this.#emit({ kind: 'close_link', peer, reason: 'no longer trusted' });
    }
    this.#table.keepOnly(trusted);
    if (added) this.#syncAtMs = this.#nowMs;
  }

  // ---- this node

  #selfSigned(token: number, sig: string): void {
    const before = this.#self.announced;
    const { record: signed, effects } = this.#self.signed(token, sig);
    this.#emit(...effects);
    if (signed === null) return;
    if (before === null) {
      this.#announcedAtMs = this.#nowMs;
      this.#heartbeatAtMs = this.#nowMs;
    }
    this.#emit({ kind: 'broadcast', msg: { t: 'member.records', items: [selfItem(signed)] } });
    const was = before === null ? null : stateOf(before);
    this.#emit({ kind: 'changed', peer: this.#options.self, was, state: stateOf(signed), cause: 'record' });
    if (stateOf(signed) === 'left' && was !== 'left') this.#emit({ kind: 'left_announced' });
  }

  #loadSampled(load: Load): void {
    this.#load = { load, atMs: this.#nowMs };
    if (this.#heartbeatAtMs === null || !loadChangedMuch(this.#sentLoad, load)) return;
    this.#heartbeatAtMs = Math.min(this.#heartbeatAtMs, this.#lastHeartbeatMs + HEARTBEAT_MIN_MS);
  }

  /** Someone holds this node suspect or dead. */
  #accused(incarnation: number, state: MemberState): void {
    // A claim about a higher incarnation than ours proves nothing without our signature: see #recordVerified.
    if (state === 'alive' || incarnation !== this.#self.incarnation || this.#self.announced === null) return;
    if (this.#nowMs - this.#lastRefutedMs < REFUTE_MIN_MS) return;
    this.#lastRefutedMs = this.#nowMs;
    this.#emit(...this.#self.raiseAbove(incarnation));
  }

  #thaw(): void {
    if (this.#hold.kind !== 'syncing') return this.#catchUp();
    this.#table.restartClocks(this.#nowMs);
    // The wait may have run out while nobody waited.
    this.#hold = { kind: 'syncing', untilMs: Math.max(this.#hold.untilMs, this.#nowMs + CATCH_UP_MS) };
  }

  #catchUp(): void {
    this.#table.restartClocks(this.#nowMs);
    this.#hold = { kind: 'catching_up', untilMs: this.#nowMs + CATCH_UP_MS };
  }

  #woke(): void {
    this.#table.restartClocks(this.#nowMs);
    this.#hold = { kind: 'syncing', untilMs: this.#nowMs + WAKE_SYNC_MS_MAX };
    this.#emit(...this.#self.raiseAbove(this.#self.incarnation));
    // Whatever sockets survived the sleep on this side may be gone on the other: fresh ones tell.
    for (const peer of this.#contacts.linkedPeers()) {
      this.#emit({ kind: 'close_link', peer, reason: 'this machine slept' });
    }
  }

  // ---- messages

  #message(from: NodeId, msg: MemberMessage): void {
    if (!this.#trusted.has(from) || !this.#contacts.heard(from, this.#nowMs)) return;
    switch (msg.t) {
      case 'member.heartbeat':
        return this.#heartbeatFrom(from, msg);
      case 'member.digest':
        return this.#digestFrom(from, msg);
      case 'member.records':
        for (const item of msg.items) this.#recordFrom(from, item);
        return;
      case 'member.accuse':
        return this.#accused(msg.incarnation, msg.state);
      default:
        return unreachable(msg);
    }
  }

  #heartbeatFrom(from: NodeId, msg: MemberMessageOf<'member.heartbeat'>): void {
    this.#contacts.heartbeat(from, msg, this.#nowMs);
    const stamp = this.#table.stamp(from);
    if (stamp === null || isNewer(msg, stamp) || msg.incarnation < stamp.incarnation) {
      // The records that we lack, or that it lacks of its own earlier run, were lost or are under way.
      if (this.#contacts.mayAsk(from, ASK_MIN_MS, this.#nowMs)) this.#send(from, this.#digest(true));
      return;
    }
    const { incarnation, state } = stamp;
    if (state === 'suspect' || state === 'dead') this.#send(from, { t: 'member.accuse', incarnation, state });
  }

  #digestFrom(from: NodeId, msg: MemberMessageOf<'member.digest'>): void {
    if (this.#hold.kind === 'syncing') this.#catchUp();
    const theirs = new Map<NodeId, DigestEntry>();
    for (const entry of msg.entries) {
      theirs.set(entry.id, entry);
      if (entry.id === this.#options.self) this.#accused(entry.incarnation, entry.state);
      else this.#table.hearsay(entry, this.#nowMs);
    }
    if (msg.reply) this.#send(from, this.#digest(false));
    this.#push(from, theirs);
  }

  #push(to: NodeId, theirs: ReadonlyMap<NodeId, DigestEntry>): void {
    const items = this.#table.missingFrom(theirs, this.#nowMs);
    const own = this.#self.announced;
    const known = theirs.get(this.#options.self);
    if (own !== null && (known === undefined || isNewer(own.record, known))) items.unshift(selfItem(own));
    if (items.length === 0 || !this.#contacts.mayPush(to, PUSH_MIN_MS, this.#nowMs)) return;
    for (const page of pageRecords(items)) this.#send(to, { t: 'member.records', items: page });
  }

  #recordFrom(from: NodeId, item: RecordItem): void {
    const { record } = item;
    if (record.mesh !== this.#options.mesh) return;
    if (record.id === this.#options.self) {
      // Our own word of a run that we forgot (a restored disk): once proven, go above it.
      if (record.incarnation > this.#self.incarnation) this.#verify(item, from);
      else this.#accused(record.incarnation, item.state);
      return;
    }
    if (!this.#trusted.has(record.id)) return;
    const stamp = this.#table.stamp(record.id);
    if (stamp === null || isNewer(record, stamp)) return this.#verify(item, from);
    if (from === record.id) return;
    this.#table.hearsay(digestEntry(record, item.state, item.age_ms), this.#nowMs);
  }

  #verify(item: RecordItem, from: NodeId): void {
    const effect = this.#verifications.add(item, from);
    if (effect !== null) this.#emit(effect);
  }

  #recordVerified(token: number, ok: boolean): void {
    const pending = this.#verifications.take(token);
    if (pending === null || !ok) return;
    const { item, from } = pending;
    if (item.record.id === this.#options.self) return this.#emit(...this.#self.raiseAbove(item.record.incarnation));
    if (this.#trusted.has(item.record.id)) this.#table.adopt(item, from === item.record.id, this.#nowMs);
  }

  // ---- time

  #passTime(): void {
    if (this.#hold.kind !== 'none' && this.#nowMs >= this.#hold.untilMs) this.#endHold();
    if (this.#heartbeatAtMs !== null && this.#nowMs >= this.#heartbeatAtMs) {
      this.#lastHeartbeatMs = this.#nowMs;
      this.#heartbeatAtMs = this.#nowMs + HEARTBEAT_MS;
      this.#sentLoad = this.#load?.load ?? null;
      const msg = this.#nextHeartbeat();
      if (msg !== null) this.#emit({ kind: 'broadcast', msg });
    }
    if (this.#syncAtMs !== null && this.#nowMs >= this.#syncAtMs) {
      this.#syncAtMs = this.#nowMs + this.#syncDelayMs();
      const peer = pick(this.#options.random, this.#contacts.linkedPeers());
      if (peer !== undefined) this.#send(peer, this.#digest(true));
    }
    this.#table.passTime(this.#nowMs, this.#hold.kind === 'none');
  }

  #endHold(): void {
    if (this.#hold.kind === 'syncing') this.#table.restartClocks(this.#nowMs);
    this.#hold = { kind: 'none' };
  }

  #syncDelayMs(): number {
    return SYNC_MS * (0.9 + 0.2 * this.#options.random.next());
  }

  // ---- what is sent

  #nextHeartbeat(): MemberMessage | null {
    const own = this.#self.announced;
    if (own === null) return null;
    const { incarnation, version } = own.record;
    return { t: 'member.heartbeat', incarnation, version, seq: this.#seq++, load: this.#load?.load ?? null };
  }

  #digest(reply: boolean): MemberMessage {
    const own = this.#self.announced;
    const entries = this.#table.digest(this.#nowMs);
    if (own !== null) entries.unshift(digestEntry(own.record, stateOf(own), 0));
    return { t: 'member.digest', reply, entries };
  }

  #selfRow(): Member | null {
    const own = this.#self.announced;
    if (own === null) return null;
    return {
      id: own.record.id,
      state: stateOf(own),
      reachable: true,
      facts: own.record.facts,
      addresses: own.record.addresses,
      load: this.#load?.load ?? null,
      loadAtMs: this.#load?.atMs ?? null,
      heardAtMs: this.#nowMs,
      incarnation: own.record.incarnation,
      version: own.record.version,
      sinceMs: this.#announcedAtMs,
    };
  }

  #send(to: NodeId, msg: MemberMessage): void {
    this.#emit({ kind: 'send', to, msg });
  }

  #emit(...effects: MembershipEffect[]): void {
    this.#effects.push(...effects);
  }
}

function stateOf(own: SignedRecord): 'alive' | 'left' {
  return own.record.state_claim === 'left' ? 'left' : 'alive';
}

function selfItem(own: SignedRecord): RecordItem {
  return { ...own, state: stateOf(own), age_ms: 0 };
}
