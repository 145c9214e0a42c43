import { saveRoster } from '../adapters/tls/roster-file.ts';
import { verifyItems, type Genuine } from '../adapters/tls/statement-signatures.ts';
import { verifier } from '../adapters/tls/verifier.ts';
import { messageOf } from '../base/errors.ts';
import type { MeshId, NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { pick, type Random } from '../base/random.ts';
import { TrustMachine, type TrustEffect, type TrustInput } from '../core/trust/trust-machine.ts';
import type { TrustSet } from '../core/trust/trust-set.ts';
import type { Statement, TrustMessage } from '../wire/trust.ts';
import type { CoreLoop } from './core-loop.ts';
import { onBothClocks } from './trust-clock.ts';

/** Between two comparisons with a random peer: what gossip lost is found again. */
const SYNC_MS = 30_000;

export interface TrustServiceOptions {
  readonly loop: CoreLoop;
  readonly log: Logger;
  readonly random: Random;
  readonly self: NodeId;
  readonly meshId: MeshId;
  readonly statements: readonly Genuine[];
  /** trust.json. */
  readonly rosterPath: string;
  readonly linkedPeers: () => readonly NodeId[];
  readonly send: (peer: NodeId, message: TrustMessage) => void;
  /** `removed` were members before: their links and jobs end at once. */
  readonly onChanged: (trust: TrustSet, removed: readonly NodeId[]) => void;
}

/** Carries out the trust machine's effects: signatures are checked, the roster is written, statements are passed on. */
export class TrustService {
  readonly #options: TrustServiceOptions;
  readonly #machine: TrustMachine;
  readonly #post: (input: TrustInput) => void;
  readonly #remove: () => void;
  readonly #timer: NodeJS.Timeout;

  constructor(options: TrustServiceOptions) {
    this.#options = options;
    this.#machine = new TrustMachine(options.self, options.meshId, options.statements, Date.now());
    const { post, remove } = options.loop.add<TrustInput, TrustEffect>(
      onBothClocks(this.#machine),
      { kind: 'tick' },
      (effect) => this.#carryOut(effect),
    );
    this.#post = post;
    this.#remove = remove;
    this.#timer = setInterval(() => this.#sync(), SYNC_MS);
  }

  get trust(): TrustSet {
    return this.#machine.trust;
  }

  linkUp(peer: NodeId): void {
    this.#post({ kind: 'link_up', peer });
  }

  linkDown(peer: NodeId): void {
    this.#post({ kind: 'link_down', peer });
  }

  receive(peer: NodeId, message: TrustMessage): void {
    this.#post({ kind: 'message', peer, message });
  }

  /** A statement that this node signed: counted, stored and passed on before this returns. */
  add(entry: Genuine): void {
    this.#post({ kind: 'add', entry });
  }

  statementsFor(nodes: readonly NodeId[]): Statement[] {
    return this.#machine.statementsFor(nodes);
  }

  keptGrants(node: NodeId): string[] {
    return this.#machine.keptGrants(node);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#remove();
  }

  #carryOut(effect: TrustEffect): void {
    switch (effect.kind) {
      case 'send':
        return this.#options.send(effect.peer, effect.message);
      case 'verify': {
        const genuine = verifyItems(verifier, effect.items);
        const forged = effect.items.length - genuine.length;
        return this.#post({ kind: 'verified', peer: effect.peer, genuine, forged });
      }
      case 'persist':
        this.#save(effect.statements);
        return this.#post({ kind: 'persisted' });
      case 'changed':
        return this.#options.onChanged(effect.trust, effect.removed);
      case 'misbehaved':
        return this.#options.log.warn('a peer misbehaved', { peer: effect.peer, what: effect.what });
    }
  }

  /** A full disk is said, and stops nothing: a revocation must count and spread all the same. */
  #save(statements: readonly Statement[]): void {
    try {
      saveRoster(this.#options.rosterPath, this.#options.meshId, statements);
    } catch (error) {
      this.#options.log.error('the trust set could not be saved', { error: messageOf(error) });
    }
  }

  #sync(): void {
    const peer = pick(this.#options.random, this.#options.linkedPeers());
    if (peer !== undefined) this.#post({ kind: 'sync', peer });
  }
}
