import type { NodeId } from '../../base/ids.ts';

/** Leases of one origin that may expire unused within WASTED_FOR_MS before it gets one at a time. */
export const WASTED_LEASES_MAX = 3;
export const WASTED_FOR_MS = 60_000;
/** Origins that are remembered; of more, the one that wasted longest ago is forgotten. */
const WASTERS_MAX = 1024;

/**
 * Who asks for slots and lets them expire: by design no member does, but one that is broken, or means ill, could keep all
 * slots of a node from the others by asking alone.
 */
export class LeaseWasters {
  /** When each one's last leases expired, in the order of the last. */
  readonly #expiredAtMs = new Map<NodeId, readonly number[]>();

  note(origin: NodeId, nowMs: number): void {
    const before = this.#expiredAtMs.get(origin) ?? [];
    this.#expiredAtMs.delete(origin);
    this.#expiredAtMs.set(origin, [...before, nowMs].slice(-WASTED_LEASES_MAX));
    const [oldest] = this.#expiredAtMs.keys();
    if (this.#expiredAtMs.size > WASTERS_MAX && oldest !== undefined) this.#expiredAtMs.delete(oldest);
  }

  has(origin: NodeId, nowMs: number): boolean {
    const [first, ...rest] = this.#expiredAtMs.get(origin) ?? [];
    return first !== undefined && rest.length + 1 >= WASTED_LEASES_MAX && first > nowMs - WASTED_FOR_MS;
  }
}
