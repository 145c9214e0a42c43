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

interface Cursor {
  readonly lanes: { readonly waiting: readonly Waiting[]; next: number }[];
  turn: number;
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
    this.#size += 1;
  }

  remove(waiting: Waiting): void {
    const line = this.#lines.get(waiting.submitter);
    const lane = line?.lanes.get(waiting.priority);
    assert(line !== undefined && lane !== undefined, 'a queued job is not in the queue');
    const position = positionOf(lane, waiting.sequence);
    assert(lane[position]?.sequence === waiting.sequence, 'a queued job is not in the queue');
    lane.splice(position, 1);
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
  inOrder(nowMs: number, countMax: number): Waiting[] {
    const [only] = this.#lines.values();
    const [alone] = only?.lanes.values() ?? [];
    if (this.#lines.size === 1 && only?.lanes.size === 1 && alone !== undefined) return alone.slice(0, countMax);
    const cursors = [...this.#lines.values()].map(cursorOf);
    const highest = Math.max(...[...this.#lines.values()].flatMap(({ lanes }) => [...lanes.keys()]));
    const order: Waiting[] = [];
    let turn = this.#turn;
    const count = Math.min(countMax, this.#size);
    while (order.length < count) {
      let best: { readonly head: Waiting; readonly rank: number; readonly cursor: Cursor } | null = null;
      for (const cursor of cursors) {
        const first = firstOf(cursor, highest, nowMs);
        if (first === null) continue;
        if (best === null || isBefore({ ...first, turn: cursor.turn }, { ...best, turn: best.cursor.turn })) {
          best = { ...first, cursor };
        }
      }
      assert(best !== null, 'the queue holds less than it counts');
      const { head, cursor } = best;
      const lane = cursor.lanes.find(({ waiting, next }) => waiting[next] === head);
      assert(lane !== undefined, 'the head of no lane');
      lane.next += 1;
      turn += 1;
      cursor.turn = turn;
      order.push(head);
    }
    return order;
  }
}

interface Ranked {
  readonly head: Waiting;
  readonly rank: number;
}

function cursorOf({ lanes, turn }: Line): Cursor {
  return { lanes: [...lanes.values()].map((waiting) => ({ waiting, next: 0 })), turn };
}

/** The one of a submitter that is next. */
function firstOf(cursor: Cursor, highest: number, nowMs: number): Ranked | null {
  let best: Ranked | null = null;
  for (const { waiting, next } of cursor.lanes) {
    const head = waiting[next];
    if (head === undefined) continue;
    const rank = Math.min(highest, head.priority + Math.floor(Math.max(0, nowMs - head.sinceMs) / AGING_MS));
    if (best === null || rank > best.rank || (rank === best.rank && head.sequence < best.head.sequence)) {
      best = { head, rank };
    }
  }
  return best;
}

function isBefore(a: Ranked & { readonly turn: number }, b: Ranked & { readonly turn: number }): boolean {
  if (a.rank !== b.rank) return a.rank > b.rank;
  return a.turn !== b.turn ? a.turn < b.turn : a.head.sequence < b.head.sequence;
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
