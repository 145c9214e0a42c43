import { createHash } from 'node:crypto';
import { base32, type MeshId, type NodeId } from '../../../../src/base/ids.ts';
import type { VerifiedStatement } from '../../../../src/core/trust/authority.ts';
import {
  hashedText,
  ROLES,
  type Grant,
  type Revoke,
  type Role,
  type Statement,
  type StatementHash,
} from '../../../../src/wire/trust.ts';

/** Statements as the core sees them, verified already: the signatures are stand-ins. */
const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

export function verified<S extends Statement>(statement: S): VerifiedStatement<S> {
  return { statement, hash: base32(digest(hashedText(statement))) };
}

/** Nodes sort by their number: `nodeAt(1)` has a smaller id than `nodeAt(2)`. */
export const nodeAt = (n: number): NodeId => base32(Buffer.concat([Buffer.from([n]), Buffer.alloc(31)])) as NodeId;
const spkiOf = (node: NodeId): string => `MCowBQYDK2VwAyEA${digest(node).toString('base64')}`;
const signatureOf = (text: string): string => Buffer.concat([digest(text), digest(`${text}2`)]).toString('base64');

export interface GrantOptions {
  readonly roles?: readonly Role[];
  readonly at?: number;
  readonly name?: string;
  readonly expires?: number;
}

export function makeGrant(
  mesh: MeshId | '',
  by: NodeId,
  node: NodeId,
  options: GrantOptions = {},
): VerifiedStatement<Grant> {
  const fields = {
    kind: 'grant' as const,
    mesh,
    node,
    spki: spkiOf(node),
    ...(options.name === undefined ? {} : { name: options.name }),
    roles: [...(options.roles ?? (['submit', 'run'] as const))],
    by,
    at: options.at ?? 0,
    ...(options.expires === undefined ? {} : { expires: options.expires }),
  };
  return verified({ ...fields, sig: signatureOf(JSON.stringify(fields)) });
}

export function makeGenesis(node: NodeId): { readonly mesh: MeshId; readonly genesis: VerifiedStatement<Grant> } {
  const genesis = makeGrant('', node, node, { roles: ROLES });
  return { mesh: genesis.hash as MeshId, genesis };
}

export function makeRevoke(
  mesh: MeshId,
  by: NodeId,
  node: NodeId,
  kept?: readonly StatementHash[],
): VerifiedStatement<Revoke> {
  const fields = { kind: 'revoke' as const, mesh, node, by, at: 0, ...(kept === undefined ? {} : { kept: [...kept] }) };
  return verified({ ...fields, sig: signatureOf(JSON.stringify(fields)) });
}
