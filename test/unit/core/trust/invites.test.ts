import { describe, expect, it } from 'vitest';
import { base32, type InviteId, type NodeId } from '../../../../src/base/ids.ts';
import {
  INVITE_TRIES_MAX,
  INVITE_TTL_MS_DEFAULT,
  INVITE_TTL_MS_MAX,
  InviteBook,
  INVITES_CLOSED_MAX,
  INVITES_OPEN_MAX,
} from '../../../../src/core/trust/invites.ts';
import type { Grant } from '../../../../src/wire/trust.ts';

const inviteId = (n: number): InviteId => base32(new Uint8Array([n >>> 8, n, 0, 0, 0, 0, 0, 1])) as InviteId;
const nodeId = (n: number): NodeId => base32(new Uint8Array(32).fill(n)) as NodeId;
const SECRET = new Uint8Array(16).fill(9);
const TTL_MS = INVITE_TTL_MS_DEFAULT;

function bookWith(count = 1, ttlMs = TTL_MS): InviteBook {
  const book = new InviteBook();
  for (let n = 0; n < count; n++) {
    const made = book.create({ id: inviteId(n), secret: SECRET, roles: ['submit', 'run'], ttlMs }, 0);
    expect(made.ok).toBe(true);
  }
  return book;
}

const codeOf = (result: ReturnType<InviteBook['redeem']>): string => (result.ok ? 'ok' : result.error.code);

describe('an invitation', () => {
  it('binds to the first right proof; that node may repeat it and gets the same grant, others are refused', () => {
    const book = bookWith();
    const first = book.redeem(inviteId(0), nodeId(1), true, 10);
    expect(first).toEqual({ ok: true, value: { roles: ['submit', 'run'], grant: null } });
    const grant = { kind: 'grant', node: nodeId(1), sig: 'x' } as unknown as Grant;
    book.granted(inviteId(0), grant);
    const again = book.redeem(inviteId(0), nodeId(1), true, TTL_MS * 2);
    expect(again.ok && again.value.grant).toBe(grant);
    expect(codeOf(book.redeem(inviteId(0), nodeId(2), true, 20))).toBe('token_used');
  });

  it('keeps no grant of another node', () => {
    const book = bookWith();
    book.redeem(inviteId(0), nodeId(1), true, 10);
    book.granted(inviteId(0), { kind: 'grant', node: nodeId(2) } as unknown as Grant);
    const again = book.redeem(inviteId(0), nodeId(1), true, 11);
    expect(again.ok && again.value.grant).toBeNull();
  });

  it('expires', () => {
    const book = bookWith();
    expect(codeOf(book.redeem(inviteId(0), nodeId(1), true, TTL_MS))).toBe('token_expired');
    expect(book.openCount(TTL_MS)).toBe(0);
  });

  it('stands five wrong proofs, and refuses the sixth try even if right', () => {
    const book = bookWith(2);
    for (let n = 0; n < INVITE_TRIES_MAX; n++) {
      expect(codeOf(book.redeem(inviteId(0), nodeId(n + 1), false, 1))).toBe('bad_token');
    }
    expect(codeOf(book.redeem(inviteId(0), nodeId(1), true, 1))).toBe('token_guesses_exhausted');
    expect(codeOf(book.redeem(inviteId(1), nodeId(1), true, 1))).toBe('ok');
  });

  it('stands four wrong proofs', () => {
    const book = bookWith();
    for (let n = 1; n < INVITE_TRIES_MAX; n++) book.redeem(inviteId(0), nodeId(n), false, 1);
    expect(codeOf(book.redeem(inviteId(0), nodeId(1), true, 1))).toBe('ok');
  });

  it('answers a wrong proof as an unknown id, in every state', () => {
    const book = bookWith(4);
    book.redeem(inviteId(1), nodeId(1), true, 1);
    for (let n = 0; n < INVITE_TRIES_MAX; n++) book.redeem(inviteId(2), nodeId(1), false, 1);
    const unknown = book.redeem(inviteId(99), nodeId(1), false, 1);
    expect(codeOf(unknown)).toBe('bad_token');
    expect(book.redeem(inviteId(99), nodeId(1), true, 1)).toEqual(unknown);
    expect(book.redeem(inviteId(0), nodeId(1), false, 1)).toEqual(unknown);
    expect(book.redeem(inviteId(1), nodeId(1), false, 1)).toEqual(unknown);
    expect(book.redeem(inviteId(2), nodeId(1), false, 1)).toEqual(unknown);
    expect(book.redeem(inviteId(3), nodeId(1), false, TTL_MS + 1)).toEqual(unknown);
    expect(book.secretOf(inviteId(99))).toBeNull();
    expect(book.secretOf(inviteId(0))).toBe(SECRET);
  });

  it('lasts a bounded time', () => {
    for (const ttlMs of [0, -1, 999, INVITE_TTL_MS_MAX + 1, Number.NaN]) {
      const made = new InviteBook().create({ id: inviteId(0), secret: SECRET, roles: ['submit'], ttlMs }, 0);
      expect(made).toMatchObject({ ok: false, error: { code: 'bad_argument' } });
    }
  });
});

describe('the book of invitations', () => {
  it('bounds the open ones, and takes more when some ended', () => {
    const book = bookWith(INVITES_OPEN_MAX);
    const one = { id: inviteId(900), secret: SECRET, roles: ['submit'] as const, ttlMs: TTL_MS };
    expect(book.create(one, 1)).toMatchObject({ ok: false, error: { code: 'limit' } });
    book.redeem(inviteId(0), nodeId(1), true, 1);
    expect(book.create(one, 1).ok).toBe(true);
    expect(book.create({ ...one, id: inviteId(901) }, TTL_MS).ok).toBe(true);
  });

  it('forgets the oldest closed ones beyond its bound, never an open one', () => {
    const book = new InviteBook();
    const create = (n: number): void => {
      expect(book.create({ id: inviteId(n), secret: SECRET, roles: ['submit'], ttlMs: TTL_MS }, 0).ok).toBe(true);
    };
    create(0);
    for (let n = 1; n <= INVITES_CLOSED_MAX + 2; n++) {
      create(n);
      book.redeem(inviteId(n), nodeId(1), true, 1);
    }
    create(1000);
    expect(codeOf(book.redeem(inviteId(1), nodeId(2), true, 1))).toBe('bad_token');
    expect(codeOf(book.redeem(inviteId(INVITES_CLOSED_MAX), nodeId(2), true, 1))).toBe('token_used');
    expect(codeOf(book.redeem(inviteId(0), nodeId(2), true, 1))).toBe('ok');
  });

  it('can be cleared', () => {
    const book = bookWith();
    book.clear();
    expect(codeOf(book.redeem(inviteId(0), nodeId(1), true, 1))).toBe('bad_token');
  });
});
