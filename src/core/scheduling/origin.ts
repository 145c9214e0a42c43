import { assert, unreachable } from '../../base/assert.ts';
import type { ErrorCode } from '../../base/errors.ts';
import type { JobId, NodeId } from '../../base/ids.ts';
import type { Random } from '../../base/random.ts';
import { ATTEMPTS_MAX, type JobMessage, type JobMessageOf, type Reason } from '../../wire/jobs.ts';
import type { Candidate, NodeView, Rejection } from './candidate.ts';
import { resultOf, type JobEnd } from './job-result.ts';
import { JobTable, withRefusal, type OriginJob } from './job-table.ts';
import { NodeBook } from './node-book.ts';
import type { AttemptPlace, OriginEffect, OriginInput, OriginJobState, Submission } from './origin-job.ts';
import {
  CANCEL_TIMEOUT_MS,
  IMPOSSIBLE_GRACE_MS,
  LOOK_AHEAD_JOBS_MAX,
  ORIGIN_JOBS_MAX,
  QUEUED_JOBS_MAX,
  RESERVE_TIMEOUT_MS,
  RETRY_MS,
  TRIES_PER_ROUND_MAX,
} from './origin-limits.ts';
import { place, type Placement, type RankedCandidate } from './placement.ts';
import type { ToolRules } from './placement-request.ts';
import { reserveMessage } from './reserve-message.ts';

export interface OriginOptions {
  /** A pure getter: every node as known now, this one included. */
  readonly nodes: () => readonly NodeView[];
  readonly rules: ToolRules;
  readonly random: Random;
}

/**
 * The origin's side of all its jobs: who is asked for a slot, who waits, what is known of how it ended. Pure.
 *
 * ```
 * queued ⇄ reserving → starting → running → (finished)
 *                 ↖ not_started ↙ └→ cancelling ┘
 * ```
 * O1 At most once: `starting` is left for another node only by `job.not_started` of that node over that very link, or
 *    when the runtime vouches that nothing was written. A link that goes down in between makes it `unknown`.
 * O2 Every job that was submitted gets exactly one `finish` effect (JobTable.remove asserts).
 * O3 A lease that no state wants is released (`#onReserved`).
 * O4 The queue is FIFO among jobs that could take the same slot (`#pump`).
 */
export class Origin {
  readonly #options: OriginOptions;
  readonly #table = new JobTable();
  readonly #book = new NodeBook();
  #effects: OriginEffect[] = [];
  #sequence = 0;
  #retryAtMs: number | null = null;

  constructor(options: OriginOptions) {
    this.#options = options;
  }

  /** Jobs that wait for a slot: `jobs_queued` of this node's load. */
  get jobsQueued(): number {
    return this.#table.queuedCount;
  }

  /** All that are not finished. */
  get jobsKept(): number {
    return this.#table.size;
  }

  /** Every node with this origin's own reservations and freshest load: what `explain` gives to `place`. */
  candidates(): Candidate[] {
    return this.#book.candidates(this.#options.nodes(), this.#table.reservations);
  }

  nextDeadlineMs(): number | null {
    const deadlineMs = Math.min(this.#table.nextDeadlineMs(), this.#retryAtMs ?? Number.POSITIVE_INFINITY);
    return Number.isFinite(deadlineMs) ? deadlineMs : null;
  }

  step(input: OriginInput, nowMs: number): OriginEffect[] {
    this.#effects = [];
    this.#handle(input, nowMs);
    this.#pump(nowMs);
    if (this.#table.queuedCount === 0) this.#retryAtMs = null;
    else this.#retryAtMs ??= nowMs + RETRY_MS * (0.75 + 0.5 * this.#options.random.next());
    return this.#effects;
  }

  #handle(input: OriginInput, nowMs: number): void {
    switch (input.kind) {
      case 'submit':
        return this.#onSubmit(input.submission, nowMs);
      case 'message':
        return this.#onMessage(input.from, input.message, nowMs);
      case 'link_down':
        return this.#onLinkDown(input.node, nowMs);
      case 'link_up':
      case 'nodes_changed':
        return;
      case 'cancel':
      case 'client_gone':
        return this.#onCancel(input.job, nowMs);
      case 'start_not_written': {
        const job = this.#table.get(input.job);
        if (job?.state.kind !== 'starting' || job.attempt !== input.attempt) return;
        return this.#onNotStarted(job, job.state.place, { code: 'unreachable', text: input.reason }, nowMs);
      }
      case 'timer':
        return this.#onTimer(nowMs);
      default:
        unreachable(input);
    }
  }

  #onSubmit(submission: Submission, nowMs: number): void {
    assert(this.#table.get(submission.job) === undefined, 'a job id was submitted twice');
    const job: OriginJob = {
      submission,
      sequence: this.#sequence++,
      submittedAtMs: nowMs,
      signature: JSON.stringify(submission.placement),
      state: { kind: 'queued' },
      attempt: 1,
      refusals: new Map(),
      impossibleSinceMs: null,
      wasPlaceable: false,
      route: '',
      automatic: submission.placement.target.kind === 'bash' || submission.placement.target.kind === 'any',
    };
    const isFull = this.#table.queuedCount >= QUEUED_JOBS_MAX || this.#table.size >= ORIGIN_JOBS_MAX;
    this.#table.put(job);
    if (isFull) {
      const message = `${this.#table.queuedCount - 1} jobs wait for a slot already, more are not taken; nothing ran`;
      return this.#refuse(job, 'queue_full', message, [], nowMs);
    }
    const placement = this.#place(job, this.candidates());
    if (placement.kind === 'impossible') {
      return this.#refuse(job, placement.code, placement.message, placement.rejected, nowMs);
    }
    this.#table.put({ ...job, wasPlaceable: true });
    this.#announce(job.submission.job, 'queued', 'waits for a slot');
  }

  #onMessage(from: NodeId, message: JobMessage, nowMs: number): void {
    switch (message.t) {
      case 'job.reserved':
        return this.#onReserved(from, message, nowMs);
      case 'job.refused':
        return this.#onRefused(from, message, nowMs);
      case 'job.started': {
        const sent = this.#sent(from, message);
        if (sent?.state.kind === 'starting') {
          const { place: at } = sent.state;
          this.#move(sent.job, { kind: 'running', place: at, startedAtMs: nowMs }, `runs on ${at.name}`);
        } else if (sent?.state.kind === 'cancelling') {
          this.#table.put({ ...sent.job, state: { ...sent.state, startedAtMs: nowMs } });
        }
        return;
      }
      case 'job.not_started': {
        const sent = this.#sent(from, message);
        if (sent?.state.kind === 'starting') this.#onNotStarted(sent.job, sent.state.place, message.reason, nowMs);
        if (sent?.state.kind === 'cancelling') this.#finish(sent.job, { kind: 'cancelled' }, nowMs);
        return;
      }
      case 'job.ended': {
        const sent = this.#sent(from, message);
        if (sent === null) return;
        this.#book.noteEnded(from);
        return this.#finish(sent.job, { kind: 'ended', place: sent.state.place, ended: message }, nowMs);
      }
      case 'job.slot_free':
        this.#book.noteSlotFree(from, message.load, nowMs);
        return;
      case 'job.reserve':
      case 'job.release':
      case 'job.start':
      case 'job.cancel':
      case 'job.attach':
      case 'job.detach':
      case 'job.ack':
      case 'job.resize':
      case 'job.attached':
      case 'job.gone':
        return;
      default:
        unreachable(message);
    }
  }

  /** The job that a message is about, where it was sent to that node in that attempt. */
  #sent(from: NodeId, key: { readonly job: JobId; readonly attempt: number }) {
    const job = this.#table.get(key.job);
    if (job === undefined || job.attempt !== key.attempt) return null;
    const { state } = job;
    if (state.kind === 'queued' || state.kind === 'reserving' || state.place.node !== from) return null;
    return { job, state };
  }

  #onReserved(from: NodeId, message: JobMessageOf<'job.reserved'>, nowMs: number): void {
    this.#book.noteLoad(from, message.load, nowMs);
    const { lease } = message;
    if (lease === null) return;
    const job = this.#table.get(message.job);
    const state = job?.attempt === message.attempt ? job.state : undefined;
    if (job !== undefined && state?.kind === 'reserving' && state.node === from) {
      const { node, name, route, tools, askedAtMs: reservedAtMs } = state;
      const { instance, cwd } = message;
      const at: AttemptPlace = { node, name, lease, instance, cwd, route, tools, reservedAtMs };
      this.#move(job, { kind: 'starting', place: at }, `starts on ${name}`);
      this.#effects.push({ kind: 'start', job: message.job, attempt: job.attempt, place: at });
      return;
    }
    const inUse = state !== undefined && 'place' in state && state.place.node === from && state.place.lease === lease;
    if (inUse) return;
    const release = { t: 'job.release', job: message.job, attempt: message.attempt, lease } as const;
    this.#effects.push({ kind: 'send', to: from, message: release });
  }

  #onRefused(from: NodeId, message: JobMessageOf<'job.refused'>, nowMs: number): void {
    // Memory comes back, as slots do; its fresh load says so when it has.
    const isPassing = message.full || message.reasons.every(({ code }) => code === 'memory');
    this.#book.noteLoad(from, message.load, nowMs);
    if (isPassing) this.#book.noteFull(from, nowMs);
    const job = this.#table.get(message.job);
    if (job === undefined || job.attempt !== message.attempt) return;
    // A late refusal counts too: the node will say the same again.
    const told = isPassing ? job : withRefusal(job, from, message.reasons);
    this.#table.put(told);
    if (told.state.kind === 'reserving' && told.state.node === from) this.#tryNext(told, nowMs);
    else if (told.state.kind === 'queued') this.#check(told, this.#place(told, this.candidates()), nowMs);
  }

  #onNotStarted(job: OriginJob, at: AttemptPlace, reason: Reason, nowMs: number): void {
    if (job.attempt >= ATTEMPTS_MAX) {
      const rejected = [{ id: at.node, name: at.name, reasons: [reason], relaxable: false, passing: false }];
      const message = `it was not started in ${job.attempt} attempts, last on ${at.name}: ${reason.text}; nothing ran`;
      return this.#refuse(job, 'refused', message, rejected, nowMs);
    }
    const told = isFinal(reason) ? withRefusal(job, at.node, [reason]) : job;
    this.#move(
      { ...told, attempt: job.attempt + 1 },
      { kind: 'queued' },
      `was not started on ${at.name}: ${reason.text}`,
    );
  }

  #onLinkDown(node: NodeId, nowMs: number): void {
    this.#book.forget(node);
    for (const job of this.#table.at(node)) {
      const { state } = job;
      if (state.kind === 'reserving') this.#tryNext(job, nowMs);
      else if (state.kind !== 'queued') {
        const message = `the link to ${state.place.name} went down after the command was sent: it may have run`;
        this.#finish(job, { kind: 'unknown', place: state.place, message }, nowMs);
      }
    }
  }

  #onCancel(id: JobId, nowMs: number): void {
    const job = this.#table.get(id);
    if (job === undefined) return;
    const { state } = job;
    switch (state.kind) {
      case 'queued':
      case 'reserving':
        // A grant that comes later finds no job and is released.
        return this.#finish(job, { kind: 'cancelled' }, nowMs);
      case 'starting':
      case 'running': {
        const { place: at } = state;
        const message = { t: 'job.cancel', job: id, attempt: job.attempt } as const;
        this.#effects.push({ kind: 'send', to: at.node, message });
        const startedAtMs = state.kind === 'running' ? state.startedAtMs : null;
        const deadlineMs = nowMs + CANCEL_TIMEOUT_MS;
        return this.#move(
          job,
          { kind: 'cancelling', place: at, startedAtMs, deadlineMs },
          `is being ended on ${at.name}`,
        );
      }
      case 'cancelling':
        return;
      default:
        unreachable(state);
    }
  }

  #onTimer(nowMs: number): void {
    for (const job of this.#table.due(nowMs)) {
      const { state } = job;
      if (state.kind === 'reserving') {
        // Silent, so not worth asking again before it speaks.
        this.#book.noteFull(state.node, nowMs);
        this.#tryNext(job, nowMs);
      } else if (state.kind === 'cancelling') {
        const message = `${state.place.name} did not say that the command is gone: it may still run`;
        this.#finish(job, { kind: 'unknown', place: state.place, message }, nowMs);
      }
    }
    if (this.#retryAtMs === null || nowMs < this.#retryAtMs) return;
    this.#retryAtMs = null;
    this.#book.stopWaitingAtOldest(TRIES_PER_ROUND_MAX);
    const nodes = this.candidates();
    const placements = new Map<string, Placement>();
    for (const job of this.#table.queued(QUEUED_JOBS_MAX)) {
      const placement = placements.get(job.signature) ?? this.#place(job, nodes);
      placements.set(job.signature, placement);
      this.#check(job, placement, nowMs);
    }
  }

  /** Gives free slots to those who wait, oldest first. */
  #pump(nowMs: number): void {
    if (this.#table.queuedCount === 0) return;
    let nodes = this.candidates();
    const hopeless = new Set<string>();
    for (const job of this.#table.queued(LOOK_AHEAD_JOBS_MAX)) {
      if (!nodes.some((node) => this.#book.isWorthAsking(node))) return;
      if (hopeless.has(job.signature)) continue;
      if (this.#ask(job, [], nodes, nowMs)) nodes = this.candidates();
      else hopeless.add(job.signature);
    }
  }

  /** In the same round: the best node that has not been asked, else back to the queue. */
  #tryNext(job: OriginJob, nowMs: number): void {
    assert(job.state.kind === 'reserving', 'only a reservation has a next try');
    const tried = [...job.state.tried, job.state.node];
    this.#table.put({ ...job, state: { kind: 'queued' } });
    const queued = this.#table.get(job.submission.job) ?? job;
    const isAsked = tried.length < TRIES_PER_ROUND_MAX && this.#ask(queued, tried, this.candidates(), nowMs);
    if (!isAsked && this.#table.get(job.submission.job) !== undefined) {
      this.#announce(job.submission.job, 'queued', 'waits for a slot');
    }
  }

  /** Sends one reservation for a queued job. False where no node is worth asking, or the job was refused. */
  #ask(job: OriginJob, tried: readonly NodeId[], nodes: readonly Candidate[], nowMs: number): boolean {
    const placement = this.#place(job, nodes);
    const placeable = this.#check(job, placement, nowMs);
    if (placeable === null || placement.kind === 'impossible') return false;
    const worth = new Set(nodes.filter((node) => this.#book.isWorthAsking(node)).map((node) => node.id));
    const next = placement.ordered.find(({ id }) => worth.has(id) && !tried.includes(id));
    if (next === undefined) return false;
    this.#reserve(placeable, next, tried, nowMs);
    return true;
  }

  #reserve(job: OriginJob, next: RankedCandidate, tried: readonly NodeId[], nowMs: number): void {
    const { submission, attempt } = job;
    const { id: node, name, route, tools } = next;
    const deadlineMs = nowMs + RESERVE_TIMEOUT_MS;
    const state = { kind: 'reserving', node, name, route, tools, tried, askedAtMs: nowMs, deadlineMs } as const;
    this.#move({ ...job, route }, state, `asks ${name} for a slot`);
    this.#effects.push({ kind: 'send', to: node, message: reserveMessage(submission, attempt, false) });
  }

  #place(job: OriginJob, nodes: readonly Candidate[]): Placement {
    const { rules, random } = this.#options;
    return place(job.submission.placement, { nodes, rules, random, refusals: job.refusals });
  }

  /** Ends a queued job that no node can take any more. Null where it is ended, else the job as it is now. */
  #check(job: OriginJob, placement: Placement, nowMs: number): OriginJob | null {
    const { impossibleSinceMs: sinceMs } = job;
    if (placement.kind === 'candidates') {
      if (sinceMs === null) return job;
      const possible = { ...job, impossibleSinceMs: null };
      this.#table.put(possible);
      return possible;
    }
    const mayPass = job.wasPlaceable && placement.rejected.some(({ passing }) => passing);
    if (mayPass && (sinceMs === null || nowMs - sinceMs < IMPOSSIBLE_GRACE_MS)) {
      const waiting = { ...job, impossibleSinceMs: sinceMs ?? nowMs };
      this.#table.put(waiting);
      return waiting;
    }
    this.#refuse(job, placement.code, placement.message, placement.rejected, nowMs);
    return null;
  }

  #move(job: OriginJob, state: OriginJobState, detail: string): void {
    this.#table.put({ ...job, state });
    this.#announce(job.submission.job, state.kind, detail);
  }

  #announce(job: JobId, state: OriginJobState['kind'], detail: string): void {
    this.#effects.push({ kind: 'state', job, state, detail });
  }

  #refuse(job: OriginJob, code: ErrorCode, message: string, rejected: readonly Rejection[], nowMs: number): void {
    this.#finish(job, { kind: 'refused', code, message, rejected }, nowMs);
  }

  #finish(job: OriginJob, end: JobEnd, nowMs: number): void {
    this.#table.remove(job);
    this.#effects.push({ kind: 'finish', job: job.submission.job, result: resultOf(job, end, nowMs) });
  }
}

/** Reasons not to start that would be the same a moment later: that node is not asked again for this job. */
const isFinal = ({ code }: Reason): boolean => !['state', 'unreachable', 'memory', 'full', 'other'].includes(code);
