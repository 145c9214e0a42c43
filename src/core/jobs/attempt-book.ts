import { unreachable } from '../../base/assert.ts';
import type { JobId, NodeId } from '../../base/ids.ts';
import type { AttemptEntry } from '../../wire/attempt-entry.ts';
import { textOf } from './attempt-table.ts';
import type { AttemptKey, AttemptResult, GivenAttempt, RestoredAttempt } from './executor-state.ts';

/** Jobs of which nothing but the time of their removal is remembered; of more, the oldest is forgotten. */
export const DROPPED_MAX = 10_000;

/** What is known of an attempt that ran here. */
export interface AttemptFacts extends GivenAttempt {
  readonly from: NodeId;
  readonly cwd: string;
  readonly command: string;
  readonly instance: string;
  /** This node's wall clock. */
  readonly startedAtMs: number;
  /** Null while it runs. */
  readonly end: { readonly result: AttemptResult; readonly atMs: number; readonly acked: boolean } | null;
}

/** How much is kept of attempts that have ended (`jobs.*` in config.toml). */
export interface KeepBounds {
  readonly ageMsMax: number;
  readonly bytesMax: number;
  readonly attemptsMax: number;
  /** The output of one attempt takes no more than this on the disk. */
  readonly logBytesMax: number;
}

/** What a runner that outlived its daemon has; the runner port's KeptAttempt has this shape. */
export type RunnerHas = AttemptKey &
  ({ readonly kind: 'running' } | { readonly kind: 'ended'; readonly result: AttemptResult });

export interface Restored {
  readonly attempts: readonly RestoredAttempt[];
  /** Given to a runner and over. */
  readonly given: readonly AttemptKey[];
  /** False where some that were given to a runner are forgotten. */
  readonly isWhole: boolean;
  /** To be written: what ended while no daemon was there. */
  readonly entries: readonly AttemptEntry[];
  /** The runner has them and this node knows nothing of them: to be ended and removed. */
  readonly strangers: readonly RunnerHas[];
}

/**
 * Every attempt that runs here, and those that ended and are kept, as the executor's journal tells them. Pure: entries
 * in, facts out. What it keeps is bounded by `KeepBounds`, through `due`, and by the slots.
 */
export class AttemptBook {
  readonly #bounds: KeepBounds;
  readonly #running = new Map<string, AttemptFacts>();
  /** In the order of their ends. */
  readonly #ended = new Map<string, AttemptFacts>();
  /** Wall clock, milliseconds; in the order of removal. */
  readonly #dropped = new Map<JobId, { readonly attempt: number; readonly atMs: number }>();
  #keptBytes = 0;

  constructor(bounds: KeepBounds) {
    this.#bounds = bounds;
  }

  get(key: AttemptKey): AttemptFacts | undefined {
    return this.#running.get(textOf(key)) ?? this.#ended.get(textOf(key));
  }

  get running(): AttemptFacts[] {
    return [...this.#running.values()];
  }

  /** What speaks of an unknown attempt changes nothing: the line of its start was damaged. */
  apply(entry: AttemptEntry): void {
    const name = textOf(entry);
    const known = this.get(entry);
    switch (entry.e) {
      case 'started':
        if (known === undefined) this.#running.set(name, factsOf(entry));
        return;
      case 'detached':
        if (known !== undefined) this.#put({ ...known, durable: true });
        return;
      case 'ended':
        if (known?.end !== null) return;
        this.#running.delete(name);
        this.#put({ ...known, end: { result: resultOf(entry), atMs: entry.at_ms, acked: false } });
        this.#keptBytes += this.#bytesOf(entry.stdout_bytes + entry.stderr_bytes);
        return;
      case 'acked':
        if (known?.end !== null && known?.end !== undefined)
          this.#put({ ...known, end: { ...known.end, acked: true } });
        return;
      case 'dropped':
        this.#drop(entry, known);
        return;
      default:
        unreachable(entry);
    }
  }

  /** It was not given to the runner after all, and its start is in no file. */
  withdraw(key: AttemptKey): void {
    this.#running.delete(textOf(key));
  }

  /** All of it as entries, for a journal that is written anew. */
  entries(): AttemptEntry[] {
    const dropped = [...this.#dropped].map(([job, { attempt, atMs }]): AttemptEntry => ({
      e: 'dropped',
      job,
      attempt,
      at_ms: atMs,
    }));
    return [...dropped, ...[...this.#ended.values(), ...this.#running.values()].flatMap(entriesOf)];
  }

  /** Ended attempts that are to be dropped now, the oldest first. */
  due(nowWallMs: number): AttemptFacts[] {
    const due: AttemptFacts[] = [];
    let [bytes, count] = [this.#keptBytes, this.#ended.size];
    for (const attempt of this.#ended.values()) {
      const end = attempt.end ?? { atMs: nowWallMs };
      const isOld = nowWallMs - end.atMs > this.#bounds.ageMsMax;
      if (!isOld && bytes <= this.#bounds.bytesMax && count <= this.#bounds.attemptsMax) break;
      due.push(attempt);
      bytes -= this.#bytesOfAttempt(attempt);
      count -= 1;
    }
    return due;
  }

  /** Of the jobs whose ids begin so; the newest attempt of each last. */
  find(prefix: string): AttemptFacts[] {
    const found = [...this.#ended.values(), ...this.#running.values()].filter(({ job }) => job.startsWith(prefix));
    return found.toSorted((a, b) => a.attempt - b.attempt);
  }

  /** When a job whose id begins so was dropped: this node's wall clock in milliseconds, or null. */
  droppedAt(prefix: string): number | null {
    for (const [job, { atMs }] of this.#dropped) if (job.startsWith(prefix)) return atMs;
    return null;
  }

  /** Joins what the journal knows, once it was read, to what the runner has. */
  restore(runner: readonly RunnerHas[], nowWallMs: number): Restored {
    const has = new Map(runner.map((attempt) => [textOf(attempt), attempt]));
    const message = 'the runner that ran it is gone';
    const entries = [...this.#running.values()].flatMap((attempt): AttemptEntry[] => {
      const kept = has.get(textOf(attempt));
      if (kept?.kind === 'running') return [];
      const result = kept === undefined ? unknownResult(message) : kept.result;
      return [endedEntry(attempt, result, nowWallMs)];
    });
    const strangers = runner.filter((attempt) => this.get(attempt) === undefined);
    for (const entry of entries) this.apply(entry);
    const ended = [...this.#ended.values()];
    return {
      attempts: [
        ...[...this.#running.values()].map((attempt) => ({ ...givenOf(attempt), kind: 'running' as const })),
        ...ended.flatMap((attempt) => {
          if (attempt.end === null || attempt.end.acked) return [];
          return [{ ...givenOf(attempt), kind: 'ended' as const, result: attempt.end.result }];
        }),
      ],
      given: [...ended.filter(({ end }) => end?.acked === true), ...strangers, ...this.#droppedAttempts()].map(keyOf),
      isWhole: this.#dropped.size < DROPPED_MAX,
      entries,
      strangers,
    };
  }

  /** What is told of a dropped job is its last attempt; those before it may have been given to the runner too. */
  #droppedAttempts(): AttemptKey[] {
    return [...this.#dropped].flatMap(([job, { attempt: last }]) =>
      Array.from({ length: last }, (_, index) => ({ job, attempt: index + 1 })),
    );
  }

  #put(attempt: AttemptFacts): void {
    (attempt.end === null ? this.#running : this.#ended).set(textOf(attempt), attempt);
  }

  #drop(entry: AttemptKey & { readonly at_ms: number }, known: AttemptFacts | undefined): void {
    if (known?.end === null) return;
    if (known !== undefined) {
      this.#ended.delete(textOf(entry));
      this.#keptBytes -= this.#bytesOfAttempt(known);
    }
    this.#dropped.delete(entry.job);
    this.#dropped.set(entry.job, { attempt: entry.attempt, atMs: entry.at_ms });
    const [oldest] = this.#dropped.keys();
    if (this.#dropped.size > DROPPED_MAX && oldest !== undefined) this.#dropped.delete(oldest);
  }

  #bytesOfAttempt({ end }: AttemptFacts): number {
    return end === null ? 0 : this.#bytesOf(end.result.stdoutBytes + end.result.stderrBytes);
  }

  #bytesOf(written: number): number {
    return Math.min(written, this.#bounds.logBytesMax);
  }
}

const keyOf = ({ job, attempt }: AttemptKey): AttemptKey => ({ job, attempt });

const givenOf = ({ job, attempt, from, durable, nesting, grant }: AttemptFacts): GivenAttempt => ({
  job,
  attempt,
  from,
  durable,
  nesting,
  grant,
});

type EntryOf<E extends AttemptEntry['e']> = Extract<AttemptEntry, { e: E }>;

function factsOf(entry: EntryOf<'started'>): AttemptFacts {
  const { job, attempt, from, durable, cwd, command, instance, nesting, cpus, parent, lender } = entry;
  const grant = { cpus, memoryBytes: entry.memory_bytes, parent, lender };
  return { job, attempt, from, durable, cwd, command, instance, nesting, grant, startedAtMs: entry.at_ms, end: null };
}

export function startedEntry(facts: Omit<AttemptFacts, 'end'>): EntryOf<'started'> {
  const { job, attempt, from, durable, cwd, command, instance, nesting } = facts;
  const { cpus, memoryBytes, parent, lender } = facts.grant;
  const held = { cpus, memory_bytes: memoryBytes, parent, lender };
  const at = { at_ms: facts.startedAtMs };
  return { e: 'started', job, attempt, from, durable, cwd, command, instance, nesting, ...held, ...at };
}

export function endedEntry({ job, attempt }: AttemptKey, result: AttemptResult, atMs: number): EntryOf<'ended'> {
  return {
    e: 'ended',
    job,
    attempt,
    outcome: result.outcome,
    stdout_bytes: result.stdoutBytes,
    stderr_bytes: result.stderrBytes,
    truncated: result.truncated,
    left_running: result.leftRunning,
    changes: result.changes ?? null,
    duration_ms: result.durationMs,
    at_ms: atMs,
  };
}

const resultOf = (entry: EntryOf<'ended'>): AttemptResult => ({
  outcome: entry.outcome,
  stdoutBytes: entry.stdout_bytes,
  stderrBytes: entry.stderr_bytes,
  truncated: entry.truncated,
  leftRunning: entry.left_running,
  changes: entry.changes,
  durationMs: entry.duration_ms,
});

function entriesOf(attempt: AttemptFacts): AttemptEntry[] {
  const { end } = attempt;
  const key = keyOf(attempt);
  if (end === null) return [startedEntry(attempt)];
  const acked: AttemptEntry[] = end.acked ? [{ e: 'acked', ...key }] : [];
  return [startedEntry(attempt), endedEntry(key, end.result, end.atMs), ...acked];
}

/** Of an attempt that nobody can know more of. */
export const unknownResult = (message: string): AttemptResult => ({
  outcome: { kind: 'unknown', message },
  stdoutBytes: 0,
  stderrBytes: 0,
  truncated: false,
  leftRunning: 0,
  durationMs: 0,
});
