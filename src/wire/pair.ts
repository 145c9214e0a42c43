import { z } from 'zod';
import { assert } from '../base/assert.ts';
import { base32, isInviteId, isMeshId, isNodeId, type InviteId, type MeshId, type NodeId } from '../base/ids.ts';
import { err, ok, type Result } from '../base/result.ts';
import { nodeIdSchema, ROLES, statementSchema, type Role } from './trust.ts';

/** Fits one frame of 1 MiB with room to spare. What is left out arrives by gossip once linked. */
export const PAIR_STATEMENTS_MAX = 512;
export const PAIR_PEERS_MAX = 64;

export const INVITE_SECRET_BYTES = 16;
export const INVITE_ID_BYTES = 8;
export const TOKEN_ADDRESSES_MAX = 8;
const TOKEN_CHARS_MAX = 2048;
const HASH_BYTES = 32;
const HOST_BYTES_MAX = 253;
const CHECKSUM_BYTES = 4;
const TOKEN_VERSION = 1;
const TOKEN_PREFIX = `mw${TOKEN_VERSION}`;
const HOST = /^[A-Za-z0-9._:%-]+$/;

export interface TokenAddress {
  readonly host: string;
  readonly port: number;
}

/** What an invitation carries. Whoever has it may join once: it is a secret. */
export interface InviteToken {
  readonly mesh: MeshId;
  /** The pin: the joiner sends nothing to a node with another id. */
  readonly inviter: NodeId;
  readonly invite: InviteId;
  /** INVITE_SECRET_BYTES of randomness. */
  readonly secret: Uint8Array;
  /** In the order to try them. */
  readonly addresses: readonly TokenAddress[];
}

export interface TokenError {
  readonly code: 'bad_token' | 'protocol_mismatch';
  readonly message: string;
}

/**
 * `mw1` and base64url of `version u8 | mesh 32 | inviter 32 | invite 8 | secret 16 | count u8 | addresses | crc32`, an
 * address being `length u8 | host (ASCII) | port u16`.
 *
 * @param token with at most TOKEN_ADDRESSES_MAX addresses; more, and hosts that no address can be, are left out
 */
export function encodeToken(token: InviteToken): string {
  const addresses = token.addresses
    .filter(({ host, port }) => isHost(host) && Number.isInteger(port) && port > 0 && port <= 0xffff)
    .slice(0, TOKEN_ADDRESSES_MAX);
  const bytes = [TOKEN_VERSION];
  for (const id of [token.mesh, token.inviter, token.invite]) {
    const raw = base32Bytes(id);
    assert(raw !== null, `${id} is not base32 of whole bytes`);
    bytes.push(...raw);
  }
  assert(token.secret.length === INVITE_SECRET_BYTES, `a secret of ${token.secret.length} bytes`);
  bytes.push(...token.secret, addresses.length);
  for (const { host, port } of addresses) {
    bytes.push(host.length);
    for (let i = 0; i < host.length; i++) bytes.push(host.charCodeAt(i));
    bytes.push(port >>> 8, port & 0xff);
  }
  const checksum = crc32(bytes, bytes.length);
  for (const shift of [24, 16, 8, 0]) bytes.push((checksum >>> shift) & 0xff);
  return `${TOKEN_PREFIX}${toBase64Url(bytes)}`;
}

/** Reads what a person pasted: white space anywhere in it (a wrapped terminal line) is ignored. */
export function decodeToken(text: string): Result<InviteToken, TokenError> {
  if (text.length > TOKEN_CHARS_MAX) return garbled('it is too long');
  const compact = text.replaceAll(/\s+/g, '');
  if (compact === '') return garbled('it is empty');
  const prefix = /^mw(\d+)/.exec(compact.slice(0, TOKEN_PREFIX.length));
  if (prefix === null) return garbled(`it does not begin with ${TOKEN_PREFIX}`);
  if (prefix[1] !== String(TOKEN_VERSION)) return otherVersion(prefix[1] ?? '');
  const bytes = fromBase64Url(compact.slice(TOKEN_PREFIX.length));
  if (bytes === null) return garbled('it holds a character that no token has, or part of it is missing');
  const bodyBytes = bytes.length - CHECKSUM_BYTES;
  if (bodyBytes < 1 || crc32(bytes, bodyBytes) !== readU32(bytes, bodyBytes)) {
    return garbled('its checksum is wrong: part of it is missing or mistyped');
  }
  if (bytes[0] !== TOKEN_VERSION) return otherVersion(String(bytes[0]));
  return decodeBody(bytes.subarray(1, bodyBytes));
}

function decodeBody(body: Uint8Array): Result<InviteToken, TokenError> {
  let at = 0;
  const take = (count: number): Uint8Array => {
    at += count;
    return body.subarray(at - count, at);
  };
  const mesh = base32(take(HASH_BYTES));
  const inviter = base32(take(HASH_BYTES));
  const invite = base32(take(INVITE_ID_BYTES));
  const secret = take(INVITE_SECRET_BYTES).slice();
  const count = take(1)[0] ?? 0;
  const addresses: TokenAddress[] = [];
  for (let i = 0; i < count && i < TOKEN_ADDRESSES_MAX; i++) {
    const host = String.fromCharCode(...take(take(1)[0] ?? 0));
    const [high = 0, low = 0] = take(2);
    if (!isHost(host) || high + low === 0) return garbled('it holds an address that is none');
    addresses.push({ host, port: high * 256 + low });
  }
  if (at !== body.length || count > TOKEN_ADDRESSES_MAX) return garbled('its length is wrong');
  if (!isMeshId(mesh) || !isNodeId(inviter) || !isInviteId(invite)) return garbled('its length is wrong');
  return ok({ mesh, inviter, invite, secret, addresses });
}

const garbled = (why: string): Result<never, TokenError> =>
  err({
    code: 'bad_token',
    message: `this is not a whole invitation token: ${why}. Nothing was changed. Copy the whole line that "meshwork invite" printed`,
  });

const otherVersion = (version: string): Result<never, TokenError> =>
  err({
    code: 'protocol_mismatch',
    message: `this token has format ${version}, this meshwork reads format ${TOKEN_VERSION}. Nothing was changed. Install the same version of meshwork on both machines`,
  });

const isHost = (host: string): boolean => host.length <= HOST_BYTES_MAX && HOST.test(host);

const protocolSchema = z.int().min(0).max(0xffff);

/** Read first, whatever else the message holds: a joiner of another version must be told so, not "malformed". */
export const pairHeadSchema = z.object({ t: z.literal('pair.request'), protocol: protocolSchema });

/** The joiner's one message. Its node id must be that of the TLS key; the name is a label. */
export const pairRequestSchema = z.strictObject({
  t: z.literal('pair.request'),
  protocol: protocolSchema,
  invite: z.string().refine((text): text is InviteId => isInviteId(text), { message: 'is not an invite id' }),
  node: nodeIdSchema,
  name: z.string().regex(/^[A-Za-z0-9._-]{1,63}$/),
  /** The roles it would take; it gets those that the invitation offers too. `join --submit-only` leaves out `run`. */
  wants: z.array(z.enum(ROLES)).min(1).max(ROLES.length),
  /** base64 of HMAC-SHA256(secret, exporter ‖ inviter id ‖ joiner id ‖ invite id). */
  mac: z.string().regex(/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/),
});
export type PairRequest = z.infer<typeof pairRequestSchema>;

const PAIR_REFUSALS = [
  'bad_token',
  'token_expired',
  'token_used',
  'token_guesses_exhausted',
  'not_permitted',
  'protocol_mismatch',
  'limit',
  'internal',
] as const;
export type PairRefusalCode = (typeof PAIR_REFUSALS)[number];

/** The inviter's one answer. */
export const pairReplySchema = z.discriminatedUnion('t', [
  z.strictObject({
    t: z.literal('pair.granted'),
    /** Each after the grant of its signer; holds at least the chains of the inviter and of the joiner to genesis. */
    statements: z.array(statementSchema).min(1).max(PAIR_STATEMENTS_MAX),
    /** Where other members were last seen: hints. */
    peers: z
      .array(z.strictObject({ host: z.string().regex(HOST).max(HOST_BYTES_MAX), port: z.int().min(1).max(0xffff) }))
      .max(PAIR_PEERS_MAX),
  }),
  z.strictObject({ t: z.literal('pair.refused'), code: z.enum(PAIR_REFUSALS), message: z.string().max(500) }),
]);
export type PairReply = z.infer<typeof pairReplySchema>;

/** The roles of a grant: what the joiner wants of what the invitation offers. */
export function rolesGranted(offered: readonly Role[], wants: readonly Role[]): Role[] {
  return ROLES.filter((role) => offered.includes(role) && wants.includes(role));
}

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';

function toBase64Url(bytes: readonly number[]): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 3) {
    const group = ((bytes[i] ?? 0) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    const chars = Math.min(bytes.length - i, 3) + 1;
    for (let c = 0; c < chars; c++) text += BASE64URL[(group >>> (18 - 6 * c)) & 63] ?? '';
  }
  return text;
}

/** @returns the bytes that `alphabet` (2^bitsPerChar characters) spells, or null where the text is not canonical */
function decodeBits(text: string, alphabet: string, bitsPerChar: number): Uint8Array | null {
  const bytes = new Uint8Array(Math.floor((text.length * bitsPerChar) / 8));
  let at = 0;
  let bits = 0;
  let value = 0;
  for (const char of text) {
    const digit = alphabet.indexOf(char);
    if (digit < 0) return null;
    value = (value << bitsPerChar) | digit;
    bits += bitsPerChar;
    if (bits >= 8) {
      bits -= 8;
      bytes[at++] = value >>> bits;
      value &= (1 << bits) - 1;
    }
  }
  return bits < bitsPerChar && value === 0 ? bytes : null;
}

const fromBase64Url = (text: string): Uint8Array | null => decodeBits(text, BASE64URL, 6);
const base32Bytes = (text: string): Uint8Array | null => decodeBits(text, BASE32, 5);

const readU32 = (bytes: Uint8Array, at: number): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(at);

/** CRC-32 (IEEE 802.3): catches typing and copying errors; forgeries are the secret's business. */
function crc32(bytes: ArrayLike<number>, count: number): number {
  let crc = 0xffff_ffff;
  for (let i = 0; i < count; i++) {
    crc ^= bytes[i] ?? 0;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0xedb8_8320 : crc >>> 1;
  }
  return (crc ^ 0xffff_ffff) >>> 0;
}
