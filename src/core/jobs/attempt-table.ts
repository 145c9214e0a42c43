import type { JobId, LeaseId, NodeId } from '../../base/ids.ts';
import type { JobMessageOf } from '../../wire/jobs.ts';
import { BoundedKeys } from './bounded-keys.ts';
import type { AttemptKey, AttemptResult, GivenAttempt, Grant, RestoredAttempt } from './executor-state.ts';

/** Ended attempts whose result is kept until it is acknowledged; of more, the oldest is dropped. */
export const ENDED_ATTEMPTS_MAX = 4096;
/** Attempts that are remembered by their name alone, so that a duplicate `start` never runs twice. */
export const REMEMBERED_ATTEMPTS_MAX = 16_384;

/** How an attempt's origin is reached: `attaching` until its streams are joined again. */
export type OriginLinkState = 'up' | 'attaching' | 'down';

export type Attempt =
  | (AttemptKey & {
      readonly kind: 'checking';
      readonly from: NodeId;
      readonly reserve: JobMessageOf<'job.reserve'>;
    })
  | (AttemptKey & {
      readonly kind: 'leased';
      readonly from: NodeId;
      readonly reserve: JobMessageOf<'job.reserve'>;
      /** Where it will run; of a job whose files are sent: once they are in place. */
      readonly cwd: string;
      readonly lease: LeaseId;
      readonly expiresAtMs: number;
      /** Its project's files are in place, or none are sent. */
      readonly isReady: boolean;
      /** It was prolonged while files were on their way: where it expires all the same it was not for nothing. */
      readonly isRenewed: boolean;
      readonly grant: Grant;
    })
  | (GivenAttempt & {
      readonly kind: 'running';
      /** The process exists. */
      readonly isStarted: boolean;
      readonly link: OriginLinkState;
      /** Since when a foreground attempt is without its origin; null where it has one, and for durable ones. */
      readonly orphanedAtMs: number | null;
      readonly killed: boolean;
    })
  | (GivenAttempt & { readonly kind: 'ended'; readonly link: OriginLinkState; readonly result: AttemptResult });

export type AttemptOf<K extends Attempt['kind']> = Extract<Attempt, { kind: K }>;

/**
 * Attempts at this executor by job and attempt, whichever origin they came from. Those that check, hold a lease or run
 * are bounded by slots and checks.
 */
export class AttemptTable {
  readonly #live = new Map<string, Exclude<Attempt, { kind: 'ended' }>>();
  /** In the order of their ends. */
  readonly #ended = new Map<string, AttemptOf<'ended'>>();
  /** Given to the runner and over; nothing else is known of them any more. */
  readonly #given = new BoundedKeys(REMEMBERED_ATTEMPTS_MAX);
  /** Never given to the runner, and never will be: their lease ended unused. */
  readonly #unused = new BoundedKeys(REMEMBERED_ATTEMPTS_MAX);
  #knowsAll = true;

  get(key: AttemptKey): Attempt | undefined {
    const text = textOf(key);
    return this.#live.get(text) ?? this.#ended.get(text);
  }

  /** @returns the attempt that was dropped to make room */
  put(attempt: Attempt): AttemptKey | null {
    const text = textOf(attempt);
    if (attempt.kind !== 'ended') {
      this.#live.set(text, attempt);
      if (attempt.kind === 'running') this.#unused.delete(text);
      return null;
    }
    this.#live.delete(text);
    this.#ended.set(text, attempt);
    const [oldest] = this.#ended.values();
    if (this.#ended.size <= ENDED_ATTEMPTS_MAX || oldest === undefined) return null;
    this.forgetEnded(oldest);
    return oldest;
  }

  /** It is of an earlier life of this daemon: its origin has yet to come back. */
  restore(attempt: RestoredAttempt, nowMs: number): void {
    const link = 'down' as const;
    if (attempt.kind === 'ended') this.put({ ...attempt, link });
    else {
      const orphanedAtMs = attempt.durable ? null : nowMs;
      this.put({ ...attempt, isStarted: true, link, orphanedAtMs, killed: false });
    }
  }

  /** It checked or held a lease, and was not started. */
  forgetUnused(key: AttemptKey): void {
    this.#live.delete(textOf(key));
    this.#unused.add(textOf(key));
  }

  /** A dry run leaves no trace. */
  forgetChecked(key: AttemptKey): void {
    this.#live.delete(textOf(key));
  }

  /** It was given to the runner and is over: its result is no longer kept. */
  forgetEnded(key: AttemptKey): void {
    this.#ended.delete(textOf(key));
    this.remember(key);
  }

  /** Given to a runner some time ago. */
  remember(key: AttemptKey): void {
    if (this.#given.add(textOf(key))) this.#knowsAll = false;
  }

  /** Of what is not in the table nothing can be said any more. */
  forgetsSome(): void {
    this.#knowsAll = false;
  }

  /** It was given to a runner and is over. */
  wasGiven(key: AttemptKey): boolean {
    return this.#ended.has(textOf(key)) || this.#given.has(textOf(key));
  }

  /** It is certain that no runner was given it; from now none will be. */
  isProvablyUnused(key: AttemptKey): boolean {
    if (this.wasGiven(key)) return false;
    if (!this.#knowsAll && !this.#unused.has(textOf(key))) return false;
    this.#unused.add(textOf(key));
    return true;
  }

  /** True where another origin than this one has an attempt of that job running. */
  isRunningForOther(job: JobId, notFrom: NodeId): boolean {
    return this.running().some((attempt) => attempt.job === job && attempt.from !== notFrom);
  }

  /** All of them: checking, leased, running and ended. */
  from(peer: NodeId): Attempt[] {
    return [...this.#live.values(), ...this.#ended.values()].filter((attempt) => attempt.from === peer);
  }

  running(): AttemptOf<'running'>[] {
    return [...this.#live.values()].filter((attempt) => attempt.kind === 'running');
  }

  /** Each holds a slot, its own or that of its lender. */
  holding(): (AttemptOf<'leased'> | AttemptOf<'running'>)[] {
    return [...this.#live.values()].filter((attempt) => attempt.kind !== 'checking');
  }

  leased(): AttemptOf<'leased'>[] {
    return [...this.#live.values()].filter((attempt) => attempt.kind === 'leased');
  }

  get checkingCount(): number {
    return this.#count('checking');
  }

  checkingFrom(peer: NodeId): number {
    let count = 0;
    for (const { kind, from } of this.#live.values()) if (kind === 'checking' && from === peer) count++;
    return count;
  }

  get runningCount(): number {
    return this.#count('running');
  }

  #count(kind: Attempt['kind']): number {
    let count = 0;
    for (const attempt of this.#live.values()) if (attempt.kind === kind) count++;
    return count;
  }
}

export const keyOf = ({ job, attempt }: AttemptKey): AttemptKey => ({ job, attempt });

export const textOf = ({ job, attempt }: AttemptKey): string => `${job}/${attempt}`;

/** When a lease expires, or an orphan is ended that waits so long for its origin. */
export function dueMs(attempt: AttemptOf<'leased'> | AttemptOf<'running'>, originGraceMs: number): number {
  if (attempt.kind === 'leased') return attempt.expiresAtMs;
  if (attempt.orphanedAtMs === null || attempt.killed) return Number.POSITIVE_INFINITY;
  return attempt.orphanedAtMs + originGraceMs;
}
