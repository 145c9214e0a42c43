import type { JobId } from '../../src/base/ids.ts';
import type { AttemptName, RunResult } from '../../src/ports/runner.ts';

/** What everybody agreed on when the job was submitted. */
export interface JobFacts {
  readonly origin: number;
  readonly retries: number;
  readonly durable: boolean;
  readonly cpus: number;
  /** The job that it was submitted from: where both run on one node, that one's slot and cpus are for both. */
  readonly parent: JobId | null;
}

/** How a job ended, as its origin tells it. */
export type ToldOutcome =
  | { readonly kind: 'ended'; readonly attempt: number; readonly outcome: RunResult['outcome']; readonly late: boolean }
  | { readonly kind: 'unknown'; readonly attempts: number }
  /** It never ran. */
  | { readonly kind: 'refused' | 'cancelled' | 'lost' };

interface Execution extends AttemptName {
  readonly node: number;
  readonly startMs: number;
  endMs: number | null;
  result: RunResult | null;
  /** The machine lost its power since: its end may not have been on the disk. */
  mayBeLost: boolean;
}

/**
 * What really happened, seen from above, against what was told: each rule that is broken becomes a violation, with the
 * time at which it was.
 *
 * L1 An attempt is executed at most once, and a job at most `1 + retries` times.
 * L2 Two attempts of one job never run at once, unless `retries` allowed it and the first's outcome was not known.
 * L3 A job has one outcome. `unknown` may become one late result.
 * L4 What is told of an end is how that attempt ended; what is told to have never run never ran.
 * L5 No node runs more than its slots, nor more cpus than it has. A job inside another one may use its slot.
 * L7 What has files runs where they are in place (told by the executors themselves).
 * L6 Once everything is repaired, an end that somebody knows is told: nothing stays unknown without need.
 */
export class JobLedger {
  readonly jobs = new Map<JobId, JobFacts>();
  readonly outcomes = new Map<JobId, ToldOutcome>();
  readonly executions: Execution[] = [];
  readonly violations: string[] = [];
  readonly #byJob = new Map<JobId, Execution[]>();
  readonly #forgetful = new Set<JobId>();
  readonly #running = new Map<number, Set<Execution>>();
  readonly #nowMs: () => number;
  readonly #roomOf: (node: number) => { readonly slots: number; readonly cpus: number };

  constructor(nowMs: () => number, roomOf: (node: number) => { readonly slots: number; readonly cpus: number }) {
    this.#nowMs = nowMs;
    this.#roomOf = roomOf;
  }

  onSubmitted(job: JobId, facts: JobFacts): void {
    this.jobs.set(job, facts);
  }

  executionsOf(job: JobId): readonly Execution[] {
    return this.#byJob.get(job) ?? [];
  }

  runningAt(node: number): number {
    return this.#running.get(node)?.size ?? 0;
  }

  onProcessStart(node: number, name: AttemptName): void {
    const { job, attempt } = name;
    const before = this.executionsOf(job);
    const facts = this.jobs.get(job);
    const retries = facts?.retries ?? 0;
    if (facts === undefined) this.#violation(`${job} was started and never submitted`);
    if (before.some((other) => other.attempt === attempt)) this.#violation(`${job}/${attempt} was executed twice`);
    if (before.length > retries) this.#violation(`${job} was executed ${before.length + 1} times, retries ${retries}`);
    const alive = before.filter(({ endMs }) => endMs === null);
    if (alive.length > 0 && retries === 0) this.#violation(`${job} runs twice at once`);
    const told = this.outcomes.get(job);
    const isToldAgain = this.#forgetful.has(job);
    if (told !== undefined && told.kind !== 'unknown' && !isToldAgain)
      this.#violation(`${job} was started after it was ${told.kind}`);
    const execution: Execution = {
      job,
      attempt,
      node,
      startMs: this.#nowMs(),
      endMs: null,
      result: null,
      mayBeLost: false,
    };
    this.executions.push(execution);
    this.#byJob.set(job, [...before, execution]);
    const here = this.#running.get(node) ?? new Set();
    this.#running.set(node, here.add(execution));
    const { slots, cpus } = this.#roomOf(node);
    const jobsHere = new Set([...here].map((one) => one.job));
    const own = [...jobsHere]
      .flatMap((one) => this.jobs.get(one) ?? [])
      .filter(({ parent }) => parent === null || !jobsHere.has(parent));
    if (own.length > slots) this.#violation(`node ${node} runs ${own.length} of ${slots} slots`);
    const used = own.reduce((sum, one) => sum + one.cpus, 0);
    if (used > cpus) this.#violation(`node ${node} gave away ${used} of ${cpus} cpus`);
  }

  onProcessEnd(node: number, { job, attempt }: AttemptName, result: RunResult): void {
    const execution = this.executionsOf(job).find((one) => one.attempt === attempt && one.node === node);
    if (execution === undefined || execution.endMs !== null) {
      return this.#violation(`${job}/${attempt} ended and was not running`);
    }
    execution.endMs = this.#nowMs();
    execution.result = result;
    this.#running.get(node)?.delete(execution);
  }

  /** What origins there know may be older from now: a last line that was not on the disk is told again. */
  onPowerCut(node: number): void {
    for (const [job, { origin }] of this.jobs) if (origin === node) this.#forgetful.add(job);
    for (const execution of this.executions) if (execution.node === node) execution.mayBeLost = true;
  }

  onOutcome(job: JobId, told: ToldOutcome): void {
    const before = this.outcomes.get(job);
    const becomesKnown = before?.kind === 'unknown' && told.kind === 'ended' && told.late;
    if (before !== undefined && !becomesKnown && !this.#forgetful.has(job)) {
      this.#violation(`${job} was ${before.kind} and is told to be ${told.kind}`);
    }
    if (told.kind === 'ended' && told.late && before?.kind !== 'unknown')
      this.#violation(`${job} is late and was not unknown`);
    this.outcomes.set(job, told);
    if (told.kind === 'ended') return this.#checkEnd(job, told);
    // A job that waited to be run again had been run; one whose origin lost its power may not know that it was.
    const mayHaveRun = (this.jobs.get(job)?.retries ?? 0) > 0 || this.#forgetful.has(job);
    if (told.kind !== 'unknown' && this.executionsOf(job).length > 0 && !mayHaveRun) {
      this.#violation(`${job} is ${told.kind} and ran`);
    }
  }

  /** Processes that still are where nothing should be. */
  get alive(): readonly Execution[] {
    return this.executions.filter(({ endMs }) => endMs === null);
  }

  /** L6: jobs that are told to be unknown although the end of their last attempt is known. */
  unknownWithoutNeed(): string[] {
    return [...this.outcomes].flatMap(([job, told]) => {
      if (told.kind !== 'unknown' || this.#forgetful.has(job)) return [];
      const last = this.executionsOf(job).find(({ attempt }) => attempt === told.attempts);
      if (last === undefined || last.result === null || last.mayBeLost) return [];
      const { kind } = last.result.outcome;
      return kind === 'unknown' ? [] : [`${job} is told to be unknown, and ended by ${kind}`];
    });
  }

  #checkEnd(job: JobId, { attempt, outcome }: Extract<ToldOutcome, { kind: 'ended' }>): void {
    const execution = this.executionsOf(job).find((one) => one.attempt === attempt);
    if (execution === undefined) return this.#violation(`${job}/${attempt} is told to have ended and never ran`);
    if (execution.endMs === null) return this.#violation(`${job}/${attempt} is told to have ended and runs`);
    const real = JSON.stringify(execution.result?.outcome);
    if (outcome.kind !== 'unknown' && JSON.stringify(outcome) !== real) {
      this.#violation(`${job}/${attempt} ended by ${real} and is told to have ended by ${JSON.stringify(outcome)}`);
    }
  }

  /** A rule that its observer checks. */
  onViolation(text: string): void {
    this.#violation(text);
  }

  #violation(text: string): void {
    this.violations.push(`${this.#nowMs().toFixed(1)} ms: ${text}`);
  }
}
