import type { MeshId, NodeId } from '../../src/base/ids.ts';
import { pick, seededRandom, type Random } from '../../src/base/random.ts';
import type { Member, MembershipEffect, MembershipInput } from '../../src/core/membership/contract.ts';
import { DialSchedule } from '../../src/core/membership/dial-schedule.ts';
import { chooseLink } from '../../src/core/membership/link-choice.ts';
import { Membership } from '../../src/core/membership/membership.ts';
import { FREEZE_LATE_MS, HEARTBEAT_MS } from '../../src/core/membership/suspicion.ts';
import type { Facts } from '../../src/wire/facts.ts';
import { memberMessageSchema, type MemberAddress, type MemberMessage } from '../../src/wire/membership.ts';
import { EventQueue } from './event-queue.ts';
import { MembershipWatch } from './membership-watch.ts';

const MESH = 'm'.repeat(52) as MeshId;
const HANDSHAKE_TIMEOUT_MS = 5000;
const DIAL_TIMEOUT_MS = 6000;
/** A node has something to do every 2 s, and notices that it froze when it does that more than 2 s late. */
const FREEZE_NOTICED_MS = HEARTBEAT_MS + FREEZE_LATE_MS;
/** Every n-th message is checked against its schema: all would cost more than the simulation itself. */
const SCHEMA_SAMPLE = 25;

/** What the virtual network does to messages; times are in milliseconds. */
export interface Weather {
  loss: number;
  duplication: number;
  delayMinMs: number;
  delayMaxMs: number;
}

interface LinkEnd {
  readonly id: number;
  readonly peer: SimNode;
  readonly peerInstance: number;
  readonly dialledByUs: boolean;
  heardMs: number;
}

/** One run of a node's daemon; the disk survives it. */
class SimProcess {
  readonly core: Membership;
  readonly dials: DialSchedule;
  readonly links = new Map<NodeId, LinkEnd>();
  readonly instance: number;
  /** While it is frozen, what it should do waits here. */
  inbox: (() => void)[] | null = null;
  thawedAtMs = Number.NEGATIVE_INFINITY;
  armedMs: number | null = null;

  constructor(node: SimNode, instance: number, random: Random) {
    this.instance = instance;
    this.core = new Membership({ self: node.id, mesh: MESH, incarnation: instance, random });
    this.dials = new DialSchedule(random);
  }
}

export class SimNode {
  readonly id: NodeId;
  readonly index: number;
  readonly address: MemberAddress;
  disk = { incarnation: 0 };
  process: SimProcess | null = null;
  fate: 'stays' | 'killed' | 'left' = 'stays';

  constructor(index: number) {
    this.index = index;
    // Ids must not sort like indexes: who dials first and whose link stays would always coincide.
    const letter = String.fromCharCode(97 + ((index * 7) % 26));
    this.id =
      `${letter}${String.fromCharCode(97 + (index % 26))}${'a'.repeat(49)}${2 + Math.floor(index / 26)}` as NodeId;
    this.address = { host: `10.0.0.${index + 1}`, port: 47_470 };
  }
}

/** A network and its nodes on a virtual clock: everything that happens follows from the seed. */
export class World {
  readonly random: Random;
  readonly nodes: SimNode[] = [];
  readonly weather: Weather = { loss: 0, duplication: 0, delayMinMs: 1, delayMaxMs: 5 };
  readonly watch: MembershipWatch;
  nowMs = 0;
  /** Two nodes whose sides differ, or that are cut one from the other, hear nothing of each other. */
  readonly sides = new Map<NodeId, number>();
  readonly cuts = new Set<string>();
  readonly #queue = new EventQueue();
  readonly #signed = new Map<string, string>();
  #nextLink = 1;
  #messages = 0;

  constructor(seed: number, count: number) {
    this.random = seededRandom(seed);
    this.watch = new MembershipWatch();
    for (let i = 0; i < count; i++) this.nodes.push(new SimNode(i));
  }

  node(index: number): SimNode {
    const node = this.nodes[index];
    if (node === undefined) throw new Error(`no node ${index}`);
    return node;
  }

  get running(): SimNode[] {
    return this.nodes.filter((node) => node.process !== null);
  }

  after(delayMs: number, run: () => void): void {
    this.#queue.push(this.nowMs + delayMs, run);
  }

  runFor(ms: number): void {
    const endMs = this.nowMs + ms;
    for (let event = this.#queue.popUntil(endMs); event !== null; event = this.#queue.popUntil(endMs)) {
      this.nowMs = event.atMs;
      event.run();
    }
    this.nowMs = endMs;
  }

  /** @returns how long it took, or null where it did not come true in time */
  runUntil(condition: () => boolean, withinMs: number, stepMs = 100): number | null {
    const startMs = this.nowMs;
    while (!condition()) {
      if (this.nowMs - startMs >= withinMs) return null;
      this.runFor(stepMs);
    }
    return this.nowMs - startMs;
  }

  between(min: number, max: number): number {
    return min + this.random.next() * (max - min);
  }

  chance(share: number): boolean {
    return this.random.next() < share;
  }

  // ---- what happens to nodes

  start(node: SimNode): void {
    if (node.process !== null) return;
    node.disk.incarnation += 1;
    const process = new SimProcess(node, node.disk.incarnation, seededRandom(Math.floor(this.random.next() * 2 ** 32)));
    node.process = process;
    node.fate = 'stays';
    this.watch.started(node.id);
    this.step(node, { kind: 'trust_changed', trusted: new Set(this.nodes.map(({ id }) => id)) });
    this.step(node, { kind: 'local_changed', facts: simFacts(node, 0), addresses: [node.address] });
    // Static peers and last-known addresses: the first node, its neighbour and one at random. Records tell the rest.
    const hints = [this.node(0), this.node((node.index + 1) % this.nodes.length), pick(this.random, this.nodes)];
    for (const hint of hints) {
      if (hint !== undefined && hint !== node) process.dials.want(hint.id, [hint.address], this.nowMs);
    }
    this.#pump(node);
  }

  kill(node: SimNode): void {
    const { process } = node;
    if (process === null) return;
    node.process = null;
    node.fate = 'killed';
    for (const link of process.links.values()) this.#tellClosed(node, link.peer, link.id);
  }

  leave(node: SimNode): void {
    node.fate = 'left';
    this.step(node, { kind: 'leave' });
  }

  /** @param asleep the clock tells on waking that the machine slept */
  freeze(node: SimNode, ms: number, asleep = false): void {
    const { process } = node;
    if (process === null || process.inbox !== null) return;
    process.inbox = [];
    this.after(ms, () => {
      if (node.process !== process) return;
      const waiting = process.inbox ?? [];
      process.inbox = null;
      if (ms > FREEZE_NOTICED_MS) process.thawedAtMs = this.nowMs;
      // Either the late timer or the waiting packets come first, as the event loop pleases.
      if (this.chance(0.5)) this.step(node, { kind: 'timer' });
      if (asleep) this.step(node, { kind: 'woke', gapMs: ms });
      for (const run of waiting) if (node.process === process) run();
      if (node.process === process) this.step(node, { kind: 'timer' });
      // A real process dials late what fell due while it was frozen; here those events found it frozen and passed.
      this.#pump(node);
    });
  }

  changeFacts(node: SimNode): void {
    const facts = simFacts(node, Math.floor(this.random.next() * 1000));
    this.step(node, { kind: 'local_changed', facts, addresses: [node.address] });
  }

  apart(a: SimNode, b: SimNode): boolean {
    return this.sides.get(a.id) !== this.sides.get(b.id) || this.cuts.has(`${a.id} ${b.id}`);
  }

  heal(): void {
    this.sides.clear();
    this.cuts.clear();
  }

  // ---- the runtime of a node

  step(node: SimNode, input: MembershipInput): void {
    const { process } = node;
    if (process === null) return;
    if (process.inbox !== null) {
      process.inbox.push(() => this.step(node, input));
      return;
    }
    const effects = process.core.step(input, this.nowMs);
    this.watch.stepped(node.id, process.core, effects, this.nowMs - process.thawedAtMs);
    for (const effect of effects) this.#carryOut(node, process, effect);
    this.#arm(node, process);
    if (effects.some(({ kind }) => kind === 'dial_wanted')) this.#pump(node);
  }

  #carryOut(node: SimNode, process: SimProcess, effect: MembershipEffect): void {
    const answer = (delayMs: number, input: MembershipInput): void =>
      this.after(delayMs, () => {
        if (node.process === process) this.step(node, input);
      });
    switch (effect.kind) {
      case 'send': {
        const link = process.links.get(effect.to);
        if (link !== undefined) this.#transmit(node, link, effect.msg);
        return;
      }
      case 'broadcast':
        for (const link of process.links.values()) this.#transmit(node, link, effect.msg);
        return;
      case 'sign': {
        const sig = `s${this.#signed.size}`;
        this.#signed.set(`${node.id} ${effect.text}`, sig);
        return answer(this.between(0, 5), { kind: 'signed', token: effect.token, sig });
      }
      case 'verify': {
        const ok = this.#signed.get(`${effect.id} ${effect.text}`) === effect.sig;
        return answer(this.between(0, 5), { kind: 'verified', token: effect.token, ok });
      }
      case 'persist_incarnation':
        this.after(this.between(0, 40), () => {
          if (node.process !== process) return;
          node.disk.incarnation = Math.max(node.disk.incarnation, effect.incarnation);
          this.step(node, { kind: 'persisted', incarnation: effect.incarnation });
        });
        return;
      case 'dial_wanted':
        process.dials.want(effect.peer, effect.addresses, this.nowMs);
        return;
      case 'dial_unwanted':
        process.dials.unwant(effect.peer);
        return;
      case 'close_link': {
        const link = process.links.get(effect.peer);
        if (link !== undefined) this.#closeEnd(node, process, link);
        return;
      }
      case 'left_announced':
        this.after(this.between(0, 200), () => {
          if (node.process !== process) return;
          this.kill(node);
          node.fate = 'left';
        });
        return;
      case 'changed':
        return;
    }
  }

  #arm(node: SimNode, process: SimProcess): void {
    const atMs = process.core.nextDeadlineMs();
    if (atMs === null || atMs === process.armedMs) return;
    process.armedMs = atMs;
    this.#queue.push(Math.max(atMs, this.nowMs), () => {
      if (node.process !== process || process.armedMs !== atMs) return;
      process.armedMs = null;
      if (process.inbox === null) this.step(node, { kind: 'timer' });
    });
  }

  // ---- links

  #delay(): number {
    return this.between(this.weather.delayMinMs, this.weather.delayMaxMs);
  }

  #transmit(from: SimNode, link: LinkEnd, msg: MemberMessage): void {
    this.watch.sent(from, msg);
    if (this.#messages++ % SCHEMA_SAMPLE === 0) memberMessageSchema.parse(JSON.parse(JSON.stringify(msg)));
    const copies = this.chance(this.weather.duplication) ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      if (this.chance(this.weather.loss) || this.apart(from, link.peer)) continue;
      this.after(this.#delay(), () => this.#deliver(from, link, msg));
    }
  }

  #deliver(from: SimNode, link: LinkEnd, msg: MemberMessage): void {
    if (this.apart(from, link.peer)) return;
    const theirs = link.peer.process?.links.get(from.id);
    if (theirs?.id !== link.id) return this.#tellClosed(link.peer, from, link.id);
    theirs.heardMs = this.nowMs;
    this.step(link.peer, { kind: 'message', from: from.id, msg });
  }

  /** A FIN or RST: does not pass where the network is cut, and then the end stays half open. */
  #tellClosed(from: SimNode, to: SimNode, link: number): void {
    this.after(this.#delay(), () => {
      const process = to.process;
      if (process === null || this.apart(from, to)) return;
      const act = (): void => {
        const end = process.links.get(from.id);
        if (end === undefined || end.id !== link) return;
        process.links.delete(from.id);
        this.step(to, { kind: 'link_down', peer: from.id, link });
        process.dials.unlinked(from.id, this.nowMs);
        this.#pump(to);
      };
      if (process.inbox === null) act();
      else process.inbox.push(act);
    });
  }

  #closeEnd(node: SimNode, process: SimProcess, link: LinkEnd): void {
    process.links.delete(link.peer.id);
    this.#tellClosed(node, link.peer, link.id);
    process.dials.unlinked(link.peer.id, this.nowMs);
    this.after(0, () => {
      if (node.process !== process) return;
      this.step(node, { kind: 'link_down', peer: link.peer.id, link: link.id });
      this.#pump(node);
    });
  }

  #pump(node: SimNode): void {
    const { process } = node;
    if (process === null || process.inbox !== null) return;
    for (const dial of process.dials.takeDue(this.nowMs)) {
      const peer = this.nodes.find(({ id }) => id === dial.key);
      if (peer !== undefined) this.#dial(node, process, peer);
    }
    const atMs = process.dials.nextDeadlineMs();
    if (atMs !== null) this.#queue.push(Math.max(atMs, this.nowMs), () => node.process === process && this.#pump(node));
  }

  #dial(node: SimNode, process: SimProcess, peer: SimNode): void {
    const fail = (delayMs: number, refused: boolean): void =>
      this.after(delayMs, () => {
        if (node.process !== process) return;
        process.dials.failed(peer.id, this.nowMs);
        if (refused) this.step(node, { kind: 'dial_refused', peer: peer.id });
        this.#pump(node);
      });
    this.after(this.#delay(), () => {
      if (node.process !== process) return;
      if (this.apart(node, peer)) return fail(DIAL_TIMEOUT_MS, false);
      const accepting = peer.process;
      if (accepting === null) return fail(this.#delay(), true);
      if (accepting.inbox !== null) return fail(HANDSHAKE_TIMEOUT_MS, false);
      const id = this.#nextLink++;
      const ours = { id, peer, peerInstance: accepting.instance, dialledByUs: true, heardMs: 0 };
      const theirs = { id, peer: node, peerInstance: process.instance, dialledByUs: false, heardMs: 0 };
      this.#established(peer, accepting, theirs);
      this.after(this.#delay(), () => {
        if (node.process === process) this.#established(node, process, ours);
      });
    });
  }

  #established(node: SimNode, process: SimProcess, incoming: LinkEnd): void {
    if (process.inbox !== null) {
      process.inbox.push(() => this.#established(node, process, incoming));
      return;
    }
    const { peer } = incoming;
    incoming.heardMs = this.nowMs;
    const existing = process.links.get(peer.id);
    process.dials.linked(peer.id);
    if (existing !== undefined) {
      const stays = chooseLink(node.id, peer.id, existing, this.nowMs - existing.heardMs, incoming);
      const goes = stays === 'existing' ? incoming : existing;
      this.#tellClosed(node, peer, goes.id);
      if (stays === 'existing') return;
    }
    process.links.set(peer.id, incoming);
    this.step(node, { kind: 'link_up', peer: peer.id, link: incoming.id, instance: incoming.peerInstance });
  }

  // ---- looking at it

  member(of: SimNode, subject: SimNode): Member | null {
    return of.process?.core.member(subject.id) ?? null;
  }

  /** Whatever the running nodes do not agree on, in words; '' where all is as it should be. */
  disagreement(): string {
    const running = this.running;
    for (const subject of this.nodes) {
      const views = running.map((node) => ({ node, view: this.member(node, subject) }));
      const rows = views.map(({ view }) => (view === null ? '-' : `${view.state} ${view.incarnation}.${view.version}`));
      if (new Set(rows).size > 1) return `${subject.index}: ${rows.join(', ')}`;
      const allowed = subject.process === null ? ['dead', 'left'] : ['alive'];
      for (const { node, view } of views) {
        if (view === null ? subject.process !== null : !allowed.includes(view.state)) {
          return `${node.index} holds ${subject.index} ${view?.state ?? 'unknown'}`;
        }
        if (subject.process !== null && view !== null && !view.reachable)
          return `${node.index} has no link to ${subject.index}`;
      }
    }
    return '';
  }
}

function simFacts(node: SimNode, salt: number): Facts {
  return {
    name: `node-${node.index}`,
    version: '0.1.0',
    os: 'linux',
    arch: 'x64',
    cores: 4,
    slots: 4,
    memory_bytes: 8e9,
    tools: { node: '20.20.2' },
    labels: { salt: String(salt) },
    gpus: [],
    on_battery: false,
    overridden: false,
  };
}
