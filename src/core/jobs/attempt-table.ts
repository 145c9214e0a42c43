import type { JobId, LeaseId, NodeId } from '../../base/ids.ts';
import type { JobMessageOf } from '../../wire/jobs.ts';
import type { AttemptKey } from './executor-state.ts';

/** Ended attempts that are remembered, so that a duplicate `start` never runs twice. */
export const ENDED_ATTEMPTS_MAX = 4096;

export type Attempt = AttemptKey & { readonly from: NodeId } & (
    | { readonly kind: 'checking'; readonly reserve: JobMessageOf<'job.reserve'> }
    | {
        readonly kind: 'leased';
        readonly reserve: JobMessageOf<'job.reserve'>;
        readonly cwd: string;
        readonly lease: LeaseId;
        readonly expiresAtMs: number;
      }
    | {
        readonly kind: 'running';
        /** The process exists, and its origin was told so. */
        readonly isStarted: boolean;
        /** Its origin's link went down: nobody is told how it ends. */
        readonly orphaned: boolean;
        readonly killed: boolean;
      }
  );

/** Attempts at this executor by job and attempt, whichever origin they came from. Bounded by slots and checks. */
export class AttemptTable {
  readonly #attempts = new Map<string, Attempt>();
  readonly #ended = new Set<string>();

  get(key: AttemptKey): Attempt | undefined {
    return this.#attempts.get(textOf(key));
  }

  put(attempt: Attempt): void {
    this.#attempts.set(textOf(attempt), attempt);
  }

  forget(key: AttemptKey): void {
    this.#attempts.delete(textOf(key));
  }

  /** It ran and is over. */
  remember(key: AttemptKey): void {
    this.forget(key);
    this.#ended.add(textOf(key));
    const [oldest] = this.#ended;
    if (this.#ended.size > ENDED_ATTEMPTS_MAX && oldest !== undefined) this.#ended.delete(oldest);
  }

  hasEnded(key: AttemptKey): boolean {
    return this.#ended.has(textOf(key));
  }

  /** True where another origin than this one has an attempt of that job running. */
  isRunningForOther(job: JobId, notFrom: NodeId): boolean {
    return this.running().some((attempt) => attempt.job === job && attempt.from !== notFrom);
  }

  from(peer: NodeId): Attempt[] {
    return [...this.#attempts.values()].filter((attempt) => attempt.from === peer);
  }

  running(): Attempt[] {
    return [...this.#attempts.values()].filter(({ kind }) => kind === 'running');
  }

  expired(nowMs: number): Attempt[] {
    return [...this.#attempts.values()].filter((attempt) => attempt.kind === 'leased' && attempt.expiresAtMs <= nowMs);
  }

  nextExpiryMs(): number {
    let nextMs = Number.POSITIVE_INFINITY;
    for (const attempt of this.#attempts.values()) {
      if (attempt.kind === 'leased') nextMs = Math.min(nextMs, attempt.expiresAtMs);
    }
    return nextMs;
  }

  get checkingCount(): number {
    return this.#count('checking');
  }

  checkingFrom(peer: NodeId): number {
    return this.from(peer).filter(({ kind }) => kind === 'checking').length;
  }

  get runningCount(): number {
    return this.#count('running');
  }

  /** Leased or running. */
  get slotsTaken(): number {
    return this.#attempts.size - this.checkingCount;
  }

  #count(kind: Attempt['kind']): number {
    let count = 0;
    for (const attempt of this.#attempts.values()) if (attempt.kind === kind) count++;
    return count;
  }
}

const textOf = ({ job, attempt }: AttemptKey): string => `${job}/${attempt}`;
