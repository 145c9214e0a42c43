import { unreachable } from '../../base/assert.ts';
import type { JobId, NodeId } from '../../base/ids.ts';
import { ATTEMPTS_MAX, type JobMessageOf, type Reason } from '../../wire/jobs.ts';
import { avoiding, termsOf, withRefusal, type OriginJob } from './job-table.ts';
import { LooseAttempts } from './loose-attempts.ts';
import type {
  AttemptPlace,
  DetachedState,
  LooseAttempt,
  OriginJobState,
  RestoredJob,
  SentState,
} from './origin-job.ts';
import {
  ATTACH_TIMEOUT_MS,
  CANCEL_AWAY_MS,
  CANCEL_TIMEOUT_MS,
  LINK_GRACE_MS,
  REFUSED_GRACE_MS,
  RESTORE_PATIENCE_MS,
} from './origin-limits.ts';
import type { OriginLedger } from './origin-ledger.ts';
import { isFinal } from './reason.ts';
import type { SlotSearch } from './slot-search.ts';

interface Sent {
  readonly job: OriginJob;
  readonly state: SentState;
}
interface Key {
  readonly job: JobId;
  readonly attempt: number;
}

/**
 * From `job.start` to the outcome, over as many links as it takes.
 *
 * O1 At most once: a sent attempt is followed by another only where its node says `not_started` (over the very link that
 *    carried the start, or as the same runner instance that it was sent to), where the runtime vouches that nothing was
 *    written, or where its outcome is unknown and the submitter allowed a re-run.
 * O5 While a job is detached no end of it is believed before `job.attached`: what came before goes to streams that are
 *    no more.
 */
export class AttemptWatch {
  readonly #ledger: OriginLedger;
  readonly #search: SlotSearch;
  readonly #loose = new LooseAttempts();
  /** A link stands before anything is known of its node, which a job that is restored in between must not miss. */
  readonly #linked = new Set<NodeId>();

  constructor(ledger: OriginLedger, search: SlotSearch) {
    this.#ledger = ledger;
    this.#search = search;
  }

  onRestore(restored: RestoredJob, nowMs: number): void {
    const { submission, attempt, reruns, avoided, lostAt, place } = restored;
    const known = {
      attempt,
      reruns,
      avoided,
      lostAt,
      route: place?.route ?? '',
      submittedAtMs: nowMs - restored.queueMs,
    };
    const patience = { patientUntilMs: nowMs + RESTORE_PATIENCE_MS, wasPlaceable: true };
    const job = this.#search.enter(submission, { ...known, ...patience }, nowMs);
    if (place === null) {
      if (restored.cancelAsked) this.#ledger.finish(job, { kind: 'cancelled' }, nowMs);
      else this.#ledger.announceWaiting(submission.job, nowMs);
      return;
    }
    const cancelDeadlineMs = restored.cancelAsked ? nowMs + LINK_GRACE_MS : null;
    this.#detach(job, { ...place, reservedAtMs: nowMs }, { startedAtMs: nowMs, cancelDeadlineMs }, nowMs);
    if (this.#isInReach(place.node)) this.#askAfter(submission.job, nowMs);
  }

  onRestoreLoose(loose: LooseAttempt): void {
    this.#addLoose(loose);
    if (this.#isInReach(loose.place.node)) this.#askAfterLoose(loose);
  }

  onStarted(from: NodeId, message: Key, nowMs: number): void {
    const sent = this.#sent(from, message);
    if (sent?.state.kind === 'starting') {
      const { place: at } = sent.state;
      this.#ledger.move(sent.job, { kind: 'running', place: at, startedAtMs: nowMs }, `runs on ${at.name}`);
    } else if (sent?.state.kind === 'cancelling' || sent?.state.kind === 'detached') {
      this.#ledger.table.put({ ...sent.job, state: { ...sent.state, startedAtMs: nowMs } });
    }
  }

  onNotStarted(from: NodeId, message: JobMessageOf<'job.not_started'>, nowMs: number): void {
    const sent = this.#sent(from, message);
    if (sent === null || sent.state.kind === 'running') return;
    this.#notStarted(sent, message.reason, nowMs);
  }

  onStartNotWritten(key: Key, text: string, nowMs: number): void {
    const job = this.#ledger.table.get(key.job);
    if (job === undefined || job.attempt !== key.attempt) return;
    const { state } = job;
    if (!wasSent(state) || state.kind === 'running') return;
    this.#notStarted({ job, state }, { code: 'unreachable', text }, nowMs);
  }

  onEnded(from: NodeId, ended: JobMessageOf<'job.ended'>, nowMs: number): void {
    const loose = this.#loose.take(ended, from);
    if (loose !== null) return this.#ledger.emit({ kind: 'late', loose, ended });
    const sent = this.#sent(from, ended);
    if (sent === null || sent.state.kind === 'detached') return;
    this.#ledger.book.noteEnded(from);
    const { place } = sent.state;
    if (ended.outcome.kind === 'unknown' && sent.state.kind !== 'cancelling') {
      const text = `${ended.outcome.message} on ${place.name}`;
      if (this.#runAgain(sent, text, true, nowMs)) return;
    }
    this.#ledger.finish(sent.job, { kind: 'ended', place, ended }, nowMs);
  }

  onAttached(from: NodeId, message: JobMessageOf<'job.attached'>, nowMs: number): void {
    const sent = this.#sent(from, message);
    if (sent?.state.kind !== 'detached' || !sent.state.asked) return;
    const { place: at, cancelDeadlineMs } = sent.state;
    const startedAtMs = sent.state.startedAtMs ?? nowMs;
    if (cancelDeadlineMs === null) {
      return this.#ledger.move(sent.job, { kind: 'running', place: at, startedAtMs }, `runs on ${at.name}`);
    }
    const deadlineMs = nowMs + CANCEL_TIMEOUT_MS;
    const detail = `is being ended on ${at.name}`;
    this.#ledger.move(sent.job, { kind: 'cancelling', place: at, startedAtMs, deadlineMs }, detail);
  }

  onGone(from: NodeId, message: JobMessageOf<'job.gone'>, nowMs: number): void {
    const loose = this.#loose.take(message, from);
    if (loose !== null) return this.#ledger.emit({ kind: 'given_up', loose });
    const sent = this.#sent(from, message);
    if (sent?.state.kind !== 'detached' || !sent.state.asked) return;
    const { place: at } = sent.state;
    if (message.kind === 'not_started' && message.instance === at.instance) {
      return this.#notStarted(sent, { code: 'unreachable', text: message.message }, nowMs);
    }
    this.#unknown(sent, `${at.name} cannot say what became of the command: ${message.message}`, nowMs);
  }

  onLinkUp(node: NodeId, nowMs: number): void {
    this.#linked.add(node);
    for (const job of this.#ledger.table.at(node)) {
      if (job.state.kind === 'detached') this.#askAfter(job.submission.job, nowMs);
    }
    for (const loose of this.#loose.at(node)) this.#askAfterLoose(loose);
  }

  forgetLink(node: NodeId): void {
    this.#linked.delete(node);
  }

  /** Its link went down: what was sent there is detached. */
  onLinkDown(job: OriginJob, state: SentState, nowMs: number): void {
    const { place: at } = state;
    const startedAtMs = state.kind === 'starting' ? null : state.startedAtMs;
    const cancelDeadlineMs =
      state.kind === 'cancelling' ? state.deadlineMs : state.kind === 'detached' ? state.cancelDeadlineMs : null;
    this.#detach(job, at, { startedAtMs, cancelDeadlineMs }, nowMs);
    this.#ledger.emit({ kind: 'detached', job: job.submission.job, attempt: job.attempt });
    this.#judge(job.submission.job, nowMs);
  }

  /** What is known of nodes changed: some detached attempts may be lost. */
  onNodesChanged(nowMs: number): void {
    for (const job of this.#ledger.table.everyDetached()) this.#judge(job.submission.job, nowMs);
  }

  onCancel(job: OriginJob, state: SentState, nowMs: number): void {
    const { job: id } = job.submission;
    const { place: at } = state;
    switch (state.kind) {
      case 'starting':
      case 'running': {
        this.#sendCancel({ job: id, attempt: job.attempt }, at.node);
        const startedAtMs = state.kind === 'running' ? state.startedAtMs : null;
        const deadlineMs = nowMs + CANCEL_TIMEOUT_MS;
        const detail = `is being ended on ${at.name}`;
        return this.#ledger.move(job, { kind: 'cancelling', place: at, startedAtMs, deadlineMs }, detail);
      }
      case 'detached': {
        if (state.cancelDeadlineMs !== null) return;
        if (state.asked) this.#sendCancel({ job: id, attempt: job.attempt }, at.node);
        const cancelDeadlineMs = nowMs + CANCEL_AWAY_MS;
        const deadlineMs = Math.min(state.deadlineMs, cancelDeadlineMs);
        const detail = `is to be ended on ${at.name}, once it is in reach`;
        return this.#ledger.move(job, { ...state, cancelDeadlineMs, deadlineMs }, detail);
      }
      case 'cancelling':
        return;
      default:
        unreachable(state);
    }
  }

  onDeadline(job: OriginJob, state: SentState, nowMs: number): void {
    const { place: at } = state;
    switch (state.kind) {
      case 'starting':
        // It is silent over a link that stands: its answer may have been lost in a restart of its daemon.
        this.#detach(job, at, { startedAtMs: null, cancelDeadlineMs: null }, nowMs);
        return this.#askAfter(job.submission.job, nowMs);
      case 'detached':
        return this.#judge(job.submission.job, nowMs);
      case 'cancelling':
        return this.#unknown(
          { job, state },
          `${at.name} did not say that the command is gone: it may still run`,
          nowMs,
        );
      case 'running':
        return;
      default:
        unreachable(state);
    }
  }

  /** The job that a message is about, where it was sent to that node in that attempt. */
  #sent(from: NodeId, key: Key): Sent | null {
    const job = this.#ledger.table.get(key.job);
    if (job === undefined || job.attempt !== key.attempt) return null;
    const { state } = job;
    if (!wasSent(state) || state.place.node !== from) return null;
    return { job, state };
  }

  #view(node: NodeId) {
    return this.#ledger.options.nodes().find(({ id }) => id === node);
  }

  #isInReach(node: NodeId): boolean {
    return this.#linked.has(node) || this.#view(node)?.reachable === true;
  }

  #detach(
    job: OriginJob,
    at: AttemptPlace,
    known: Pick<DetachedState, 'startedAtMs' | 'cancelDeadlineMs'>,
    nowMs: number,
  ): void {
    const deadlineMs = Math.min(nowMs + REFUSED_GRACE_MS, known.cancelDeadlineMs ?? Number.POSITIVE_INFINITY);
    const state = { kind: 'detached', place: at, ...known, sinceMs: nowMs, asked: false, deadlineMs } as const;
    this.#ledger.move(job, state, `ran on ${at.name}, which is out of reach now: waits for it to come back`);
  }

  #askAfter(id: JobId, nowMs: number): void {
    const job = this.#ledger.table.get(id);
    if (job?.state.kind !== 'detached' || job.state.asked) return;
    const { state, attempt } = job;
    if (state.cancelDeadlineMs !== null) this.#sendCancel({ job: id, attempt }, state.place.node);
    this.#ledger.table.put({ ...job, state: { ...state, asked: true, deadlineMs: nowMs + ATTACH_TIMEOUT_MS } });
    this.#ledger.emit({ kind: 'attach', job: id, attempt, place: state.place, loose: false });
  }

  #askAfterLoose(loose: LooseAttempt): void {
    const { job, attempt, place } = loose;
    if (loose.unwanted) this.#sendCancel({ job, attempt }, place.node);
    this.#ledger.emit({ kind: 'attach', job, attempt, place, loose: true });
  }

  /** Is a detached attempt lost? If not, when to look again. */
  #judge(id: JobId, nowMs: number): void {
    const job = this.#ledger.table.get(id);
    if (job?.state.kind !== 'detached') return;
    const { state } = job;
    const lost = this.#whyLost(state, nowMs);
    if (lost !== null) return this.#unknown({ job, state }, lost, nowMs);
    if (nowMs < state.deadlineMs) return;
    const lastMs = Math.min(state.sinceMs + LINK_GRACE_MS, state.cancelDeadlineMs ?? Number.POSITIVE_INFINITY);
    this.#ledger.table.put({ ...job, state: { ...state, deadlineMs: lastMs } });
  }

  #whyLost(state: DetachedState, nowMs: number): string | null {
    const { place: at, cancelDeadlineMs } = state;
    const { isMember } = this.#ledger.options;
    const view = this.#view(at.node);
    const awayMs = nowMs - state.sinceMs;
    if (isMember?.(at.node) === false || view?.state === 'left') {
      return `${at.name} left the mesh after the command was sent there: it may have run`;
    }
    if (cancelDeadlineMs !== null && nowMs >= cancelDeadlineMs) {
      return `${at.name} did not say that the command is gone: it may still run`;
    }
    if (state.asked) {
      if (nowMs < state.deadlineMs) return null;
      return `${at.name} does not say what became of the command: it may have run`;
    }
    const isRefused = view?.state === 'dead' && view.refusedSinceMs !== undefined;
    if (isRefused && awayMs >= REFUSED_GRACE_MS) {
      return `${at.name} went down after the command was sent there: it may have run`;
    }
    if (awayMs < LINK_GRACE_MS) return null;
    return `${at.name} has been out of reach for ${LINK_GRACE_MS / 1000} s since the command was sent: it may have run, and may run still`;
  }

  #notStarted({ job, state }: Sent, reason: Reason, nowMs: number): void {
    const { place: at } = state;
    const isUnwanted = state.kind === 'cancelling' || (state.kind === 'detached' && state.cancelDeadlineMs !== null);
    if (isUnwanted) return this.#ledger.finish(job, { kind: 'cancelled' }, nowMs);
    if (job.attempt >= ATTEMPTS_MAX) {
      const rejected = [{ id: at.node, name: at.name, reasons: [reason], relaxable: false, passing: false }];
      const message = `it was not started in ${job.attempt} attempts, last on ${at.name}: ${reason.text}; nothing ran`;
      return this.#ledger.refuse(job, 'refused', message, rejected, nowMs);
    }
    const told = isFinal(reason) ? withRefusal(job, at.node, [reason]) : job;
    this.#ledger.emit({ kind: 'requeued', job: job.submission.job, attempt: job.attempt });
    const detail = `was not started on ${at.name}: ${reason.text}`;
    this.#ledger.move({ ...told, attempt: job.attempt + 1 }, { kind: 'queued' }, detail);
  }

  /** Nobody can know, now: another attempt where that is allowed, else the end. */
  #unknown(sent: Sent, message: string, nowMs: number): void {
    const { job, state } = sent;
    const { job: id } = job.submission;
    const cancelled = state.kind === 'cancelling' || (state.kind === 'detached' && state.cancelDeadlineMs !== null);
    if (!cancelled && this.#runAgain(sent, message, false, nowMs)) return;
    // Asked before the end is told, which is the last that is known of its client.
    const unwanted = cancelled || this.#ledger.options.endsWithClient?.(id) === true;
    this.#ledger.finish(job, { kind: 'unknown', place: state.place, message }, nowMs);
    this.#addLoose({ job: id, attempt: job.attempt, place: state.place, unwanted });
  }

  #runAgain({ job, state }: Sent, message: string, over: boolean, nowMs: number): boolean {
    const { place: at } = state;
    const { job: id } = job.submission;
    if (job.reruns.length >= termsOf(job).retries || job.attempt >= ATTEMPTS_MAX) return false;
    if ((this.#ledger.options.rerunObstacle?.(id) ?? null) !== null) return false;
    const text = `attempt ${job.attempt} on ${at.name}: ${message}`;
    const next = avoiding({ ...job, reruns: [...job.reruns, text], lostAt: at, attempt: job.attempt + 1 }, at.node);
    if (!this.#search.isPlaceable(next, nowMs)) return false;
    const loose = { job: id, attempt: job.attempt, place: at, unwanted: true };
    if (!over) this.#addLoose(loose);
    this.#ledger.emit({ kind: 'rerun', loose, over, text });
    this.#ledger.move({ ...next, impossibleSinceMs: null }, { kind: 'queued' }, `is run again: ${text}`);
    this.#ledger.announceWaiting(id, nowMs);
    return true;
  }

  #addLoose(loose: LooseAttempt): void {
    const dropped = this.#loose.add(loose);
    if (dropped !== null) this.#ledger.emit({ kind: 'given_up', loose: dropped });
  }

  #sendCancel({ job, attempt }: Key, to: NodeId): void {
    this.#ledger.emit({ kind: 'send', to, message: { t: 'job.cancel', job, attempt } });
  }
}

const wasSent = (state: OriginJobState): state is SentState =>
  state.kind !== 'queued' && state.kind !== 'reserving' && state.kind !== 'syncing';
