import { createHash, createPublicKey, verify, type KeyObject } from 'node:crypto';
import { base32, type NodeId } from '../../base/ids.ts';
import type { Verifier } from '../../ports/identity.ts';

const SIGNATURE_BYTES = 64;
/** `SEQUENCE { SEQUENCE { OID 1.3.101.112 } BIT STRING (33)`: RFC 8410 §4. The key is the 32 bytes that follow. */
const ED25519_SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
const ED25519_SPKI_BYTES = 44;

function sha256(bytes: Uint8Array): Uint8Array {
  return createHash('sha256').update(bytes).digest();
}

export function nodeIdOf(spki: Uint8Array): NodeId {
  return base32(sha256(spki)) as NodeId;
}

/** The checks of the `Verifier` port with Node.js's own cryptography. */
export const verifier: Verifier = {
  nodeIdOf,
  sha256,
  verify(spki, bytes, signature) {
    if (signature.byteLength !== SIGNATURE_BYTES) return false;
    const key = ed25519Key(spki);
    return key !== null && verify(null, bytes, key, signature);
  },
};

function ed25519Key(spki: Uint8Array): KeyObject | null {
  if (spki.byteLength !== ED25519_SPKI_BYTES) return null;
  if (ED25519_SPKI_PREFIX.compare(spki, 0, ED25519_SPKI_PREFIX.length) !== 0) return null;
  return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
}
