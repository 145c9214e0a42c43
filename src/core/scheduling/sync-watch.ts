import { unreachable } from '../../base/assert.ts';
import type { NodeId } from '../../base/ids.ts';
import type { JobMessageOf, Reason } from '../../wire/jobs.ts';
import { withRefusal, withSyncFailure, type OriginJob } from './job-table.ts';
import type { OriginJobState, SyncInput } from './origin-job.ts';
import { LINK_GRACE_MS, SYNC_FAILURES_MAX, SYNC_SILENCE_MS } from './origin-limits.ts';
import type { OriginLedger } from './origin-ledger.ts';
import { isFinal, reasonOf } from './reason.ts';
import type { SlotSearch } from './slot-search.ts';

type SyncingState = Extract<OriginJobState, { kind: 'syncing' }>;
interface Syncing {
  readonly job: OriginJob;
  readonly state: SyncingState;
}

/**
 * From a lease to `job.start`, while a project's files go there. Nothing runs before it is over, so whatever ends it early
 * puts the job back into the queue with the same attempt, or ends it.
 *
 * O6 A sync that nobody wants any more is told to the runtime (`sync_abort`), and its lease released where a link stands.
 */
export class SyncWatch {
  readonly #ledger: OriginLedger;
  readonly #search: SlotSearch;

  constructor(ledger: OriginLedger, search: SlotSearch) {
    this.#ledger = ledger;
    this.#search = search;
  }

  onInput(input: SyncInput, nowMs: number): void {
    const job = this.#ledger.table.get(input.job);
    if (job?.state.kind !== 'syncing' || job.state.place.lease !== input.lease) return;
    const { state } = job;
    switch (input.kind) {
      case 'sync_progress':
        return this.#progress({ job, state }, input, nowMs);
      case 'synced': {
        const syncMs = Math.max(0, nowMs - state.sinceMs);
        return this.#ledger.start(job, { ...state.place, cwd: input.cwd, syncMs }, nowMs);
      }
      case 'sync_failed':
        this.#release({ job, state });
        return this.#failed({ job, state }, input.reason, input.final, nowMs);
      default:
        unreachable(input);
    }
  }

  /** Its executor has no lease for it any more. */
  onNotStarted(from: NodeId, message: JobMessageOf<'job.not_started'>, nowMs: number): void {
    const job = this.#ledger.table.get(message.job);
    if (job?.state.kind !== 'syncing' || job.attempt !== message.attempt || job.state.place.node !== from) return;
    const { state } = job;
    this.#abort({ job, state });
    this.#failed({ job, state }, message.reason, isFinal(message.reason), nowMs);
  }

  /** What arrived there stays, so the next sync asks for less: that node is waited for as one where a job runs. */
  onLinkDown(job: OriginJob, state: SyncingState, nowMs: number): void {
    this.#emitAbort({ job, state });
    const patient = { ...job, patientUntilMs: Math.max(job.patientUntilMs, nowMs + LINK_GRACE_MS) };
    this.#requeue(patient, `has lost its link to ${state.place.name} while files were sent there; nothing ran`);
  }

  onCancel(job: OriginJob, state: SyncingState, nowMs: number): void {
    this.#abort({ job, state });
    this.#ledger.finish(job, { kind: 'cancelled' }, nowMs);
  }

  onDeadline(job: OriginJob, state: SyncingState, nowMs: number): void {
    this.#abort({ job, state });
    const text = `said nothing for ${SYNC_SILENCE_MS / 1000} s while files were sent there`;
    this.#failed({ job, state }, reasonOf('sync', text), false, nowMs);
  }

  #progress({ job, state }: Syncing, input: Extract<SyncInput, { kind: 'sync_progress' }>, nowMs: number): void {
    const { phase, detail } = input;
    const { name } = state.place;
    const moved = { ...job, state: { ...state, phase, detail, deadlineMs: nowMs + SYNC_SILENCE_MS } };
    this.#ledger.table.put(moved);
    if (phase === state.phase && detail === state.detail) return;
    const what = phase === 'preparing' ? `is prepared on ${name}` : `sends the project's files to ${name}`;
    this.#ledger.announce(job.submission.job, phase, detail === '' ? what : `${what}: ${detail}`);
  }

  #failed({ job, state }: Syncing, reason: Reason, final: boolean, nowMs: number): void {
    const { node, name } = state.place;
    const counted = withSyncFailure(job, node);
    const isGivenUp = final || (counted.syncFailures.get(node) ?? 0) >= SYNC_FAILURES_MAX;
    // A pause before it is asked again; meanwhile others are.
    if (!final) this.#ledger.book.noteFull(node, nowMs);
    const told = isGivenUp ? withRefusal(counted, node, [reason]) : counted;
    this.#requeue(told, `did not get its files to ${name}: ${reason.text}; nothing ran`);
    this.#search.reconsider(job.submission.job, nowMs);
  }

  #requeue(job: OriginJob, detail: string): void {
    this.#ledger.move(job, { kind: 'queued' }, detail);
  }

  #abort(syncing: Syncing): void {
    this.#emitAbort(syncing);
    this.#release(syncing);
  }

  #emitAbort({ job, state }: Syncing): void {
    const { node, lease } = state.place;
    this.#ledger.emit({ kind: 'sync_abort', job: job.submission.job, attempt: job.attempt, lease, node });
  }

  #release({ job, state }: Syncing): void {
    const { node, lease } = state.place;
    const message = { t: 'job.release', job: job.submission.job, attempt: job.attempt, lease } as const;
    this.#ledger.emit({ kind: 'send', to: node, message });
  }
}
