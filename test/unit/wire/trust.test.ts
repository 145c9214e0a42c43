import { describe, expect, it } from 'vitest';
import { DIGEST_HASH_CHARS, PAGE_STATEMENTS_MAX } from '../../../src/core/trust/trust-machine.ts';
import { GRANTS_MAX, REVOKES_MAX } from '../../../src/core/trust/statement-store.ts';
import { PAIR_STATEMENTS_MAX } from '../../../src/wire/pair.ts';
import {
  DIGEST_CHARS,
  hashedText,
  KEPT_MAX,
  signedText,
  statementSchema,
  STATEMENTS_MAX,
  STATEMENTS_PER_PAGE_MAX,
  trustMessageSchema,
} from '../../../src/wire/trust.ts';

const NODE = 'a'.repeat(52);
const OTHER = 'b'.repeat(52);
const MESH = 'c'.repeat(52);
const grant = {
  kind: 'grant',
  mesh: MESH,
  node: NODE,
  spki: `MCowBQYDK2VwAyEA${'A'.repeat(43)}=`,
  name: 'laptop',
  roles: ['submit', 'run'],
  by: OTHER,
  at: 1_700_000_000_000,
  sig: `${'A'.repeat(86)}==`,
};
const revoke = { kind: 'revoke', mesh: MESH, node: NODE, by: OTHER, at: 1, kept: [NODE], sig: grant.sig };

describe('what is signed', () => {
  it('is pinned: a change of it needs a new domain line and protocol version', () => {
    const pinned = statementSchema.parse(grant);
    expect(signedText(pinned)).toBe(
      `meshwork/grant/1\n{"mesh":"${MESH}","node":"${NODE}","spki":"${grant.spki}","name":"laptop","roles":["submit","run"],"by":"${OTHER}","at":1700000000000,"expires":null}`,
    );
    expect(signedText(statementSchema.parse(revoke))).toBe(
      `meshwork/revoke/1\n{"mesh":"${MESH}","node":"${NODE}","by":"${OTHER}","at":1,"kept":["${NODE}"]}`,
    );
    expect(hashedText(pinned)).toBe(`${signedText(pinned)}\n${grant.sig}`);
  });

  it('does not depend on the order of keys or roles', () => {
    const { kind, ...rest } = grant;
    const backwards = Object.fromEntries(Object.entries(rest).toReversed());
    const shuffled = { ...backwards, roles: ['run', 'submit'], kind };
    expect(signedText(statementSchema.parse(shuffled))).toBe(signedText(statementSchema.parse(grant)));
  });
});

describe('a statement', () => {
  it.each([
    { roles: [] },
    { roles: ['root'] },
    { roles: ['run', 'run'] },
    { node: '../etc/passwd' },
    { mesh: 'x' },
    { name: 'a\nb' },
    { name: '' },
    { name: 'ö' },
    { at: -1 },
    { at: 1.5 },
    { at: 1e300 },
    { expires: null },
    { sig: 'AAAA' },
    { sig: `${'A'.repeat(85)}B==` },
    { spki: `MCowBQYDK2VwAyEA${'A'.repeat(42)}B=` },
    { spki: 'A'.repeat(60) },
    { extra: 1 },
    { kind: 'other' },
  ])('with %j is refused', (change) => {
    expect(statementSchema.safeParse({ ...grant, ...change }).success).toBe(false);
  });

  it('of revocation names a mesh, and a bounded list of grants that stay', () => {
    expect(statementSchema.safeParse(revoke).success).toBe(true);
    expect(statementSchema.safeParse({ ...revoke, mesh: '' }).success).toBe(false);
    expect(statementSchema.safeParse({ ...revoke, kept: Array(KEPT_MAX).fill(NODE) }).success).toBe(true);
    expect(statementSchema.safeParse({ ...revoke, kept: Array(KEPT_MAX + 1).fill(NODE) }).success).toBe(false);
  });
});

describe('trust messages', () => {
  it('are bounded', () => {
    const digest = { t: 'trust.digest', mesh: MESH, exchange: true };
    const hash = 'a'.repeat(DIGEST_CHARS);
    expect(trustMessageSchema.safeParse({ ...digest, have: [hash] }).success).toBe(true);
    expect(trustMessageSchema.safeParse({ ...digest, have: [NODE] }).success).toBe(false);
    expect(trustMessageSchema.safeParse({ ...digest, have: Array(STATEMENTS_MAX + 1).fill(hash) }).success).toBe(false);
    const page = { t: 'trust.statements', mesh: MESH };
    expect(trustMessageSchema.safeParse({ ...page, statements: [grant, revoke] }).success).toBe(true);
    expect(trustMessageSchema.safeParse({ ...page, statements: [] }).success).toBe(false);
    const many = Array.from({ length: STATEMENTS_PER_PAGE_MAX + 1 }, () => grant);
    expect(trustMessageSchema.safeParse({ ...page, statements: many }).success).toBe(false);
  });

  it('take whatever the core sends', () => {
    expect(DIGEST_HASH_CHARS).toBe(DIGEST_CHARS);
    expect(PAGE_STATEMENTS_MAX).toBeLessThanOrEqual(STATEMENTS_PER_PAGE_MAX);
    expect(PAGE_STATEMENTS_MAX).toBeLessThanOrEqual(PAIR_STATEMENTS_MAX);
    expect(GRANTS_MAX + REVOKES_MAX).toBeLessThanOrEqual(STATEMENTS_MAX);
  });
});
