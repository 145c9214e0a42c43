import { base32, isMeshId, type MeshId } from '../../base/ids.ts';
import { assert } from '../../base/assert.ts';
import type { Identity, Verifier } from '../../ports/identity.ts';
import {
  hashedText,
  ROLES,
  signedText,
  type Grant,
  type Revoke,
  type Statement,
  type StatementHash,
  type UnsignedGrant,
  type UnsignedRevoke,
} from '../../wire/trust.ts';

/** A statement that is genuine, with its hash: the form in which the core takes statements. */
export interface Genuine<S extends Statement = Statement> {
  readonly statement: S;
  readonly hash: StatementHash;
}

const ascii = (text: string): Uint8Array => Buffer.from(text, 'latin1');

function hashOf(verifier: Pick<Verifier, 'sha256'>, statement: Statement): StatementHash {
  return base32(verifier.sha256(ascii(hashedText(statement))));
}

type Signer = Pick<Identity, 'sign'>;
type Hasher = Pick<Verifier, 'sha256'>;

export function signGrant(signer: Signer, hasher: Hasher, grant: UnsignedGrant): Genuine<Grant> {
  const statement = { ...grant, sig: signature(signer, signedText(grant)) };
  return { statement, hash: hashOf(hasher, statement) };
}

export function signRevoke(signer: Signer, hasher: Hasher, revoke: UnsignedRevoke): Genuine<Revoke> {
  const statement = { ...revoke, sig: signature(signer, signedText(revoke)) };
  return { statement, hash: hashOf(hasher, statement) };
}

const signature = (signer: Signer, text: string): string => Buffer.from(signer.sign(ascii(text))).toString('base64');

/**
 * Starts a mesh of one: this node grants itself every role, and the hash of that statement is the mesh's id.
 *
 * @param nowWallMs milliseconds since 1970
 */
export function createGenesis(
  identity: Identity,
  hasher: Hasher,
  name: string,
  nowWallMs: number,
): { readonly meshId: MeshId; readonly genesis: Genuine<Grant> } {
  const genesis = signGrant(identity, hasher, {
    kind: 'grant',
    mesh: '',
    node: identity.nodeId,
    spki: Buffer.from(identity.spki).toString('base64'),
    name,
    roles: [...ROLES],
    by: identity.nodeId,
    at: nowWallMs,
  });
  assert(isMeshId(genesis.hash), 'a hash is a mesh id');
  return { meshId: genesis.hash, genesis };
}

/**
 * Checks statements, each with the key that its signer is said to have (an item of a `verify` effect): the key's hash
 * must be the signer's id, the signature must fit, and a grant's key must be that of the node it names.
 *
 * @returns the genuine ones in their order; about 0.15 ms of CPU each
 */
export function verifyItems(
  verifier: Verifier,
  items: readonly { readonly statement: Statement; readonly signerSpki: string }[],
): Genuine[] {
  const genuine: Genuine[] = [];
  for (const { statement, signerSpki } of items) {
    const spki = Buffer.from(signerSpki, 'base64');
    if (verifier.nodeIdOf(spki) !== statement.by) continue;
    if (statement.kind === 'grant' && !namesItsKey(verifier, statement)) continue;
    const signed = Buffer.from(statement.sig, 'base64');
    if (!verifier.verify(spki, ascii(signedText(statement)), signed)) continue;
    genuine.push({ statement, hash: hashOf(verifier, statement) });
  }
  return genuine;
}

const namesItsKey = (verifier: Verifier, grant: Grant): boolean =>
  verifier.nodeIdOf(Buffer.from(grant.spki, 'base64')) === grant.node;

/**
 * Checks a whole set, such as a roster file or what a newcomer is sent, in which the keys of all signers are named by
 * its own grants.
 */
export function verifySet(verifier: Verifier, statements: readonly Statement[]): Genuine[] {
  const keys = new Map<string, string>();
  for (const statement of statements) {
    if (statement.kind === 'grant' && namesItsKey(verifier, statement)) keys.set(statement.node, statement.spki);
  }
  const items = statements.flatMap((statement) => {
    const signerSpki = keys.get(statement.by);
    return signerSpki === undefined ? [] : [{ statement, signerSpki }];
  });
  return verifyItems(verifier, items);
}
