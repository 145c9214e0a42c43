import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { NodeId } from '../../../../src/base/ids.ts';
import { rule, type VerifiedStatement } from '../../../../src/core/trust/authority.ts';
import { chainsOf, relevantStatements } from '../../../../src/core/trust/relevance.ts';
import { evaluate, EXPIRY_TOLERANCE_MS, keptGrants, type TrustSet } from '../../../../src/core/trust/trust-set.ts';
import { makeGenesis, makeGrant, makeRevoke, nodeAt, type GrantOptions } from './statements.ts';

const ADMIN: GrantOptions = { roles: ['submit', 'run', 'admin'] };
const [G, A, B, C, D, Z] = [nodeAt(50), nodeAt(1), nodeAt(2), nodeAt(3), nodeAt(4), nodeAt(99)];
const { mesh, genesis } = makeGenesis(G);
const grant = (by: NodeId, node: NodeId, options: GrantOptions = {}) => makeGrant(mesh, by, node, options);
const revoke = (by: NodeId, node: NodeId, ...kept: VerifiedStatement[]) =>
  makeRevoke(mesh, by, node, kept.length === 0 ? undefined : kept.map(({ hash }) => hash));

const evaluated = (statements: readonly VerifiedStatement[], wallMs = 0): TrustSet =>
  evaluate(statements, mesh, wallMs);
const members = (...statements: VerifiedStatement[]): NodeId[] => [
  ...evaluated([genesis, ...statements]).members.keys(),
];
const expectMembers = (statements: readonly VerifiedStatement[], ...nodes: NodeId[]): void => {
  expect(members(...statements).toSorted()).toEqual(nodes.toSorted());
};

describe('grants', () => {
  it('count from the genesis on, through admins', () => {
    expectMembers([], G);
    expectMembers([grant(G, A)], G, A);
    expectMembers([grant(G, A, ADMIN), grant(A, B)], G, A, B);
    expectMembers([grant(A, B), grant(G, A, ADMIN)], G, A, B);
  });

  it('count for nothing when signed by a member without admin, by a stranger or in another mesh', () => {
    const other = makeGenesis(A);
    expectMembers([grant(G, A), grant(A, B)], G, A);
    expectMembers([grant(Z, B), grant(B, Z)], G);
    expectMembers([other.genesis, makeGrant(other.mesh, A, B)], G);
    expectMembers([grant(A, B, ADMIN), grant(B, A, ADMIN)], G);
  });

  it('without the genesis of the mesh nobody is trusted', () => {
    const other = makeGenesis(A);
    expect(evaluated([]).members.size).toBe(0);
    expect(evaluated([grant(G, A)]).members.size).toBe(0);
    expect(evaluate([genesis, grant(G, A)], other.mesh, 0).members.size).toBe(0);
  });

  it('add up; the newest name counts', () => {
    const trust = evaluated([
      genesis,
      grant(G, A, { roles: ['submit'], name: 'old', at: 1 }),
      grant(G, A, { roles: ['admin'], name: 'new', at: 2 }),
    ]);
    expect(trust.members.get(A)).toMatchObject({
      node: A,
      roles: ['submit', 'admin'],
      name: 'new',
      expiresWallMs: null,
    });
    expect(trust.members.get(G)).toMatchObject({ roles: ['submit', 'run', 'admin'], name: null });
  });

  it("end on the receiver's clock, a day late, and with them what hangs on them", () => {
    const ends = 1_000_000_000;
    const statements = [genesis, grant(G, A, { ...ADMIN, expires: ends }), grant(A, B)];
    const at = (wallMs: number): NodeId[] => [...evaluated(statements, wallMs).members.keys()];
    expect(at(ends + EXPIRY_TOLERANCE_MS - 1)).toEqual([G, A, B]);
    expect(at(ends + EXPIRY_TOLERANCE_MS)).toEqual([G]);
    expect(evaluated(statements, ends).nextExpiryWallMs).toBe(ends + EXPIRY_TOLERANCE_MS);
    expect(evaluated(statements, ends * 9).nextExpiryWallMs).toBeNull();
    expect(evaluated(statements, 0).members.get(A)?.expiresWallMs).toBe(ends);
    const extended = evaluated([...statements, grant(G, A, { roles: ['run'] })], ends * 9);
    expect(extended.members.get(A)).toMatchObject({ roles: ['run'], expiresWallMs: null });
  });
});

describe('revocations', () => {
  it('win over any grant, older or newer', () => {
    expectMembers([grant(G, A), revoke(G, A), grant(G, A, { at: 99 })], G);
    expect(evaluated([genesis, grant(G, A), revoke(G, A)]).revoked).toEqual(new Set([A]));
  });

  it('count for nothing when signed without admin', () => {
    expectMembers([grant(G, A), grant(G, B), revoke(A, B), revoke(Z, A), revoke(Z, G)], G, A, B);
  });

  it('of oneself need no admin', () => {
    expectMembers([grant(G, A), revoke(A, A)], G);
  });

  it('of an admin keep the grants that they list and void the others', () => {
    const [toB, toC] = [grant(A, B), grant(A, C)];
    expectMembers([grant(G, A, ADMIN), toB, toC, revoke(G, A, toB)], G, B);
    expectMembers([grant(G, A, ADMIN), toB, toC, revoke(A, A, toB, toC)], G, B, C);
    expectMembers([grant(G, A, ADMIN), toB, toC, revoke(A, A)], G);
  });

  it('of an admin by several keep what all of them keep', () => {
    const [toB, toC] = [grant(A, B), grant(A, C)];
    const admins = [grant(G, A, ADMIN), grant(G, D, ADMIN), toB, toC];
    expectMembers([...admins, revoke(G, A, toB, toC), revoke(D, A, toC)], G, D, C);
  });

  it("by others overrule the leaver's own list", () => {
    const [toB, toC] = [grant(A, B), grant(A, C)];
    expectMembers([grant(G, A, ADMIN), toB, toC, revoke(A, A), revoke(G, A, toB)], G, B);
    expectMembers([grant(G, A, ADMIN), toB, toC, revoke(A, A, toB, toC), revoke(G, A, toB)], G, B);
  });

  it('void a whole branch; a kept grant under a void one is void too', () => {
    const [toB, toC] = [grant(A, B, ADMIN), grant(B, C)];
    expectMembers([grant(G, A, ADMIN), toB, toC, revoke(G, A)], G);
    expectMembers([grant(G, A, ADMIN), toB, toC, revoke(G, A, toB)], G, B, C);
    expectMembers([grant(G, A, ADMIN), toB, toC, revoke(G, A), revoke(G, B, toC)], G);
  });

  it('hold when their signer is revoked or leaves later', () => {
    const admins = [grant(G, A, ADMIN), grant(G, B, ADMIN), grant(G, C)];
    expectMembers([...admins, revoke(A, C), revoke(G, A)], G, B);
    expectMembers([...admins, revoke(A, C), revoke(A, A)], G, B);
    expectMembers([...admins, revoke(B, A), revoke(G, B)], G, C);
    expectMembers([...admins, revoke(B, A), revoke(B, B)], G, C);
  });

  it('a junior admin can revoke a senior one, the founder too, and keep its own place', () => {
    const toA = grant(G, A, ADMIN);
    expectMembers([toA, revoke(A, G, toA)], A);
    expectMembers([toA, revoke(A, G)]);
  });
});

describe('two admins that revoke each other', () => {
  it('the shorter chain to the genesis wins', () => {
    const [toB, toA] = [grant(G, B, ADMIN), grant(B, A, ADMIN)];
    expectMembers([toB, toA, revoke(A, B, toA), revoke(B, A)], G, B);
    expectMembers([grant(G, A, ADMIN), revoke(A, G), revoke(G, A)], G);
  });

  it('then the smaller id', () => {
    expectMembers([grant(G, A, ADMIN), grant(G, B, ADMIN), revoke(A, B), revoke(B, A)], G, A);
  });

  it('a revoked one reaches neither its revoker nor those above, only those below', () => {
    const admins = [grant(G, B, ADMIN), grant(B, A, ADMIN), grant(G, C)];
    expectMembers([...admins, revoke(B, A), revoke(A, B), revoke(A, G)], G, B, C);
    expectMembers([...admins, revoke(B, A), revoke(A, C)], G, B);
  });

  it('a revoked one cannot act through new admins that it makes', () => {
    const admins = [grant(G, B, ADMIN), grant(B, A, ADMIN), revoke(B, A)];
    expectMembers([...admins, grant(A, Z, ADMIN), revoke(Z, B), revoke(Z, G), grant(Z, C)], G, B);
  });
});

describe('keptGrants', () => {
  it('lists what would be lost with an issuer', () => {
    const [toB, toC, toD] = [grant(A, B), grant(A, C), grant(A, D)];
    const rulings = rule([genesis, grant(G, A, ADMIN), toB, toC, toD, revoke(G, C)], mesh);
    const kept = rulings === null ? [] : keptGrants(rulings, A);
    expect(kept).toEqual([toB.hash, toD.hash].toSorted());
    expectMembers([grant(G, A, ADMIN), toB, toC, toD, revoke(G, C), makeRevoke(mesh, G, A, kept)], G, B, D);
  });
});

const NODES = [G, A, B, C, D, Z];
const node = fc.constantFrom(...NODES);
const draft = fc.oneof(
  fc.record({ kind: fc.constant('grant' as const), by: node, node, admin: fc.boolean(), at: fc.nat(3) }),
  fc.record({ kind: fc.constant('revoke' as const), by: node, node, keep: fc.nat(7) }),
);

/** Statements of a few nodes, revocations keeping some of the grants drawn so far. */
const statements = fc.array(draft, { maxLength: 14 }).map((drafts) => {
  const made: VerifiedStatement[] = [genesis];
  for (const d of drafts) {
    if (d.kind === 'grant') made.push(grant(d.by, d.node, { ...(d.admin ? ADMIN : {}), at: d.at }));
    else
      made.push(
        revoke(
          d.by,
          d.node,
          ...made.filter(({ statement }, n) => statement.by === d.node && ((d.keep >> (n % 3)) & 1) === 1),
        ),
      );
  }
  return made;
});

const summary = (trust: TrustSet) => ({
  members: [...trust.members.values()].toSorted((a, b) => (a.node < b.node ? -1 : 1)),
  revoked: [...trust.revoked].toSorted(),
});

describe('for any set of statements', () => {
  const shuffledOf = fc.tuple(statements, fc.infiniteStream(fc.nat()));

  it('order and duplicates change nothing', () => {
    fc.assert(
      fc.property(shuffledOf, ([list, keys]) => {
        const shuffled = [...list, ...list.slice(0, 3)]
          .map((statement) => ({ statement, key: keys.next().value as number }))
          .toSorted((a, b) => a.key - b.key)
          .map(({ statement }) => statement);
        expect(summary(evaluated(shuffled))).toEqual(summary(evaluated(list)));
        const hashes = (entries: readonly VerifiedStatement[]) =>
          relevantOf(entries)
            .map(({ hash }) => hash)
            .toSorted();
        expect(hashes(shuffled)).toEqual(hashes(list));
      }),
      { numRuns: 500 },
    );
  });

  it('statements of strangers and of members without admin change nothing', () => {
    fc.assert(
      fc.property(statements, node, node, fc.boolean(), (list, by, about, admin) => {
        const rulings = rule(list, mesh);
        fc.pre(rulings !== null && !rulings.authorities.has(by) && by !== about);
        const added = [grant(by, about, admin ? ADMIN : {}), revoke(by, about)];
        expect(summary(evaluated([...list, ...added]))).toEqual(summary(evaluated(list)));
      }),
      { numRuns: 500 },
    );
  });

  it('nobody is both member and revoked, and a revocation by a ruling authority is never undone by a grant', () => {
    fc.assert(
      fc.property(statements, node, node, (list, by, about) => {
        const trust = evaluated(list);
        for (const id of trust.members.keys()) expect(trust.revoked.has(id)).toBe(false);
        const after = evaluated([...list, grant(by, about, { at: 77 })]);
        for (const id of trust.revoked) expect(after.members.has(id) && !after.revoked.has(id)).toBe(false);
      }),
      { numRuns: 500 },
    );
  });

  it('what is relevant leads to the same trust, each statement after the grant of its signer', () => {
    fc.assert(
      fc.property(statements, (list) => {
        const relevant = relevantOf(list);
        expect(summary(evaluated(relevant)).members).toEqual(summary(evaluated(list)).members);
        const known = new Set<NodeId>([G]);
        for (const { statement } of relevant) {
          expect(known.has(statement.by)).toBe(true);
          if (statement.kind === 'grant') known.add(statement.node);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('the chain of a member proves its membership alone', () => {
    fc.assert(
      fc.property(statements, (list) => {
        const rulings = rule(list, mesh);
        if (rulings === null) return;
        for (const member of evaluated(list).members.keys()) {
          const chain = chainsOf(rulings, [member]);
          const alone = relevantOf(list).filter(({ hash, statement }) => chain.has(hash) && statement.kind === 'grant');
          expect(evaluated(alone).members.has(member)).toBe(true);
        }
      }),
      { numRuns: 300 },
    );
  });
});

function relevantOf(entries: readonly VerifiedStatement[]): VerifiedStatement[] {
  const rulings = rule(entries, mesh);
  return rulings === null ? [] : relevantStatements(rulings);
}
