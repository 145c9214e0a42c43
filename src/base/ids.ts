/** Identifiers, branded so that one kind is never passed for another. Parse at the edge, trust inside. */
declare const brand: unique symbol;
type Branded<K extends string> = string & { readonly [brand]: K };

/** base32 (RFC 4648, lower case, no padding) of the SHA-256 of a node's SubjectPublicKeyInfo: 52 characters. */
export type NodeId = Branded<'NodeId'>;
/** base32 of the SHA-256 of a mesh's signed genesis grant: 52 characters. */
export type MeshId = Branded<'MeshId'>;
/** What was asked. 26 characters: 48 bits of milliseconds and 80 random bits, Crockford base32 (the ULID form). */
export type JobId = Branded<'JobId'>;
/** A granted slot at one executor. */
export type LeaseId = Branded<'LeaseId'>;
/** One invitation, 13 base32 characters; public, unlike its secret. */
export type InviteId = Branded<'InviteId'>;

export const NODE_ID_LENGTH = 52;
export const NODE_NAME_CHARS_MAX = 63;
/** The shortest id prefix that people may type instead of a whole id. */
export const NODE_ID_PREFIX_CHARS_MIN = 4;

const HASH_ID = /^[a-z2-7]{52}$/;
const JOB_ID = /^[0-9A-HJKMNP-TV-Z]{26}$/;
const SHORT_ID = /^[a-z2-7]{13,52}$/;
const NODE_NAME = /^[A-Za-z0-9._-]{1,63}$/;

export const isNodeId = (text: string): text is NodeId => HASH_ID.test(text);
export const isMeshId = (text: string): text is MeshId => HASH_ID.test(text);
export const isJobId = (text: string): text is JobId => JOB_ID.test(text);
export const isLeaseId = (text: string): text is LeaseId => SHORT_ID.test(text);
export const isInviteId = (text: string): text is InviteId => SHORT_ID.test(text);
export const isNodeName = (text: string): boolean => NODE_NAME.test(text);

const ULID_ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/**
 * Makes a job id from a wall-clock time and randomness, both given by the caller so that the core stays pure.
 *
 * @param wallMs milliseconds since 1970, for sorting by people only
 * @param random at least 16 random bytes
 */
export function makeJobId(wallMs: number, random: Uint8Array): JobId {
  let text = '';
  let time = Math.floor(wallMs);
  for (let i = 0; i < 10; i++) {
    text = `${ULID_ALPHABET[time % 32] ?? '0'}${text}`;
    time = Math.floor(time / 32);
  }
  for (let i = 0; i < 16; i++) text += ULID_ALPHABET[(random[i] ?? 0) % 32] ?? '0';
  return text as JobId;
}

const BASE32_ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';

/** base32 of RFC 4648 in lower case without padding. */
export function base32(bytes: Uint8Array): string {
  let text = '';
  let bits = 0;
  let value = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += BASE32_ALPHABET[(value >>> bits) & 31] ?? '';
    }
    value &= (1 << bits) - 1;
  }
  if (bits > 0) text += BASE32_ALPHABET[(value << (5 - bits)) & 31] ?? '';
  return text;
}
