import { randomBytes, sign, type KeyObject, type webcrypto } from 'node:crypto';
import type { NodeId } from '../../base/ids.ts';

const DAY_MS = 86_400_000;
/** Nothing checks the dates, trust is in the key: long enough that no other software ever complains. */
const VALID_YEARS = 20;

/**
 * Makes the self-signed certificate in which a node shows its key in TLS.
 *
 * The X.509 library takes 190 ms to load, so it is loaded only here, when an identity is made. It signs through
 * WebCrypto, whose Ed25519 was experimental in early Node.js 20 and says so on stderr: `sign` of node:crypto is put in
 * its place.
 *
 * @returns PEM
 */
export async function selfSignedCertificate(
  nodeId: NodeId,
  keys: { readonly privateKey: KeyObject; readonly publicKey: KeyObject },
  nowWallMs: number,
): Promise<string> {
  await import('reflect-metadata');
  const { X509CertificateGenerator, BasicConstraintsExtension } = await import('@peculiar/x509');
  const signer = {
    subtle: {
      sign: (_algorithm: unknown, _key: unknown, bytes: ArrayBuffer): Promise<Uint8Array> =>
        Promise.resolve(sign(null, Buffer.from(bytes), keys.privateKey)),
    },
  };
  const algorithm = { name: 'Ed25519' };
  const certificate = await X509CertificateGenerator.create(
    {
      serialNumber: `01${randomBytes(15).toString('hex')}`,
      subject: `CN=${nodeId}`,
      issuer: `CN=${nodeId}`,
      // A day of grace for peers whose clock is behind.
      notBefore: new Date(nowWallMs - DAY_MS),
      notAfter: new Date(nowWallMs + VALID_YEARS * 365.25 * DAY_MS),
      publicKey: keys.publicKey.export({ type: 'spki', format: 'der' }),
      signingKey: { algorithm } as unknown as webcrypto.CryptoKey,
      signingAlgorithm: algorithm,
      extensions: [new BasicConstraintsExtension(false, undefined, true)],
    },
    signer as unknown as webcrypto.Crypto,
  );
  return `${certificate.toString('pem')}\n`;
}
