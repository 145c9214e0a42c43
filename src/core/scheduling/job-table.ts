import { assert } from '../../base/assert.ts';
import type { JobId, NodeId } from '../../base/ids.ts';
import type { Reason } from '../../wire/jobs.ts';
import type { OriginJobState, Submission } from './origin-job.ts';

export interface OriginJob {
  readonly submission: Submission;
  /** Order of submission: what FIFO means. */
  readonly sequence: number;
  readonly submittedAtMs: number;
  /** Jobs with the same are equal to placement, refusals included. */
  readonly signature: string;
  readonly state: OriginJobState;
  /** Counts `job.start`s: rises when an executor says that it did not start. */
  readonly attempt: number;
  /** What executors answered, for good. */
  readonly refusals: ReadonlyMap<NodeId, readonly Reason[]>;
  /** Since when no node could take it, though one could before; null while one can. */
  readonly impossibleSinceMs: number | null;
  readonly wasPlaceable: boolean;
  readonly route: string;
  readonly automatic: boolean;
}

/** The job with a node's final answer. */
export function withRefusal(job: OriginJob, node: NodeId, reasons: readonly Reason[]): OriginJob {
  if (job.refusals.has(node)) return job;
  const refusals = new Map(job.refusals).set(node, reasons);
  const signature = JSON.stringify([job.submission.placement, [...refusals.keys()].sort()]);
  return { ...job, refusals, signature };
}

/**
 * The origin's unfinished jobs and what is derived from their states. `put` is the only way to change one, so that the
 * queue, the counts and the deadlines cannot disagree with the states.
 */
export class JobTable {
  readonly #jobs = new Map<JobId, OriginJob>();
  /** By sequence. */
  readonly #queue: OriginJob[] = [];
  readonly #reservations = new Map<NodeId, number>();
  readonly #deadlines = new Map<JobId, number>();

  get size(): number {
    return this.#jobs.size;
  }

  get queuedCount(): number {
    return this.#queue.length;
  }

  /** Reservations under way at each node. */
  get reservations(): ReadonlyMap<NodeId, number> {
    return this.#reservations;
  }

  get(job: JobId): OriginJob | undefined {
    return this.#jobs.get(job);
  }

  put(job: OriginJob): void {
    const id = job.submission.job;
    const before = this.#jobs.get(id);
    if (before !== undefined) this.#unindex(before);
    this.#jobs.set(id, job);
    const { state } = job;
    if (state.kind === 'queued') this.#queue.splice(this.#positionOf(job.sequence), 0, job);
    if (state.kind === 'reserving') this.#countReservation(state.node, 1);
    if (state.kind === 'reserving' || state.kind === 'cancelling') this.#deadlines.set(id, state.deadlineMs);
  }

  remove(job: OriginJob): void {
    const stored = this.#jobs.get(job.submission.job);
    assert(stored !== undefined, 'a job ended twice');
    this.#unindex(stored);
    this.#jobs.delete(job.submission.job);
  }

  /** The first in the queue, in order. */
  queued(countMax: number): OriginJob[] {
    return this.#queue.slice(0, countMax);
  }

  due(nowMs: number): OriginJob[] {
    return [...this.#deadlines].filter(([, atMs]) => atMs <= nowMs).flatMap(([id]) => this.#jobs.get(id) ?? []);
  }

  nextDeadlineMs(): number {
    return Math.min(...this.#deadlines.values());
  }

  /** Jobs that have something to do with a node: asked there, or sent there. */
  at(node: NodeId): OriginJob[] {
    return [...this.#jobs.values()].filter(({ state }) => nodeOf(state) === node);
  }

  #unindex(job: OriginJob): void {
    const { state } = job;
    if (state.kind === 'queued') {
      const position = this.#positionOf(job.sequence);
      assert(this.#queue[position]?.sequence === job.sequence, 'a queued job is not in the queue');
      this.#queue.splice(position, 1);
    }
    if (state.kind === 'reserving') this.#countReservation(state.node, -1);
    this.#deadlines.delete(job.submission.job);
  }

  #countReservation(node: NodeId, change: number): void {
    const count = (this.#reservations.get(node) ?? 0) + change;
    assert(count >= 0, 'more reservations ended than began');
    if (count === 0) this.#reservations.delete(node);
    else this.#reservations.set(node, count);
  }

  /** The first place in the queue whose job is not older. */
  #positionOf(sequence: number): number {
    let low = 0;
    let high = this.#queue.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#queue[middle]?.sequence ?? 0) < sequence) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function nodeOf(state: OriginJobState): NodeId | null {
  if (state.kind === 'queued') return null;
  return state.kind === 'reserving' ? state.node : state.place.node;
}
