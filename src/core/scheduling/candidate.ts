import type { NodeId } from '../../base/ids.ts';
import type { Facts, Load } from '../../wire/facts.ts';
import type { Reason } from '../../wire/jobs.ts';

/** A node as the runtime knows it at this moment: what placement is decided on. This node is one of them. */
export interface NodeView {
  readonly id: NodeId;
  readonly name: string;
  readonly isSelf: boolean;
  readonly facts: Facts;
  /** Null until its first load report; such a node is no candidate yet. */
  readonly load: Load | null;
  /** When `load` was received, on this node's monotonic clock; for this node itself: now. */
  readonly loadAtMs: number;
  readonly state: 'alive' | 'suspect' | 'dead' | 'left';
  /** True where a link is up; always true for this node itself. */
  readonly reachable: boolean;
  /** Since when every known address of it refuses connections: nobody listens there. Left out where that is not so. */
  readonly refusedSinceMs?: number;
  /** False where our roles, or the node's, do not let it take our jobs. */
  readonly acceptsOurs: boolean;
  readonly rttMs: number;
}

/** A member that no record is held of: silent since this node started, or for so long that its record was given up. */
export interface UnheardMember {
  readonly id: NodeId;
  /** Of its grant. */
  readonly name: string;
}

export interface Candidate extends NodeView {
  /** Own reservations under way that its load cannot show yet. */
  readonly inFlight: number;
}

/** A node that cannot take a job, with every reason, not just the first. */
export interface Rejection {
  readonly id: NodeId;
  readonly name: string;
  readonly reasons: readonly Reason[];
  /** True where `--os any` alone would have made it a candidate. */
  readonly relaxable: boolean;
  /** True where it is only silent, out of reach or short of memory, so that it may take the job in a moment. */
  readonly passing: boolean;
}

/** Slots taken as far as we know: running, leased, and our own reservations under way. */
export function committedSlots(node: Candidate): number {
  const known = node.load === null ? 0 : Math.max(node.load.jobs_running, node.facts.slots - node.load.slots_free);
  return known + node.inFlight;
}

/** Free slots as far as we know; may be negative where we ask more than there is. */
export function freeSlots(node: Candidate): number {
  return node.load === null ? 0 : Math.min(node.load.slots_free, node.facts.slots) - node.inFlight;
}
