import type { JobId, NodeId } from '../../base/ids.ts';
import type { Load } from '../../wire/facts.ts';
import { freeSlots, type Candidate, type NodeView } from './candidate.ts';

/** A node that refused for want of a slot is asked again without its hint only where a report newer than this shows one. */
const ASK_AGAIN_MS = 250;
/** A nested job that could not borrow its parent's slot asks for it again after this. */
const LEND_AGAIN_MS = 500;
/** Nested jobs whose last request to borrow is remembered. */
const LENDS_KEPT_MAX = 1024;

/**
 * What an origin learned of nodes from their replies: fresher than heartbeats. Both maps hold at most one entry for
 * each node that the runtime knows (`candidates` drops the others).
 */
export class NodeBook {
  readonly #loads = new Map<NodeId, { readonly load: Load; readonly atMs: number }>();
  /** Nodes that will send `job.slot_free`, by when they refused; oldest first. */
  readonly #waitingAt = new Map<NodeId, number>();
  /** When a nested job last asked for its parent's slot. */
  readonly #lendAskedAt = new Map<JobId, number>();

  /** Views with the freshest load and our own reservations under way. */
  candidates(views: readonly NodeView[], inFlight: ReadonlyMap<NodeId, number>): Candidate[] {
    if (this.#loads.size + this.#waitingAt.size > views.length) this.#keepOnly(new Set(views.map((view) => view.id)));
    return views.map((view) => {
      const own = this.#loads.get(view.id);
      const fresher = own !== undefined && !view.isSelf && own.atMs >= view.loadAtMs ? own : null;
      return {
        ...view,
        load: fresher === null ? view.load : fresher.load,
        loadAtMs: fresher === null ? view.loadAtMs : fresher.atMs,
        inFlight: inFlight.get(view.id) ?? 0,
      };
    });
  }

  noteLoad(node: NodeId, load: Load, nowMs: number): void {
    this.#loads.set(node, { load, atMs: nowMs });
  }

  /** It has no slot for us now, whatever its load says, and will tell when it has. */
  noteFull(node: NodeId, nowMs: number): void {
    const known = this.#loads.get(node);
    if (known !== undefined) this.#loads.set(node, { ...known, load: { ...known.load, slots_free: 0 } });
    this.#waitingAt.delete(node);
    this.#waitingAt.set(node, nowMs);
  }

  noteSlotFree(node: NodeId, load: Load, nowMs: number): void {
    this.#loads.set(node, { load: { ...load, slots_free: Math.max(1, load.slots_free) }, atMs: nowMs });
    this.#waitingAt.delete(node);
  }

  /** An attempt of ours ended there: until it says more, there is one slot more. */
  noteEnded(node: NodeId): void {
    const known = this.#loads.get(node);
    if (known === undefined) return;
    const { load } = known;
    const jobsRunning = Math.max(0, load.jobs_running - 1);
    this.#loads.set(node, {
      load: { ...load, jobs_running: jobsRunning, slots_free: load.slots_free + 1 },
      atMs: known.atMs,
    });
  }

  /** May a nested job ask its own node for its parent's slot, though that node is full? */
  mayLend(job: JobId, nowMs: number): boolean {
    const askedAtMs = this.#lendAskedAt.get(job);
    return askedAtMs === undefined || nowMs - askedAtMs >= LEND_AGAIN_MS;
  }

  noteLendAsked(job: JobId, nowMs: number): void {
    this.#lendAskedAt.delete(job);
    this.#lendAskedAt.set(job, nowMs);
    const [oldest] = this.#lendAskedAt.keys();
    if (this.#lendAskedAt.size > LENDS_KEPT_MAX && oldest !== undefined) this.#lendAskedAt.delete(oldest);
  }

  forget(node: NodeId): void {
    this.#loads.delete(node);
    this.#waitingAt.delete(node);
  }

  /** Hints get lost with links and restarts: the nodes that have been silent longest are asked again. */
  stopWaitingAtOldest(count: number): void {
    for (const node of [...this.#waitingAt.keys()].slice(0, count)) this.#waitingAt.delete(node);
  }

  /** Is a reservation there worth its message? One probe at a time where no slot is known to be free. */
  isWorthAsking(node: Candidate): boolean {
    if (node.facts.slots === 0 || !node.reachable || node.state !== 'alive') return false;
    const refusedAtMs = this.#waitingAt.get(node.id);
    if (refusedAtMs !== undefined) return node.loadAtMs > refusedAtMs + ASK_AGAIN_MS && freeSlots(node) > 0;
    return freeSlots(node) > 0 || node.inFlight === 0;
  }

  #keepOnly(known: ReadonlySet<NodeId>): void {
    for (const node of [...this.#loads.keys(), ...this.#waitingAt.keys()]) {
      if (!known.has(node)) this.forget(node);
    }
  }
}
