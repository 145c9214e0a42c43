import { assert } from '../../base/assert.ts';
import type { JobId } from '../../base/ids.ts';
import { AGING_MS } from './origin-limits.ts';

/** What the queue orders by. */
export interface Waiting {
  readonly job: JobId;
  /** Order of submission. */
  readonly sequence: number;
  readonly priority: number;
  readonly submitter: string;
  /** Since when it has waited, on the clock of `inOrder`. */
  readonly sinceMs: number;
}

interface Line {
  /** By priority, each by sequence. */
  readonly lanes: Map<number, Waiting[]>;
  /** When this submitter had its last turn: a count, not a time. */
  turn: number;
}

/** A submitter's way through the order that is being told. */
interface Cursor {
  readonly lanes: { readonly waiting: readonly Waiting[]; next: number }[];
  turn: number;
  head: Waiting;
  rank: number;
  /** Of `lanes`: whose first is the head. */
  lane: number;
}

/**
 * Who is next: the highest priority, then the submitter whose last turn is longest ago, then who came first. Waiting
 * raises a job step by step, at most to the highest priority that waits: so none starves, and among equals the turns of
 * the submitters decide and not who came with more jobs before. Bounded by its owner.
 */
export class JobQueue {
  readonly #lines = new Map<string, Line>();
  /** Jobs that were taken and may come back: the turn that their submitter had before. */
  readonly #taken = new Map<JobId, number>();
  #size = 0;
  #turn = 0;
  /** The order as it was told last, until something changes. */
  #told: { readonly nowMs: number; readonly countMax: number; readonly order: readonly Waiting[] } | null = null;

  get size(): number {
    return this.#size;
  }

  /** One that was taken and comes back gives its submitter the turn back. */
  put(waiting: Waiting): void {
    const line = this.#lines.get(waiting.submitter) ?? { lanes: new Map<number, Waiting[]>(), turn: 0 };
    this.#lines.set(waiting.submitter, line);
    const turnBefore = this.#taken.get(waiting.job);
    if (turnBefore !== undefined) {
      line.turn = Math.min(line.turn, turnBefore);
      this.#taken.delete(waiting.job);
    }
    const lane = line.lanes.get(waiting.priority) ?? [];
    line.lanes.set(waiting.priority, lane);
    lane.splice(positionOf(lane, waiting.sequence), 0, waiting);
    this.#told = null;
    this.#size += 1;
  }

  remove(waiting: Waiting): void {
    const line = this.#lines.get(waiting.submitter);
    const lane = line?.lanes.get(waiting.priority);
    assert(line !== undefined && lane !== undefined, 'a queued job is not in the queue');
    const position = positionOf(lane, waiting.sequence);
    assert(lane[position]?.sequence === waiting.sequence, 'a queued job is not in the queue');
    lane.splice(position, 1);
    this.#told = null;
    this.#size -= 1;
    if (lane.length === 0) line.lanes.delete(waiting.priority);
    if (line.lanes.size === 0) this.#lines.delete(waiting.submitter);
  }

  /** Its turn has come. Call `settled` once it will not come back. */
  take(waiting: Waiting): void {
    const line = this.#lines.get(waiting.submitter);
    assert(line !== undefined, 'a job was taken that is not in the queue');
    this.#taken.set(waiting.job, line.turn);
    this.#turn += 1;
    line.turn = this.#turn;
    this.remove(waiting);
  }

  settled(job: JobId): void {
    this.#taken.delete(job);
  }

  /** The first that are next, in order. Changes nothing. */
  inOrder(nowMs: number, countMax: number): readonly Waiting[] {
    const [only] = this.#lines.values();
    const [alone] = only?.lanes.values() ?? [];
    if (this.#lines.size === 1 && only?.lanes.size === 1 && alone !== undefined) return alone.slice(0, countMax);
    const known = this.#told;
    if (known?.nowMs === nowMs && known.countMax >= countMax) return known.order.slice(0, countMax);
    const order = this.#order(nowMs, Math.min(countMax, this.#size));
    this.#told = { nowMs, countMax, order };
    return order;
  }

  #order(nowMs: number, count: number): Waiting[] {
    let highest = Number.NEGATIVE_INFINITY;
    for (const { lanes } of this.#lines.values())
      for (const priority of lanes.keys()) highest = Math.max(highest, priority);
    const heap: Cursor[] = [];
    for (const line of this.#lines.values()) {
      const cursor = cursorOf(line);
      if (advance(cursor, highest, nowMs)) heap.push(cursor);
    }
    for (let at = (heap.length >> 1) - 1; at >= 0; at--) sink(heap, at);
    const order: Waiting[] = [];
    let turn = this.#turn;
    while (order.length < count) {
      const [first] = heap;
      assert(first !== undefined, 'the queue holds less than it counts');
      order.push(first.head);
      const lane = first.lanes[first.lane];
      assert(lane !== undefined, 'the head of no lane');
      lane.next += 1;
      turn += 1;
      first.turn = turn;
      if (!advance(first, highest, nowMs)) {
        const last = heap.pop();
        if (last !== undefined && last !== first) heap[0] = last;
      }
      sink(heap, 0);
    }
    return order;
  }
}

function cursorOf({ lanes, turn }: Line): Cursor {
  const [[first] = []] = lanes.values();
  assert(first !== undefined, 'an empty line');
  return { lanes: [...lanes.values()].map((waiting) => ({ waiting, next: 0 })), turn, head: first, rank: 0, lane: 0 };
}

/** Finds the one of a submitter that is next. @returns false where it has no more */
function advance(cursor: Cursor, highest: number, nowMs: number): boolean {
  let isFound = false;
  for (let lane = 0; lane < cursor.lanes.length; lane++) {
    const head = cursor.lanes[lane]?.waiting[cursor.lanes[lane]?.next ?? 0];
    if (head === undefined) continue;
    const rank = Math.min(highest, head.priority + Math.floor(Math.max(0, nowMs - head.sinceMs) / AGING_MS));
    if (isFound && (rank < cursor.rank || (rank === cursor.rank && head.sequence > cursor.head.sequence))) continue;
    cursor.head = head;
    cursor.rank = rank;
    cursor.lane = lane;
    isFound = true;
  }
  return isFound;
}

function isBefore(a: Cursor, b: Cursor): boolean {
  if (a.rank !== b.rank) return a.rank > b.rank;
  return a.turn !== b.turn ? a.turn < b.turn : a.head.sequence < b.head.sequence;
}

/** Restores a binary heap whose element at that place may belong further down. */
function sink(heap: Cursor[], from: number): void {
  let at = from;
  for (;;) {
    const [left, right] = [2 * at + 1, 2 * at + 2];
    let first = at;
    for (const child of [left, right]) {
      const [candidate, best] = [heap[child], heap[first]];
      if (candidate !== undefined && best !== undefined && isBefore(candidate, best)) first = child;
    }
    const [moved, up] = [heap[at], heap[first]];
    if (first === at || moved === undefined || up === undefined) return;
    heap[at] = up;
    heap[first] = moved;
    at = first;
  }
}

/** The first place in a lane whose job is not older. */
function positionOf(lane: readonly Waiting[], sequence: number): number {
  let low = 0;
  let high = lane.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((lane[middle]?.sequence ?? 0) < sequence) low = middle + 1;
    else high = middle;
  }
  return low;
}
