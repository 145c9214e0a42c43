import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { base32, type InviteId, type MeshId, type NodeId } from '../../../src/base/ids.ts';
import { PAIR_REQUEST_BYTES_MAX } from '../../../src/wire/hello.ts';
import {
  decodeToken,
  encodeToken,
  pairReplySchema,
  pairRequestSchema,
  rolesGranted,
  TOKEN_ADDRESSES_MAX,
  type InviteToken,
} from '../../../src/wire/pair.ts';

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const host = fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain(), fc.constant('fe80::1%eth0'));
const token: fc.Arbitrary<InviteToken> = fc.record({
  mesh: bytes(32).map((raw) => base32(raw) as MeshId),
  inviter: bytes(32).map((raw) => base32(raw) as NodeId),
  invite: bytes(8).map((raw) => base32(raw) as InviteId),
  secret: bytes(16),
  addresses: fc.array(fc.record({ host, port: fc.integer({ min: 1, max: 65_535 }) }), {
    maxLength: TOKEN_ADDRESSES_MAX,
  }),
});

const sample: InviteToken = {
  mesh: base32(new Uint8Array(32).fill(1)) as MeshId,
  inviter: base32(new Uint8Array(32).fill(2)) as NodeId,
  invite: base32(new Uint8Array(8).fill(3)) as InviteId,
  secret: new Uint8Array(16).fill(4),
  addresses: [
    { host: '192.168.1.20', port: 47_470 },
    { host: 'fd00::20', port: 47_470 },
  ],
};

const codeOf = (text: string): string => {
  const decoded = decodeToken(text);
  return decoded.ok ? 'ok' : decoded.error.code;
};

describe('an invitation token', () => {
  it('comes back as it was, also wrapped and indented by a terminal', () => {
    fc.assert(
      fc.property(token, (value) => {
        const text = encodeToken(value);
        expect(text).toMatch(/^mw1[A-Za-z0-9_-]+$/);
        expect(decodeToken(text)).toEqual({ ok: true, value });
        expect(decodeToken(`  ${text.slice(0, 40)}\n   ${text.slice(40)}\n`)).toEqual({ ok: true, value });
      }),
    );
  });

  it('is short enough to paste, and its format is pinned: a change needs a new version', () => {
    const text = encodeToken(sample);
    expect(text.length).toBeLessThan(200);
    expect(text).toMatchInlineSnapshot(
      `"mw1AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIDAwMDAwMDAwQEBAQEBAQEBAQEBAQEBAQCDDE5Mi4xNjguMS4yMLluCGZkMDA6OjIwuW5s_QuQ"`,
    );
  });

  it('carries at most eight addresses, and none that could not be one', () => {
    const addresses = Array.from({ length: 20 }, (_, n) => ({ host: `10.0.0.${n}`, port: 1 }));
    const decoded = decodeToken(encodeToken({ ...sample, addresses: [{ host: 'a b', port: 1 }, ...addresses] }));
    expect(decoded.ok && decoded.value.addresses).toEqual(addresses.slice(0, TOKEN_ADDRESSES_MAX));
    const none = decodeToken(encodeToken({ ...sample, addresses: [{ host: 'x', port: 70_000 }] }));
    expect(none.ok && none.value.addresses).toEqual([]);
  });

  it('with any one character changed, added or cut is refused', () => {
    const text = encodeToken(sample);
    for (let at = 0; at < text.length; at++) {
      const other = text[at] === 'A' ? 'B' : 'A';
      expect(codeOf(`${text.slice(0, at)}${other}${text.slice(at + 1)}`)).not.toBe('ok');
      expect(codeOf(text.slice(0, at))).toBe('bad_token');
      expect(codeOf(`${text.slice(0, at)}A${text.slice(at)}`)).not.toBe('ok');
    }
  });

  const garbled = ['', '   ', 'mw', 'mw1', 'mw1A', 'hello', '-oProxyCommand=x', '../etc/passwd', 'mw1\0', 'mw1ööö'];
  it.each([...garbled, `mw1${'A'.repeat(5000)}`])('%j is refused as bad_token', (text) => {
    const decoded = decodeToken(text);
    expect(decoded).toMatchObject({ ok: false, error: { code: 'bad_token' } });
    expect(!decoded.ok && decoded.error.message).toMatch(/Nothing was changed\./);
  });

  it('of another version is told apart', () => {
    expect(codeOf('mw2AAAA')).toBe('protocol_mismatch');
    expect(codeOf('mw0AAAA')).toBe('protocol_mismatch');
  });

  it('never throws on anything', () => {
    const anything = fc.oneof(
      fc.string(),
      fc.base64String(),
      fc.string().map((text) => `mw1${text}`),
    );
    fc.assert(
      fc.property(anything, (text) => {
        expect(decodeToken(text).ok).toBe(false);
      }),
    );
  });
});

describe('pairing messages', () => {
  const request = {
    t: 'pair.request',
    protocol: 1,
    invite: sample.invite,
    node: sample.inviter,
    name: 'n'.repeat(63),
    wants: ['submit', 'run', 'admin'],
    mac: `${'A'.repeat(43)}=`,
  };

  it('a request is far below its bound of bytes', () => {
    const parsed = pairRequestSchema.parse(request);
    expect(JSON.stringify(parsed).length).toBeLessThan(PAIR_REQUEST_BYTES_MAX / 4);
  });

  it.each([
    { name: '../etc/passwd' },
    { name: '-x y' },
    { node: 'b; rm -rf /' },
    { mac: '' },
    { mac: `${'A'.repeat(42)}B=` },
    { wants: [] },
    { wants: ['root'] },
    { more: 1 },
  ])('a request with %j is refused', (change) => {
    expect(pairRequestSchema.safeParse({ ...request, ...change }).success).toBe(false);
  });

  it('a grant gives what is both offered and wanted', () => {
    expect(rolesGranted(['run', 'submit'], ['admin', 'submit', 'run'])).toEqual(['submit', 'run']);
    expect(rolesGranted(['submit', 'run'], ['submit'])).toEqual(['submit']);
  });

  it('a refusal has a known code', () => {
    expect(pairReplySchema.safeParse({ t: 'pair.refused', code: 'token_used', message: 'x' }).success).toBe(true);
    expect(pairReplySchema.safeParse({ t: 'pair.refused', code: 'other', message: 'x' }).success).toBe(false);
  });
});
