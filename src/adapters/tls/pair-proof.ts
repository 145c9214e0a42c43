import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { base32, isInviteId, type InviteId, type NodeId } from '../../base/ids.ts';
import { assert } from '../../base/assert.ts';
import { PAIR_EXPORTER_BYTES } from '../../wire/hello.ts';
import { INVITE_ID_BYTES, INVITE_SECRET_BYTES } from '../../wire/pair.ts';

/** What a proof binds together: one TLS session, both ends, one invitation. */
export interface PairProofInput {
  /** Of the TLS session on which the proof is sent. */
  readonly exporter: Uint8Array;
  readonly inviter: NodeId;
  readonly joiner: NodeId;
  readonly invite: InviteId;
}

/** For unknown invitations: checking takes as long as for known ones, and never succeeds. */
const DECOY_SECRET = randomBytes(INVITE_SECRET_BYTES);

/** The joiner's proof that it holds the secret: base64 of HMAC-SHA256(secret, exporter ‖ inviter ‖ joiner ‖ invite). */
export function makePairProof(secret: Uint8Array, input: PairProofInput): string {
  return proofBytes(secret, input).toString('base64');
}

/**
 * Checks a proof in constant time.
 *
 * @param secret null where the invitation is not known
 * @param mac base64, as it came
 */
export function checkPairProof(secret: Uint8Array | null, input: PairProofInput, mac: string): boolean {
  const expected = proofBytes(secret ?? DECOY_SECRET, input);
  const given = Buffer.from(mac, 'base64');
  const equal = given.length === expected.length && timingSafeEqual(given, expected);
  return equal && secret !== null;
}

function proofBytes(secret: Uint8Array, { exporter, inviter, joiner, invite }: PairProofInput): Buffer {
  assert(exporter.byteLength === PAIR_EXPORTER_BYTES, `an exporter of ${exporter.byteLength} bytes`);
  // Every part but the last has a fixed length, so the concatenation has one reading only.
  return createHmac('sha256', secret).update(exporter).update(inviter).update(joiner).update(invite).digest();
}

/** A fresh invitation: a public id and a 128-bit secret. */
export function makeInviteSecret(): { readonly id: InviteId; readonly secret: Uint8Array } {
  const id = base32(randomBytes(INVITE_ID_BYTES));
  assert(isInviteId(id), 'eight bytes make an invite id');
  return { id, secret: randomBytes(INVITE_SECRET_BYTES) };
}
