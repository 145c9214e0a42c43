import { renewIdentity, type LoadedIdentity } from '../adapters/tls/identity.ts';
import { loadRoster, saveRoster } from '../adapters/tls/roster-file.ts';
import { createGenesis, signRevoke, type Genuine } from '../adapters/tls/statement-signatures.ts';
import { verifier } from '../adapters/tls/verifier.ts';
import { MeshError } from '../base/errors.ts';
import type { MeshId, NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { Address } from '../ports/links.ts';
import type { ApiParams, InviteReport, JoinReport, LeaveReport } from '../wire/api.ts';
import type { Facts } from '../wire/facts.ts';
import type { AuditLog } from './audit-log.ts';
import { parseHostPort, type Config } from './config-schema.ts';
import type { Home } from './home.ts';
import { joinNotice } from './join-notice.ts';
import type { Mesh, MeshOptions } from './mesh.ts';
import { Inviter, joinMesh, readToken } from './pairing.ts';

/** How long `join` waits for the link to its inviter. */
const LINK_MS_MAX = 10_000;
const LINK_POLL_MS = 20;

/** What differs from one mesh of this node to the next. */
export type MeshSeed = Pick<MeshOptions, 'identity' | 'meshId' | 'statements' | 'onPair'> & {
  readonly peers: readonly Address[];
  /** The port that this node had, so that a new mesh does not move it. Null: as set. */
  readonly port: number | null;
};

export interface MeshControlOptions {
  readonly home: Home;
  readonly identity: LoadedIdentity;
  readonly log: Logger;
  readonly audit: AuditLog;
  readonly name: string;
  /** Whose account jobs use here. */
  readonly user: string;
  readonly config: Config;
  readonly startMesh: (seed: MeshSeed) => Promise<Mesh>;
}

/** Which mesh this node is in, and the ways from one to another: invite, join, leave. One of these at a time. */
export class MeshControl {
  readonly #options: MeshControlOptions;
  #identity: LoadedIdentity;
  #inviter: Inviter;
  #mesh: Mesh | null = null;
  #facts: Facts | null = null;
  #busy = false;

  constructor(options: MeshControlOptions) {
    this.#options = options;
    this.#identity = options.identity;
    this.#inviter = this.#newInviter();
  }

  get id(): NodeId {
    return this.#identity.identity.nodeId;
  }

  /** Throws before `start`. */
  get mesh(): Mesh {
    if (this.#mesh === null) throw new MeshError('internal', 'the node is between two meshes: try again');
    return this.#mesh;
  }

  factsChanged(facts: Facts): void {
    this.#facts = facts;
    this.#mesh?.factsChanged(facts);
  }

  /** @throws MeshError `roster_corrupt`, `port_in_use`, `io` */
  async start(): Promise<void> {
    const roster = loadRoster(this.#options.home.trust, verifier) ?? this.#meshOfOne();
    const named = roster.statements.some(({ statement }) => statement.kind === 'grant' && statement.node === this.id);
    if (!named) {
      const text = `${this.#options.home.trust} is the roster of another node: its identity folder was exchanged. Nothing was changed. Put both back from one backup, or remove both to begin anew`;
      throw new MeshError('roster_corrupt', text);
    }
    await this.#enter(roster.meshId, roster.statements, [], null);
  }

  async stop(why: string): Promise<void> {
    await this.#mesh?.stop(why);
  }

  invite(ttlMs: number, admin: boolean): InviteReport {
    const { token, expiresInMs } = this.#inviter.invite(ttlMs, admin);
    this.#options.audit.append({ event: 'trust', by: this.id, outcome: admin ? 'invited an admin' : 'invited' });
    const notices = admin ? ['the newcomer will be able to invite and revoke'] : [];
    return { token, expires_in_s: Math.round(expiresInMs / 1000), notices };
  }

  /** @param jobsOpen jobs that a change of mesh would cut off */
  join(params: ApiParams<'join'>, jobsOpen: number): Promise<JoinReport> {
    return this.#alone(async () => {
      const token = readToken(params.token);
      const given = params.peers.map(readAddress);
      const old = this.mesh;
      if (token.mesh === old.id)
        return this.#joined(token.inviter, 'this node was in that mesh already: nothing was changed');
      if (old.trust.members.size > 1) {
        const text = `this node is in a mesh with ${old.trust.members.size - 1} others already; nothing was changed. Run \`meshwork leave\` first`;
        throw new MeshError('already_in_mesh', text);
      }
      if (jobsOpen > 0)
        throw new MeshError(
          'refused',
          `${jobsOpen} jobs are under way here; nothing was changed. Wait for them, or end them`,
        );
      const joined = await joinMesh(old, this.#identity.identity, token, {
        name: this.#options.name,
        submitOnly: params.submit_only,
        addresses: given,
      });
      const statements = joined.statements.map(({ statement }) => statement);
      saveRoster(this.#options.home.trust, token.mesh, statements);
      const { port } = old;
      await this.#exit('joins another mesh');
      // Invitations to the mesh that is left must open no other.
      this.#inviter = this.#newInviter();
      await this.#enter(token.mesh, joined.statements, [], port);
      this.mesh.links.want(token.inviter, [joined.address, ...given, ...token.addresses]);
      for (const peer of joined.peers) this.mesh.links.wantStatic(peer);
      this.#options.audit.append({ event: 'trust', by: token.inviter, outcome: `joined mesh ${token.mesh}` });
      await this.#linked(token.inviter);
      return this.#joined(token.inviter, null);
    });
  }

  leave(): Promise<LeaveReport> {
    return this.#alone(async () => {
      const old = this.mesh;
      const notices = this.#leaveNotices(old);
      const { port } = old;
      if (old.trust.members.size > 1) {
        const revoke = signRevoke(this.#identity.identity, verifier, {
          kind: 'revoke',
          mesh: old.id,
          node: this.id,
          by: this.id,
          at: Date.now(),
          kept: old.keptGrants(this.id),
        });
        await old.sayGoodbye();
        old.addStatement(revoke);
      }
      await this.#exit('left the mesh');
      this.#identity = await renewIdentity(this.#options.home.identity, Date.now());
      this.#inviter = this.#newInviter();
      const { meshId, statements } = this.#meshOfOne();
      await this.#enter(meshId, statements, [], port);
      this.#options.audit.append({ event: 'trust', by: this.id, outcome: `left mesh ${old.id}` });
      return { left_mesh_id: old.id, mesh_id: meshId, notices };
    });
  }

  #leaveNotices(old: Mesh): string[] {
    const others = [...old.trust.members.values()].filter(({ node }) => node !== this.id);
    if (others.length === 0) return ['this node was a mesh of one already; it has a new key now'];
    const notices: string[] = [];
    if (old.links.peers.length === 0) notices.push('no other node could be told: they will see this one as dead');
    if (!others.some(({ roles }) => roles.includes('admin'))) {
      notices.push('this node was the only admin: the others can no longer invite or revoke');
    }
    return notices;
  }

  #newInviter(): Inviter {
    return new Inviter(this.#identity.identity, () => this.mesh, this.#options.log);
  }

  /** Starts a mesh of one and stores it, so that its id stays. */
  #meshOfOne(): { meshId: MeshId; statements: readonly Genuine[] } {
    const { meshId, genesis } = createGenesis(this.#identity.identity, verifier, this.#options.name, Date.now());
    saveRoster(this.#options.home.trust, meshId, [genesis.statement]);
    return { meshId, statements: [genesis] };
  }

  async #enter(
    meshId: MeshId,
    statements: readonly Genuine[],
    peers: readonly Address[],
    port: number | null,
  ): Promise<void> {
    const inviter = this.#inviter;
    this.#mesh = await this.#options.startMesh({
      identity: this.#identity,
      meshId,
      statements,
      peers,
      port,
      onPair: async (request, context) => inviter.answer(request, context),
    });
    if (this.#facts !== null) this.#mesh.factsChanged(this.#facts);
  }

  async #exit(why: string): Promise<void> {
    const old = this.mesh;
    await old.stop(why);
  }

  async #linked(inviter: NodeId): Promise<void> {
    const deadlineMs = performance.now() + LINK_MS_MAX;
    while (this.mesh.links.get(inviter) === null) {
      if (performance.now() > deadlineMs) {
        const text =
          'the grant is stored, but the inviter could not be linked yet: the daemon keeps trying (see `meshwork status`)';
        throw new MeshError('timeout', text);
      }
      await new Promise((resolve) => setTimeout(resolve, LINK_POLL_MS));
    }
  }

  #joined(inviter: NodeId, already: string | null): JoinReport {
    const { mesh } = this;
    const { members } = mesh.trust;
    const roles = members.get(this.id)?.roles ?? [];
    const others = [...members.values()]
      .filter(({ node }) => node !== this.id)
      .map(({ node, name, roles: theirs }) => ({ node, name: name ?? node.slice(0, 8), roles: theirs }));
    const { config, user: account } = this.#options;
    const who = joinNotice({ roles, others, exec: config.exec, slots: config.slots, account });
    return {
      mesh_id: mesh.id,
      inviter: members.get(inviter)?.name ?? inviter.slice(0, 8),
      inviter_id: inviter,
      roles,
      notices: [...(already === null ? [] : [already]), who],
    };
  }

  async #alone<T>(change: () => Promise<T>): Promise<T> {
    if (this.#busy)
      throw new MeshError(
        'refused',
        'this node is joining or leaving a mesh right now; nothing was changed. Try again in a moment',
      );
    this.#busy = true;
    try {
      return await change();
    } finally {
      this.#busy = false;
    }
  }
}

function readAddress(text: string): Address {
  const parsed = parseHostPort(text);
  if (parsed.ok && parsed.value.port > 0) return parsed.value;
  throw new MeshError(
    'bad_argument',
    `--peer ${parsed.ok ? 'needs a port above 0' : parsed.error}; nothing was changed`,
  );
}
