import type { LeaseId, NodeId } from '../../base/ids.ts';
import type { JobMessageOf, Reason } from '../../wire/jobs.ts';
import { reasonOf } from '../scheduling/reason.ts';
import type { AttemptOf, AttemptTable } from './attempt-table.ts';
import { LEASE_TTL_MS } from './executor-options.ts';
import type { Grant, LeaseKey } from './executor-state.ts';

type Leased = AttemptOf<'leased'>;

/** Slots that were granted and not used yet: for how long, and what they may be used for. */
export class Leases {
  readonly #attempts: AttemptTable;
  readonly #newLeaseId: () => LeaseId;

  constructor(attempts: AttemptTable, newLeaseId: () => LeaseId) {
    this.#attempts = attempts;
    this.#newLeaseId = newLeaseId;
  }

  grant(from: NodeId, reserve: JobMessageOf<'job.reserve'>, cwd: string, grant: Grant, nowMs: number): Leased {
    const { job, attempt, workspace } = reserve;
    const times = { lease: this.#newLeaseId(), expiresAtMs: nowMs + LEASE_TTL_MS };
    const fresh = { isReady: !workspace, isRenewed: false };
    const leased = { kind: 'leased', job, attempt, from, reserve, cwd, grant, ...times, ...fresh } as const;
    this.#attempts.put(leased);
    return leased;
  }

  /** Null where there is none, or none any more. */
  find(key: LeaseKey, nowMs: number): Leased | null {
    const known = this.#attempts.get(key);
    return known?.kind === 'leased' && known.lease === key.lease && known.expiresAtMs > nowMs ? known : null;
  }

  /** The same, of a job whose files are sent. */
  findShipped(key: LeaseKey, nowMs: number): Leased | null {
    const leased = this.find(key, nowMs);
    return leased?.reserve.workspace === true ? leased : null;
  }

  /** Why that must not be started with this lease, which ends then; null where it may be. */
  obstacle({ reserve, from, isReady }: Leased, start: JobMessageOf<'job.start'>): Reason | null {
    if (this.#attempts.isRunningForOther(start.job, from)) return reasonOf('denied', 'runs that job for another node');
    if (JSON.stringify(start.spec.command) !== JSON.stringify(reserve.command)) {
      return reasonOf('denied', 'was asked for a slot for another command');
    }
    return isReady ? null : reasonOf('sync', "was told to start before the project's files were in place");
  }

  renew(key: LeaseKey, ttlMs: number, nowMs: number): void {
    const leased = this.findShipped(key, nowMs);
    if (leased !== null) this.#prolong({ ...leased, isRenewed: true }, ttlMs, nowMs);
  }

  ready(key: LeaseKey, cwd: string, ttlMs: number, nowMs: number): void {
    const leased = this.findShipped(key, nowMs);
    if (leased !== null) this.#prolong({ ...leased, cwd, isReady: true, isRenewed: true }, ttlMs, nowMs);
  }

  #prolong(leased: Leased, ttlMs: number, nowMs: number): void {
    this.#attempts.put({ ...leased, expiresAtMs: Math.max(leased.expiresAtMs, nowMs + ttlMs) });
  }
}
