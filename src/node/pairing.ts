import { makeInviteSecret, checkPairProof, makePairProof } from '../adapters/tls/pair-proof.ts';
import { signGrant, verifySet, type Genuine } from '../adapters/tls/statement-signatures.ts';
import { verifier } from '../adapters/tls/verifier.ts';
import { MeshError } from '../base/errors.ts';
import type { NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { InviteBook } from '../core/trust/invites.ts';
import { evaluate } from '../core/trust/trust-set.ts';
import type { Identity } from '../ports/identity.ts';
import type { Address, DialFailure, PairContext } from '../ports/links.ts';
import {
  decodeToken,
  encodeToken,
  pairHeadSchema,
  pairReplySchema,
  pairRequestSchema,
  PAIR_PEERS_MAX,
  rolesGranted,
  type InviteToken,
  type PairReply,
  type PairRequest,
} from '../wire/pair.ts';
import { statementSchema, type Role } from '../wire/trust.ts';
import { PROTOCOL_VERSION } from '../wire/version.ts';
import { formatHostPort } from './config-schema.ts';
import { nowMs } from './core-loop.ts';
import type { Mesh } from './mesh.ts';

const PAIR_TIMEOUT_MS = 10_000;
const PLAIN_ROLES: readonly Role[] = ['submit', 'run'];
const ADMIN_ROLES: readonly Role[] = ['submit', 'run', 'admin'];

/** The inviting side: tokens out, proofs in, grants signed. */
export class Inviter {
  readonly #book = new InviteBook();
  readonly #identity: Identity;
  readonly #mesh: () => Mesh;
  readonly #log: Logger;

  constructor(identity: Identity, mesh: () => Mesh, log: Logger) {
    this.#identity = identity;
    this.#mesh = mesh;
    this.#log = log;
  }

  /** @throws MeshError `not_permitted` where this node may not invite, `limit`, `bad_argument` */
  invite(ttlMs: number, admin: boolean): { readonly token: string; readonly expiresInMs: number } {
    const mesh = this.#mesh();
    this.#requireAdmin(mesh);
    const { id, secret } = makeInviteSecret();
    const created = this.#book.create({ id, secret, roles: admin ? ADMIN_ROLES : PLAIN_ROLES, ttlMs }, nowMs());
    if (!created.ok) throw new MeshError(created.error.code, created.error.message);
    const token = encodeToken({
      mesh: mesh.id,
      inviter: this.#identity.nodeId,
      invite: id,
      secret,
      addresses: mesh.addresses,
    });
    return { token, expiresInMs: created.value.expiresInMs };
  }

  /** Answers a joiner. Its key is proven by TLS; everything else it says is checked here. */
  answer(raw: unknown, context: PairContext): PairReply {
    const head = pairHeadSchema.safeParse(raw);
    if (!head.success) return refuse('bad_token', 'this is not a pairing request');
    if (head.data.protocol !== PROTOCOL_VERSION) {
      return refuse(
        'protocol_mismatch',
        `the inviter speaks protocol ${PROTOCOL_VERSION}, not ${head.data.protocol}: install the same version of meshwork on both machines`,
      );
    }
    const request = pairRequestSchema.safeParse(raw);
    if (!request.success || request.data.node !== context.peer)
      return refuse('bad_token', 'this is not a pairing request');
    return this.#redeem(request.data, context);
  }

  #redeem(request: PairRequest, context: PairContext): PairReply {
    const mesh = this.#mesh();
    const proof = {
      exporter: context.exporter,
      inviter: this.#identity.nodeId,
      joiner: context.peer,
      invite: request.invite,
    };
    const proofOk = checkPairProof(this.#book.secretOf(request.invite), proof, request.mac);
    const redeemed = this.#book.redeem(request.invite, context.peer, proofOk, nowMs());
    if (!redeemed.ok) {
      this.#log.warn('a join was refused', { code: redeemed.error.code, address: context.remoteAddress });
      const { code, message } = redeemed.error;
      return code === 'bad_argument' ? refuse('internal', message) : refuse(code, message);
    }
    if (mesh.trust.revoked.has(context.peer)) {
      return refuse(
        'not_permitted',
        'this key was revoked in the mesh for good: run `meshwork leave` on the joining machine, which makes a new one',
      );
    }
    if (mesh.trust.members.get(this.#identity.nodeId)?.roles.includes('admin') !== true) {
      return refuse('not_permitted', 'the inviting node is no admin of its mesh any more');
    }
    if (redeemed.value.grant === null) {
      const grant = this.#grant(mesh, request, context, redeemed.value.roles);
      // What a joiner says must not end up in a statement that no node, this one included, would read again.
      if (!statementSchema.safeParse(grant.statement).success) {
        return refuse('not_permitted', 'the invitation offers none of the roles asked for, or this key is not Ed25519');
      }
      this.#book.granted(request.invite, grant.statement);
      mesh.addStatement(grant);
      this.#log.info('a node joined', { peer: context.peer, name: request.name, address: context.remoteAddress });
    }
    const statements = mesh.statementsFor([this.#identity.nodeId, context.peer]);
    return { t: 'pair.granted', statements, peers: this.#otherPeers(mesh, context.peer) };
  }

  #grant(mesh: Mesh, request: PairRequest, context: PairContext, offered: readonly Role[]) {
    return signGrant(this.#identity, verifier, {
      kind: 'grant',
      mesh: mesh.id,
      node: context.peer,
      spki: Buffer.from(context.peerSpki).toString('base64'),
      name: request.name,
      roles: rolesGranted(offered, request.wants),
      by: this.#identity.nodeId,
      at: Date.now(),
    });
  }

  #otherPeers(mesh: Mesh, joiner: NodeId): { host: string; port: number }[] {
    const others = mesh.members.filter(
      ({ id, state }) => id !== joiner && id !== this.#identity.nodeId && state === 'alive',
    );
    return others
      .flatMap(({ addresses }) => addresses.map(({ host, port }) => ({ host, port })))
      .slice(0, PAIR_PEERS_MAX);
  }

  #requireAdmin(mesh: Mesh): void {
    const roles = mesh.trust.members.get(this.#identity.nodeId)?.roles ?? [];
    if (roles.includes('admin')) return;
    const admins = [...mesh.trust.members.values()].filter((member) => member.roles.includes('admin'));
    const names = admins.map(({ name, node }) => name ?? node.slice(0, 8)).join(', ');
    throw new MeshError(
      'not_permitted',
      `this node may not invite: only admins of the mesh can (${names}); no token was made`,
    );
  }
}

const refuse = (code: Extract<PairReply, { t: 'pair.refused' }>['code'], message: string): PairReply => ({
  t: 'pair.refused',
  code,
  message: `${message.slice(0, 490)}`,
});

/** @throws MeshError `bad_token`, `protocol_mismatch` */
export function readToken(text: string): InviteToken {
  const token = decodeToken(text);
  if (!token.ok) throw new MeshError(token.error.code, token.error.message);
  return token.value;
}

export interface Joined {
  readonly statements: readonly Genuine[];
  readonly roles: readonly Role[];
  readonly peers: readonly Address[];
  /** Where the inviter answered. */
  readonly address: Address;
}

/**
 * The joining side: tries the inviter's addresses in turn, proves the secret, and checks what comes back.
 *
 * @throws MeshError `node_unreachable`, `bad_token`, `token_expired`, `token_used`, `token_guesses_exhausted`, …; nothing
 *   has been changed then
 */
export async function joinMesh(
  mesh: Mesh,
  identity: Identity,
  token: InviteToken,
  options: { readonly name: string; readonly submitOnly: boolean; readonly addresses: readonly Address[] },
): Promise<Joined> {
  const addresses = [...options.addresses, ...token.addresses];
  const failures: string[] = [];
  for (const address of addresses) {
    const answered = await mesh.pair({
      ...address,
      expectedPeer: token.inviter,
      timeoutMs: PAIR_TIMEOUT_MS,
      makeRequest: (context): PairRequest => ({
        t: 'pair.request',
        protocol: PROTOCOL_VERSION,
        invite: token.invite,
        node: identity.nodeId,
        name: options.name,
        wants: options.submitOnly ? ['submit', 'admin'] : ['submit', 'run', 'admin'],
        mac: makePairProof(token.secret, {
          exporter: context.exporter,
          inviter: token.inviter,
          joiner: identity.nodeId,
          invite: token.invite,
        }),
      }),
    });
    if (answered.ok) return checkReply(answered.value, identity, token, address);
    failures.push(explain(answered.error, formatHostPort(address)));
  }
  const tried = failures.length > 0 ? failures.join('; ') : 'the token names no address';
  throw new MeshError(
    'node_unreachable',
    `the inviting node could not be reached (${tried}); nothing was changed. Is it up, and is its port open? Another address can be given with --peer HOST:PORT`,
  );
}

/** Most failures name the address already. */
const explain = ({ message }: DialFailure, at: string): string =>
  message.includes(at) ? message : `${at}: ${message}`;

function checkReply(raw: unknown, identity: Identity, token: InviteToken, address: Address): Joined {
  const reply = pairReplySchema.safeParse(raw);
  if (!reply.success) throw new MeshError('bad_token', 'the inviting node answered with nonsense; nothing was changed');
  if (reply.data.t === 'pair.refused') {
    const { code, message } = reply.data;
    throw new MeshError(code, message);
  }
  const statements = verifySet(verifier, reply.data.statements);
  const trust = evaluate(statements, token.mesh, Date.now());
  const own = trust.members.get(identity.nodeId);
  if (own === undefined || !trust.members.has(token.inviter)) {
    throw new MeshError(
      'bad_token',
      'what the inviting node sent does not make this node a member of the mesh that the token names; nothing was changed',
    );
  }
  return { statements, roles: own.roles, peers: reply.data.peers, address };
}
