import type { NodeId } from '../../base/ids.ts';
import type { Load } from '../../wire/facts.ts';
import type { JobMessage, Reason } from '../../wire/jobs.ts';
import { boundedReasons } from '../scheduling/reason.ts';
import { keyOf, type AttemptOf } from './attempt-table.ts';
import { LEASE_TTL_MS } from './executor-options.ts';
import type { AttemptKey, ExecutorEffect } from './executor-state.ts';

interface Terms {
  readonly instance: () => string;
  readonly load: () => Load;
}

interface Counts {
  readonly jobsRunning: number;
  slotsFreeFor(origin: NodeId, nowMs: number): number;
}

/** The effects of one step, most of them messages to origins. */
export class ExecutorAnswers {
  readonly #options: Terms;
  readonly #counts: Counts;
  #effects: ExecutorEffect[] = [];

  constructor(options: Terms, counts: Counts) {
    this.#options = options;
    this.#counts = counts;
  }

  push(effect: ExecutorEffect): void {
    this.#effects.push(effect);
  }

  /** Empties it. */
  take(): ExecutorEffect[] {
    return this.#effects.splice(0);
  }

  send(to: NodeId, message: JobMessage): void {
    this.push({ kind: 'send', to, message });
  }

  slotFree(to: NodeId, nowMs: number): void {
    this.send(to, { t: 'job.slot_free', load: this.#loadFor(to, nowMs) });
  }

  reserved(leased: AttemptOf<'leased'>, nowMs: number): void {
    const { lease, cwd, from } = leased;
    this.send(from, { t: 'job.reserved', ...keyOf(leased), lease, cwd, ...this.#terms(from, nowMs) });
  }

  wouldReserve(to: NodeId, key: AttemptKey, cwd: string, nowMs: number): void {
    this.send(to, { t: 'job.reserved', ...keyOf(key), lease: null, cwd, ...this.#terms(to, nowMs) });
  }

  /** Who sends files for it is told; without files nobody needs to know. */
  leaseEnded({ reserve, lease, ...leased }: AttemptOf<'leased'>): void {
    if (reserve.workspace) this.push({ kind: 'lease_ended', ...keyOf(leased), lease });
  }

  refused(to: NodeId, key: AttemptKey, reasons: readonly Reason[], full: boolean, nowMs: number): void {
    const load = this.#loadFor(to, nowMs);
    this.send(to, { t: 'job.refused', ...keyOf(key), reasons: boundedReasons(reasons), full, load });
  }

  notStarted(to: NodeId, key: AttemptKey, reason: Reason): void {
    this.send(to, { t: 'job.not_started', ...keyOf(key), reason });
  }

  gone(to: NodeId, key: AttemptKey, kind: 'not_started' | 'unknown', message: string): void {
    this.send(to, { t: 'job.gone', ...keyOf(key), instance: this.#options.instance(), kind, message });
  }

  ended({ from, result, ...attempt }: AttemptOf<'ended'>): void {
    this.send(from, {
      t: 'job.ended',
      ...keyOf(attempt),
      outcome: result.outcome,
      stdout_bytes: result.stdoutBytes,
      stderr_bytes: result.stderrBytes,
      truncated: result.truncated,
      left_running: result.leftRunning,
      duration_ms: result.durationMs,
      changes: result.changes ?? null,
    });
  }

  #terms(to: NodeId, nowMs: number) {
    return { instance: this.#options.instance(), ttl_ms: LEASE_TTL_MS, load: this.#loadFor(to, nowMs) };
  }

  #loadFor(origin: NodeId, nowMs: number): Load {
    const { jobsRunning } = this.#counts;
    const slotsFree = this.#counts.slotsFreeFor(origin, nowMs);
    return { ...this.#options.load(), jobs_running: jobsRunning, slots_free: slotsFree };
  }
}
