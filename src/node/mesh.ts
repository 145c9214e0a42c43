import type { Genuine } from '../adapters/tls/statement-signatures.ts';
import type { LoadedIdentity } from '../adapters/tls/identity.ts';
import { verifier } from '../adapters/tls/verifier.ts';
import { WebSocketTransport } from '../adapters/ws/peer-transport.ts';
import { messageOf } from '../base/errors.ts';
import type { MeshId, NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import type { Member, MembershipEffect, MembershipInput } from '../core/membership/contract.ts';
import { Membership } from '../core/membership/membership.ts';
import type { TrustSet } from '../core/trust/trust-set.ts';
import type { Discovery, DiscoveryState, PeerHint } from '../ports/discovery.ts';
import type { Address, Listening, PairContext } from '../ports/links.ts';
import type { Facts, Load } from '../wire/facts.ts';
import type { QueryMessage } from '../wire/job-query.ts';
import type { JobMessage } from '../wire/jobs.ts';
import { parsePeerMessage } from '../wire/peer.ts';
import type { Statement } from '../wire/trust.ts';
import type { WorkspaceMessage } from '../wire/workspace.ts';
import { formatHostPort } from './config-schema.ts';
import { AddressSaver } from './address-saver.ts';
import { advertisedAddresses, isAnyHost } from './address.ts';
import { nowMs, type CoreLoop } from './core-loop.ts';
import type { Home } from './home.ts';
import { TrustService } from './trust-service.ts';
import { LinkTable, type Peer } from './links.ts';
import { isSignedBy, signText } from './member-signatures.ts';
import { meshNotices } from './mesh-notices.ts';
import { Nearby } from './nearby.ts';
import { loadAddresses, nextIncarnation, saveIncarnation } from './node-state.ts';

const REFUSALS_SHOWN_MAX = 8;
/** Both ends dial at once where a node starts: first links mostly stand within a second. */
const FIRST_LINKS_MS = 5000;
/** How long a goodbye may take to reach the peers. */
const LEAVE_MS_MAX = 2000;

export interface MeshOptions {
  readonly home: Home;
  readonly loop: CoreLoop;
  readonly log: Logger;
  readonly random: Random;
  readonly identity: LoadedIdentity;
  readonly meshId: MeshId;
  readonly statements: readonly Genuine[];
  readonly name: string;
  readonly productVersion: string;
  readonly listen: Address;
  readonly peers: readonly Address[];
  /** Null with `--no-mdns`. */
  readonly discovery: Discovery | null;
  readonly onPair: (request: unknown, context: PairContext) => Promise<unknown>;
  readonly onJob: (from: NodeId, message: JobMessage) => void;
  readonly onQuery: (from: NodeId, message: QueryMessage) => void;
  readonly onWorkspace: (from: NodeId, message: WorkspaceMessage) => void;
  readonly onPeerUp: (peer: NodeId) => void;
  readonly onPeerDown: (peer: NodeId) => void;
  /** A row of the table, a load or a link changed: what waits may find a place. */
  readonly onChanged: () => void;
  /** Nodes were revoked: what they have here is to end at once. */
  readonly onRevoked: () => void;
}

/**
 * This node in one mesh: trust, membership, links and discovery, joined. `join` and `leave` end it and start another;
 * jobs and the runner live beside it.
 */
export class Mesh {
  readonly id: MeshId;
  readonly links: LinkTable;
  readonly nearby = new Nearby();
  /** Who was there when this node started, or joined, is linked by then. */
  readonly settledAtMs = nowMs() + FIRST_LINKS_MS;
  readonly #options: MeshOptions;
  readonly #transport: WebSocketTransport;
  readonly #trust: TrustService;
  readonly #membership: Membership;
  readonly #incarnation: number;
  readonly #postMember: (input: MembershipInput) => void;
  readonly #removeMembership: () => void;
  readonly #addresses: AddressSaver;
  readonly #refusals = new Map<NodeId, string>();
  /** Members only: at most one entry each. */
  readonly #refusedSinceMs = new Map<NodeId, number>();
  #listening: Listening | null = null;
  #discoveryState: DiscoveryState = { kind: 'off' };
  #onLeft: () => void = () => undefined;
  #facts: Facts | null = null;
  #announced = '';

  private constructor(options: MeshOptions) {
    const { home, log, random, identity } = options;
    const self = identity.identity.nodeId;
    this.#options = options;
    this.id = options.meshId;
    this.#incarnation = nextIncarnation(home.state, log);
    this.#trust = new TrustService({
      ...options,
      self,
      rosterPath: home.trust,
      linkedPeers: () => this.links.peers.map(({ id }) => id),
      send: (peer, message) => this.links.get(peer)?.send(message),
      onChanged: (trust, removed) => this.#trustChanged(trust, removed),
    });
    this.#membership = new Membership({ self, mesh: options.meshId, incarnation: this.#incarnation, random });
    this.#transport = new WebSocketTransport({
      keyPem: identity.keyPem,
      certPem: identity.certPem,
      nodeId: self,
      nodeIdOf: verifier.nodeIdOf,
      authorize: (peer) =>
        this.trust.members.has(peer) ? 'trusted' : this.trust.revoked.has(peer) ? 'revoked' : 'unknown',
      hello: () => ({ mesh: this.id, incarnation: this.#incarnation, name: options.name }),
      log,
    });
    const book = () => new Map([...this.trust.members.keys()].map((id) => [id, this.links.addressesOf(id)] as const));
    this.#addresses = new AddressSaver(home.members, book, log);
    this.links = new LinkTable({
      self,
      random,
      log,
      dial: (address, expectedPeer, signal) => this.#transport.dial({ ...address, expectedPeer, signal }),
      onUp: (peer, instance) => this.#linkUp(peer, instance),
      onDown: (peer) => this.#linkDown(peer),
      onControl: (peer, json) => this.#receive(peer, json),
      onRefused: (peer) => {
        if (this.links.get(peer) === null && !this.#refusedSinceMs.has(peer)) this.#refusedSinceMs.set(peer, nowMs());
        this.#postMember({ kind: 'dial_refused', peer });
      },
      onAddressBook: () => this.#addresses.changed(),
    });
    const members = options.loop.add<MembershipInput, MembershipEffect>(this.#membership, { kind: 'timer' }, (effect) =>
      this.#carryOutMember(effect),
    );
    this.#postMember = members.post;
    this.#removeMembership = members.remove;
  }

  /**
   * Listens, announces and begins to dial.
   *
   * @throws MeshError `port_in_use`, `io`
   */
  static async start(options: MeshOptions, facts: Facts, load: Load): Promise<Mesh> {
    const mesh = new Mesh(options);
    try {
      mesh.#listening = await mesh.#transport.listen({
        ...options.listen,
        onLink: (link) => mesh.links.accept(link),
        onPair: options.onPair,
        onRefused: ({ peer, fault }) =>
          mesh.#refused(peer, fault.kind === 'protocol_mismatch' ? `speaks protocol ${fault.theirs}` : fault.kind),
      });
    } catch (error) {
      mesh.#removeMachines();
      throw error;
    }
    mesh.#begin(facts, load);
    return mesh;
  }

  get trust(): TrustSet {
    return this.#trust.trust;
  }

  get port(): number {
    return this.#listening?.port ?? this.#options.listen.port;
  }

  /** What this node tells others of where it is. */
  get addresses(): Address[] {
    return advertisedAddresses(this.#options.listen.host, this.port);
  }

  get members(): readonly Member[] {
    return this.#membership.members();
  }

  /** Since when nobody listens where that member was, on the monotonic clock; null where that is not so. */
  refusedSinceMs(id: NodeId): number | null {
    return this.#refusedSinceMs.get(id) ?? null;
  }

  member(id: NodeId): Member | null {
    return this.#membership.member(id);
  }

  get notices(): string[] {
    return meshNotices(this.trust, this.#refusals, this.#discoveryState);
  }

  factsChanged(facts: Facts): void {
    this.#facts = facts;
    this.#announced = this.addresses.map(formatHostPort).join();
    this.#postMember({ kind: 'local_changed', facts, addresses: this.addresses });
  }

  /** Interfaces come and go: what is said of this node's addresses follows. */
  lookAtAddresses(): void {
    if (this.#facts === null || this.addresses.map(formatHostPort).join() === this.#announced) return;
    this.factsChanged(this.#facts);
    this.links.hurry();
    this.#options.discovery?.refresh();
  }

  loadSampled(load: Load): void {
    this.#postMember({ kind: 'load', load });
  }

  /** The clock jumped: this machine slept, every socket is suspect and the network may be another one. */
  woke(gapMs: number): void {
    this.#postMember({ kind: 'woke', gapMs });
    this.links.hurry();
    this.#options.discovery?.refresh();
    if (this.#facts !== null) this.factsChanged(this.#facts);
  }

  /** A statement that this node signed: counted, stored and passed on before this returns. */
  addStatement(entry: Genuine): void {
    this.#trust.add(entry);
  }

  statementsFor(nodes: readonly NodeId[]): Statement[] {
    return this.#trust.statementsFor(nodes);
  }

  keptGrants(node: NodeId): string[] {
    return this.#trust.keptGrants(node);
  }

  pair(...args: Parameters<WebSocketTransport['pair']>): ReturnType<WebSocketTransport['pair']> {
    return this.#transport.pair(...args);
  }

  /** Says goodbye: settles when every linked peer has been told, or after a short while. */
  async sayGoodbye(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, LEAVE_MS_MAX);
      this.#onLeft = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#postMember({ kind: 'leave' });
    });
  }

  async stop(reason: string): Promise<void> {
    this.#addresses.flush();
    this.links.stop(reason);
    this.#removeMachines();
    await Promise.all([this.#transport.close(reason), this.#options.discovery?.stop()]);
  }

  #begin(facts: Facts, load: Load): void {
    const { home, log, peers, discovery, listen } = this.#options;
    this.#postMember({ kind: 'trust_changed', trusted: new Set(this.trust.members.keys()) });
    this.factsChanged(facts);
    // Before the first link, so that the first heartbeat on it tells the load and the peer can send jobs at once.
    this.loadSampled(load);
    for (const [id, addresses] of loadAddresses(home.members, log)) {
      if (this.trust.members.has(id)) this.links.want(id, addresses);
    }
    for (const peer of peers) this.links.wantStatic(peer);
    if (discovery === null) return;
    discovery.start(
      {
        nodeId: this.#options.identity.identity.nodeId,
        name: this.#options.name,
        port: this.port,
        productVersion: this.#options.productVersion,
        onlyHost: isAnyHost(listen.host) ? null : listen.host,
      },
      { onHint: (hint) => this.#hint(hint), onState: (state) => this.#discovery(state) },
    );
  }

  #hint(hint: PeerHint): void {
    if (hint.claimedId === this.#options.identity.identity.nodeId) return;
    const claimed = hint.claimedId as NodeId;
    if (this.trust.members.has(claimed)) this.links.want(claimed, [hint]);
    else this.nearby.note(hint, nowMs());
  }

  #discovery(state: DiscoveryState): void {
    const was = this.#discoveryState;
    this.#discoveryState = state;
    if (state.kind === 'failed') this.#options.log.warn('mDNS failed', { message: state.message });
    else if (was.kind !== state.kind) this.#options.log.info('mDNS', { state: state.kind });
  }

  #refused(peer: NodeId, what: string): void {
    if (this.#refusals.size < REFUSALS_SHOWN_MAX) this.#refusals.set(peer, what);
  }

  #linkUp(peer: Peer, instance: number): void {
    this.#refusals.delete(peer.id);
    this.#refusedSinceMs.delete(peer.id);
    this.nearby.forget(peer.id);
    this.#trust.linkUp(peer.id);
    this.#postMember({ kind: 'link_up', peer: peer.id, link: peer.number, instance });
    this.#options.onPeerUp(peer.id);
    this.#options.onChanged();
  }

  #linkDown(peer: Peer): void {
    this.#trust.linkDown(peer.id);
    this.#postMember({ kind: 'link_down', peer: peer.id, link: peer.number });
    this.#options.onPeerDown(peer.id);
  }

  #receive(peer: Peer, json: string): void {
    const parsed = parsePeerMessage(json);
    if (!parsed.ok) {
      this.#options.log.warn('malformed message', { peer: peer.id, what: parsed.error });
      this.links.close(peer.id, `protocol violation: ${parsed.error}`);
      return;
    }
    const { family, message } = parsed.value;
    switch (family) {
      case 'member':
        this.#postMember({ kind: 'message', from: peer.id, msg: message });
        if (message.t === 'member.heartbeat') this.#options.onChanged();
        return;
      case 'trust':
        return this.#trust.receive(peer.id, message);
      case 'job':
        return this.#options.onJob(peer.id, message);
      case 'query':
        return this.#options.onQuery(peer.id, message);
      case 'ws':
        return this.#options.onWorkspace(peer.id, message);
    }
  }

  #trustChanged(trust: TrustSet, removed: readonly NodeId[]): void {
    for (const node of removed) {
      this.links.unwant(node);
      this.links.close(node, 'no longer trusted');
      this.#transport.closePeer(node, 'no longer trusted');
    }
    if (removed.length > 0) this.#options.onRevoked();
    for (const id of this.#refusedSinceMs.keys()) if (!trust.members.has(id)) this.#refusedSinceMs.delete(id);
    this.#postMember({ kind: 'trust_changed', trusted: new Set(trust.members.keys()) });
  }

  #carryOutMember(effect: MembershipEffect): void {
    switch (effect.kind) {
      case 'send':
        this.links.get(effect.to)?.send(effect.msg);
        return;
      case 'broadcast':
        for (const peer of this.links.peers) peer.send(effect.msg);
        return;
      case 'sign': {
        const sig = signText(this.#options.identity.identity, effect.text);
        return this.#postMember({ kind: 'signed', token: effect.token, sig });
      }
      case 'verify': {
        const genuine = isSignedBy(this.trust, effect.id, effect.text, effect.sig);
        return this.#postMember({ kind: 'verified', token: effect.token, ok: genuine });
      }
      case 'persist_incarnation':
        return this.#persistIncarnation(effect.incarnation);
      case 'changed':
        if (effect.cause === 'record')
          this.links.learn(effect.peer, this.#membership.member(effect.peer)?.addresses ?? []);
        this.#options.log.info('member', {
          peer: effect.peer,
          was: effect.was,
          state: effect.state,
          cause: effect.cause,
        });
        return this.#options.onChanged();
      case 'dial_wanted':
        return this.links.want(effect.peer, effect.addresses);
      case 'dial_unwanted':
        return this.links.unwant(effect.peer);
      case 'close_link':
        return this.links.close(effect.peer, effect.reason);
      case 'left_announced':
        return this.#onLeft();
    }
  }

  #persistIncarnation(incarnation: number): void {
    try {
      saveIncarnation(this.#options.home.state, incarnation);
      this.#postMember({ kind: 'persisted', incarnation });
    } catch (error) {
      this.#options.log.error('the incarnation could not be saved', { error: messageOf(error) });
      this.#postMember({ kind: 'persist_failed', incarnation });
    }
  }

  #removeMachines(): void {
    this.#trust.stop();
    this.#removeMembership();
  }
}
