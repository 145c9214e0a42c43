import type { MeshId, NodeId } from '../../base/ids.ts';
import type { Grant, Revoke, Statement, StatementHash } from '../../wire/trust.ts';

/** A statement whose signature and hash the verifier has checked, the only kind that the core reasons about. */
export interface VerifiedStatement<S extends Statement = Statement> {
  readonly statement: S;
  readonly hash: StatementHash;
}

/** A node that held admin when it signed; a lower rank (depth, then id) prevails where two revoke each other. */
export interface Authority {
  readonly node: NodeId;
  /** Admin grants between it and the genesis. */
  readonly depth: number;
  /** The grant that made it one. */
  readonly via: VerifiedStatement<Grant>;
}

export interface Rulings {
  readonly genesis: VerifiedStatement<Grant>;
  readonly authorities: ReadonlyMap<NodeId, Authority>;
  /** Revocations that hold, by the node they remove. */
  readonly standing: ReadonlyMap<NodeId, readonly VerifiedStatement<Revoke>[]>;
  /** False for the grants of a revoked node that not every revocation of it kept. */
  isVoid(grant: VerifiedStatement<Grant>): boolean;
  /** By signer, the genesis left out. */
  readonly grantsBy: ReadonlyMap<NodeId, readonly VerifiedStatement<Grant>[]>;
  /** By signer, then by the node removed: of several, the smallest hash. */
  readonly revokesBy: ReadonlyMap<NodeId, ReadonlyMap<NodeId, VerifiedStatement<Revoke>>>;
}

/**
 * Decides which revocations hold. A pure function of the *set*: neither order nor duplicates nor time matter.
 *
 * Authorities are ruled on from the genesis outwards, by (depth, id), each once:
 * 1. A node is an authority if a grant of admin to it, by an authority, is not void by the revocations ruled on so far.
 * 2. A revocation by an authority holds, also after the authority itself was revoked or left: revocation wins.
 * 3. Except that one by a node that was revoked in its turn reaches neither its revoker nor anyone who outranks that
 *    revoker. So of two admins that revoke each other the shorter chain wins, then the smaller id; and a stolen
 *    machine, once revoked, can't take the mesh with it.
 * 4. A revocation of oneself (`leave`) needs a grant only, no admin, and takes nothing away from rule 2.
 *
 * @returns null where no genesis of `meshId` is among the statements
 */
export function rule(statements: readonly VerifiedStatement[], meshId: MeshId): Rulings | null {
  const genesis = findGenesis(statements, meshId);
  if (genesis === null) return null;
  const grantsBy = new Map<NodeId, VerifiedStatement<Grant>[]>();
  const revokesBy = new Map<NodeId, Map<NodeId, VerifiedStatement<Revoke>>>();
  for (const entry of statements) sortIn(entry, meshId, grantsBy, revokesBy);

  const authorities = new Map<NodeId, Authority>();
  const standing = new Map<NodeId, VerifiedStatement<Revoke>[]>();
  /** The best-ranked authority that revoked a node, itself not counted. */
  const revokers = new Map<NodeId, Authority>();
  /** The `kept` lists as sets, made when first asked for. */
  const keptBy = new Map<StatementHash, ReadonlySet<StatementHash>>();
  const isVoid = (grant: VerifiedStatement<Grant>): boolean => isVoidBy(standing, keptBy, grant);
  for (const [signer, revokes] of revokesBy) {
    const ofItself = revokes.get(signer);
    if (ofItself !== undefined) append(standing, signer, ofItself);
  }

  let frontier: Authority[] = [{ node: genesis.statement.node, depth: 0, via: genesis }];
  while (frontier.length > 0) {
    const level = frontier.toSorted(compareRank);
    for (const authority of level) authorities.set(authority.node, authority);
    for (const authority of level) {
      for (const revoke of honoured(authority, revokesBy, revokers.get(authority.node), authorities)) {
        const { node } = revoke.statement;
        append(standing, node, revoke);
        const best = revokers.get(node);
        if (best === undefined || compareRank(authority, best) < 0) revokers.set(node, authority);
      }
    }
    frontier = grantees(level, { authorities, grantsBy, isVoid });
  }
  return { genesis, authorities, standing, isVoid, grantsBy, revokesBy };
}

const compareRank = (a: Authority, b: Authority): number =>
  a.depth - b.depth || (a.node < b.node ? -1 : a.node > b.node ? 1 : 0);

/** Rule 3: what a revoked authority says of its revoker, or of those above that, does not count. */
function honoured(
  authority: Authority,
  revokesBy: Rulings['revokesBy'],
  revoker: Authority | undefined,
  authorities: ReadonlyMap<NodeId, Authority>,
): VerifiedStatement<Revoke>[] {
  return [...(revokesBy.get(authority.node)?.values() ?? [])].filter(
    ({ statement: { node } }) =>
      node !== authority.node && (revoker === undefined || !outranksOrIs(node, revoker, authorities)),
  );
}

/** The nodes one step further from the genesis; where several grants lead to one, the smallest hash is its `via`. */
function grantees(
  level: readonly Authority[],
  { authorities, grantsBy, isVoid }: Pick<Rulings, 'authorities' | 'grantsBy' | 'isVoid'>,
): Authority[] {
  const next = new Map<NodeId, Authority>();
  for (const authority of level) {
    for (const grant of grantsBy.get(authority.node) ?? []) {
      const { node, roles } = grant.statement;
      if (!roles.includes('admin') || authorities.has(node) || isVoid(grant)) continue;
      const known = next.get(node);
      if (known === undefined || grant.hash < known.via.hash) {
        next.set(node, { node, depth: authority.depth + 1, via: grant });
      }
    }
  }
  return [...next.values()];
}

function outranksOrIs(node: NodeId, revoker: Authority, authorities: ReadonlyMap<NodeId, Authority>): boolean {
  const target = authorities.get(node);
  return target !== undefined && compareRank(target, revoker) <= 0;
}

/** Where an authority revoked the issuer, its list decides, not the one that the issuer left with. */
function isVoidBy(
  standing: ReadonlyMap<NodeId, readonly VerifiedStatement<Revoke>[]>,
  keptBy: Map<StatementHash, ReadonlySet<StatementHash>>,
  grant: VerifiedStatement<Grant>,
): boolean {
  const revokes = standing.get(grant.statement.by);
  if (revokes === undefined) return false;
  const byOthers = revokes.filter(({ statement }) => statement.by !== statement.node);
  const judging = byOthers.length > 0 ? byOthers : revokes;
  return !judging.every(({ statement, hash }) => {
    const kept = keptBy.get(hash) ?? new Set(statement.kept);
    keptBy.set(hash, kept);
    return kept.has(grant.hash);
  });
}

function findGenesis(statements: readonly VerifiedStatement[], meshId: MeshId): VerifiedStatement<Grant> | null {
  for (const { statement, hash } of statements) {
    if (hash === meshId && statement.kind === 'grant' && isGenesis(statement)) return { statement, hash };
  }
  return null;
}

/** The first statement of a mesh: all roles, by a node to itself, for ever. */
function isGenesis(grant: Grant): boolean {
  return grant.mesh === '' && grant.by === grant.node && grant.roles.length === 3 && grant.expires === undefined;
}

function sortIn(
  { statement, hash }: VerifiedStatement,
  meshId: MeshId,
  grantsBy: Map<NodeId, VerifiedStatement<Grant>[]>,
  revokesBy: Map<NodeId, Map<NodeId, VerifiedStatement<Revoke>>>,
): void {
  if (statement.mesh !== meshId) return;
  if (statement.kind === 'grant') {
    append(grantsBy, statement.by, { statement, hash });
    return;
  }
  const revokes = revokesBy.get(statement.by) ?? new Map<NodeId, VerifiedStatement<Revoke>>();
  const known = revokes.get(statement.node);
  if (known === undefined || hash < known.hash) revokes.set(statement.node, { statement, hash });
  revokesBy.set(statement.by, revokes);
}

function append<T>(lists: Map<NodeId, T[]>, key: NodeId, value: T): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}
