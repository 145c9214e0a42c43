import type { NodeId } from '../../src/base/ids.ts';
import type { MembershipEffect } from '../../src/core/membership/contract.ts';
import type { Membership } from '../../src/core/membership/membership.ts';
import { CATCH_UP_MS } from '../../src/core/membership/suspicion.ts';
import type { MemberMessage } from '../../src/wire/membership.ts';

const RANK = { alive: 0, suspect: 1, dead: 2, left: 3 } as const;

interface Seen {
  readonly incarnation: number;
  readonly version: number;
  readonly rank: number;
}

/** Checks at every step of every node what must hold always, whatever the network does. */
export class MembershipWatch {
  /** What each run of a node has held of each subject. */
  readonly #seen = new Map<NodeId, Map<NodeId, Seen>>();
  /** Every `changed`, when a test wants them. */
  onChanged: ((observer: NodeId, effect: Extract<MembershipEffect, { kind: 'changed' }>) => void) | null = null;

  started(node: NodeId): void {
    this.#seen.set(node, new Map());
  }

  stepped(observer: NodeId, core: Membership, effects: readonly MembershipEffect[], sinceThawMs: number): void {
    for (const effect of effects) {
      if (effect.kind !== 'changed') continue;
      this.onChanged?.(observer, effect);
      const accusation = effect.cause === 'silence' || effect.cause === 'refused' || effect.cause === 'unrefuted';
      if (accusation && sinceThawMs < CATCH_UP_MS && sinceThawMs >= 0) {
        throw new Error(`${observer} accused ${effect.peer} (${effect.cause}) ${sinceThawMs} ms after it thawed`);
      }
      this.#checkGrowth(observer, core, effect.peer);
    }
  }

  /** A node must never say an incarnation that would be lost with its process. */
  sent(from: { readonly id: NodeId; readonly disk: { readonly incarnation: number } }, msg: MemberMessage): void {
    const said = msg.t === 'member.heartbeat' ? msg.incarnation : ownIncarnation(from.id, msg);
    if (said > from.disk.incarnation) {
      throw new Error(`${from.id} announced incarnation ${said} but stored ${from.disk.incarnation}`);
    }
  }

  #checkGrowth(observer: NodeId, core: Membership, subject: NodeId): void {
    const member = core.member(subject);
    const seen = this.#seen.get(observer);
    if (member === null || seen === undefined) return;
    const is = { incarnation: member.incarnation, version: member.version, rank: RANK[member.state] };
    const was = seen.get(subject);
    if (was !== undefined && is.incarnation < was.incarnation) {
      throw new Error(`${observer} went back from incarnation ${was.incarnation} to ${is.incarnation} of ${subject}`);
    }
    if (was !== undefined && is.incarnation === was.incarnation && is.rank < was.rank && subject !== observer) {
      throw new Error(`${observer} resurrected ${subject} within incarnation ${is.incarnation}`);
    }
    if (was !== undefined && is.incarnation === was.incarnation && is.version < was.version) {
      throw new Error(`${observer} went back from version ${was.version} to ${is.version} of ${subject}`);
    }
    seen.set(subject, is);
  }
}

function ownIncarnation(id: NodeId, msg: MemberMessage): number {
  if (msg.t !== 'member.records') return 0;
  return Math.max(0, ...msg.items.filter(({ record }) => record.id === id).map(({ record }) => record.incarnation));
}
