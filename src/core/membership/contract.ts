import type { MeshId, NodeId } from '../../base/ids.ts';
import type { Random } from '../../base/random.ts';
import type { Facts, Load } from '../../wire/facts.ts';
import type { MemberAddress, MemberMessage, MemberState } from '../../wire/membership.ts';

export interface MembershipOptions {
  readonly self: NodeId;
  readonly mesh: MeshId;
  /** Of this run: the stored one plus 1, already persisted. Links' hellos carry it unchanged for the whole run. */
  readonly incarnation: number;
  readonly random: Random;
}

/** What happens outside. Each goes to `step` with the monotonic time at which it is handled. */
export type MembershipInput =
  /** An authenticated link stands. `link` names it, so that the late end of a replaced one is harmless. */
  | { readonly kind: 'link_up'; readonly peer: NodeId; readonly link: number; readonly instance: number }
  /** `redialRefused`: already redialled, and nobody listens there. Otherwise tell with `dial_refused` later. */
  | { readonly kind: 'link_down'; readonly peer: NodeId; readonly link: number; readonly redialRefused?: boolean }
  /** Every address that the peer was last reached or known at was tried, and refused the connection. */
  | { readonly kind: 'dial_refused'; readonly peer: NodeId }
  | { readonly kind: 'message'; readonly from: NodeId; readonly msg: MemberMessage }
  /** The first one makes this node announce itself; nothing is sent of it before. */
  | { readonly kind: 'local_changed'; readonly facts: Facts; readonly addresses: readonly MemberAddress[] }
  | { readonly kind: 'load'; readonly load: Load }
  /** Whose records count. May hold this node itself. Removed ids lose their links and are forgotten. */
  | { readonly kind: 'trust_changed'; readonly trusted: ReadonlySet<NodeId> }
  | { readonly kind: 'signed'; readonly token: number; readonly sig: string }
  | { readonly kind: 'verified'; readonly token: number; readonly ok: boolean }
  | { readonly kind: 'persisted'; readonly incarnation: number }
  /** Nothing is announced; the next accusation tries again. */
  | { readonly kind: 'persist_failed'; readonly incarnation: number }
  /** Announces that this node leaves; `left_announced` follows. Final. */
  | { readonly kind: 'leave' }
  | { readonly kind: 'timer' }
  /** The clock jumped by more than 10 s: this machine slept. */
  | { readonly kind: 'woke'; readonly gapMs: number };

/** Why a member's row changed, for logs and for people. */
export type ChangeCause =
  | 'record'
  | 'linked'
  | 'unlinked'
  | 'silence'
  | 'refused'
  | 'hearsay'
  | 'unrefuted'
  | 'forgotten'
  | 'untrusted';

export type MembershipEffect =
  | { readonly kind: 'send'; readonly to: NodeId; readonly msg: MemberMessage }
  /** To every linked peer. */
  | { readonly kind: 'broadcast'; readonly msg: MemberMessage }
  /** Sign the UTF-8 of `text` with this node's key; answer `signed` with base64. */
  | { readonly kind: 'sign'; readonly token: number; readonly text: string }
  /** Check `sig` over the UTF-8 of `text` against the key of `id`; answer `verified`. */
  | {
      readonly kind: 'verify';
      readonly token: number;
      readonly id: NodeId;
      readonly text: string;
      readonly sig: string;
    }
  /** Store durably, then answer `persisted`. */
  | { readonly kind: 'persist_incarnation'; readonly incarnation: number }
  /** A row of `members()` changed; null = there is no row. Load alone makes no change. */
  | {
      readonly kind: 'changed';
      readonly peer: NodeId;
      readonly was: MemberState | null;
      readonly state: MemberState | null;
      readonly cause: ChangeCause;
    }
  /** Keep dialling until a link stands or `dial_unwanted`; a later one replaces the addresses. */
  | { readonly kind: 'dial_wanted'; readonly peer: NodeId; readonly addresses: readonly MemberAddress[] }
  | { readonly kind: 'dial_unwanted'; readonly peer: NodeId }
  | { readonly kind: 'close_link'; readonly peer: NodeId; readonly reason: string }
  /** Every linked peer has been sent the signed record that says so. Once only. */
  | { readonly kind: 'left_announced' };

/** One row of the table. Times are of the caller's monotonic clock. */
export interface Member {
  readonly id: NodeId;
  readonly state: MemberState;
  /** A link stands. Always true of this node itself. */
  readonly reachable: boolean;
  readonly facts: Facts;
  readonly addresses: readonly MemberAddress[];
  readonly load: Load | null;
  /** When the load arrived; age = now minus this. */
  readonly loadAtMs: number | null;
  /** When it last spoke to us itself, or was learned of. */
  readonly heardAtMs: number;
  readonly incarnation: number;
  readonly version: number;
  /** When it came to be in this state. */
  readonly sinceMs: number;
}
