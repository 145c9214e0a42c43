import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { MeshId, NodeId } from '../../../../src/base/ids.ts';
import { pick, seededRandom } from '../../../../src/base/random.ts';
import type { VerifiedStatement } from '../../../../src/core/trust/authority.ts';
import { GRANTS_PER_ISSUER_MAX } from '../../../../src/core/trust/statement-store.ts';
import {
  DIGEST_BURST_MAX,
  DIGEST_INTERVAL_MS,
  PAGE_BYTES_MAX,
  PAGE_STATEMENTS_MAX,
  TrustMachine,
  VERIFYING_PER_PEER_MAX,
  type TrustEffect,
  type TrustInput,
} from '../../../../src/core/trust/trust-machine.ts';
import { EXPIRY_TOLERANCE_MS } from '../../../../src/core/trust/trust-set.ts';
import { KEPT_MAX, trustMessageSchema, type Statement, type TrustMessage } from '../../../../src/wire/trust.ts';
import { makeGenesis, makeGrant, makeRevoke, nodeAt, verified } from './statements.ts';

const [G, A, B, C, Z] = [nodeAt(50), nodeAt(1), nodeAt(2), nodeAt(3), nodeAt(99)];
const ADMIN = { roles: ['submit', 'run', 'admin'] as const };
const { mesh, genesis } = makeGenesis(G);
const toA = makeGrant(mesh, G, A, { ...ADMIN, at: 1 });
const toB = makeGrant(mesh, G, B, { at: 2 });
const CLOCK = { nowMs: 0, wallMs: 0 };

const machineOf = (self: NodeId, ...entries: VerifiedStatement[]): TrustMachine =>
  new TrustMachine(self, mesh, [genesis, ...entries], 0);
const ofKind = <K extends TrustEffect['kind']>(effects: readonly TrustEffect[], kind: K) =>
  effects.filter((effect): effect is Extract<TrustEffect, { kind: K }> => effect.kind === kind);
const page = (...entries: VerifiedStatement[]): TrustMessage => ({
  t: 'trust.statements',
  mesh,
  statements: entries.map(({ statement }) => statement),
});
const digest = (...entries: VerifiedStatement[]): TrustMessage => ({
  t: 'trust.digest',
  mesh,
  have: entries.map(({ hash }) => hash.slice(0, 16)),
  exchange: false,
});

/** Carries out verify and persist at once, as a runtime with instant cryptography and disk. */
function settle(machine: TrustMachine, input: TrustInput, clock = CLOCK): TrustEffect[] {
  const out: TrustEffect[] = [];
  const inbox: TrustInput[] = [input];
  for (let next = inbox.shift(); next !== undefined; next = inbox.shift()) {
    for (const effect of machine.step(next, clock)) {
      if (effect.kind === 'verify') {
        const genuine = effect.items.map(({ statement }) => verified(statement));
        inbox.push({ kind: 'verified', peer: effect.peer, genuine, forged: 0 });
      } else if (effect.kind === 'persist') inbox.push({ kind: 'persisted' });
      out.push(effect);
    }
  }
  return out;
}

describe('a link', () => {
  it('starts with a digest, and what the other side lacks follows', () => {
    const machine = machineOf(G, toA, toB);
    const [first] = ofKind(machine.step({ kind: 'link_up', peer: A }, CLOCK), 'send');
    expect(first).toMatchObject({ peer: A, message: { t: 'trust.digest', mesh, exchange: false } });
    const sent = ofKind(machine.step({ kind: 'message', peer: A, message: digest(genesis, toA) }, CLOCK), 'send');
    expect(sent).toEqual([{ kind: 'send', peer: A, message: page(toB) }]);
    expect(machine.step({ kind: 'message', peer: A, message: digest(genesis, toA, toB) }, CLOCK)).toEqual([]);
  });

  it('of a digest that lists more asks for it, once', () => {
    const machine = machineOf(A, toA);
    machine.step({ kind: 'link_up', peer: G }, CLOCK);
    const asked = { ...digest(genesis, toA, toB), exchange: true } as TrustMessage;
    const sent = ofKind(machine.step({ kind: 'message', peer: G, message: asked }, CLOCK), 'send');
    expect(sent.map(({ message }) => message)).toMatchObject([{ t: 'trust.digest', exchange: false }]);
    const notAsked = digest(genesis, toA, toB);
    expect(machine.step({ kind: 'message', peer: G, message: notAsked }, CLOCK)).toEqual([]);
  });

  it('that is gone or never was brings nothing', () => {
    const machine = machineOf(G);
    expect(machine.step({ kind: 'message', peer: A, message: page(toA) }, CLOCK)).toEqual([]);
    expect(machine.step({ kind: 'sync', peer: A }, CLOCK)).toEqual([]);
    machine.step({ kind: 'link_up', peer: A }, CLOCK);
    expect(machine.step({ kind: 'sync', peer: A }, CLOCK)).toMatchObject([{ message: { exchange: true } }]);
    machine.step({ kind: 'link_down', peer: A }, CLOCK);
    expect(machine.step({ kind: 'message', peer: A, message: page(toA) }, CLOCK)).toEqual([]);
  });
});

describe('a statement', () => {
  it('of this node counts at once and is sent when it is on the disk', () => {
    const machine = machineOf(G, toA);
    machine.step({ kind: 'link_up', peer: A }, CLOCK);
    const effects = machine.step({ kind: 'add', entry: toB }, CLOCK);
    expect(effects.map(({ kind }) => kind)).toEqual(['changed', 'persist']);
    expect(machine.trust.members.has(B)).toBe(true);
    expect(machine.step({ kind: 'persisted' }, CLOCK)).toEqual([{ kind: 'send', peer: A, message: page(toB) }]);
    expect(machine.step({ kind: 'persisted' }, CLOCK)).toEqual([]);
  });

  it('that comes while the disk is busy is written and sent after', () => {
    const machine = machineOf(G, toA);
    machine.step({ kind: 'link_up', peer: A }, CLOCK);
    machine.step({ kind: 'add', entry: toB }, CLOCK);
    const toC = makeGrant(mesh, G, C, { at: 3 });
    expect(machine.step({ kind: 'add', entry: toC }, CLOCK).map(({ kind }) => kind)).toEqual(['changed']);
    const effects = machine.step({ kind: 'persisted' }, CLOCK);
    expect(effects.map(({ kind }) => kind)).toEqual(['send', 'persist']);
    expect(ofKind(effects, 'persist')[0]?.statements).toHaveLength(4);
    expect(machine.step({ kind: 'persisted' }, CLOCK)).toEqual([{ kind: 'send', peer: A, message: page(toC) }]);
  });

  it('of a peer is checked, then passed on to all but that peer', () => {
    const machine = machineOf(B, toA, toB);
    for (const peer of [G, A]) machine.step({ kind: 'link_up', peer }, CLOCK);
    const toC = makeGrant(mesh, A, C);
    const effects = machine.step({ kind: 'message', peer: A, message: page(toC) }, CLOCK);
    expect(effects).toEqual([
      { kind: 'verify', peer: A, items: [{ statement: toC.statement, signerSpki: toA.statement.spki }] },
    ]);
    expect(machine.trust.members.has(C)).toBe(false);
    const stored = machine.step({ kind: 'verified', peer: A, genuine: [toC], forged: 0 }, CLOCK);
    expect(stored.map(({ kind }) => kind)).toEqual(['changed', 'persist']);
    expect(machine.step({ kind: 'persisted' }, CLOCK)).toEqual([{ kind: 'send', peer: G, message: page(toC) }]);
    expect(machine.step({ kind: 'message', peer: G, message: page(toC) }, CLOCK)).toEqual([]);
  });

  it('may come in one page with the grant of its signer', () => {
    const machine = machineOf(B, toB);
    machine.step({ kind: 'link_up', peer: G }, CLOCK);
    const toC = makeGrant(mesh, A, C);
    settle(machine, { kind: 'message', peer: G, message: page(toA, toC) });
    expect(machine.trust.members.has(C)).toBe(true);
  });

  it('by a stranger or by a member without admin is not stored', () => {
    const machine = machineOf(G, toA, toB);
    machine.step({ kind: 'link_up', peer: B }, CLOCK);
    const before = machine.statementCount;
    expect(settle(machine, { kind: 'message', peer: B, message: page(makeGrant(mesh, Z, C)) })).toEqual([]);
    const byMember = settle(machine, {
      kind: 'message',
      peer: B,
      message: page(makeGrant(mesh, B, C), makeRevoke(mesh, B, A)),
    });
    expect(ofKind(byMember, 'misbehaved')).toHaveLength(1);
    expect(ofKind(byMember, 'persist')).toEqual([]);
    expect(machine.statementCount).toBe(before);
  });

  it('that was forged is reported', () => {
    const machine = machineOf(G, toA);
    machine.step({ kind: 'link_up', peer: A }, CLOCK);
    const effects = machine.step({ kind: 'verified', peer: A, genuine: [], forged: 2 }, CLOCK);
    expect(effects).toMatchObject([{ kind: 'misbehaved', peer: A, what: expect.stringContaining('wrong signature') }]);
  });

  it('of another mesh is reported', () => {
    const machine = machineOf(G, toA);
    machine.step({ kind: 'link_up', peer: A }, CLOCK);
    const message = { ...page(toB), mesh: 'a'.repeat(52) as MeshId } as TrustMessage;
    expect(machine.step({ kind: 'message', peer: A, message }, CLOCK)).toMatchObject([{ kind: 'misbehaved' }]);
  });
});

describe('a revocation', () => {
  it('says who lost membership, those whose grants are void included', () => {
    const toC = makeGrant(mesh, A, C);
    const machine = machineOf(G, toA, toB, toC);
    const [changed] = ofKind(machine.step({ kind: 'add', entry: makeRevoke(mesh, G, A) }, CLOCK), 'changed');
    expect(changed?.removed.toSorted()).toEqual([A, C].toSorted());
    expect(changed?.trust).toBe(machine.trust);
  });

  it('that keeps the grants listed by keptGrants removes one node alone', () => {
    const toC = makeGrant(mesh, A, C);
    const machine = machineOf(G, toA, toB, toC);
    const entry = makeRevoke(mesh, G, A, machine.keptGrants(A));
    const [changed] = ofKind(machine.step({ kind: 'add', entry }, CLOCK), 'changed');
    expect(changed?.removed).toEqual([A]);
  });
});

describe('time', () => {
  it('ends a grant on a tick', () => {
    const ends = 1_000_000_000;
    const machine = machineOf(G, makeGrant(mesh, G, A, { expires: ends }));
    const dueMs = machine.trust.nextExpiryWallMs ?? 0;
    expect(dueMs).toBe(ends + EXPIRY_TOLERANCE_MS);
    expect(machine.step({ kind: 'tick' }, { nowMs: 0, wallMs: dueMs - 1 })).toEqual([]);
    const [changed] = ofKind(machine.step({ kind: 'tick' }, { nowMs: 0, wallMs: dueMs }), 'changed');
    expect(changed?.removed).toEqual([A]);
    expect(machine.trust.nextExpiryWallMs).toBeNull();
  });
});

describe('bounds', () => {
  it('digests are answered at a bounded rate', () => {
    const machine = machineOf(G, toA, toB);
    machine.step({ kind: 'link_up', peer: A }, CLOCK);
    const answers = (nowMs: number): number =>
      ofKind(machine.step({ kind: 'message', peer: A, message: digest() }, { nowMs, wallMs: 0 }), 'send').length;
    let answered = 0;
    for (let n = 0; n < DIGEST_BURST_MAX * 3; n++) answered += answers(0);
    expect(answered).toBe(DIGEST_BURST_MAX);
    expect(answers(DIGEST_INTERVAL_MS)).toBe(1);
    expect(answers(DIGEST_INTERVAL_MS)).toBe(0);
  });

  it('statements being checked are bounded per peer', () => {
    const machine = machineOf(G, toA);
    machine.step({ kind: 'link_up', peer: A }, CLOCK);
    let checking = 0;
    for (let n = 0; n < 5; n++) {
      const many = Array.from({ length: PAGE_STATEMENTS_MAX }, (_, i) => makeGrant(mesh, G, B, { at: n * 1000 + i }));
      const effects = machine.step({ kind: 'message', peer: A, message: page(...many) }, CLOCK);
      checking += ofKind(effects, 'verify').flatMap(({ items }) => items).length;
    }
    expect(checking).toBe(VERIFYING_PER_PEER_MAX);
  });

  it('an admin cannot fill the store, and revocations still get in', () => {
    const machine = machineOf(G, toA);
    machine.step({ kind: 'link_up', peer: A }, CLOCK);
    const flood = Array.from({ length: GRANTS_PER_ISSUER_MAX + 50 }, (_, n) => makeGrant(mesh, A, B, { at: n }));
    const effects = machine.step({ kind: 'verified', peer: A, genuine: flood, forged: 0 }, CLOCK);
    expect(ofKind(effects, 'misbehaved')).toMatchObject([{ what: 'sent 50 statements more than are kept' }]);
    expect(machine.statementCount).toBe(GRANTS_PER_ISSUER_MAX + 2);
    machine.step({ kind: 'add', entry: makeRevoke(mesh, G, A) }, CLOCK);
    expect([...machine.trust.members.keys()]).toEqual([G]);
  });

  it('pages hold what the wire takes, and one page holds what a newcomer needs', () => {
    const crowd = Array.from({ length: 700 }, (_, n) => makeGrant(mesh, G, B, { at: n, name: 'n'.repeat(63) }));
    const toC = makeGrant(mesh, A, C);
    const kept = Array.from({ length: KEPT_MAX }, (_, n) => makeGrant(mesh, G, Z, { at: n }).hash);
    const machine = machineOf(G, ...crowd, makeRevoke(mesh, G, B, kept), toA, toC);
    machine.step({ kind: 'link_up', peer: A }, CLOCK);
    const sent = ofKind(machine.step({ kind: 'message', peer: A, message: digest() }, CLOCK), 'send');
    for (const { message } of sent) {
      expect(JSON.stringify(message).length).toBeLessThanOrEqual(PAGE_BYTES_MAX);
      expect(trustMessageSchema.safeParse(message).success).toBe(true);
    }
    const count = sent.flatMap(({ message }) => (message.t === 'trust.statements' ? message.statements : [])).length;
    expect(count).toBe(machine.statementCount);

    const first = machine.statementsFor([G, C]);
    expect(JSON.stringify(first).length).toBeLessThanOrEqual(PAGE_BYTES_MAX);
    const joined = new TrustMachine(
      C,
      mesh,
      first.map((statement: Statement) => verified(statement)),
      0,
    );
    expect([G, A, C].map((node) => joined.trust.members.has(node))).toEqual([true, true, true]);
  });
});

describe('a network of machines', () => {
  const NODES = [G, A, B, C, nodeAt(4), nodeAt(5)];

  /** Random statements at random nodes over links that lose, repeat and reorder; then a few clean rounds of sync. */
  function converge(seed: number): TrustMachine[] {
    const random = seededRandom(seed);
    const machines = new Map(NODES.map((node) => [node, machineOf(node)]));
    const flying: { readonly to: NodeId; readonly from: NodeId; readonly message: TrustMessage }[] = [];
    let nowMs = 0;
    const step = (node: NodeId, input: TrustInput): void => {
      const machine = machines.get(node);
      if (machine === undefined) return;
      for (const effect of settle(machine, input, { nowMs, wallMs: 0 })) {
        if (effect.kind === 'send') flying.push({ to: effect.peer, from: node, message: effect.message });
      }
    };
    const deliver = (lossy: boolean): void => {
      const at = Math.floor(random.next() * flying.length);
      const [packet] = lossy && random.next() < 0.2 ? flying.slice(at, at + 1) : flying.splice(at, 1);
      if (packet === undefined || (lossy && random.next() < 0.3)) return;
      step(packet.to, { kind: 'message', peer: packet.from, message: packet.message });
    };
    const linkAll = (): void => {
      for (const node of NODES) {
        for (const peer of NODES) if (peer !== node) step(node, { kind: 'link_up', peer });
      }
    };
    linkAll();
    for (let n = 0; n < 12; n++) {
      nowMs += 100;
      const [by = G, about = A] = [pick(random, NODES), pick(random, NODES)];
      const entry =
        random.next() < 0.7
          ? makeGrant(mesh, by, about, { ...(random.next() < 0.6 ? ADMIN : {}), at: n })
          : makeRevoke(mesh, by, about, machines.get(by)?.keptGrants(about));
      step(by, { kind: 'add', entry });
      for (let packets = Math.floor(random.next() * 8); packets > 0; packets--) deliver(true);
    }
    flying.length = 0;
    for (let round = 0; round < 4; round++) {
      nowMs += 60_000;
      for (const node of NODES) {
        for (const peer of NODES) {
          nowMs += DIGEST_INTERVAL_MS;
          if (peer !== node) step(node, { kind: 'sync', peer });
          while (flying.length > 0) deliver(false);
        }
      }
    }
    return [...machines.values()];
  }

  it('agrees on members and revocations after loss, repetition and reordering', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const [first, ...others] = converge(seed).map(({ trust }) => ({
          members: [...trust.members.values()].toSorted((a, b) => (a.node < b.node ? -1 : 1)),
          revoked: [...trust.revoked].toSorted(),
        }));
        for (const other of others) expect(other).toEqual(first);
      }),
      // A node's own revocation came late to some, when nothing named that node any more.
      { numRuns: 100, examples: [[-1791287122]] },
    );
  });
});
