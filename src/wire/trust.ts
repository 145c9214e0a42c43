import { z } from 'zod';
import { isMeshId, isNodeId, NODE_NAME_CHARS_MAX, type MeshId, type NodeId } from '../base/ids.ts';

/**
 * Membership as signed statements (DESIGN §2). A mesh is nothing but a set of these: every node keeps the whole set,
 * verifies it for itself, and derives who may do what from it.
 *
 * The first statement of a mesh is its *genesis*: a grant of all roles by a node to itself. Its `mesh` is '' because
 * the mesh's id is the hash of that very statement; every other statement names the mesh, so that none can be carried
 * from one mesh into another.
 */
export const ROLES = ['submit', 'run', 'admin'] as const;
export type Role = (typeof ROLES)[number];

/** Grants that a revocation of an admin may keep: a statement then stays below 60 KiB. */
export const KEPT_MAX = 1024;
export const STATEMENTS_MAX = 4096;
export const STATEMENTS_PER_PAGE_MAX = 512;
/** Characters of a statement's hash in a digest: 80 bits, enough to tell statements apart, not to prove anything. */
export const DIGEST_CHARS = 16;
const WALL_MS_MAX = 8_640_000_000_000_000;

export const nodeIdSchema = z
  .string()
  .refine((text): text is NodeId => isNodeId(text), { message: 'is not a node id' });
export const meshIdSchema = z
  .string()
  .refine((text): text is MeshId => isMeshId(text), { message: 'is not a mesh id' });

/** base32 of the SHA-256 of a signed statement, signature included. */
export type StatementHash = string;
const hashSchema = z.string().regex(/^[a-z2-7]{52}$/);

/** The one DER form of an Ed25519 SubjectPublicKeyInfo (RFC 8410 §4), 44 bytes in canonical base64. */
const ED25519_SPKI_BASE64 = /^MCowBQYDK2VwAyEA[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;
/** 64 bytes in canonical base64: a signature has one spelling, so a statement has one hash. */
const SIGNATURE_BASE64 = /^[A-Za-z0-9+/]{85}[AQgw]==$/;

const wallMs = z.int().nonnegative().max(WALL_MS_MAX);
const rolesSchema = z
  .array(z.enum(ROLES))
  .min(1)
  .max(ROLES.length)
  .refine((roles) => new Set(roles).size === roles.length, { message: 'names a role twice' });

const grantSchema = z.strictObject({
  kind: z.literal('grant'),
  /** '' in the genesis alone. */
  mesh: z.union([z.literal(''), meshIdSchema]),
  node: nodeIdSchema,
  /** The key of `node`: base64 of its SubjectPublicKeyInfo, whose SHA-256 is the id. */
  spki: z.string().regex(ED25519_SPKI_BASE64),
  name: z
    .string()
    .regex(/^[A-Za-z0-9._-]+$/)
    .max(NODE_NAME_CHARS_MAX)
    .optional(),
  roles: rolesSchema,
  by: nodeIdSchema,
  /** Milliseconds since 1970 on the signer's clock: for people only. */
  at: wallMs,
  /** Milliseconds since 1970, judged on the receiver's clock with a day of tolerance. */
  expires: wallMs.optional(),
  sig: z.string().regex(SIGNATURE_BASE64),
});
export type Grant = z.infer<typeof grantSchema>;

const revokeSchema = z.strictObject({
  kind: z.literal('revoke'),
  mesh: meshIdSchema,
  node: nodeIdSchema,
  by: nodeIdSchema,
  at: wallMs,
  /** Hashes of the grants signed by `node` that stay; its others are void. */
  kept: z.array(hashSchema).max(KEPT_MAX).optional(),
  sig: z.string().regex(SIGNATURE_BASE64),
});
export type Revoke = z.infer<typeof revokeSchema>;

export const statementSchema = z.discriminatedUnion('kind', [grantSchema, revokeSchema]);
export type Statement = z.infer<typeof statementSchema>;
export type UnsignedGrant = Omit<Grant, 'sig'>;
export type UnsignedRevoke = Omit<Revoke, 'sig'>;
export type UnsignedStatement = UnsignedGrant | UnsignedRevoke;

/** Signed bytes begin with these, so that a signature made for one purpose is never valid for another. */
const GRANT_DOMAIN = 'meshwork/grant/1\n';
const REVOKE_DOMAIN = 'meshwork/revoke/1\n';

/**
 * What a statement's signature covers: a domain line and one JSON object with a fixed order of keys, absent fields as
 * null, roles in the order of ROLES. All of it is ASCII by the schema.
 */
export function signedText(statement: UnsignedStatement): string {
  switch (statement.kind) {
    case 'grant': {
      const { mesh, node, spki, name, roles, by, at, expires } = statement;
      const sorted = ROLES.filter((role) => roles.includes(role));
      return `${GRANT_DOMAIN}${JSON.stringify({ mesh, node, spki, name: name ?? null, roles: sorted, by, at, expires: expires ?? null })}`;
    }
    case 'revoke': {
      const { mesh, node, by, at, kept } = statement;
      return `${REVOKE_DOMAIN}${JSON.stringify({ mesh, node, by, at, kept: kept ?? null })}`;
    }
  }
}

/** What a statement's hash covers: the signed text, a line feed, and the signature. Of the genesis it is the mesh id. */
export function hashedText(statement: Statement): string {
  return `${signedText(statement)}\n${statement.sig}`;
}

/** The hashes (first DIGEST_CHARS characters) of all statements that the sender holds and would pass on. */
const trustDigestSchema = z.strictObject({
  t: z.literal('trust.digest'),
  mesh: meshIdSchema,
  have: z.array(z.string().regex(/^[a-z2-7]{16}$/)).max(STATEMENTS_MAX),
  /** True asks for the receiver's own digest where the sender lists something unknown to it. */
  exchange: z.boolean(),
});
export type TrustDigest = z.infer<typeof trustDigestSchema>;

/** Statements that the receiver lacks, each after the grant of its signer; at most 256 KiB a message. */
const trustStatementsSchema = z.strictObject({
  t: z.literal('trust.statements'),
  mesh: meshIdSchema,
  statements: z.array(statementSchema).min(1).max(STATEMENTS_PER_PAGE_MAX),
});
export type TrustStatements = z.infer<typeof trustStatementsSchema>;

export const trustMessageSchema = z.discriminatedUnion('t', [trustDigestSchema, trustStatementsSchema]);
export type TrustMessage = z.infer<typeof trustMessageSchema>;
