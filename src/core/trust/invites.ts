import type { InviteId, NodeId } from '../../base/ids.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { formatDuration } from '../../base/units.ts';
import type { Grant, Role } from '../../wire/trust.ts';

export const INVITE_TTL_MS_DEFAULT = 10 * 60_000;
const INVITE_TTL_MS_MIN = 1000;
export const INVITE_TTL_MS_MAX = 24 * 3_600_000;
export const INVITES_OPEN_MAX = 64;
/** Wrong proofs per invitation; the next one is refused even if right. */
export const INVITE_TRIES_MAX = 5;
/** Closed invitations kept so that their holder is told *why*; beyond this the oldest is forgotten (`bad_token`). */
export const INVITES_CLOSED_MAX = 256;

export interface NewInvite {
  readonly id: InviteId;
  /** Opaque here; the proof is checked by an adapter. */
  readonly secret: Uint8Array;
  readonly roles: readonly Role[];
  readonly ttlMs: number;
}

export type InviteRefusalCode = 'bad_token' | 'token_expired' | 'token_used' | 'token_guesses_exhausted';

export interface InviteRefusal {
  readonly code: InviteRefusalCode | 'bad_argument' | 'limit';
  readonly message: string;
}

export interface Redemption {
  readonly roles: readonly Role[];
  /** The grant made for this node before: its reply was lost. Null: sign one and hand it to `granted`. */
  readonly grant: Grant | null;
}

type InviteState =
  | { readonly kind: 'open'; readonly triesLeft: number }
  | { readonly kind: 'bound'; readonly node: NodeId; readonly grant: Grant | null }
  | { readonly kind: 'exhausted' };

interface Invite {
  readonly secret: Uint8Array;
  readonly roles: readonly Role[];
  readonly expiresAtMs: number;
  readonly state: InviteState;
}

/**
 * The invitations that this run of the daemon has given out. In memory only: a restart voids them.
 *
 * | state     | wrong proof            | right proof                             | right proof after the end |
 * |-----------|------------------------|-----------------------------------------|---------------------------|
 * | open      | bad_token, a try less  | bound to that node                      | token_expired             |
 * | bound     | bad_token              | same node: again; other: token_used     | the same                  |
 * | exhausted | bad_token              | token_guesses_exhausted                 | the same                  |
 *
 * A wrong proof gets the answer of an unknown id in every state, so nobody learns which ids exist without the secret.
 */
export class InviteBook {
  /** In the order of creation. */
  readonly #invites = new Map<InviteId, Invite>();

  create({ id, secret, roles, ttlMs }: NewInvite, nowMs: number): Result<{ expiresInMs: number }, InviteRefusal> {
    if (!(ttlMs >= INVITE_TTL_MS_MIN && ttlMs <= INVITE_TTL_MS_MAX)) {
      const range = `${formatDuration(INVITE_TTL_MS_MIN)} to ${formatDuration(INVITE_TTL_MS_MAX)}`;
      return refuse('bad_argument', `an invitation may last ${range}, not ${formatDuration(ttlMs)}; none was made`);
    }
    if (this.openCount(nowMs) >= INVITES_OPEN_MAX) {
      return refuse(
        'limit',
        `${INVITES_OPEN_MAX} invitations are open; none was made. Wait until some are used or end`,
      );
    }
    this.#invites.set(id, {
      secret,
      roles,
      expiresAtMs: nowMs + ttlMs,
      state: { kind: 'open', triesLeft: INVITE_TRIES_MAX },
    });
    this.#forgetOldest(nowMs);
    return ok({ expiresInMs: ttlMs });
  }

  openCount(nowMs: number): number {
    let count = 0;
    for (const invite of this.#invites.values()) if (isOpen(invite, nowMs)) count += 1;
    return count;
  }

  /** What the proof must be made with, null for an id that is not known: check against any secret then, and fail. */
  secretOf(id: InviteId): Uint8Array | null {
    return this.#invites.get(id)?.secret ?? null;
  }

  /**
   * A joiner's proof was checked.
   *
   * @param node the id of the joiner's TLS key, to which the first right proof binds the invitation
   */
  redeem(id: InviteId, node: NodeId, proofOk: boolean, nowMs: number): Result<Redemption, InviteRefusal> {
    const invite = this.#invites.get(id);
    if (invite === undefined) return refuse('bad_token', UNKNOWN);
    const { state } = invite;
    if (!proofOk) {
      if (state.kind === 'open') this.#setState(id, invite, afterWrongProof(state.triesLeft));
      return refuse('bad_token', UNKNOWN);
    }
    switch (state.kind) {
      case 'open':
        if (nowMs >= invite.expiresAtMs) return refuse('token_expired', EXPIRED);
        this.#setState(id, invite, { kind: 'bound', node, grant: null });
        return ok({ roles: invite.roles, grant: null });
      case 'bound':
        if (state.node !== node) return refuse('token_used', USED);
        return ok({ roles: invite.roles, grant: state.grant });
      case 'exhausted':
        return refuse('token_guesses_exhausted', EXHAUSTED);
    }
  }

  /** The grant that a redemption led to, for the same node's next try. */
  granted(id: InviteId, grant: Grant): void {
    const invite = this.#invites.get(id);
    if (invite?.state.kind !== 'bound' || invite.state.node !== grant.node) return;
    this.#setState(id, invite, { kind: 'bound', node: grant.node, grant });
  }

  /** All are void, for instance because this node left the mesh that they invite to. */
  clear(): void {
    this.#invites.clear();
  }

  #setState(id: InviteId, invite: Invite, state: InviteState): void {
    this.#invites.set(id, { ...invite, state });
  }

  #forgetOldest(nowMs: number): void {
    let closed = this.#invites.size - this.openCount(nowMs);
    for (const [id, invite] of this.#invites) {
      if (closed <= INVITES_CLOSED_MAX) return;
      if (isOpen(invite, nowMs)) continue;
      this.#invites.delete(id);
      closed -= 1;
    }
  }
}

const isOpen = (invite: Invite, nowMs: number): boolean => invite.state.kind === 'open' && nowMs < invite.expiresAtMs;

function afterWrongProof(triesLeft: number): InviteState {
  return triesLeft > 1 ? { kind: 'open', triesLeft: triesLeft - 1 } : { kind: 'exhausted' };
}

const refuse = (code: InviteRefusal['code'], message: string): Result<never, InviteRefusal> => err({ code, message });

const NEW_ONE = 'Nothing was changed. Make a new token with "meshwork invite" on a node of the mesh';
const UNKNOWN = `the inviting node does not know this token (it may have been restarted since). ${NEW_ONE}`;
const EXPIRED = `this token has expired. ${NEW_ONE}`;
const USED = `another machine has used this token: it works once. ${NEW_ONE}`;
const EXHAUSTED = `this token was guessed at wrongly ${INVITE_TRIES_MAX} times and is void. ${NEW_ONE}`;
