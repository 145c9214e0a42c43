import type { NodeId } from '../../base/ids.ts';

/** Origins that were refused for want of a slot; one that finds no place here asks again by its own timer. */
export const WAITERS_MAX = 1024;
/** So long a free slot is kept for the origin that was told of it: a few round trips of a LAN. */
export const HINT_HOLD_MS = 250;
/** So long once it asks, while the request is judged. */
const JUDGE_HOLD_MS = 2000;

/** What an origin that was refused waits for. */
export type WaitsFor = 'slot' | 'resources' | 'lent';

/**
 * Who is told of a free slot, in what order: first come, first told, one origin for each free slot, so that no herd
 * comes running; and what is kept for those who were told, so that an origin whose own job just ended does not take
 * the slot again before them.
 */
export class Waiters {
  /** In the order of their refusals. */
  readonly #waiting = new Set<NodeId>();
  /** A free slot is of no use to them: they wait for reserved cpus or memory. */
  readonly #stalled = new Set<NodeId>();
  /** The slot of the job that theirs is inside of is lent; a free one would do too, so they are waiting as well. */
  readonly #lent = new Set<NodeId>();
  readonly #toldUntilMs = new Map<NodeId, number>();

  get isEmpty(): boolean {
    return this.#waiting.size === 0;
  }

  add(origin: NodeId, waitsFor: WaitsFor): void {
    if (this.#waiting.size + this.#stalled.size >= WAITERS_MAX) return;
    if (waitsFor !== 'resources') this.#waiting.add(origin);
    else if (!this.#waiting.has(origin)) this.#stalled.add(origin);
    if (waitsFor === 'lent') this.#lent.add(origin);
  }

  /** What was reserved is free again: who waited for that asks like the others. */
  onReleased(): void {
    for (const origin of this.#stalled) this.#waiting.add(origin);
    this.#stalled.clear();
  }

  /** A lent slot came back, which frees none. @returns who asks again now */
  onReturned(): NodeId[] {
    const told = [...this.#lent];
    for (const origin of told) this.#waiting.delete(origin);
    this.#lent.clear();
    return told;
  }

  drop(origin: NodeId): void {
    this.#waiting.delete(origin);
    this.#stalled.delete(origin);
    this.#lent.delete(origin);
    this.#toldUntilMs.delete(origin);
  }

  /** It came: its slot is kept until the request is judged. */
  onAsked(origin: NodeId, nowMs: number): void {
    if (this.#toldUntilMs.has(origin)) this.#toldUntilMs.set(origin, nowMs + JUDGE_HOLD_MS);
  }

  /** Its request was granted or refused: nothing is kept for it any more. */
  onJudged(origin: NodeId): void {
    this.#toldUntilMs.delete(origin);
  }

  /** Free slots that are kept for others than this origin. */
  keptForOthers(origin: NodeId, nowMs: number): number {
    let count = 0;
    for (const [other, untilMs] of this.#toldUntilMs) if (other !== origin && untilMs > nowMs) count++;
    return count;
  }

  /**
   * Whom to tell now, at most one for each free slot that is not kept for somebody.
   *
   * @param slotsFreeFor free slots that an origin may have
   */
  tell(slotsFreeFor: (origin: NodeId) => number, nowMs: number): NodeId[] {
    for (const [origin, untilMs] of this.#toldUntilMs) {
      if (untilMs <= nowMs) this.#toldUntilMs.delete(origin);
    }
    const told: NodeId[] = [];
    for (const origin of this.#waiting) {
      // One that is on its way already is told again when that is judged.
      if (this.#toldUntilMs.has(origin) || this.#toldUntilMs.size >= slotsFreeFor(origin)) continue;
      this.#waiting.delete(origin);
      this.#lent.delete(origin);
      this.#toldUntilMs.set(origin, nowMs + HINT_HOLD_MS);
      told.push(origin);
    }
    return told;
  }

  nextDeadlineMs(): number {
    return this.#waiting.size === 0 ? Number.POSITIVE_INFINITY : Math.min(...this.#toldUntilMs.values());
  }
}
