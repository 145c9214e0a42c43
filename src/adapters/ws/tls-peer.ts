import { constants, type KeyObject } from 'node:crypto';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import type { NodeId } from '../../base/ids.ts';
import type { HelloFacts, Trust } from '../../ports/links.ts';
import { PAIR_EXPORTER_BYTES, PAIR_EXPORTER_LABEL } from '../../wire/hello.ts';

/** What the transport knows of this node; the rest of the node comes in through `authorize` and `hello`. */
export interface LocalPeer {
  readonly keyPem: string;
  readonly certPem: string;
  readonly nodeId: NodeId;
  readonly nodeIdOf: (spki: Uint8Array) => NodeId;
  readonly authorize: (peer: NodeId, spki: Uint8Array) => Trust;
  /** Asked anew for every hello. */
  readonly hello: () => HelloFacts;
}

/** A key whose owner TLS has proven to be at the other end. */
export interface PeerKey {
  readonly peer: NodeId;
  readonly spki: Uint8Array;
}

/**
 * TLS for both sides: 1.3 only, both certificates asked for. `rejectUnauthorized` is off because certificates here are
 * self-signed carriers of a key: the chain means nothing, the key is checked by its hash. That its owner is at the
 * other end (CertificateVerify, RFC 8446 §4.4.3) is checked by OpenSSL all the same. No session is ever resumed: a
 * resumed one would show no key.
 */
export const tlsOptionsOf = (local: LocalPeer) =>
  ({
    key: local.keyPem,
    cert: local.certPem,
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    sigalgs: 'ed25519:ecdsa_secp256r1_sha256',
    secureOptions: constants.SSL_OP_NO_TICKET,
    rejectUnauthorized: false,
  }) satisfies ConnectionOptions;

/** The other end's key, or null where it sent no certificate or one whose key is neither Ed25519 nor P-256. */
export function peerKeyOf(socket: TLSSocket, nodeIdOf: LocalPeer['nodeIdOf']): PeerKey | null {
  const key = publicKeyOf(socket);
  if (key === null) return null;
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (key.asymmetricKeyType !== 'ed25519' && !(key.asymmetricKeyType === 'ec' && curve === 'prime256v1')) return null;
  const spki = new Uint8Array(key.export({ type: 'spki', format: 'der' }));
  return { peer: nodeIdOf(spki), spki };
}

function publicKeyOf(socket: TLSSocket): KeyObject | null {
  try {
    return socket.getPeerX509Certificate()?.publicKey ?? null;
  } catch (error) {
    // OpenSSL has no name for the key, or the certificate does not parse: the same to us as no certificate. What a
    // stranger sends must not end the process.
    if (error instanceof Error) return null;
    throw error;
  }
}

export function exporterOf(socket: TLSSocket): Uint8Array {
  return new Uint8Array(socket.exportKeyingMaterial(PAIR_EXPORTER_BYTES, PAIR_EXPORTER_LABEL, Buffer.alloc(0)));
}
