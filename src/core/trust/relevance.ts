import type { NodeId } from '../../base/ids.ts';
import type { Grant, StatementHash } from '../../wire/trust.ts';
import type { Rulings, VerifiedStatement } from './authority.ts';

/**
 * The statements worth keeping and passing on, each after the grant of its signer, so that a receiver can check and
 * judge them in the order in which they come: the genesis; the grants of authorities that are not void, and those that
 * made a later revoked node an authority; and the revocations by authorities, or of oneself, of nodes
 * that such a grant names.
 */
export function relevantStatements(rulings: Rulings): VerifiedStatement[] {
  const grants = relevantGrants(rulings);
  const ordered = new Map<StatementHash, VerifiedStatement>(grants.map((grant) => [grant.hash, grant]));
  const named = new Set<NodeId>(grants.map(({ statement }) => statement.node));
  for (const [signer, revokes] of rulings.revokesBy) {
    const isAuthority = rulings.authorities.has(signer);
    for (const [node, revoke] of revokes) {
      if (named.has(node) && (isAuthority || node === signer)) ordered.set(revoke.hash, revoke);
    }
  }
  return [...ordered.values()];
}

/**
 * The nodes that relevant grants name. A revocation of any other node changes nothing and may have been left out where
 * it came late, so nodes agree on the others only.
 */
export function namedNodes(rulings: Rulings): Set<NodeId> {
  return new Set(relevantGrants(rulings).map(({ statement }) => statement.node));
}

function relevantGrants(rulings: Rulings): VerifiedStatement<Grant>[] {
  const vias = new Set<StatementHash>([...rulings.authorities.values()].map(({ via }) => via.hash));
  const byAuthorities = [...rulings.authorities.keys()].flatMap((node) => rulings.grantsBy.get(node) ?? []);
  return [rulings.genesis, ...byAuthorities.filter((grant) => !rulings.isVoid(grant) || vias.has(grant.hash))];
}

/**
 * The hashes that prove the membership of `nodes`: every grant to them that is not void, and those of its signers up to
 * the genesis.
 */
export function chainsOf(rulings: Rulings, nodes: readonly NodeId[]): Set<StatementHash> {
  const chain = new Set<StatementHash>([rulings.genesis.hash]);
  const wanted = new Set<NodeId>(nodes);
  const follow = (grant: VerifiedStatement<Grant>): void => {
    for (let step = grant; !chain.has(step.hash);) {
      chain.add(step.hash);
      const issuer = rulings.authorities.get(step.statement.by);
      if (issuer === undefined) return;
      step = issuer.via;
    }
  };
  for (const grants of rulings.grantsBy.values()) {
    for (const grant of grants) if (wanted.has(grant.statement.node) && !rulings.isVoid(grant)) follow(grant);
  }
  return chain;
}
