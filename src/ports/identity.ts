import type { NodeId } from '../base/ids.ts';

/** This node's key, as the runtime uses it. The private key never leaves the adapter that made it. */
export interface Identity {
  readonly nodeId: NodeId;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  /** Raw signature over `bytes` (Ed25519: 64 bytes, RFC 8032). */
  sign(bytes: Uint8Array): Uint8Array;
}

/** Cryptographic checks on what others sent. */
export interface Verifier {
  /** The id that a key must have: base32(SHA-256(SPKI)). */
  nodeIdOf(spki: Uint8Array): NodeId;
  /** False for a wrong signature and for a key that is malformed or not Ed25519. Never throws. */
  verify(spki: Uint8Array, bytes: Uint8Array, signature: Uint8Array): boolean;
  sha256(bytes: Uint8Array): Uint8Array;
}
