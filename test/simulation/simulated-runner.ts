import { assert } from '../../src/base/assert.ts';
import type { JobId } from '../../src/base/ids.ts';
import type { Random } from '../../src/base/random.ts';
import type { AttemptName, KeptAttempt, RunHandlers, RunResult } from '../../src/ports/runner.ts';
import type { VirtualClock } from './virtual-clock.ts';

/** What a process does unless it is ended before. */
export interface Program {
  /** Null: until `finish`. */
  readonly durationMs: number | null;
  readonly exitCode: number;
}

export interface RunnerWatch {
  /** A process of that attempt begins: the runner was given it. */
  onProcessStart(name: AttemptName): void;
  /** Its tree is gone. */
  onProcessEnd(name: AttemptName, result: RunResult): void;
}

export interface KeptEnd {
  readonly name: AttemptName;
  readonly result: RunResult;
}

interface Run {
  readonly name: AttemptName;
  durable: boolean;
  result: RunResult | null;
  /** Of the daemon that is connected now. */
  handlers: RunHandlers | null;
  killing: boolean;
}

/** As the runner's own grace time for attempts that only a daemon reads. */
const NO_DAEMON_GRACE_MS = 60_000;
const KILL_MS_MAX = 5500;

/**
 * The companion process, which outlives its daemon: attempts run on, results are kept until they are acknowledged and
 * told to the next daemon as `kept`. What it loses when it is killed is what a real one loses.
 */
export class SimulatedRunner {
  readonly instance: string;
  readonly #clock: VirtualClock;
  readonly #random: Random;
  readonly #watch: RunnerWatch;
  readonly #programOf: (name: AttemptName) => Program;
  readonly #runs = new Map<string, Run>();
  #dead = false;
  /** Rises with every daemon that comes or goes. */
  #connection = 0;

  constructor(
    instance: string,
    clock: VirtualClock,
    random: Random,
    watch: RunnerWatch,
    programOf: (name: AttemptName) => Program,
  ) {
    this.instance = instance;
    this.#clock = clock;
    this.#random = random;
    this.#watch = watch;
    this.#programOf = programOf;
  }

  get isDead(): boolean {
    return this.#dead;
  }

  get running(): AttemptName[] {
    return [...this.#runs.values()].filter(({ result }) => result === null).map(({ name }) => name);
  }

  get kept(): KeptAttempt[] {
    return [...this.#runs.values()].map(({ name, durable, result }) =>
      result === null ? { ...name, kind: 'running', durable, stdinBytes: 0 } : { ...name, kind: 'ended', result },
    );
  }

  run(name: AttemptName, durable: boolean, handlers: RunHandlers): void {
    assert(!this.#dead, 'a dead runner was given an attempt');
    assert(!this.#runs.has(textOf(name)), `the runner was given ${textOf(name)} twice`);
    const run: Run = { name, durable, result: null, handlers, killing: false };
    this.#runs.set(textOf(name), run);
    this.#watch.onProcessStart(name);
    const { durationMs, exitCode } = this.#programOf(name);
    this.#later(1 + this.#random.next() * 3, () => {
      if (run.result === null) run.handlers?.onStarted(1);
    });
    if (durationMs !== null) this.#later(5 + durationMs, () => this.#end(run, { kind: 'exited', code: exitCode }));
  }

  /** What the process of that job waited for has come. */
  finish(job: JobId): void {
    for (const run of this.#runs.values()) {
      if (run.name.job !== job) continue;
      this.#later(1, () => this.#end(run, { kind: 'exited', code: this.#programOf(run.name).exitCode }));
    }
  }

  adopt(name: AttemptName, handlers: RunHandlers): void {
    const run = this.#runs.get(textOf(name));
    if (run === undefined) return;
    run.handlers = handlers;
    this.#tell(run);
  }

  cancel(name: AttemptName): void {
    const run = this.#runs.get(textOf(name));
    if (run === undefined || run.result !== null || run.killing) return;
    run.killing = true;
    // Most trees end at once; some ignore TERM.
    const killMs = this.#random.next() < 0.8 ? 20 : KILL_MS_MAX;
    this.#later(killMs, () => this.#end(run, { kind: 'cancelled', code: null, signal: 'SIGTERM' }));
  }

  detach(name: AttemptName): void {
    const run = this.#runs.get(textOf(name));
    if (run !== undefined) run.durable = true;
  }

  acknowledge(name: AttemptName): void {
    if (this.#runs.get(textOf(name))?.result !== null) this.#runs.delete(textOf(name));
  }

  drop(name: AttemptName): void {
    this.acknowledge(name);
  }

  /** A daemon is connected: until `disconnect`. */
  connect(): void {
    this.#connection++;
  }

  /** The daemon is gone: foreground attempts are ended after a while. */
  disconnect(): void {
    const connection = ++this.#connection;
    for (const run of this.#runs.values()) run.handlers = null;
    this.#later(NO_DAEMON_GRACE_MS, () => {
      if (this.#connection !== connection) return;
      for (const run of this.#runs.values()) if (!run.durable) this.cancel(run.name);
    });
  }

  /**
   * SIGKILL. Its trees run on, until somebody hunts them by their cookie.
   *
   * @returns what ran
   */
  kill(): AttemptName[] {
    this.#dead = true;
    return this.running;
  }

  /**
   * The hunt: the trees of a killed runner are gone.
   *
   * @returns the results that are on its disk, for the runner that comes next
   */
  endTrees(): KeptEnd[] {
    assert(this.#dead, 'only the trees of a killed runner are hunted');
    const ends: KeptEnd[] = [];
    for (const run of this.#runs.values()) {
      if (run.result === null) {
        run.result = resultOf({ kind: 'unknown', message: 'its runner is gone' });
        this.#watch.onProcessEnd(run.name, run.result);
      }
      ends.push({ name: run.name, result: run.result });
    }
    this.#runs.clear();
    return ends;
  }

  /** What an earlier runner left on the disk. */
  keep(ends: readonly KeptEnd[]): void {
    for (const { name, result } of ends) {
      this.#runs.set(textOf(name), { name, durable: true, result, handlers: null, killing: false });
    }
  }

  #end(run: Run, outcome: RunResult['outcome']): void {
    if (run.result !== null) return;
    run.result = resultOf(outcome);
    this.#watch.onProcessEnd(run.name, run.result);
    this.#tell(run);
  }

  /** As soon as the socket has carried it. */
  #tell(run: Run): void {
    const { handlers, result } = run;
    if (handlers === null || result === null) return;
    this.#later(0.1, () => {
      if (run.handlers !== handlers) return;
      handlers.onEnded(result);
    });
  }

  #later(delayMs: number, run: () => void): void {
    this.#clock.after(delayMs, () => {
      if (!this.#dead) run();
    });
  }
}

function resultOf(outcome: RunResult['outcome']): RunResult {
  return { outcome, stdoutBytes: 0, stderrBytes: 0, truncated: false, leftRunning: 0, durationMs: 1 };
}

const textOf = ({ job, attempt }: AttemptName): string => `${job}/${attempt}`;
