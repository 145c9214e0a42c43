import type { MeshId, NodeId } from '../../base/ids.ts';
import type { StatementHash } from '../../wire/trust.ts';
import { rule, type Rulings, type VerifiedStatement } from './authority.ts';
import { relevantStatements } from './relevance.ts';

/** Grants and revocations have bounds of their own, so that a flood of grants never keeps a revocation out. */
export const GRANTS_MAX = 2048;
export const REVOKES_MAX = 2048;
/** No single admin can fill the store. */
export const GRANTS_PER_ISSUER_MAX = 1024;
/** Hashes that all revocations keep, together: below 1 MiB. */
const KEPT_TOTAL_MAX = 16_384;

export interface OfferResult {
  readonly stored: readonly VerifiedStatement[];
  /** Not signed by an authority, about nobody known, or void already. */
  readonly irrelevant: number;
  /** Beyond a bound of the store. */
  readonly refused: number;
}

/**
 * The verified statements of one mesh. Only what an authority signed gets in, so a member without admin can't fill it.
 * Nothing is ever taken out (a revocation that falls may make an old grant count again), except that of several
 * revocations of one node by one signer the smallest hash stays, wherever they arrive first.
 */
export class StatementStore {
  readonly meshId: MeshId;
  readonly #entries = new Map<StatementHash, VerifiedStatement>();
  readonly #signatures = new Set<string>();
  readonly #keys = new Map<NodeId, string>();
  readonly #grantsByIssuer = new Map<NodeId, number>();
  /** The hash of the one revocation of each signer and node. */
  readonly #revokes = new Map<string, StatementHash>();
  #grants = 0;
  #kept = 0;
  #rulings: Rulings | null = null;
  #relevant: readonly VerifiedStatement[] = [];

  constructor(meshId: MeshId) {
    this.meshId = meshId;
  }

  get all(): readonly VerifiedStatement[] {
    return [...this.#entries.values()];
  }

  /** Null before the genesis is in. */
  get rulings(): Rulings | null {
    return this.#rulings;
  }

  /** What is worth passing on, each after the grant of its signer. */
  get relevant(): readonly VerifiedStatement[] {
    return this.#relevant;
  }

  hasSignature(sig: string): boolean {
    return this.#signatures.has(sig);
  }

  /** base64 SPKI of a node that some stored grant names. */
  keyOf(node: NodeId): string | undefined {
    return this.#keys.get(node);
  }

  /** Takes in what counts, judged together: a grant may come with the one that makes its signer an authority. */
  offer(candidates: readonly VerifiedStatement[]): OfferResult {
    const fresh = candidates.filter(({ hash }) => !this.#entries.has(hash));
    if (fresh.length === 0) return { stored: [], irrelevant: 0, refused: 0 };
    const tentative = rule([...this.#entries.values(), ...fresh], this.meshId);
    const relevant = tentative === null ? [] : relevantStatements(tentative);
    const wanted = new Set(relevant.map(({ hash }) => hash));
    const stored: VerifiedStatement[] = [];
    let refused = 0;
    let irrelevant = 0;
    for (const entry of fresh) {
      if (!wanted.has(entry.hash)) irrelevant += 1;
      else if (this.#entries.has(entry.hash)) continue;
      else if (this.#insert(entry)) stored.push(entry);
      else refused += 1;
    }
    if (stored.length > 0) {
      // The rulings made for the offer hold where all of it was stored.
      const whole = irrelevant + refused === 0;
      this.#rulings = whole ? tentative : rule([...this.#entries.values()], this.meshId);
      this.#relevant = whole || this.#rulings === null ? relevant : relevantStatements(this.#rulings);
    }
    return { stored, irrelevant, refused };
  }

  #insert({ statement, hash }: VerifiedStatement): boolean {
    if (statement.kind === 'grant') {
      const issued = this.#grantsByIssuer.get(statement.by) ?? 0;
      if (this.#grants >= GRANTS_MAX || issued >= GRANTS_PER_ISSUER_MAX) return false;
      this.#grants += 1;
      this.#grantsByIssuer.set(statement.by, issued + 1);
      this.#keys.set(statement.node, statement.spki);
    } else {
      const pair = `${statement.by} ${statement.node}`;
      const known = this.#revokes.get(pair);
      const kept = statement.kept?.length ?? 0;
      if (known === undefined && this.#revokes.size >= REVOKES_MAX) return false;
      if (this.#kept + kept > KEPT_TOTAL_MAX) return false;
      this.#kept += kept;
      if (known !== undefined) this.#remove(known);
      this.#revokes.set(pair, hash);
    }
    this.#entries.set(hash, { statement, hash });
    this.#signatures.add(statement.sig);
    return true;
  }

  #remove(hash: StatementHash): void {
    const entry = this.#entries.get(hash);
    if (entry === undefined) return;
    this.#entries.delete(hash);
    this.#signatures.delete(entry.statement.sig);
    if (entry.statement.kind === 'revoke') this.#kept -= entry.statement.kept?.length ?? 0;
  }
}
