import { assert } from '../../src/base/assert.ts';
import type { Random } from '../../src/base/random.ts';
import type { VirtualClock } from './virtual-clock.ts';

/** One daemon's ends of its links, by index of the other node. Only called while that daemon is up. */
export interface LinkEnds<M> {
  onUp(peer: number): void;
  onDown(peer: number): void;
  onMessage(from: number, message: M): void;
}

export interface LinkTimes {
  /** One way, at most. */
  readonly delayMsMax: number;
  /** Until a cut is noticed, by each side for itself. */
  readonly silenceMsMax: number;
  /** Until two daemons that can reach each other have a link again. */
  readonly redialMsMax: number;
}

/** A connection that was made once. What was under way on it is lost with it, unless it arrived before. */
interface Session {
  broken: boolean;
  /** Which sides hold it for their link to the other. */
  readonly seenBy: Set<number>;
  readonly lastDeliveryMs: Map<number, number>;
}

interface Pair {
  cableIn: boolean;
  session: Session | null;
  /** A link is being made: at most one attempt at a time. */
  dialling: boolean;
  /** What each side holds for its link, which may be broken already. */
  readonly held: Map<number, Session>;
}

/**
 * Links between all nodes: in order within a link, lost with it. A cut is noticed by each side at another time, and a new
 * link takes the place of one that a side still holds: `onDown` comes before `onUp`, always in turn.
 */
export class SimulatedLinks<M> {
  readonly #clock: VirtualClock;
  readonly #random: Random;
  readonly #times: LinkTimes;
  readonly #ends: (node: number) => LinkEnds<M>;
  readonly #up: boolean[];
  readonly #pairs = new Map<string, Pair>();

  constructor(
    count: number,
    clock: VirtualClock,
    random: Random,
    times: LinkTimes,
    ends: (node: number) => LinkEnds<M>,
  ) {
    this.#clock = clock;
    this.#random = random;
    this.#times = times;
    this.#ends = ends;
    this.#up = Array.from({ length: count }, () => false);
    for (let a = 0; a < count; a++) {
      for (let b = a + 1; b < count; b++) {
        this.#pairs.set(keyOf(a, b), { cableIn: true, session: null, dialling: false, held: new Map() });
      }
    }
  }

  /** Does this side hold a link to the other, broken or not? */
  isHeld(node: number, peer: number): boolean {
    return node === peer || this.#pair(node, peer).held.has(node);
  }

  /** A daemon is there: others link to it soon. */
  nodeUp(node: number): void {
    this.#up[node] = true;
    for (const peer of this.#peersOf(node)) this.#dial(node, peer);
  }

  /** The kernel closes its sockets: the others know at once. */
  nodeDown(node: number): void {
    this.#up[node] = false;
    for (const peer of this.#peersOf(node)) {
      this.#pair(node, peer).held.delete(node);
      this.#break(node, peer, 20);
    }
  }

  /** @param silently the machine lost its power: nobody closes its sockets */
  nodeLost(node: number): void {
    this.#up[node] = false;
    for (const peer of this.#peersOf(node)) {
      this.#pair(node, peer).held.delete(node);
      this.#break(node, peer, this.#times.silenceMsMax);
    }
  }

  cut(a: number, b: number): void {
    if (a === b) return;
    this.#pair(a, b).cableIn = false;
    this.#break(a, b, this.#times.silenceMsMax);
  }

  heal(a: number, b: number): void {
    if (a === b) return;
    this.#pair(a, b).cableIn = true;
    this.#dial(a, b);
  }

  /** Lost where the link is; to itself it always arrives, in order, unless the daemon dies (the caller sees to that). */
  send(from: number, to: number, message: M): void {
    assert(from !== to, 'a link to itself');
    const session = this.#pair(from, to).held.get(from);
    if (session === undefined || session.broken) return;
    const last = session.lastDeliveryMs.get(to) ?? 0;
    const atMs = Math.max(last, this.#clock.nowMs + 0.1 + this.#random.next() * this.#times.delayMsMax);
    session.lastDeliveryMs.set(to, atMs);
    this.#clock.at(atMs, () => {
      if (session.broken || !session.seenBy.has(to)) return;
      this.#ends(to).onMessage(from, message);
    });
  }

  #break(a: number, b: number, noticeMsMax: number): void {
    const pair = this.#pair(a, b);
    const { session } = pair;
    if (session !== null) {
      pair.session = null;
      session.broken = true;
      for (const [side, other] of [
        [a, b],
        [b, a],
      ] as const) {
        this.#clock.after(this.#random.next() * noticeMsMax, () => this.#notice(side, other, session));
      }
    }
    this.#dial(a, b);
  }

  #notice(side: number, peer: number, session: Session): void {
    const pair = this.#pair(side, peer);
    if (pair.held.get(side) !== session) return;
    pair.held.delete(side);
    session.seenBy.delete(side);
    this.#ends(side).onDown(peer);
  }

  #dial(a: number, b: number): void {
    const pair = this.#pair(a, b);
    if (pair.dialling || pair.session !== null || !this.#canReach(a, b)) return;
    pair.dialling = true;
    this.#clock.after(10 + this.#random.next() * this.#times.redialMsMax, () => {
      pair.dialling = false;
      if (!this.#canReach(a, b)) return;
      const session: Session = { broken: false, seenBy: new Set(), lastDeliveryMs: new Map() };
      pair.session = session;
      for (const [side, other] of [
        [a, b],
        [b, a],
      ] as const) {
        const upMs = this.#clock.nowMs + this.#random.next() * 10;
        session.lastDeliveryMs.set(side, upMs);
        this.#clock.at(upMs, () => this.#accept(side, other, session));
      }
    });
  }

  #accept(side: number, peer: number, session: Session): void {
    if (session.broken) return;
    const pair = this.#pair(side, peer);
    const held = pair.held.get(side);
    if (held !== undefined) this.#notice(side, peer, held);
    // What the machine did on that may have broken this one.
    if (session.broken) return;
    pair.held.set(side, session);
    session.seenBy.add(side);
    this.#ends(side).onUp(peer);
  }

  #canReach(a: number, b: number): boolean {
    return this.#up[a] === true && this.#up[b] === true && this.#pair(a, b).cableIn;
  }

  #peersOf(node: number): number[] {
    return this.#up.map((_, index) => index).filter((index) => index !== node);
  }

  #pair(a: number, b: number): Pair {
    const pair = this.#pairs.get(keyOf(a, b));
    assert(pair !== undefined, 'there is no such link');
    return pair;
  }
}

const keyOf = (a: number, b: number): string => (a < b ? `${a}-${b}` : `${b}-${a}`);
