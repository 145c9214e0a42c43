import type { NodeId } from '../../base/ids.ts';
import type { Load } from '../../wire/facts.ts';
import type { MemberMessageOf } from '../../wire/membership.ts';
import { SILENCE_MS } from './suspicion.ts';

/** What came from a peer itself, on its own link. Kept while it is trusted, so that a closed link loses no load. */
export interface Contact {
  readonly link: number | null;
  /** The incarnation with which the peer's process started. */
  readonly instance: number;
  readonly heardMs: number;
  /** Of the newest heartbeat of this instance, -1 before the first. */
  readonly seq: number;
  readonly load: Load | null;
  readonly loadAtMs: number | null;
  /** When we last asked it for its digest, and last sent it records. */
  readonly askedMs: number;
  readonly pushedMs: number;
}

/** First-hand words: one entry per peer that was ever linked and is still trusted. */
export class Contacts {
  readonly #contacts = new Map<NodeId, Contact>();

  get(peer: NodeId): Contact | null {
    return this.#contacts.get(peer) ?? null;
  }

  linked(peer: NodeId): boolean {
    return this.#contacts.get(peer)?.link !== undefined && this.#contacts.get(peer)?.link !== null;
  }

  linkedPeers(): NodeId[] {
    return [...this.#contacts.keys()].filter((peer) => this.linked(peer));
  }

  /** Linked, and heard within the silence limit: then others' word against it counts for nothing. */
  heardLately(peer: NodeId, nowMs: number): boolean {
    const contact = this.#contacts.get(peer);
    return contact !== undefined && contact.link !== null && nowMs - contact.heardMs < SILENCE_MS;
  }

  linkUp(peer: NodeId, link: number, instance: number, nowMs: number): void {
    const before = this.#contacts.get(peer);
    const sameRun = before !== undefined && before.instance === instance;
    this.#contacts.set(peer, {
      link,
      instance,
      heardMs: nowMs,
      seq: sameRun ? before.seq : -1,
      load: before?.load ?? null,
      loadAtMs: before?.loadAtMs ?? null,
      askedMs: Number.NEGATIVE_INFINITY,
      pushedMs: Number.NEGATIVE_INFINITY,
    });
  }

  /** @returns false where that link was replaced or gone already */
  linkDown(peer: NodeId, link: number): boolean {
    const contact = this.#contacts.get(peer);
    if (contact === undefined || contact.link !== link) return false;
    this.#contacts.set(peer, { ...contact, link: null });
    return true;
  }

  /** @returns false of a peer without a link: what comes from it is not to be read */
  heard(peer: NodeId, nowMs: number): boolean {
    const contact = this.#contacts.get(peer);
    if (contact === undefined || contact.link === null) return false;
    this.#contacts.set(peer, { ...contact, heardMs: nowMs });
    return true;
  }

  /** Keeps the load of a heartbeat, unless a later one overtook it. */
  heartbeat(peer: NodeId, msg: MemberMessageOf<'member.heartbeat'>, nowMs: number): void {
    const contact = this.#contacts.get(peer);
    if (contact === undefined || msg.seq <= contact.seq) return;
    const load = msg.load === null ? {} : { load: msg.load, loadAtMs: nowMs };
    this.#contacts.set(peer, { ...contact, ...load, seq: msg.seq });
  }

  /** @returns true, and remembers it, where the last time was at least `everyMs` ago */
  mayAsk(peer: NodeId, everyMs: number, nowMs: number): boolean {
    const contact = this.#contacts.get(peer);
    if (contact === undefined || nowMs - contact.askedMs < everyMs) return false;
    this.#contacts.set(peer, { ...contact, askedMs: nowMs });
    return true;
  }

  mayPush(peer: NodeId, everyMs: number, nowMs: number): boolean {
    const contact = this.#contacts.get(peer);
    if (contact === undefined || nowMs - contact.pushedMs < everyMs) return false;
    this.#contacts.set(peer, { ...contact, pushedMs: nowMs });
    return true;
  }

  /** @returns those that were dropped while they had a link */
  keepOnly(trusted: ReadonlySet<NodeId>): NodeId[] {
    const closed: NodeId[] = [];
    for (const [peer, contact] of this.#contacts) {
      if (trusted.has(peer)) continue;
      if (contact.link !== null) closed.push(peer);
      this.#contacts.delete(peer);
    }
    return closed;
  }
}
