import { assert } from '../../base/assert.ts';
import type { JobId, NodeId } from '../../base/ids.ts';
import type { Reason } from '../../wire/jobs.ts';
import { JobQueue, type Waiting } from './job-queue.ts';
import { PLAIN_TERMS, type AttemptPlace, type OriginJobState, type Submission } from './origin-job.ts';

export interface OriginJob {
  readonly submission: Submission;
  /** Order of submission: what FIFO means. */
  readonly sequence: number;
  readonly submittedAtMs: number;
  /** Jobs with the same are equal to placement, refusals included. */
  readonly signature: string;
  readonly state: OriginJobState;
  /** Counts `job.start`s: rises when an executor says that it did not start, and with each re-run. */
  readonly attempt: number;
  /** What executors answered, for good. */
  readonly refusals: ReadonlyMap<NodeId, readonly Reason[]>;
  /** How often its files did not get to a node for reasons that pass. */
  readonly syncFailures: ReadonlyMap<NodeId, number>;
  /** Nodes that an attempt was lost at: not asked while another could take it. */
  readonly avoided: readonly NodeId[];
  /** What is told of each attempt that was lost and followed by another; their number counts against the retries. */
  readonly reruns: readonly string[];
  /** Where the last of those was, else null: what a job ends as that cannot be placed again. */
  readonly lostAt: AttemptPlace | null;
  /**
   * No lack of nodes ends it before: this node started a moment ago and has yet to find them, or the link was lost while
   * its files were sent.
   */
  readonly patientUntilMs: number;
  /** Since when no node could take it, though one could before; null while one can. */
  readonly impossibleSinceMs: number | null;
  readonly wasPlaceable: boolean;
  /** Since when it has waited for a faster node although a slow one is free; null where it has not. */
  readonly passedOverSinceMs: number | null;
  readonly route: string;
  readonly automatic: boolean;
}

/** The job with a node's final answer. */
export function withRefusal(job: OriginJob, node: NodeId, reasons: readonly Reason[]): OriginJob {
  if (job.refusals.has(node)) return job;
  return signed({ ...job, refusals: new Map(job.refusals).set(node, reasons) });
}

/** The job, whose files did not get to that node once more. */
export const withSyncFailure = (job: OriginJob, node: NodeId): OriginJob => ({
  ...job,
  syncFailures: new Map(job.syncFailures).set(node, (job.syncFailures.get(node) ?? 0) + 1),
});

/** The job, not to be placed at that node again while another can take it. */
export function avoiding(job: OriginJob, node: NodeId): OriginJob {
  return job.avoided.includes(node) ? job : signed({ ...job, avoided: [...job.avoided, node] });
}

export function signed(job: Omit<OriginJob, 'signature'>): OriginJob {
  const { submission, refusals, avoided } = job;
  const isPlain = refusals.size === 0 && avoided.length === 0;
  const signature = isPlain
    ? JSON.stringify(submission.placement)
    : JSON.stringify([submission.placement, [...refusals.keys()].sort(), [...avoided].sort()]);
  return { ...job, signature };
}

export const termsOf = (job: OriginJob) => job.submission.terms ?? PLAIN_TERMS;

/**
 * The origin's unfinished jobs and what is derived from their states. `put` is the only way to change one, so that the
 * queue, the counts and the deadlines cannot disagree with the states.
 */
export class JobTable {
  readonly #jobs = new Map<JobId, OriginJob>();
  readonly #queue = new JobQueue();
  /** Queued ones that another job submitted. */
  readonly #nested = new Set<JobId>();
  readonly #reservations = new Map<NodeId, number>();
  readonly #deadlines = new Map<JobId, number>();
  #detached = 0;

  get size(): number {
    return this.#jobs.size;
  }

  get queuedCount(): number {
    return this.#queue.size;
  }

  get detachedCount(): number {
    return this.#detached;
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
    const { state } = job;
    if (before?.state.kind === 'queued' && state.kind === 'reserving') this.#queue.take(waitingOf(before));
    else if (before?.state.kind === 'queued') this.#queue.remove(waitingOf(before));
    if (before !== undefined) this.#unindex(before);
    this.#jobs.set(id, job);
    if (state.kind === 'queued') {
      this.#queue.put(waitingOf(job));
      if (termsOf(job).parent !== null) this.#nested.add(id);
    } else if (state.kind !== 'reserving') this.#queue.settled(id);
    if (state.kind === 'reserving') this.#countReservation(state.node, 1);
    if (state.kind === 'detached') this.#detached += 1;
    if ('deadlineMs' in state) this.#deadlines.set(id, state.deadlineMs);
  }

  remove(job: OriginJob): void {
    const stored = this.#jobs.get(job.submission.job);
    assert(stored !== undefined, 'a job ended twice');
    if (stored.state.kind === 'queued') this.#queue.remove(waitingOf(stored));
    this.#queue.settled(stored.submission.job);
    this.#unindex(stored);
    this.#jobs.delete(job.submission.job);
  }

  /** The first in the queue, in order. */
  queued(nowMs: number, countMax: number): OriginJob[] {
    return this.#queue.inOrder(nowMs, countMax).flatMap(({ job }) => this.#jobs.get(job) ?? []);
  }

  /** From 1; null beyond `countMax`, and where it is not queued. */
  placeOf(job: JobId, nowMs: number, countMax: number): number | null {
    const index = this.#queue.inOrder(nowMs, countMax).findIndex((waiting) => waiting.job === job);
    return index === -1 ? null : index + 1;
  }

  /** Queued jobs that another job submitted, in no order. */
  nestedQueued(): OriginJob[] {
    return [...this.#nested].flatMap((job) => this.#jobs.get(job) ?? []);
  }

  /** All that wait, in no order. */
  everyQueued(): OriginJob[] {
    return [...this.#jobs.values()].filter(({ state }) => state.kind === 'queued');
  }

  everyDetached(): OriginJob[] {
    if (this.#detached === 0) return [];
    return [...this.#jobs.values()].filter(({ state }) => state.kind === 'detached');
  }

  due(nowMs: number): OriginJob[] {
    return [...this.#deadlines].filter(([, atMs]) => atMs <= nowMs).flatMap(([id]) => this.#jobs.get(id) ?? []);
  }

  nextDeadlineMs(): number {
    let nextMs = Number.POSITIVE_INFINITY;
    for (const deadlineMs of this.#deadlines.values()) nextMs = Math.min(nextMs, deadlineMs);
    return nextMs;
  }

  /** Jobs that have something to do with a node: asked there, or sent there. */
  at(node: NodeId): OriginJob[] {
    return [...this.#jobs.values()].filter(({ state }) => nodeOf(state) === node);
  }

  #unindex(job: OriginJob): void {
    const { state } = job;
    if (state.kind === 'reserving') this.#countReservation(state.node, -1);
    if (state.kind === 'detached') this.#detached -= 1;
    this.#nested.delete(job.submission.job);
    this.#deadlines.delete(job.submission.job);
  }

  #countReservation(node: NodeId, change: number): void {
    const count = (this.#reservations.get(node) ?? 0) + change;
    assert(count >= 0, 'more reservations ended than began');
    if (count === 0) this.#reservations.delete(node);
    else this.#reservations.set(node, count);
  }
}

function waitingOf(job: OriginJob): Waiting {
  const { priority, submitter } = termsOf(job);
  return { job: job.submission.job, sequence: job.sequence, priority, submitter, sinceMs: job.submittedAtMs };
}

function nodeOf(state: OriginJobState): NodeId | null {
  if (state.kind === 'queued') return null;
  return state.kind === 'reserving' ? state.node : state.place.node;
}
