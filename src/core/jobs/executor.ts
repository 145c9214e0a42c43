import { assert, unreachable } from '../../base/assert.ts';
import type { LeaseId, NodeId } from '../../base/ids.ts';
import type { Facts, Load } from '../../wire/facts.ts';
import type { JobMessage, JobMessageOf, Reason } from '../../wire/jobs.ts';
import { boundedReasons, reasonOf } from '../scheduling/reason.ts';
import { requirementReasons } from '../scheduling/requirements.ts';
import { AttemptTable, type Attempt } from './attempt-table.ts';
import type { AttemptKey, AttemptResult, ExecutorEffect, ExecutorInput } from './executor-state.ts';
import { Waiters } from './waiters.ts';

/** A slot that was granted and not used goes back after this. */
export const LEASE_TTL_MS = 10_000;
/** Requests whose policy and directory are being judged at once. */
export const CHECKS_MAX = 256;
/** Of them, those of one origin: no member's flood keeps the others, or this node's own jobs, from being judged. */
export const CHECKS_PER_ORIGIN_MAX = 64;

export interface ExecutorOptions {
  readonly slots: number;
  /** Pure getters of this node as it is now; `jobs_running` and `slots_free` of the load are replaced by our own. */
  readonly facts: () => Facts;
  readonly load: () => Load;
  /** Names this run of the runner. */
  readonly instance: () => string;
  /** Unguessable, from the runtime. */
  readonly newLeaseId: () => LeaseId;
}

/**
 * The executor's side: who has a slot, by lease or by a running attempt. Pure; this node's own jobs come the same way.
 *
 * ```
 * (reserve) → checking → leased → running → (ended)
 *                 ↘ refused  ↘ expired, released
 * ```
 * E1 leased + running never exceeds the slots (asserted at every grant).
 * E2 An attempt is given to the runner at most once: its lease is used up by `start`, and ended attempts are remembered.
 * E3 What runs is what was judged: a `start` with another command than was reserved is not started.
 * E4 A job runs here for one origin at a time: its processes are found, and ended, by the job's id.
 * E5 No slot leaks: a lease ends by start, release, cancel, expiry or its link's end; a running attempt by `ended`.
 */
export class Executor {
  readonly #options: ExecutorOptions;
  readonly #attempts = new AttemptTable();
  readonly #waiters = new Waiters();
  #slots: number;
  #effects: ExecutorEffect[] = [];

  constructor(options: ExecutorOptions) {
    this.#options = options;
    this.#slots = options.slots;
  }

  /** For this node's load. */
  get jobsRunning(): number {
    return this.#attempts.runningCount;
  }

  /** Slots neither running nor leased. */
  get slotsFree(): number {
    return Math.max(0, this.#slots - this.#attempts.slotsTaken);
  }

  nextDeadlineMs(): number | null {
    const deadlineMs = Math.min(this.#attempts.nextExpiryMs(), this.#waiters.nextDeadlineMs());
    return Number.isFinite(deadlineMs) ? deadlineMs : null;
  }

  step(input: ExecutorInput, nowMs: number): ExecutorEffect[] {
    this.#effects = [];
    this.#handle(input, nowMs);
    for (const origin of this.#waiters.tell(this.slotsFree, nowMs)) {
      this.#send(origin, { t: 'job.slot_free', load: this.#load() });
    }
    return this.#effects;
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
        return this.#onEnded(input, input.result);
      case 'not_run': {
        const attempt = this.#attempts.get(input);
        if (attempt?.kind !== 'running') return;
        this.#attempts.forget(attempt);
        if (!attempt.orphaned) this.#sendNotStarted(attempt.from, attempt, input.reason);
        return;
      }
      case 'link_down':
        return this.#onLinkDown(input.peer);
      case 'slots_changed':
        this.#slots = input.slots;
        return;
      case 'runner_lost':
        return this.#onRunnerLost(input.message);
      case 'timer':
        for (const lease of this.#attempts.expired(nowMs)) this.#attempts.forget(lease);
        return;
      default:
        unreachable(input);
    }
  }

  #onMessage(from: NodeId, message: JobMessage, nowMs: number): void {
    switch (message.t) {
      case 'job.reserve':
        return this.#onReserve(from, message, nowMs);
      case 'job.release': {
        const attempt = this.#attempts.get(message);
        if (attempt?.kind === 'leased' && attempt.from === from && attempt.lease === message.lease) {
          this.#attempts.forget(attempt);
        }
        return;
      }
      case 'job.start':
        return this.#onStart(from, message, nowMs);
      case 'job.cancel': {
        const attempt = this.#attempts.get(message);
        if (attempt?.from === from) this.#end(attempt);
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
      case 'job.attach':
      case 'job.detach':
      case 'job.ack':
      case 'job.resize':
        return;
      default:
        unreachable(message);
    }
  }

  #onReserve(from: NodeId, reserve: JobMessageOf<'job.reserve'>, nowMs: number): void {
    const known = this.#attempts.get(reserve);
    if (known?.from === from && known.kind === 'checking') return;
    if (known?.from === from && known.kind === 'leased') return this.#sendReserved(known);
    if (known !== undefined || this.#attempts.hasEnded(reserve)) {
      return this.#refuse(from, reserve, [reasonOf('other', 'has this attempt already')], false);
    }
    if (this.#attempts.checkingCount >= CHECKS_MAX || this.#attempts.checkingFrom(from) >= CHECKS_PER_ORIGIN_MAX) {
      if (!reserve.dry_run) this.#waiters.add(from);
      return this.#refuse(from, reserve, [reasonOf('full', 'is judging too many requests')], true);
    }
    if (!reserve.dry_run) this.#waiters.onAsked(from, nowMs);
    this.#attempts.put({ kind: 'checking', job: reserve.job, attempt: reserve.attempt, from, reserve });
    this.#effects.push({ kind: 'check', from, reserve });
  }

  #onChecked(input: Extract<ExecutorInput, { kind: 'checked' }>, nowMs: number): void {
    const { from, verdict } = input;
    const checking = this.#attempts.get(input);
    if (checking?.kind !== 'checking' || checking.from !== from) return;
    const { reserve } = checking;
    this.#attempts.forget(checking);
    const isFull = this.slotsFree - this.#waiters.keptForOthers(from, nowMs) <= 0;
    if (!reserve.dry_run) this.#waiters.onJudged(from);
    const facts = this.#options.facts();
    const hasTool = (tool: string): boolean =>
      Object.hasOwn(facts.tools, tool) || !verdict.ok || verdict.toolsFound.includes(tool);
    const reasons = [
      ...(verdict.ok ? [] : verdict.reasons),
      ...requirementReasons(reserve.requires, facts, this.#load(), hasTool),
    ];
    if (!verdict.ok || reasons.length > 0) return this.#refuse(from, reserve, reasons, false);
    if (isFull) {
      if (!reserve.dry_run) this.#waiters.add(from);
      const text = `has no free slot: ${this.#attempts.slotsTaken} of ${this.#slots} taken`;
      return this.#refuse(from, reserve, [reasonOf('full', text)], true);
    }
    if (reserve.dry_run) return this.#sendWouldReserve(from, reserve, verdict.cwd);
    assert(this.#attempts.slotsTaken < this.#slots, 'a lease was granted without a free slot');
    const lease = this.#options.newLeaseId();
    const expiresAtMs = nowMs + LEASE_TTL_MS;
    const leased = { ...keyOf(reserve), kind: 'leased', from, reserve, cwd: verdict.cwd, lease, expiresAtMs } as const;
    this.#attempts.put(leased);
    this.#sendReserved(leased);
  }

  #onStart(from: NodeId, start: JobMessageOf<'job.start'>, nowMs: number): void {
    const known = this.#attempts.get(start);
    if (known?.from === from && known.kind === 'running') return;
    if (this.#attempts.hasEnded(start)) return;
    if (known?.from !== from || known.kind !== 'leased' || known.lease !== start.lease || known.expiresAtMs <= nowMs) {
      return this.#sendNotStarted(from, start, reasonOf('other', 'has no such slot lease: it came too late'));
    }
    if (this.#attempts.isRunningForOther(start.job, from)) {
      this.#attempts.forget(known);
      return this.#sendNotStarted(from, start, reasonOf('denied', 'runs that job for another node'));
    }
    if (JSON.stringify(start.spec.command) !== JSON.stringify(known.reserve.command)) {
      this.#attempts.forget(known);
      return this.#sendNotStarted(from, start, reasonOf('denied', 'was asked for a slot for another command'));
    }
    const flags = { isStarted: false, orphaned: false, killed: false };
    this.#attempts.put({ ...keyOf(start), kind: 'running', from, ...flags });
    this.#effects.push({ kind: 'run', from, start, cwd: known.cwd });
  }

  #onStarted(key: AttemptKey): void {
    const attempt = this.#attempts.get(key);
    if (attempt?.kind !== 'running' || attempt.isStarted) return;
    this.#attempts.put({ ...attempt, isStarted: true });
    if (!attempt.orphaned) this.#send(attempt.from, { t: 'job.started', ...keyOf(attempt) });
  }

  #onEnded(key: AttemptKey, result: AttemptResult): void {
    const attempt = this.#attempts.get(key);
    if (attempt?.kind !== 'running') return;
    this.#attempts.remember(attempt);
    if (attempt.orphaned) return;
    this.#send(attempt.from, {
      t: 'job.ended',
      ...keyOf(attempt),
      outcome: result.outcome,
      stdout_bytes: result.stdoutBytes,
      stderr_bytes: result.stderrBytes,
      truncated: result.truncated,
      left_running: result.leftRunning,
      duration_ms: result.durationMs,
    });
  }

  /** Without its origin a job ends: nobody would read its output. */
  #onLinkDown(peer: NodeId): void {
    this.#waiters.drop(peer);
    for (const attempt of this.#attempts.from(peer)) {
      if (attempt.kind === 'running') this.#attempts.put({ ...attempt, orphaned: true });
      this.#end(this.#attempts.get(attempt) ?? attempt);
    }
  }

  #end(attempt: Attempt): void {
    if (attempt.kind !== 'running') return this.#attempts.forget(attempt);
    if (attempt.killed) return;
    this.#attempts.put({ ...attempt, killed: true });
    this.#effects.push({ kind: 'kill', ...keyOf(attempt) });
  }

  #onRunnerLost(message: string): void {
    const nothing = { stdoutBytes: 0, stderrBytes: 0, truncated: false, leftRunning: 0, durationMs: 0 };
    for (const attempt of this.#attempts.running()) {
      this.#onEnded(attempt, { outcome: { kind: 'unknown', message }, ...nothing });
    }
  }

  #load(): Load {
    return { ...this.#options.load(), jobs_running: this.jobsRunning, slots_free: this.slotsFree };
  }

  #send(to: NodeId, message: JobMessage): void {
    this.#effects.push({ kind: 'send', to, message });
  }

  #sendReserved(leased: Extract<Attempt, { kind: 'leased' }>): void {
    const { lease, cwd, from } = leased;
    this.#send(from, { t: 'job.reserved', ...keyOf(leased), lease, cwd, ...this.#terms() });
  }

  #sendWouldReserve(to: NodeId, key: AttemptKey, cwd: string): void {
    this.#send(to, { t: 'job.reserved', ...keyOf(key), lease: null, cwd, ...this.#terms() });
  }

  #terms() {
    return { instance: this.#options.instance(), ttl_ms: LEASE_TTL_MS, load: this.#load() };
  }

  #refuse(to: NodeId, key: AttemptKey, reasons: readonly Reason[], full: boolean): void {
    this.#send(to, { t: 'job.refused', ...keyOf(key), reasons: boundedReasons(reasons), full, load: this.#load() });
  }

  #sendNotStarted(to: NodeId, key: AttemptKey, reason: Reason): void {
    this.#send(to, { t: 'job.not_started', ...keyOf(key), reason });
  }
}

const keyOf = ({ job, attempt }: AttemptKey): AttemptKey => ({ job, attempt });
