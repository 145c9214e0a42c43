import type { ErrorCode } from '../../base/errors.ts';
import type { JobId, NodeId } from '../../base/ids.ts';
import type { Random } from '../../base/random.ts';
import { ordinal } from '../../base/units.ts';
import type { Candidate, NodeView, Rejection, UnheardMember } from './candidate.ts';
import { resultOf, syncMsOf, type JobEnd } from './job-result.ts';
import { JobTable, type OriginJob } from './job-table.ts';
import { NodeBook } from './node-book.ts';
import type { AttemptPlace, JobView, OriginEffect, OriginJobState, Submission, ToldState } from './origin-job.ts';
import { PLACES_TOLD_AGAIN_MAX, PLACES_TOLD_MAX, START_SILENCE_MS, SYNC_SILENCE_MS } from './origin-limits.ts';
import type { JobHistory, ToolRules } from './placement-request.ts';

export interface OriginOptions {
  /** A pure getter: every node as known now, this one included. */
  readonly nodes: () => readonly NodeView[];
  /** A pure getter: members that are none of `nodes`. None where this is not given. */
  readonly unheard?: () => readonly UnheardMember[];
  /**
   * A pure getter: when this node has had time for its first links, on the clock of `step`. Until then a job waits for
   * members that may take it once they are linked. None waits for that where this is not given.
   */
  readonly settledAtMs?: () => number;
  readonly rules: ToolRules;
  readonly random: Random;
  /** False where a node left the mesh or was put out of it. Every node belongs to it where this is not given. */
  readonly isMember?: (node: NodeId) => boolean;
  /** What earlier runs tell of the job's duration; nothing where this is not given. */
  readonly historyOf?: (submission: Submission) => JobHistory;
  /** Why a job cannot be run again, for instance since its stdin is used up; null where it can, as where this is not given. */
  readonly rerunObstacle?: (job: JobId) => string | null;
  /** True of a foreground job: what still runs of it is wanted by nobody once an unknown outcome was told. */
  readonly endsWithClient?: (job: JobId) => boolean;
}

/** Jobs that are equal to placement share a sentence on why they wait; so many sentences are kept. */
const WHY_KEPT_MAX = 256;

/** What the parts of the origin share: the jobs, what is known of nodes, and the effects of the step under way. */
export class OriginLedger {
  readonly options: OriginOptions;
  readonly table = new JobTable();
  readonly book = new NodeBook();
  #effects: OriginEffect[] = [];
  /** The last line told of each unfinished job. */
  readonly #told = new Map<JobId, string>();
  readonly #why = new Map<string, string>();

  constructor(options: OriginOptions) {
    this.options = options;
  }

  /** Every node with this origin's own reservations and freshest load. */
  candidates(): Candidate[] {
    return this.book.candidates(this.options.nodes(), this.table.reservations);
  }

  /** Members of which no node is known. */
  unheard(): readonly UnheardMember[] {
    return this.options.unheard?.() ?? [];
  }

  /** The effects since the last call. */
  takeEffects(): OriginEffect[] {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  emit(effect: OriginEffect): void {
    this.#effects.push(effect);
  }

  move(job: OriginJob, state: OriginJobState, detail: string): void {
    this.table.put({ ...job, state });
    this.announce(job.submission.job, toldStateOf(state), detail);
  }

  /** The files of its project are to be sent to the slot that it has. */
  beginSync(job: OriginJob, at: AttemptPlace, nowMs: number): void {
    const detail = `sends the project's files to ${at.name}`;
    const since = { place: at, sinceMs: nowMs, deadlineMs: nowMs + SYNC_SILENCE_MS };
    this.move(job, { kind: 'syncing', ...since, phase: 'syncing', detail }, detail);
    this.emit({ kind: 'sync', job: job.submission.job, attempt: job.attempt, place: at });
  }

  start(job: OriginJob, at: AttemptPlace, nowMs: number): void {
    this.move(job, { kind: 'starting', place: at, deadlineMs: nowMs + START_SILENCE_MS }, `starts on ${at.name}`);
    this.emit({ kind: 'start', job: job.submission.job, attempt: job.attempt, place: at });
  }

  announce(job: JobId, state: ToldState, detail: string): void {
    this.#told.set(job, detail);
    this.emit({ kind: 'state', job, state, detail });
  }

  /** Tells where in the queue it is, and why. Nothing where it does not wait or that was told already. */
  announceWaiting(id: JobId, nowMs: number): void {
    const job = this.table.get(id);
    if (job?.state.kind !== 'queued') return;
    const detail = this.#waitingText(job, this.#positionOf(id, nowMs));
    if (this.#told.get(id) !== detail) this.announce(id, 'queued', detail);
  }

  /** Tells the first in the queue how far they have come. */
  announceProgress(nowMs: number): void {
    const first = this.table.queued(nowMs, PLACES_TOLD_AGAIN_MAX);
    for (const [index, job] of first.entries()) {
      const { job: id } = job.submission;
      const detail = this.#waitingText(job, index + 1);
      if (this.#told.get(id) !== detail) this.announce(id, 'queued', detail);
    }
  }

  /** Why the jobs that placement sees as equal to this one wait. */
  noteWhy(job: OriginJob, why: string): void {
    if (this.#why.size >= WHY_KEPT_MAX) this.#why.clear();
    this.#why.set(job.signature, why);
  }

  /** No node takes it. One whose earlier attempt was lost may have run all the same. */
  refuse(job: OriginJob, code: ErrorCode, message: string, rejected: readonly Rejection[], nowMs: number): void {
    const { lostAt } = job;
    if (lostAt !== null) {
      const text = `${job.reruns.at(-1) ?? ''}; it was not run again: ${message}`;
      return this.finish(job, { kind: 'unknown', place: lostAt, message: text }, nowMs);
    }
    this.finish(job, { kind: 'refused', code, message, rejected }, nowMs);
  }

  finish(job: OriginJob, end: JobEnd, nowMs: number): void {
    this.table.remove(job);
    this.#told.delete(job.submission.job);
    this.emit({ kind: 'finish', job: job.submission.job, result: resultOf(job, end, nowMs) });
  }

  view(id: JobId, nowMs: number): JobView | null {
    const job = this.table.get(id);
    if (job === undefined) return null;
    const { state } = job;
    return {
      state: toldStateOf(state),
      detail: this.#told.get(id) ?? '',
      queuePosition: state.kind === 'queued' ? this.#positionOf(id, nowMs) : null,
      attempt: job.attempt,
      place: 'place' in state ? state.place : null,
      isSent: 'place' in state && state.kind !== 'syncing',
      startedAtMs: 'startedAtMs' in state ? state.startedAtMs : null,
      submittedAtMs: job.submittedAtMs,
      syncMs: syncMsOf(state, nowMs),
      route: job.route,
      automatic: job.automatic,
      reruns: job.reruns,
    };
  }

  /** From 1; null beyond PLACES_TOLD_MAX. */
  #positionOf(job: JobId, nowMs: number): number | null {
    return this.table.placeOf(job, nowMs, PLACES_TOLD_MAX);
  }

  #waitingText(job: OriginJob, position: number | null): string {
    const where = position === null ? `behind ${PLACES_TOLD_MAX} others` : ordinal(position);
    const why = this.#why.get(job.signature);
    return `waits for a slot: ${where} of ${this.table.queuedCount}${why === undefined ? '' : `; ${why}`}`;
  }
}

const toldStateOf = (state: OriginJobState): ToldState => (state.kind === 'syncing' ? state.phase : state.kind);
