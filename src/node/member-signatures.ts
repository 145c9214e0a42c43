import { verifier } from '../adapters/tls/verifier.ts';
import type { NodeId } from '../base/ids.ts';
import type { TrustSet } from '../core/trust/trust-set.ts';
import type { Identity } from '../ports/identity.ts';

/** base64 of this node's signature over the UTF-8 of `text`: the answer to membership's `sign` effect. */
export function signText(identity: Identity, text: string): string {
  return Buffer.from(identity.sign(Buffer.from(text, 'utf8'))).toString('base64');
}

/** Whether a member signed `text`, by the key that the trust set holds of it: the answer to `verify`. */
export function isSignedBy(trust: TrustSet, id: NodeId, text: string, sig: string): boolean {
  const spki = trust.members.get(id)?.spki;
  if (spki === undefined) return false;
  return verifier.verify(Buffer.from(spki, 'base64'), Buffer.from(text, 'utf8'), Buffer.from(sig, 'base64'));
}
