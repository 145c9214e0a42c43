import { setMaxListeners } from 'node:events';
import { MeshError } from '../../base/errors.ts';
import { MIB } from '../../base/units.ts';
import { refusalReport } from '../../node/api-refusal.ts';
import type { BatchEntry } from './batch-form.ts';
import type { DaemonApi } from './daemon-connection.ts';
import { runJob, type JobOutcome } from './job-run.ts';
import { shellLineOf, type JobTemplate } from './job-request.ts';
import { KEPT_BYTES_MAX, OutputCapture } from './output-capture.ts';
import type { OutputFiles } from './output-files.ts';
import type { Halt } from './tool-arguments.ts';
import type { ToolContext } from './tool.ts';
import { HandOut } from './wait-time.ts';

/** Commands under way at once: more than a small mesh has slots; the origin's queue places them late. */
const SUBMITTED_MAX = 64;
/** Memory for the outputs of one batch, both streams of all its commands. */
const BATCH_KEPT_BYTES_MAX = 64 * MIB;
/** What it takes to give one command that has not begun its id, so that nothing is lost of it: a batch begins with that earlier. */
const HAND_OUT_EACH_MS = 5;
/** Streams of one batch that get a file of their own; what else is too long keeps its beginning and end. */
const STREAM_FILES_MAX = 16;

export interface BatchRequest {
  readonly api: DaemonApi;
  readonly template: JobTemplate;
  readonly commands: readonly unknown[];
  /** Their places in the order in which they are started; every one once. */
  readonly order: readonly number[];
  readonly halt: Halt | null;
  /** When the call began, by performance.now(). */
  readonly startedMs: number;
  /** How long the caller waits: what is not done then goes on, each command with its own id. */
  readonly waitMs: number;
  readonly files: OutputFiles;
}

/** Runs the commands of one call, a bounded number of them at once. */
export class Batch {
  readonly #request: BatchRequest;
  readonly #context: ToolContext;
  readonly #signal: AbortSignal;
  readonly #halted = new AbortController();
  readonly #keptBytesMax: number;
  readonly #handOut: HandOut;
  readonly #entries: BatchEntry[] = [];
  #started = 0;
  #failed = 0;
  #startsNoMore = false;
  #streamFiles = 0;
  #latest: () => string = () => '';

  constructor(request: BatchRequest, context: ToolContext) {
    this.#request = request;
    this.#context = context;
    this.#signal = AbortSignal.any([context.signal, this.#halted.signal]);
    this.#handOut = new HandOut(this.#handOutMs);
    this.#keptBytesMax = Math.min(KEPT_BYTES_MAX, Math.floor(BATCH_KEPT_BYTES_MAX / (2 * request.commands.length)));
  }

  /** @returns the entries in the order given; every command has one */
  async run(): Promise<readonly BatchEntry[]> {
    const lanes = Math.min(SUBMITTED_MAX, this.#request.commands.length);
    // Each command under way listens for the end of the call, and for the end of its wait.
    setMaxListeners(lanes + 1, this.#signal, this.#handOut.signal);
    this.#context.progress(() => this.#describe());
    await Promise.all(Array.from({ length: lanes }, () => this.#lane()));
    this.#handOut.end();
    return this.#entries.sort((a, b) => a.index - b.index);
  }

  /** Commands that failed before any halt. */
  get failures(): number {
    return this.#failed;
  }

  /** Ids of the commands that go on after `run`. */
  get unfinished(): string[] {
    return this.#entries.flatMap(({ outcome: { run } }) =>
      run.state === 'finished' || run.job_id === null ? [] : [run.job_id],
    );
  }

  async #lane(): Promise<void> {
    const { order, commands } = this.#request;
    for (;;) {
      const index = order[this.#started++];
      if (index === undefined) return;
      this.#handOut.moveTo(this.#handOutMs);
      const command = commands[index];
      const outcome = await this.#one(command);
      this.#count(outcome);
      this.#entries.push({ index, command: typeof command === 'string' ? command : JSON.stringify(command), outcome });
    }
  }

  get #handOutMs(): number {
    const { startedMs, waitMs, commands } = this.#request;
    const notBegun = Math.max(0, commands.length - this.#started - SUBMITTED_MAX);
    return startedMs + waitMs - Math.min(waitMs / 2, notBegun * HAND_OUT_EACH_MS);
  }

  #count({ run }: JobOutcome): void {
    // What the halt itself ended is no further failure.
    if (run.success !== false || this.#startsNoMore) return;
    this.#failed += 1;
    const { halt } = this.#request;
    if (halt === null || this.#failed < halt.failures) return;
    this.#startsNoMore = true;
    if (halt.when === 'now') this.#halted.abort();
  }

  #describe(): string {
    const done = `${this.#entries.length} of ${this.#request.commands.length} done`;
    const failed = this.#failed === 0 ? '' : `, ${this.#failed} failed`;
    const latest = this.#latest();
    return `${done}${failed}${latest === '' ? '' : `; ${latest}`}`;
  }

  #one(command: unknown): Promise<JobOutcome> | JobOutcome {
    const { api, template, halt, files } = this.#request;
    const { signal: handOut } = this.#handOut;
    const line = shellLineOf(command);
    if (!line.ok) return this.#notRun(line.error);
    if (this.#startsNoMore) {
      const text = `not started: ${this.#failed} had failed (halt ${halt?.when},fail=${halt?.failures})`;
      return this.#notRun(new MeshError('cancelled', text));
    }
    if (api.closed) {
      return this.#notRun(
        new MeshError('daemon_not_running', 'the daemon went away before this command; it was not run'),
      );
    }
    // What is started only now has nobody who waits for it.
    const spec = { ...template, command: line.value, durable: handOut.aborted };
    return runJob(api, spec, {
      signal: this.#signal,
      handOut,
      progress: (describe) => {
        this.#latest = describe;
      },
      keptBytesMax: this.#keptBytesMax,
      openFile: (name) => (++this.#streamFiles > STREAM_FILES_MAX ? null : files.create(name)),
    });
  }

  #notRun(error: MeshError): JobOutcome {
    const nothing = (): OutputCapture => new OutputCapture(0, () => null);
    return { run: refusalReport(error, this.#request.template.cwd), stdout: nothing(), stderr: nothing() };
  }
}
