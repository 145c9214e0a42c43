import { unreachable } from '../../base/assert.ts';
import type { MeshId, NodeId } from '../../base/ids.ts';
import { KIB } from '../../base/units.ts';
import type { Statement, StatementHash, TrustDigest, TrustMessage, TrustStatements } from '../../wire/trust.ts';
import type { VerifiedStatement } from './authority.ts';
import { chainsOf } from './relevance.ts';
import { StatementStore } from './statement-store.ts';
import { evaluate, keptGrants, trustSetOf, type TrustSet } from './trust-set.ts';

/** Of one `trust.statements` message, as JSON. */
export const PAGE_BYTES_MAX = 256 * KIB;
export const PAGE_STATEMENTS_MAX = 512;
export const DIGEST_HASH_CHARS = 16;
/** Signatures of one peer being checked; what comes on top is dropped and comes again with the next digest. */
export const VERIFYING_PER_PEER_MAX = 1024;
/** Digests answered per peer: a burst on connect, then one a second. Each may cost us the whole set in reply. */
export const DIGEST_BURST_MAX = 4;
export const DIGEST_INTERVAL_MS = 1000;
const PEERS_MAX = 1024;

/** Something to check: the key to check it with is that of its signer, as some grant names it. */
export interface VerifyItem {
  readonly statement: Statement;
  /** base64; proves nothing until its hash is found equal to `statement.by`. */
  readonly signerSpki: string;
}

export type TrustInput =
  | { readonly kind: 'link_up'; readonly peer: NodeId }
  | { readonly kind: 'link_down'; readonly peer: NodeId }
  | { readonly kind: 'message'; readonly peer: NodeId; readonly message: TrustMessage }
  /** Completes a `verify`: what was genuine, with its hash, in the order given; and how many were not. */
  | {
      readonly kind: 'verified';
      readonly peer: NodeId;
      readonly genuine: readonly VerifiedStatement[];
      readonly forged: number;
    }
  /** A statement signed by this node. */
  | { readonly kind: 'add'; readonly entry: VerifiedStatement }
  /** Anti-entropy: compare with this peer now. */
  | { readonly kind: 'sync'; readonly peer: NodeId }
  /** Completes a `persist`, also one that failed: spreading a revocation must not wait for a full disk. */
  | { readonly kind: 'persisted' }
  /** Time has passed; needed once `trust.nextExpiryWallMs` is reached. */
  | { readonly kind: 'tick' };

export type TrustEffect =
  | { readonly kind: 'send'; readonly peer: NodeId; readonly message: TrustMessage }
  | { readonly kind: 'verify'; readonly peer: NodeId; readonly items: readonly VerifyItem[] }
  /** Replace the roster file; one at a time, answered by `persisted`. */
  | { readonly kind: 'persist'; readonly statements: readonly Statement[] }
  /** `removed` were members before: close their links and end their jobs at once. */
  | { readonly kind: 'changed'; readonly trust: TrustSet; readonly removed: readonly NodeId[] }
  /** For a rate-limited log line. */
  | { readonly kind: 'misbehaved'; readonly peer: NodeId; readonly what: string };

export interface TrustClock {
  /** Monotonic. */
  readonly nowMs: number;
  /** Since 1970, for expiry only. */
  readonly wallMs: number;
}

interface Peer {
  verifying: number;
  digestTokens: number;
  digestAtMs: number;
}

/**
 * Keeps the statements of one mesh in step with those of the peers (sans-IO).
 *
 * On a new link both sides send the hashes of what they hold, and each sends what the other lacks; the same with one
 * peer at a time on `sync`. What is new is passed on to all other peers once it has been written to disk. Invariants:
 * 1. Nothing is stored, passed on or counted before its signature was checked (`verify` effect).
 * 2. Nothing is stored that no authority signed (StatementStore.offer).
 * 3. Every stored set leads to the same `trust` at every node (evaluate is a pure function of it and the clock).
 */
export class TrustMachine {
  readonly #self: NodeId;
  readonly #store: StatementStore;
  readonly #peers = new Map<NodeId, Peer>();
  #trust: TrustSet;
  #persisting = false;
  /** Stored since the last `persist` effect. */
  #unsaved = 0;
  /** Waiting for the next `persisted`, and then for the one after it. */
  #unsentSaving: { entry: VerifiedStatement; from: NodeId | null }[] = [];
  #unsentNext: { entry: VerifiedStatement; from: NodeId | null }[] = [];

  /** @param statements verified; those that do not count in this mesh are left out */
  constructor(self: NodeId, meshId: MeshId, statements: readonly VerifiedStatement[], wallMs: number) {
    this.#self = self;
    this.#store = new StatementStore(meshId);
    this.#store.offer(statements);
    this.#trust = this.#evaluate(wallMs);
  }

  get trust(): TrustSet {
    return this.#trust;
  }

  get statementCount(): number {
    return this.#store.all.length;
  }

  step(input: TrustInput, clock: TrustClock): TrustEffect[] {
    switch (input.kind) {
      case 'link_up':
        return this.#linkUp(input.peer, clock);
      case 'link_down':
        this.#peers.delete(input.peer);
        return [];
      case 'message':
        return this.#message(input.peer, input.message, clock);
      case 'verified':
        return this.#verified(input.peer, input.genuine, input.forged, clock);
      case 'add':
        return this.#accept([input.entry], null, clock);
      case 'sync':
        return this.#peers.has(input.peer) ? [this.#digest(input.peer, true)] : [];
      case 'persisted':
        return this.#persisted();
      case 'tick':
        return this.#reevaluate(clock);
      default:
        return unreachable(input);
    }
  }

  /** Hashes for `Revoke.kept` so that nobody but `node` loses its place. */
  keptGrants(node: NodeId): StatementHash[] {
    const rulings = this.#store.rulings;
    return rulings === null ? [] : keptGrants(rulings, node);
  }

  /**
   * For a newcomer: what proves the membership of `nodes`, and as much of the rest as one page holds; gossip brings
   * what is left out.
   */
  statementsFor(nodes: readonly NodeId[]): Statement[] {
    const rulings = this.#store.rulings;
    if (rulings === null) return [];
    const chain = chainsOf(rulings, nodes);
    const budget = new PageBudget();
    const chosen = new Set<StatementHash>();
    for (const needed of [true, false]) {
      for (const { statement, hash } of this.#store.relevant) {
        if (chain.has(hash) === needed && budget.take(statement)) chosen.add(hash);
      }
    }
    return this.#store.relevant.filter(({ hash }) => chosen.has(hash)).map(({ statement }) => statement);
  }

  #linkUp(peer: NodeId, clock: TrustClock): TrustEffect[] {
    if (this.#peers.size >= PEERS_MAX && !this.#peers.has(peer)) return [];
    this.#peers.set(peer, { verifying: 0, digestTokens: DIGEST_BURST_MAX, digestAtMs: clock.nowMs });
    return [this.#digest(peer, false)];
  }

  #message(from: NodeId, message: TrustMessage, clock: TrustClock): TrustEffect[] {
    const peer = this.#peers.get(from);
    if (peer === undefined) return [];
    if (message.mesh !== this.#store.meshId) return [misbehaved(from, `sent statements of mesh ${message.mesh}`)];
    switch (message.t) {
      case 'trust.digest':
        return this.#onDigest(from, peer, message, clock);
      case 'trust.statements':
        return this.#onStatements(from, peer, message);
      default:
        return unreachable(message);
    }
  }

  #onDigest(from: NodeId, peer: Peer, message: TrustDigest, { nowMs }: TrustClock): TrustEffect[] {
    const refill = Math.floor((nowMs - peer.digestAtMs) / DIGEST_INTERVAL_MS);
    if (refill > 0) {
      peer.digestTokens = Math.min(DIGEST_BURST_MAX, peer.digestTokens + refill);
      peer.digestAtMs += refill * DIGEST_INTERVAL_MS;
    }
    if (peer.digestTokens < 1) return [misbehaved(from, 'sent too many digests')];
    peer.digestTokens -= 1;
    const theirs = new Set(message.have);
    const lacking = this.#store.relevant.filter(({ hash }) => !theirs.has(hash.slice(0, DIGEST_HASH_CHARS)));
    const effects: TrustEffect[] = this.#pages(lacking).map((page) => ({ kind: 'send', peer: from, message: page }));
    if (message.exchange) {
      for (const { hash } of this.#store.all) theirs.delete(hash.slice(0, DIGEST_HASH_CHARS));
      if (theirs.size > 0) effects.push(this.#digest(from, false));
    }
    return effects;
  }

  #onStatements(from: NodeId, peer: Peer, message: TrustStatements): TrustEffect[] {
    const unknown = message.statements.filter(({ sig }) => !this.#store.hasSignature(sig));
    const claimed = new Map<NodeId, string>();
    const items: VerifyItem[] = [];
    for (const statement of unknown) {
      if (statement.kind === 'grant') claimed.set(statement.node, statement.spki);
      const signerSpki = this.#store.keyOf(statement.by) ?? claimed.get(statement.by);
      if (signerSpki !== undefined) items.push({ statement, signerSpki });
    }
    if (items.length === 0) return [];
    if (peer.verifying + items.length > VERIFYING_PER_PEER_MAX) return [misbehaved(from, 'sent too many statements')];
    peer.verifying += items.length;
    return [{ kind: 'verify', peer: from, items }];
  }

  #verified(from: NodeId, genuine: readonly VerifiedStatement[], forged: number, clock: TrustClock): TrustEffect[] {
    const peer = this.#peers.get(from);
    if (peer !== undefined) peer.verifying = Math.max(0, peer.verifying - genuine.length - forged);
    const effects = this.#accept(genuine, from, clock);
    if (forged > 0) effects.push(misbehaved(from, `sent ${forged} statements with a wrong signature`));
    return effects;
  }

  #accept(entries: readonly VerifiedStatement[], from: NodeId | null, clock: TrustClock): TrustEffect[] {
    const { stored, irrelevant, refused } = this.#store.offer(entries);
    const effects: TrustEffect[] = [];
    if (stored.length > 0) {
      for (const entry of stored) this.#unsentNext.push({ entry, from });
      this.#unsaved += stored.length;
      effects.push(...this.#reevaluate(clock), ...this.#persist());
    }
    const who = from ?? this.#self;
    if (irrelevant > 0)
      effects.push(misbehaved(who, `sent ${irrelevant} statements that count for nothing in this mesh`));
    if (refused > 0) effects.push(misbehaved(who, `sent ${refused} statements more than are kept`));
    return effects;
  }

  #persist(): TrustEffect[] {
    if (this.#persisting || this.#unsaved === 0) return [];
    this.#persisting = true;
    this.#unsaved = 0;
    this.#unsentSaving = this.#unsentNext;
    this.#unsentNext = [];
    return [{ kind: 'persist', statements: this.#store.all.map(({ statement }) => statement) }];
  }

  #persisted(): TrustEffect[] {
    const saved = this.#unsentSaving;
    this.#persisting = false;
    this.#unsentSaving = [];
    const effects: TrustEffect[] = [];
    for (const peer of this.#peers.keys()) {
      const news = saved.filter(({ from }) => from !== peer).map(({ entry }) => entry);
      for (const message of this.#pages(news)) effects.push({ kind: 'send', peer, message });
    }
    return [...effects, ...this.#persist()];
  }

  #reevaluate({ wallMs }: TrustClock): TrustEffect[] {
    const before = this.#trust;
    const after = this.#evaluate(wallMs);
    this.#trust = after;
    if (sameTrust(before, after)) return [];
    const removed = [...before.members.keys()].filter((node) => !after.members.has(node));
    return [{ kind: 'changed', trust: after, removed }];
  }

  #evaluate(wallMs: number): TrustSet {
    const { rulings, meshId } = this.#store;
    return rulings === null ? evaluate([], meshId, wallMs) : trustSetOf(rulings, meshId, wallMs);
  }

  #digest(peer: NodeId, exchange: boolean): TrustEffect {
    const have = this.#store.relevant.map(({ hash }) => hash.slice(0, DIGEST_HASH_CHARS));
    return { kind: 'send', peer, message: { t: 'trust.digest', mesh: this.#store.meshId, have, exchange } };
  }

  #pages(entries: readonly VerifiedStatement[]): TrustStatements[] {
    const pages: TrustStatements[] = [];
    let budget = new PageBudget();
    let statements: Statement[] = [];
    const close = (): void => {
      if (statements.length > 0) pages.push({ t: 'trust.statements', mesh: this.#store.meshId, statements });
      statements = [];
      budget = new PageBudget();
    };
    for (const { statement } of entries) {
      if (!budget.take(statement)) {
        close();
        budget.take(statement);
      }
      statements.push(statement);
    }
    close();
    return pages;
  }
}

/** Room left in one message. The largest statement (KEPT_MAX hashes) is below a quarter of a page. */
class PageBudget {
  #bytes = PAGE_BYTES_MAX - KIB;
  #statements = PAGE_STATEMENTS_MAX;

  take(statement: Statement): boolean {
    const bytes = JSON.stringify(statement).length + 1;
    if (bytes > this.#bytes || this.#statements < 1) return false;
    this.#bytes -= bytes;
    this.#statements -= 1;
    return true;
  }
}

const misbehaved = (peer: NodeId, what: string): TrustEffect => ({ kind: 'misbehaved', peer, what });

function sameTrust(a: TrustSet, b: TrustSet): boolean {
  if (a.members.size !== b.members.size || a.revoked.size !== b.revoked.size) return false;
  if (a.nextExpiryWallMs !== b.nextExpiryWallMs) return false;
  for (const node of b.revoked) if (!a.revoked.has(node)) return false;
  for (const [node, member] of b.members) {
    const other = a.members.get(node);
    if (other === undefined || other.name !== member.name || other.expiresWallMs !== member.expiresWallMs) return false;
    if (other.roles.join() !== member.roles.join()) return false;
  }
  return true;
}
