import { assert, unreachable } from '../../base/assert.ts';
import type { JobId, NodeId } from '../../base/ids.ts';
import type { JobMessage } from '../../wire/jobs.ts';
import { AttemptWatch } from './attempt-watch.ts';
import type { Candidate, UnheardMember } from './candidate.ts';
import type { JobView, OriginEffect, OriginInput } from './origin-job.ts';
import { OriginLedger, type OriginOptions } from './origin-ledger.ts';
import { SlotSearch, type Impossible } from './slot-search.ts';
import { SyncWatch } from './sync-watch.ts';

/**
 * The origin's side of all its jobs: who is asked for a slot, who waits, what is known of how it ended. Pure.
 *
 * ```
 * queued ⇄ reserving ────────→ starting → running → (finished)
 *   ↑↖          ↘ syncing ↗        ↙  ↘  ↑↓     ↘    ↑
 *   │ └────────────┘ not there    ↙   detached → cancelling
 *   └──── not_started, re-run ───┘
 * ```
 * O1, O5 `attempt-watch.ts` · O3, O4 `slot-search.ts` · O6 `sync-watch.ts`
 * O2 Every job that was submitted gets exactly one `finish` effect (JobTable.remove asserts); an `unknown` one may get
 *    one `late` after it.
 */
export class Origin {
  readonly #ledger: OriginLedger;
  readonly #search: SlotSearch;
  readonly #sync: SyncWatch;
  readonly #watch: AttemptWatch;

  constructor(options: OriginOptions) {
    this.#ledger = new OriginLedger(options);
    this.#search = new SlotSearch(this.#ledger);
    this.#sync = new SyncWatch(this.#ledger, this.#search);
    this.#watch = new AttemptWatch(this.#ledger, this.#search);
  }

  /** Jobs that wait for a slot: `jobs_queued` of this node's load. */
  get jobsQueued(): number {
    return this.#ledger.table.queuedCount;
  }

  /** All that are not finished. */
  get jobsKept(): number {
    return this.#ledger.table.size;
  }

  /** Every node with this origin's own reservations and freshest load: what `explain` gives to `place`. */
  candidates(): Candidate[] {
    return this.#ledger.candidates();
  }

  /** Members that are none of the candidates: what `explain` gives to `place`. */
  unheard(): readonly UnheardMember[] {
    return this.#ledger.unheard();
  }

  /** A job that no node can take waits for one, since this node has just started: `explain` waits as long. */
  mayChangeWithLinks(placement: Impossible, nowMs: number): boolean {
    return this.#search.mayChangeWithLinks(placement, nowMs);
  }

  /** A job that is under way as it is now; null where there is none. */
  view(job: JobId, nowMs: number): JobView | null {
    return this.#ledger.view(job, nowMs);
  }

  /** Where it was sent, or its files are being sent, or null. */
  nodeNameOf(job: JobId): string | null {
    const state = this.#ledger.table.get(job)?.state;
    return state !== undefined && 'place' in state ? state.place.name : null;
  }

  nextDeadlineMs(): number | null {
    const deadlineMs = Math.min(
      this.#ledger.table.nextDeadlineMs(),
      this.#search.retryAtMs ?? Number.POSITIVE_INFINITY,
    );
    return Number.isFinite(deadlineMs) ? deadlineMs : null;
  }

  step(input: OriginInput, nowMs: number): OriginEffect[] {
    this.#handle(input, nowMs);
    this.#search.pump(nowMs);
    if (input.kind === 'submit') this.#ledger.announceWaiting(input.submission.job, nowMs);
    this.#search.arm(nowMs);
    return this.#ledger.takeEffects();
  }

  #handle(input: OriginInput, nowMs: number): void {
    switch (input.kind) {
      case 'submit':
        return this.#search.onSubmit(input.submission, nowMs);
      case 'restore':
        assert(this.#ledger.table.get(input.job.submission.job) === undefined, 'a job was restored twice');
        return this.#watch.onRestore(input.job, nowMs);
      case 'restore_loose':
        return this.#watch.onRestoreLoose(input.loose);
      case 'message':
        return this.#onMessage(input.from, input.message, nowMs);
      case 'link_up':
        return this.#watch.onLinkUp(input.node, nowMs);
      case 'link_down':
        return this.#onLinkDown(input.node, nowMs);
      case 'nodes_changed':
        return this.#watch.onNodesChanged(nowMs);
      case 'cancel':
      case 'client_gone':
        return this.#onCancel(input.job, nowMs);
      case 'start_not_written':
        return this.#watch.onStartNotWritten(input, input.reason, nowMs);
      case 'sync_progress':
      case 'synced':
      case 'sync_failed':
        return this.#sync.onInput(input, nowMs);
      case 'timer':
        return this.#onTimer(nowMs);
      default:
        unreachable(input);
    }
  }

  #onMessage(from: NodeId, message: JobMessage, nowMs: number): void {
    switch (message.t) {
      case 'job.reserved':
        return this.#search.onReserved(from, message, nowMs);
      case 'job.refused':
        return this.#search.onRefused(from, message, nowMs);
      case 'job.started':
        return this.#watch.onStarted(from, message, nowMs);
      case 'job.not_started':
        this.#sync.onNotStarted(from, message, nowMs);
        return this.#watch.onNotStarted(from, message, nowMs);
      case 'job.ended':
        return this.#watch.onEnded(from, message, nowMs);
      case 'job.attached':
        return this.#watch.onAttached(from, message, nowMs);
      case 'job.gone':
        return this.#watch.onGone(from, message, nowMs);
      case 'job.slot_free':
        return this.#ledger.book.noteSlotFree(from, message.load, nowMs);
      case 'job.reserve':
      case 'job.release':
      case 'job.start':
      case 'job.cancel':
      case 'job.attach':
      case 'job.detach':
      case 'job.ack':
      case 'job.resize':
        return;
      default:
        unreachable(message);
    }
  }

  #onLinkDown(node: NodeId, nowMs: number): void {
    this.#ledger.book.forget(node);
    this.#watch.forgetLink(node);
    for (const job of this.#ledger.table.at(node)) {
      const { state } = job;
      if (state.kind === 'reserving') this.#search.tryNext(job, state, nowMs);
      else if (state.kind === 'syncing') this.#sync.onLinkDown(job, state, nowMs);
      else if (state.kind !== 'queued') this.#watch.onLinkDown(job, state, nowMs);
    }
  }

  #onCancel(id: JobId, nowMs: number): void {
    const job = this.#ledger.table.get(id);
    if (job === undefined) return;
    const { state } = job;
    // A grant that comes later finds no job and is released.
    if (state.kind === 'queued' || state.kind === 'reserving') this.#ledger.finish(job, { kind: 'cancelled' }, nowMs);
    else if (state.kind === 'syncing') this.#sync.onCancel(job, state, nowMs);
    else this.#watch.onCancel(job, state, nowMs);
  }

  #onTimer(nowMs: number): void {
    for (const job of this.#ledger.table.due(nowMs)) {
      const { state } = job;
      if (state.kind === 'reserving') this.#search.onReserveTimeout(job, state, nowMs);
      else if (state.kind === 'syncing') this.#sync.onDeadline(job, state, nowMs);
      else if (state.kind !== 'queued') this.#watch.onDeadline(job, state, nowMs);
    }
    this.#search.onTimer(nowMs);
  }
}
