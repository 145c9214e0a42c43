import { MeshError, messageOf } from '../../base/errors.ts';
import type { JobSpec, RunObject } from '../../node/api-types.ts';
import { mapExitCode, signalExitCode } from './exit-code.ts';
import { haltReached, type Halt } from './halt.ts';
import { joblogEnd, type Joblog } from './joblog.ts';
import { ARGUMENT_CHARS_MAX, commandText, substitute } from './map-arguments.ts';
import { BatchClock } from './map-clock.ts';
import { EstimateDesk } from './map-estimates.ts';
import { isOutcome, submitCopy, type BatchApi, type Copy, type MapJob } from './map-job.ts';
import { Lineup, type Waiting } from './map-lineup.ts';
import { endedOf, printerOf, type Sink } from './map-printer.ts';
import { printError } from './output.ts';
import type { ProgressBar } from './progress-bar.ts';
import type { Spool } from './spool.ts';

/** Arguments read ahead, and jobs whose output waits for its turn: each costs some hundred bytes of memory. */
const WINDOW_MAX = 20_000;
const TICK_MS = 250;

export interface BatchPlan {
  readonly words: readonly string[];
  /** Throws MeshError where these words make no job. */
  readonly specOf: (words: readonly string[]) => JobSpec;
  readonly arguments: AsyncIterable<string>;
  /** Jobs under way at once. */
  readonly width: number;
  readonly halt: Halt | null;
  readonly joblog: Joblog | null;
  readonly tailCopies: boolean;
  readonly tag: boolean;
  readonly json: boolean;
  readonly bar: ProgressBar | null;
  /** Told of each result that counts. */
  readonly onResult?: (result: RunObject) => void;
  /** What history is asked for. */
  readonly cwd: string;
  /** Asks history, for the order and for the time left. */
  readonly estimates: boolean;
}

type Stop =
  | { readonly kind: 'signal'; readonly signal: string }
  | { readonly kind: 'halt' }
  | { readonly kind: 'fault'; readonly error: unknown };

/**
 * One `map`: reads arguments as they come, has at most `width` jobs under way, the longest first, and prints their output
 * in the order of the arguments. What waits for its turn is in a bounded spool; while that is full, only the job whose
 * turn it is goes on, and one of those under way is always the first that was not started before.
 */
export class Batch {
  readonly #api: BatchApi;
  readonly #plan: BatchPlan;
  readonly #spool: Spool;
  readonly #sinkOf: (arg: string) => Sink;
  readonly #lineup = new Lineup();
  readonly #desk: EstimateDesk;
  readonly #clock = new BatchClock();
  /** Started and not printed, by number. */
  readonly #jobs = new Map<number, MapJob>();
  readonly #running = new Set<MapJob>();
  /** Of those running: started before an earlier argument was. */
  readonly #early = new Set<MapJob>();
  /** Read and not started. */
  readonly #waiting = new Set<number>();
  #read = 0;
  #readAll = false;
  /** Whose output is printed next. */
  #turn = 1;
  #failed = 0;
  #stop: Stop | null = null;
  #changes: (() => void)[] = [];

  constructor(api: BatchApi, plan: BatchPlan, spool: Spool) {
    this.#api = api;
    this.#plan = plan;
    this.#spool = spool;
    this.#sinkOf = printerOf(plan.json, plan.tag, () => plan.bar?.clear());
    this.#desk = new EstimateDesk(plan.estimates ? api : null, plan.cwd, (answered) => {
      for (const waiting of answered) this.#lineup.add(waiting);
      this.#startMore();
    });
    spool.whenFull(() => this.#changed());
  }

  /** @returns the exit code: 0, else the number of failed jobs up to 100, 101 above */
  async run(): Promise<number> {
    const tick = setInterval(() => this.#tick(), TICK_MS);
    try {
      void this.#readArguments();
      await this.#printAll();
    } finally {
      clearInterval(tick);
      this.#showProgress(true);
      this.#spool.close();
    }
    const stop = this.#stop;
    const untouched = this.#waiting.size;
    if (stop !== null && untouched > 0 && stop.kind !== 'signal')
      printError(`${untouched} of the arguments read were not started`);
    if (stop === null || stop.kind === 'halt') return mapExitCode(this.#failed);
    if (stop.kind === 'signal') return signalExitCode(stop.signal);
    throw stop.error;
  }

  /** Ends what runs and starts no more; what has been started is printed as far as it came. */
  end(signal: string): void {
    this.#end({ kind: 'signal', signal }, true);
  }

  #end(stop: Stop, cancel: boolean): void {
    if (this.#stop === null || (stop.kind === 'signal' && this.#stop.kind === 'halt')) this.#stop = stop;
    if (cancel) for (const job of this.#running) for (const { handle } of job.copies) handle.cancel();
    this.#changed();
  }

  async #readArguments(): Promise<void> {
    try {
      for await (const arg of this.#plan.arguments) {
        this.#read += 1;
        this.#line(this.#read, arg);
        while (this.#stop === null && this.#waiting.size + this.#jobs.size >= WINDOW_MAX) await this.#change();
        if (this.#stop !== null) break;
      }
    } catch (error) {
      this.#end({ kind: 'fault', error }, false);
    }
    this.#readAll = true;
    this.#changed();
  }

  /** Puts one argument into the line, unless an earlier run had success with it. */
  #line(seq: number, arg: string): void {
    const command = commandText(substitute(this.#plan.words, arg));
    const earlier = this.#plan.joblog?.earlier.get(seq);
    if (earlier !== undefined && earlier.command !== command) {
      const what = `job ${seq} was \`${earlier.command}\`, and would now be \`${command}\``;
      const state = this.#jobs.size + this.#turn > 1 ? 'no more jobs are started' : 'nothing was run';
      throw new MeshError(
        'bad_argument',
        `the joblog is of another batch: ${what}; ${state}. Give the same command and arguments, or another --joblog`,
      );
    }
    if (earlier?.succeeded === true) return;
    this.#waiting.add(seq);
    this.#desk.ask(seq, arg, command);
  }

  #startMore(): void {
    while (this.#stop === null && this.#running.size < this.#plan.width) {
      const turnRuns = this.#jobs.has(this.#turn);
      if (this.#spool.full && turnRuns) break;
      const first = this.#spool.full || this.#early.size >= this.#plan.width - 1;
      const waiting = first ? this.#lineup.takeFirst() : this.#lineup.takeLongest();
      if (waiting === null) break;
      this.#start(waiting, first);
    }
  }

  #start(waiting: Waiting, first: boolean): void {
    this.#waiting.delete(waiting.seq);
    const words = substitute(this.#plan.words, waiting.arg);
    let spec: JobSpec | MeshError;
    try {
      if (waiting.arg.length > ARGUMENT_CHARS_MAX)
        throw new MeshError('limit', `the argument is longer than ${ARGUMENT_CHARS_MAX} characters; it was not run`);
      spec = this.#plan.specOf(words);
    } catch (error) {
      spec = error instanceof MeshError ? error : new MeshError('internal', messageOf(error), error);
    }
    const job: MapJob = {
      waiting,
      command: commandText(words),
      spec: spec instanceof MeshError ? null : spec,
      startedMs: performance.now(),
      copies: [],
      live: null,
      ended: null,
      copied: false,
    };
    this.#jobs.set(waiting.seq, job);
    this.#running.add(job);
    if (!first) this.#early.add(job);
    if (spec instanceof MeshError) this.#finish(job, null, spec, []);
    else this.#submit(job, spec);
  }

  #submit(job: MapJob, spec: JobSpec): void {
    const copy = submitCopy(this.#api, this.#spool, spec, {
      onRunning: () => this.#changed(),
      onEnd: (ended, result) => this.#copyEnded(job, ended, result),
    });
    job.copies.push(copy);
  }

  /** The first outcome counts; what merely could not run leaves it to the other copy. */
  #copyEnded(job: MapJob, copy: Copy, result: RunObject | MeshError): void {
    if (job.ended !== null || !job.copies.includes(copy)) return;
    if (!isOutcome(result) && job.copies.length > 1) {
      job.copies.splice(job.copies.indexOf(copy), 1);
      drop(copy);
      return;
    }
    const losers = job.copies.filter((other) => other !== copy);
    for (const loser of losers) drop(loser);
    const notes = losers.map(
      (loser) => `it ran on ${loser.node ?? 'another node'} as well, whose copy was ended: this one was faster`,
    );
    this.#finish(job, copy, result, notes);
  }

  #finish(job: MapJob, copy: Copy | null, result: RunObject | MeshError, notes: readonly string[]): void {
    copy?.stdout.seal();
    copy?.stderr.seal();
    job.ended = { outputs: copy, what: endedOf(result, notes, this.#plan.json) };
    job.copies.length = 0;
    this.#running.delete(job);
    this.#early.delete(job);
    const ended = this.#stop !== null && !(result instanceof MeshError) && result.reason === 'cancelled';
    const succeeded = !(result instanceof MeshError) && result.success === true;
    if (!succeeded && !ended) this.#failed += 1;
    this.#clock.finished(job, copy, result);
    if (!(result instanceof MeshError)) this.#plan.onResult?.(result);
    this.#log(job, result);
    const { halt } = this.#plan;
    if (this.#stop === null && halt !== null && haltReached(halt, this.#failed, this.#clock.finishedCount))
      this.#halt(halt);
    if (this.#stop === null && this.#api.closed && result instanceof MeshError && result.code === 'lost')
      this.#end({ kind: 'halt' }, false);
    this.#startMore();
    this.#changed();
  }

  #halt(halt: Halt): void {
    const what = halt.when === 'now' ? 'what still ran is ended' : 'what runs still finishes';
    this.#plan.bar?.clear();
    const isAll = this.#readAll && this.#waiting.size === 0 && this.#running.size === 0;
    if (!isAll)
      printError(`--halt: ${this.#failed} of ${this.#clock.finishedCount} jobs failed; no more are started, ${what}`);
    this.#end({ kind: 'halt' }, halt.when === 'now');
  }

  #log(job: MapJob, result: RunObject | MeshError): void {
    const ran = result instanceof MeshError ? null : result;
    const tookMs = ran?.duration_ms ?? performance.now() - job.startedMs;
    try {
      this.#plan.joblog?.append({
        seq: job.waiting.seq,
        host: ran?.executed_on ?? ':',
        startMs: Date.now() - tookMs,
        runtimeMs: tookMs,
        receivedBytes: ran?.stdout_bytes ?? 0,
        ...joblogEnd(result),
        command: job.command,
      });
    } catch (error) {
      this.#end({ kind: 'fault', error }, false);
    }
  }

  /** In the order of the arguments, until all is printed or nothing more comes. */
  async #printAll(): Promise<void> {
    for (;;) {
      const job = this.#jobs.get(this.#turn);
      if (job !== undefined) {
        await this.#print(job);
        this.#jobs.delete(this.#turn);
        this.#turn += 1;
        this.#startMore();
        this.#showProgress(false);
        // Whoever waits for room in the window.
        this.#changed();
        continue;
      }
      const skipped = this.#turn <= this.#read && (this.#stop !== null || !this.#waiting.has(this.#turn));
      if (skipped) this.#turn += 1;
      else if (this.#turn > this.#read && (this.#readAll || this.#stop !== null)) return;
      else await this.#change();
    }
  }

  async #print(job: MapJob): Promise<void> {
    while (job.ended === null) {
      if (this.#spool.full && job.live === null) this.#goLive(job);
      await this.#change();
    }
    const { outputs, what } = job.ended;
    try {
      if (this.#readerless) {
        outputs?.stdout.discard();
        outputs?.stderr.discard();
        return;
      }
      const sink = job.live?.sink ?? this.#sinkOf(job.waiting.arg);
      await job.live?.flushed;
      if (job.live === null) {
        await outputs?.stdout.drain(sink.stdout);
        await outputs?.stderr.drain(sink.stderr);
      }
      sink.end(what);
    } catch {
      // Nobody reads any more, as in `map … | head`.
      this.end('SIGPIPE');
    }
  }

  get #readerless(): boolean {
    return this.#stop?.kind === 'signal' && this.#stop.signal === 'SIGPIPE';
  }

  /** The spool is full and this job's turn has come: its output goes through from now on. */
  #goLive(job: MapJob): void {
    const [copy, ...others] = job.copies;
    if (copy === undefined) return;
    for (const other of others) drop(other);
    job.copies.splice(1);
    const sink = this.#sinkOf(job.waiting.arg);
    const flushed = Promise.all([copy.stdout.drain(sink.stdout), copy.stderr.drain(sink.stderr)]);
    flushed.catch(() => this.end('SIGPIPE'));
    job.live = { sink, flushed };
  }

  #tick(): void {
    this.#showProgress(false);
    const last = this.#readAll && this.#lineup.size === 0 && this.#waiting.size === 0;
    if (this.#plan.tailCopies && last && this.#stop === null) this.#copyStragglers();
  }

  /** At the end of the batch, when nothing waits for a slot any more: a second copy of what runs far longer than the others. */
  #copyStragglers(): void {
    const all = [...this.#running];
    if (all.some(({ copies }) => copies.some(({ runningSinceMs }) => runningSinceMs === null))) return;
    for (const job of all) {
      if (job.copied || job.live !== null || !this.#clock.isStraggler(job)) continue;
      job.copied = true;
      void this.#copyElsewhere(job);
    }
  }

  async #copyElsewhere(job: MapJob): Promise<void> {
    const [copy] = job.copies;
    if (job.spec === null || copy?.job === undefined || copy.job === null) return;
    try {
      const { executed_on_id: node } = await this.#api.call('job', { job: copy.job });
      if (node === null || job.ended !== null || job.live !== null || this.#stop !== null) return;
      this.#submit(job, { ...job.spec, avoid: [...job.spec.avoid, node] });
    } catch {
      // The first copy runs on: a second one is an attempt to be faster and no more.
      job.copied = true;
    }
  }

  #showProgress(last: boolean): void {
    const { bar } = this.#plan;
    if (bar === null) return;
    const { finishedCount } = this.#clock;
    const all = this.#clock.finishedCount + this.#running.size + this.#waiting.size;
    const share = this.#readAll && all > 0 ? finishedCount / all : null;
    const view = { failed: this.#failed, arguments: all, complete: this.#readAll };
    bar.show(() => this.#clock.line(view, [...this.#running], this.#lineup.ahead), share, last);
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#changes.push(resolve));
  }

  #changed(): void {
    for (const wake of this.#changes.splice(0)) wake();
  }
}

/** Its result counts for nothing: it is ended, and what it wrote makes room. */
function drop(copy: Copy): void {
  copy.handle.cancel();
  copy.stdout.discard();
  copy.stderr.discard();
}
