import { unreachable } from '../../base/assert.ts';
import type { JobId, NodeId } from '../../base/ids.ts';
import type { JobMessage, JobMessageOf, Reason } from '../../wire/jobs.ts';
import { reasonOf } from '../scheduling/reason.ts';
import { Admission } from './admission.ts';
import { AttemptTable, dueMs, keyOf, type Attempt, type AttemptOf } from './attempt-table.ts';
import type { AttemptKey, AttemptResult, ExecutorEffect, ExecutorInput, LeaseKey } from './executor-state.ts';
import { ExecutorAnswers } from './executor-answers.ts';
import { CHECKS_MAX, CHECKS_PER_ORIGIN_MAX, ORIGIN_GRACE_MS, type ExecutorOptions } from './executor-options.ts';
import { Leases } from './leases.ts';
import { Waiters } from './waiters.ts';

/** While origins wait and the owner of this machine is busy: what is left for others changes without any input. */
const OWNER_LOOK_MS = 1000;

/**
 * The executor's side: who has a slot, by lease or by a running attempt. Pure; this node's own jobs come the same way.
 *
 * ```
 * (reserve) → checking → leased → running ⇄ orphaned → ended → (acknowledged)
 *                 ↘ refused  ↘ expired, released
 * ```
 * E1 leased + running never exceeds the slots, nor what is reserved the cpus and memory (asserted at every grant); what a
 *    nested job borrows of its parent is counted once.
 * E2 An attempt is given to the runner at most once: its lease is used up by `start`, ended attempts are remembered, and
 *    what was answered `not_started` is never started.
 * E3 What runs is what was judged: a `start` with another command than was reserved is not started, nor one whose files
 *    are to be sent and are not in place.
 * E4 A job runs here for one origin at a time: its processes are found, and ended, by the job's id.
 * E5 No slot leaks: a lease ends by start, release, cancel, expiry or its link's end; a running attempt by `ended`, which
 *    the end of its origin brings about after a grace time where it is not durable.
 * E6 A result is told again to an origin that attaches, until it is acknowledged (the oldest of too many is dropped).
 */
export class Executor {
  readonly #options: ExecutorOptions;
  readonly #attempts = new AttemptTable();
  readonly #waiters = new Waiters();
  readonly #admission: Admission;
  readonly #leases: Leases;
  readonly #answers: ExecutorAnswers;
  readonly #originGraceMs: number;
  #ownerLookAtMs = Number.POSITIVE_INFINITY;

  constructor(options: ExecutorOptions) {
    this.#options = options;
    this.#admission = new Admission(options, this.#attempts, options.slots);
    this.#leases = new Leases(this.#attempts, options.newLeaseId);
    this.#answers = new ExecutorAnswers(options, this);
    this.#originGraceMs = options.originGraceMs ?? ORIGIN_GRACE_MS;
  }

  /** For this node's load. */
  get jobsRunning(): number {
    return this.#attempts.runningCount;
  }

  /** Slots neither running nor leased. */
  get slotsFree(): number {
    return this.#admission.slotsFree;
  }

  /** Of them, those that this origin may have now; null: any other node. */
  slotsFreeFor(origin: NodeId | null, nowMs: number): number {
    return this.#admission.slotsFreeFor(origin, nowMs);
  }

  /** How many jobs a job that runs here is inside of; null where it does not run here. */
  nestingOf(job: JobId): number | null {
    return this.#attempts.running().find((attempt) => attempt.job === job)?.nesting ?? null;
  }

  /** Has that origin this lease, for a job whose files are sent? */
  holdsLease(from: NodeId, key: LeaseKey, nowMs: number): boolean {
    return this.#leases.findShipped(key, nowMs)?.from === from;
  }

  nextDeadlineMs(): number | null {
    let deadlineMs = Math.min(this.#waiters.nextDeadlineMs(), this.#ownerLookAtMs);
    for (const attempt of this.#attempts.holding())
      deadlineMs = Math.min(deadlineMs, dueMs(attempt, this.#originGraceMs));
    return Number.isFinite(deadlineMs) ? deadlineMs : null;
  }

  step(input: ExecutorInput, nowMs: number): ExecutorEffect[] {
    this.#handle(input, nowMs);
    this.#tellWaiters(nowMs);
    return this.#answers.take();
  }

  #handle(input: ExecutorInput, nowMs: number): void {
    switch (input.kind) {
      case 'message':
        return this.#onMessage(input.from, input.message, nowMs);
      case 'checked':
        return this.#onChecked(input, nowMs);
      case 'started':
        return this.#onStarted(input);
      case 'ended':
        return this.#onEnded(input, input.result, nowMs);
      case 'not_run':
        return this.#onNotRun(input, input.reason, nowMs);
      case 'attach_ready':
        return this.#onAttachReady(input, input.stdinOffset);
      case 'link_down':
        return this.#onLinkDown(input.peer, nowMs);
      case 'slots_changed':
        this.#admission.slots = input.slots;
        return;
      case 'runner_lost':
        return this.#onRunnerLost(input.message, nowMs);
      case 'restored':
        for (const key of input.given) this.#attempts.remember(key);
        if (!input.isWhole) this.#attempts.forgetsSome();
        for (const attempt of input.attempts) this.#attempts.restore(attempt, nowMs);
        return;
      case 'cancel':
        for (const attempt of this.#attempts.running()) if (attempt.job === input.job) this.#end(attempt, nowMs);
        return;
      case 'renew':
        return this.#leases.renew(input, input.ttlMs, nowMs);
      case 'ready':
        return this.#leases.ready(input, input.cwd, input.ttlMs, nowMs);
      case 'unlease':
        return this.#onUnlease(input, input.wasted, nowMs);
      case 'dropped':
        if (this.#attempts.get(input)?.kind === 'ended') this.#attempts.forgetEnded(input);
        return;
      case 'timer':
        for (const attempt of this.#attempts.holding()) this.#onDue(attempt, nowMs);
        return;
      default:
        unreachable(input);
    }
  }

  #onMessage(from: NodeId, message: JobMessage, nowMs: number): void {
    switch (message.t) {
      case 'job.reserve':
        return this.#onReserve(from, message, nowMs);
      case 'job.start':
        return this.#onStart(from, message, nowMs);
      case 'job.attach':
        return this.#onAttach(from, message, nowMs);
      case 'job.release':
      case 'job.cancel':
      case 'job.detach':
      case 'job.ack':
      case 'job.resize': {
        const attempt = this.#attempts.get(message);
        if (attempt?.from === from) this.#onWord(attempt, message, nowMs);
        return;
      }
      case 'job.reserved':
      case 'job.refused':
      case 'job.started':
      case 'job.not_started':
      case 'job.ended':
      case 'job.slot_free':
      case 'job.attached':
      case 'job.gone':
        return;
      default:
        unreachable(message);
    }
  }

  /** What the origin of an attempt says of it, without an answer. */
  #onWord(
    attempt: Attempt,
    message: JobMessageOf<'job.release' | 'job.cancel' | 'job.detach' | 'job.ack' | 'job.resize'>,
    nowMs: number,
  ): void {
    const key = keyOf(attempt);
    switch (message.t) {
      case 'job.release':
        if (attempt.kind === 'leased' && attempt.lease === message.lease) this.#end(attempt, nowMs);
        return;
      case 'job.cancel':
        return this.#end(attempt, nowMs);
      case 'job.detach':
        if (attempt.kind !== 'running' || attempt.durable) return;
        this.#attempts.put({ ...attempt, durable: true, orphanedAtMs: null });
        this.#answers.push({ kind: 'detach', ...key });
        return;
      case 'job.ack':
        if (attempt.kind !== 'ended') return;
        this.#attempts.forgetEnded(attempt);
        this.#answers.push({ kind: 'acked', ...key });
        return;
      case 'job.resize':
        if (attempt.kind === 'running') this.#answers.push({ kind: 'resize', ...key, size: message.size });
        return;
      default:
        unreachable(message);
    }
  }

  #onReserve(from: NodeId, reserve: JobMessageOf<'job.reserve'>, nowMs: number): void {
    const known = this.#attempts.get(reserve);
    if (known?.from === from && known.kind === 'checking') return;
    if (known?.from === from && known.kind === 'leased') return this.#answers.reserved(known, nowMs);
    if (known !== undefined || this.#attempts.wasGiven(reserve)) {
      return this.#answers.refused(from, reserve, [reasonOf('other', 'has this attempt already')], false, nowMs);
    }
    const earlier = this.#attempts.running().filter(({ job }) => job === reserve.job && !reserve.dry_run);
    if (earlier.some((attempt) => attempt.from === from)) {
      for (const attempt of earlier)
        if (attempt.from === from && attempt.attempt < reserve.attempt) this.#end(attempt, nowMs);
      this.#waiters.add(from, 'resources');
      const reason = reasonOf('full', 'still runs another attempt of this job');
      return this.#answers.refused(from, reserve, [reason], true, nowMs);
    }
    if (this.#attempts.checkingCount >= CHECKS_MAX || this.#attempts.checkingFrom(from) >= CHECKS_PER_ORIGIN_MAX) {
      if (!reserve.dry_run) this.#waiters.add(from, 'slot');
      return this.#answers.refused(from, reserve, [reasonOf('full', 'is judging too many requests')], true, nowMs);
    }
    if (!reserve.dry_run) this.#waiters.onAsked(from, nowMs);
    this.#attempts.put({ kind: 'checking', job: reserve.job, attempt: reserve.attempt, from, reserve });
    this.#answers.push({ kind: 'check', from, reserve });
  }

  #onChecked(input: Extract<ExecutorInput, { kind: 'checked' }>, nowMs: number): void {
    const { from, verdict } = input;
    const checking = this.#attempts.get(input);
    if (checking?.kind !== 'checking' || checking.from !== from) return;
    const { reserve } = checking;
    this.#attempts.forgetChecked(checking);
    const admitted = this.#admission.judge(from, reserve, verdict, this.#waiters.keptForOthers(from, nowMs), nowMs);
    if (!reserve.dry_run) this.#waiters.onJudged(from);
    if (!admitted.ok || !verdict.ok) {
      const waitsFor = admitted.ok ? null : admitted.waitsFor;
      if (waitsFor !== null && !reserve.dry_run) this.#waiters.add(from, waitsFor);
      return this.#answers.refused(from, reserve, admitted.ok ? [] : admitted.reasons, waitsFor !== null, nowMs);
    }
    const { cwd } = verdict;
    if (reserve.dry_run) {
      return this.#answers.wouldReserve(from, reserve, cwd, nowMs);
    }
    this.#answers.reserved(this.#leases.grant(from, reserve, cwd, admitted.grant, nowMs), nowMs);
  }

  #onStart(from: NodeId, start: JobMessageOf<'job.start'>, nowMs: number): void {
    const known = this.#attempts.get(start);
    if (known?.from === from && (known.kind === 'running' || known.kind === 'ended')) return;
    if (this.#attempts.wasGiven(start)) return;
    const leased = this.#leases.find(start, nowMs);
    if (leased?.from !== from) {
      return this.#answers.notStarted(from, start, reasonOf('other', 'has no such slot lease: it came too late'));
    }
    const obstacle = this.#leases.obstacle(leased, start);
    if (obstacle !== null) {
      this.#end(leased, nowMs);
      return this.#answers.notStarted(from, start, obstacle);
    }
    const { durable, nesting } = start.spec;
    const { cwd, grant } = leased;
    const fresh = { isStarted: false, link: 'up', orphanedAtMs: null, killed: false } as const;
    this.#attempts.put({ ...keyOf(start), kind: 'running', from, durable, nesting, grant, ...fresh });
    this.#answers.push({ kind: 'run', from, start, cwd, grant, isShipped: leased.reserve.workspace });
  }

  #onAttach(from: NodeId, attach: JobMessageOf<'job.attach'>, nowMs: number): void {
    const known = this.#attempts.get(attach);
    if (known !== undefined && known.from !== from)
      return this.#answers.gone(from, attach, 'unknown', 'it is of another node');
    switch (known?.kind) {
      case 'running':
        this.#attempts.put({ ...known, link: 'attaching', orphanedAtMs: null });
        return this.#answers.push({ kind: 'attach', from, attach, isRunning: true, isDurable: known.durable });
      case 'ended':
        this.#attempts.put({ ...known, link: 'attaching' });
        return this.#answers.push({ kind: 'attach', from, attach, isRunning: false, isDurable: known.durable });
      case 'checking':
      case 'leased':
        this.#end(known, nowMs);
        break;
      case undefined:
        break;
      default:
        unreachable(known);
    }
    const isSame = attach.instance === this.#options.instance();
    if (isSame && this.#attempts.isProvablyUnused(attach)) {
      return this.#answers.gone(from, attach, 'not_started', 'it never came here');
    }
    const why = isSame ? 'its result is no longer kept' : 'the runner that it was given to is gone';
    this.#answers.gone(from, attach, 'unknown', why);
  }

  #onAttachReady(key: AttemptKey, stdinOffset: number): void {
    const attempt = this.#attempts.get(key);
    if ((attempt?.kind !== 'running' && attempt?.kind !== 'ended') || attempt.link !== 'attaching') return;
    const running = attempt.kind === 'running';
    this.#attempts.put({ ...attempt, link: 'up' });
    this.#answers.send(attempt.from, { t: 'job.attached', ...keyOf(attempt), running, stdin_offset: stdinOffset });
    if (!running) this.#answers.ended(attempt);
  }

  #onStarted(key: AttemptKey): void {
    const attempt = this.#attempts.get(key);
    if (attempt?.kind !== 'running' || attempt.isStarted) return;
    this.#attempts.put({ ...attempt, isStarted: true });
    if (attempt.link === 'up') this.#answers.send(attempt.from, { t: 'job.started', ...keyOf(attempt) });
  }

  #onEnded(key: AttemptKey, result: AttemptResult, nowMs: number): void {
    const attempt = this.#attempts.get(key);
    if (attempt?.kind !== 'running') return;
    const { from, durable, nesting, grant, link } = attempt;
    const ended = { ...keyOf(attempt), kind: 'ended', from, durable, nesting, grant, link, result } as const;
    this.#attempts.put(ended);
    this.#released(attempt, nowMs);
    if (link === 'up') this.#answers.ended(ended);
  }

  #onNotRun(key: AttemptKey, reason: Reason, nowMs: number): void {
    const attempt = this.#attempts.get(key);
    if (attempt?.kind !== 'running') return;
    this.#attempts.forgetUnused(attempt);
    this.#released(attempt, nowMs);
    if (attempt.link === 'up') this.#answers.notStarted(attempt.from, attempt, reason);
    else if (attempt.link === 'attaching') this.#answers.gone(attempt.from, attempt, 'not_started', reason.text);
  }

  /** Leases end with their link. A foreground attempt waits for its origin for a while, a durable one goes on. */
  #onLinkDown(peer: NodeId, nowMs: number): void {
    this.#waiters.drop(peer);
    for (const attempt of this.#attempts.from(peer)) {
      if (attempt.kind === 'running') {
        const orphanedAtMs = attempt.durable ? null : (attempt.orphanedAtMs ?? nowMs);
        const orphan = { ...attempt, link: 'down', orphanedAtMs } as const;
        this.#attempts.put(orphan);
        if (dueMs(orphan, this.#originGraceMs) <= nowMs) this.#end(orphan, nowMs);
      } else if (attempt.kind === 'ended') this.#attempts.put({ ...attempt, link: 'down' });
      else this.#end(attempt, nowMs);
    }
  }

  #onUnlease(key: LeaseKey, wasted: boolean, nowMs: number): void {
    const leased = this.#leases.findShipped(key, nowMs);
    if (leased === null) return;
    if (wasted) this.#admission.wasted(leased.from, nowMs);
    this.#end(leased, nowMs);
  }

  #onDue(attempt: AttemptOf<'leased'> | AttemptOf<'running'>, nowMs: number): void {
    if (dueMs(attempt, this.#originGraceMs) > nowMs) return;
    if (attempt.kind === 'leased' && !attempt.isRenewed) this.#admission.wasted(attempt.from, nowMs);
    this.#end(attempt, nowMs);
  }

  #end(attempt: Attempt, nowMs: number): void {
    switch (attempt.kind) {
      case 'checking':
        return this.#attempts.forgetUnused(attempt);
      case 'leased':
        this.#attempts.forgetUnused(attempt);
        this.#answers.leaseEnded(attempt);
        return this.#released(attempt, nowMs);
      case 'running':
        if (attempt.killed) return;
        this.#attempts.put({ ...attempt, killed: true });
        this.#answers.push({ kind: 'kill', ...keyOf(attempt) });
        return;
      case 'ended':
        return;
      default:
        unreachable(attempt);
    }
  }

  /** The slot and what was reserved with it are free again, or back with their lender. */
  #released(attempt: AttemptOf<'leased'> | AttemptOf<'running'>, nowMs: number): void {
    const { grant } = attempt;
    if (attempt.kind === 'running') this.#admission.ended(grant, attempt, nowMs);
    this.#waiters.onReleased();
    if (grant.lender === null) return;
    for (const origin of this.#waiters.onReturned()) this.#answers.slotFree(origin, nowMs);
  }

  #tellWaiters(nowMs: number): void {
    this.#ownerLookAtMs = Number.POSITIVE_INFINITY;
    if (this.#waiters.isEmpty) return;
    const freeFor = this.#admission.slotsFreeByOrigin(nowMs);
    for (const origin of this.#waiters.tell(freeFor, nowMs)) this.#answers.slotFree(origin, nowMs);
    const isYielding = !this.#waiters.isEmpty && this.slotsFree > 0 && this.#admission.isYielding(nowMs);
    if (isYielding) this.#ownerLookAtMs = nowMs + OWNER_LOOK_MS;
  }

  #onRunnerLost(message: string, nowMs: number): void {
    const nothing = { stdoutBytes: 0, stderrBytes: 0, truncated: false, leftRunning: 0, durationMs: 0 };
    for (const attempt of this.#attempts.running()) {
      this.#onEnded(attempt, { outcome: { kind: 'unknown', message }, ...nothing }, nowMs);
    }
  }
}
