import type { MeshId, NodeId } from '../../base/ids.ts';
import type { Grant, Role, StatementHash } from '../../wire/trust.ts';
import { namedNodes } from './relevance.ts';
import { rule, type Rulings, type VerifiedStatement } from './authority.ts';

/** How long after its end, on our clock, a grant still counts: the signer's clock and ours may differ. */
export const EXPIRY_TOLERANCE_MS = 86_400_000;

export interface TrustedNode {
  readonly node: NodeId;
  /** base64 of the SubjectPublicKeyInfo. */
  readonly spki: string;
  /** The label in its newest grant, null where it has none. */
  readonly name: string | null;
  /** All roles that valid grants give it together, in the order submit, run, admin. */
  readonly roles: readonly Role[];
  /** Milliseconds since 1970; null = for good. */
  readonly expiresWallMs: number | null;
}

/** Who may do what in a mesh, as one node has verified it: the only source of a peer's roles. */
export interface TrustSet {
  readonly meshId: MeshId;
  readonly members: ReadonlyMap<NodeId, TrustedNode>;
  /** Removed for good: such a machine returns with a new key only. */
  readonly revoked: ReadonlySet<NodeId>;
  /** When time alone changes the set next (milliseconds since 1970, tolerance included), null = never. */
  readonly nextExpiryWallMs: number | null;
}

/**
 * Derives the trust set from verified statements: a pure function of the set of statements and of the clock, so every
 * node that holds the same statements trusts the same nodes, in whatever order they came. Statements that no
 * authority signed change nothing. See `rule` for how revocations are weighed.
 *
 * @param nowWallMs milliseconds since 1970 on this node's clock, for expiry
 */
export function evaluate(statements: readonly VerifiedStatement[], meshId: MeshId, nowWallMs: number): TrustSet {
  const rulings = rule(statements, meshId);
  if (rulings === null) return { meshId, members: new Map(), revoked: new Set(), nextExpiryWallMs: null };
  return trustSetOf(rulings, meshId, nowWallMs);
}

export function trustSetOf(rulings: Rulings, meshId: MeshId, nowWallMs: number): TrustSet {
  const valid = validGrants(rulings, nowWallMs);
  const members = new Map<NodeId, TrustedNode>();
  let nextExpiryWallMs: number | null = null;
  for (const [node, grants] of valid) {
    if (rulings.standing.has(node)) continue;
    members.set(node, summarise(node, grants));
  }
  for (const grants of valid.values()) {
    for (const { statement } of grants) {
      if (statement.expires === undefined) continue;
      const endsMs = statement.expires + EXPIRY_TOLERANCE_MS;
      if (nextExpiryWallMs === null || endsMs < nextExpiryWallMs) nextExpiryWallMs = endsMs;
    }
  }
  const named = namedNodes(rulings);
  const revoked = new Set([...rulings.standing.keys()].filter((node) => named.has(node)));
  return { meshId, members, revoked, nextExpiryWallMs };
}

/**
 * Walks valid grants from the genesis. An issuer that was revoked since still passes on the grants that were kept; an
 * issuer whose own grant is void or expired passes on nothing, as in X.509 path validation (RFC 5280 §6).
 */
function validGrants(rulings: Rulings, nowWallMs: number): Map<NodeId, VerifiedStatement<Grant>[]> {
  const valid = new Map<NodeId, VerifiedStatement<Grant>[]>([[rulings.genesis.statement.node, [rulings.genesis]]]);
  const admins = new Set<NodeId>();
  const pending: NodeId[] = [rulings.genesis.statement.node];
  for (let issuer = pending.pop(); issuer !== undefined; issuer = pending.pop()) {
    if (admins.has(issuer)) continue;
    admins.add(issuer);
    for (const grant of rulings.grantsBy.get(issuer) ?? []) {
      const { node, roles, expires } = grant.statement;
      if (rulings.isVoid(grant)) continue;
      if (expires !== undefined && expires + EXPIRY_TOLERANCE_MS <= nowWallMs) continue;
      const grants = valid.get(node);
      if (grants === undefined) valid.set(node, [grant]);
      else grants.push(grant);
      if (roles.includes('admin')) pending.push(node);
    }
  }
  return valid;
}

function summarise(node: NodeId, grants: readonly VerifiedStatement<Grant>[]): TrustedNode {
  const newest = grants.toSorted(
    (a, b) => b.statement.at - a.statement.at || (a.hash < b.hash ? -1 : a.hash > b.hash ? 1 : 0),
  );
  const roles = (['submit', 'run', 'admin'] as const).filter((role) =>
    grants.some(({ statement }) => statement.roles.includes(role)),
  );
  let expiresWallMs: number | null = 0;
  for (const { statement } of grants) {
    if (expiresWallMs === null || statement.expires === undefined) expiresWallMs = null;
    else expiresWallMs = Math.max(expiresWallMs, statement.expires);
  }
  const name = newest.find(({ statement }) => statement.name !== undefined)?.statement.name ?? null;
  return { node, spki: newest[0]?.statement.spki ?? '', name, roles, expiresWallMs };
}

/**
 * The grants signed by `node` that give someone a place in the mesh today: what a revocation of it should keep so that
 * nobody else loses membership. Sorted, so that the same set makes the same statement.
 */
export function keptGrants(rulings: Rulings, node: NodeId): StatementHash[] {
  const hashes = (rulings.grantsBy.get(node) ?? [])
    .filter((grant) => !rulings.isVoid(grant) && !rulings.standing.has(grant.statement.node))
    .map((grant) => grant.hash);
  return [...new Set(hashes)].toSorted();
}
