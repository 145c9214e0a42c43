import { setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import type { Result } from '../base/result.ts';
import { DIAL_STAGGER_MS, DialSchedule } from '../core/membership/dial-schedule.ts';
import { chooseLink } from '../core/membership/link-choice.ts';
import type { Address, DialFailure, PeerLink } from '../ports/links.ts';
import { StreamMux } from '../wire/stream-mux.ts';
import { isOwnHost } from './address.ts';
import { AddressBook } from './address-book.ts';
import { formatHostPort, parseHostPort } from './config-schema.ts';
import { nowMs } from './core-loop.ts';

/** An up link, with the streams on its bulk socket. */
export interface Peer {
  readonly id: NodeId;
  /** Names this link among all of this run. */
  readonly number: number;
  readonly mux: StreamMux;
  /** It has an address of this machine: another home, another user's, or a tunnel's end. */
  readonly isHere: boolean;
  /** False where the link is gone or too slow: nothing was written. */
  send(message: object): boolean;
}

export interface LinkTableOptions {
  readonly self: NodeId;
  readonly random: Random;
  readonly log: Logger;
  readonly dial: (
    address: Address,
    expected: NodeId | null,
    signal: AbortSignal,
  ) => Promise<Result<PeerLink, DialFailure>>;
  readonly onUp: (peer: Peer, incarnation: number) => void;
  readonly onDown: (peer: Peer, reason: string) => void;
  readonly onControl: (peer: Peer, json: string) => void;
  /** Every known address of a peer was tried and refused the connection: nobody listens there. */
  readonly onRefused: (peer: NodeId) => void;
  /** An address that worked, for the next start. */
  readonly onAddressBook: () => void;
}

interface Entry {
  readonly peer: Peer;
  readonly link: PeerLink;
  heardAtMs: number;
}

/**
 * The links of this node: whom to dial when, and which of two links to one peer stays. Both sides dial; the rules are
 * core/membership/link-choice.ts and dial-schedule.ts, this is their hands.
 */
export class LinkTable {
  readonly #options: LinkTableOptions;
  readonly #links = new Map<NodeId, Entry>();
  readonly #schedule: DialSchedule;
  readonly #book = new AddressBook();
  /** `--peer` addresses, each with the node that answered there: from then on that node is dialled by its id. */
  readonly #static = new Map<string, { readonly address: Address; readonly owner: NodeId | null }>();
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | null = null;
  #lastNumber = 0;

  constructor(options: LinkTableOptions) {
    // Each target that is dialled has its own, as long as that goes on.
    setMaxListeners(0, this.#stop.signal);
    this.#options = options;
    this.#schedule = new DialSchedule(options.random);
  }

  get(id: NodeId): Peer | null {
    return this.#links.get(id)?.peer ?? null;
  }

  get peers(): Peer[] {
    return [...this.#links.values()].map(({ peer }) => peer);
  }

  /** Dial until linked. Addresses are added to those known. */
  want(id: NodeId, addresses: readonly Address[]): void {
    if (id === this.#options.self) return;
    const known = this.learn(id, addresses);
    if (known.length > 0) this.#schedule.want(id, known, nowMs());
    if (this.#links.has(id)) this.#schedule.linked(id);
    this.#arm();
  }

  /** Also where only the peer dials: after a restart here, what it said of itself is the way back to it. */
  learn(id: NodeId, addresses: readonly Address[]): readonly Address[] {
    if (id === this.#options.self) return [];
    const before = textOf(this.#book.addressesOf(id));
    const known = this.#book.learn(id, addresses);
    if (textOf(known) !== before) this.#options.onAddressBook();
    return known;
  }

  unwant(id: NodeId): void {
    this.#schedule.unwant(id);
    // Another node of the mesh may come to answer at an address that was given by hand.
    for (const [key, { address, owner }] of this.#static) {
      if (owner !== id) continue;
      this.#static.set(key, { address, owner: null });
      this.#schedule.want(key, [address], nowMs());
    }
    this.#arm();
  }

  /** A `--peer`: whoever of our mesh answers there. */
  wantStatic(address: Address): void {
    const key = `address ${formatHostPort(address)}`;
    if (this.#static.has(key)) return;
    this.#static.set(key, { address, owner: null });
    this.#schedule.want(key, [address], nowMs());
    this.#arm();
  }

  addressesOf(id: NodeId): readonly Address[] {
    return this.#book.addressesOf(id);
  }

  /** The network changed or this machine woke. */
  hurry(): void {
    this.#schedule.hurry(nowMs());
    this.#arm();
  }

  /** A link stands, whoever dialled it. */
  accept(link: PeerLink): void {
    if (this.#stop.signal.aborted) return link.close('going down');
    if (link.peer === this.#options.self) return link.close('this is the same node');
    const existing = this.#links.get(link.peer);
    if (existing !== undefined) {
      const old = { peerInstance: existing.link.peerIncarnation, dialledByUs: existing.link.dialledByUs };
      const fresh = { peerInstance: link.peerIncarnation, dialledByUs: link.dialledByUs };
      const quietMs = nowMs() - existing.heardAtMs;
      if (chooseLink(this.#options.self, link.peer, old, quietMs, fresh) === 'existing') {
        link.close('another link of the same nodes stays');
        return;
      }
      this.#drop(existing, 'replaced by another link of the same node');
    }
    this.#register(link);
  }

  /** Closes a peer's link, for instance because it is not trusted any more. */
  close(id: NodeId, reason: string): void {
    const entry = this.#links.get(id);
    if (entry !== undefined) this.#drop(entry, reason);
  }

  stop(reason: string): void {
    this.#stop.abort();
    if (this.#timer !== null) clearTimeout(this.#timer);
    for (const entry of this.#links.values()) this.#drop(entry, reason);
  }

  #register(link: PeerLink): void {
    const { peer: id } = link;
    this.#lastNumber += 1;
    const number = this.#lastNumber;
    const mux = new StreamMux(
      (header, payload) => link.sendBulk(header, payload),
      link.dialledByUs ? 'first' : 'second',
    );
    const send = (message: object): boolean => link.sendControl(JSON.stringify(message));
    const remote = parseHostPort(link.remoteAddress);
    const peer: Peer = { id, number, mux, isHere: remote.ok && isOwnHost(remote.value.host), send };
    const entry: Entry = { peer, link, heardAtMs: nowMs() };
    this.#links.set(id, entry);
    this.#book.linked(id, link.remoteAddress);
    this.#schedule.linked(id);
    this.#options.log.info('link up', { peer: id, address: link.remoteAddress, dialled: link.dialledByUs });
    this.#options.onUp(peer, link.peerIncarnation);
    link.attach({
      onControl: (json) => {
        entry.heardAtMs = nowMs();
        this.#options.onControl(peer, json);
      },
      onBulk: (frame) => {
        entry.heardAtMs = nowMs();
        const wrong = mux.receive(frame);
        if (wrong !== null) link.close(`protocol violation: ${wrong}`);
      },
      onClose: (reason) => this.#drop(entry, reason),
    });
  }

  /** Ends a link once: also when its own `onClose` comes later. */
  #drop(entry: Entry, reason: string): void {
    const { peer, link } = entry;
    if (this.#links.get(peer.id) !== entry) return;
    this.#links.delete(peer.id);
    link.close(reason);
    peer.mux.close();
    this.#options.log.info('link down', { peer: peer.id, reason });
    this.#options.onDown(peer, reason);
    this.#schedule.unlinked(peer.id, nowMs());
    this.#arm();
  }

  #arm(): void {
    if (this.#stop.signal.aborted) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const next = this.#schedule.nextDeadlineMs();
    if (next === null) return;
    this.#timer = setTimeout(() => this.#dialDue(), Math.max(0, Math.ceil(next - nowMs())));
  }

  #dialDue(): void {
    this.#timer = null;
    for (const { key, addresses } of this.#schedule.takeDue(nowMs())) {
      const expected = this.#static.has(key) ? null : (key as NodeId);
      if (expected !== null && this.#links.has(expected)) this.#schedule.linked(key);
      else void this.#dialOne(key, expected, addresses);
    }
    this.#arm();
  }

  /** Tries a target's addresses, started one after the other (RFC 8305 style); the first that answers wins. */
  async #dialOne(key: string, expected: NodeId | null, addresses: readonly Address[]): Promise<void> {
    const race = new AbortController();
    const { signal } = race;
    // By hand: of a signal that `AbortSignal.any` makes, Node.js 20 keeps a note at each source for as long as that lives.
    const stop = (): void => race.abort();
    this.#stop.signal.addEventListener('abort', stop);
    // Each address has its own.
    setMaxListeners(0, signal);
    let linked = false;
    let refused = 0;
    const tryOne = async (address: Address, index: number): Promise<void> => {
      if (index > 0) await delay(index * DIAL_STAGGER_MS, undefined, { signal }).catch(() => signal.aborted);
      if (signal.aborted) return;
      const dialled = await this.#options.dial(address, expected, signal);
      if (dialled.ok) {
        if (linked || signal.aborted) return dialled.value.close('another address answered first');
        linked = true;
        race.abort();
        return this.#dialled(key, address, dialled.value);
      }
      const { kind, message } = dialled.error;
      this.#options.log.debug('dial failed', { target: key, kind, message });
      if (kind !== 'refused' || expected === null) return;
      refused += 1;
      // Where its last link stood, nobody listens any more: that is enough to suspect it at once.
      if (refused === addresses.length || this.#book.isLastGood(expected, address)) this.#options.onRefused(expected);
    };
    try {
      await Promise.all(addresses.map(tryOne));
    } finally {
      this.#stop.signal.removeEventListener('abort', stop);
    }
    if (linked || this.#stop.signal.aborted) return;
    this.#schedule.failed(key, nowMs());
    this.#arm();
  }

  #dialled(key: string, address: Address, link: PeerLink): void {
    const given = this.#static.get(key);
    if (link.peer === this.#options.self) {
      // One of our own addresses: there is nothing to link to.
      this.#schedule.unwant(key);
      return link.close('this is the same node');
    }
    this.#book.worked(link.peer, address);
    this.#options.onAddressBook();
    this.accept(link);
    if (given !== undefined) {
      this.#static.set(key, { address: given.address, owner: link.peer });
      this.#schedule.unwant(key);
      return this.want(link.peer, [address]);
    }
    if (this.#links.has(link.peer)) this.#schedule.linked(key);
    else this.#schedule.failed(key, nowMs());
    this.#arm();
  }
}

const textOf = (addresses: readonly Address[]): string => addresses.map(formatHostPort).join();
