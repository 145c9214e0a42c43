import { fstatSync } from 'node:fs';
import { MeshError } from '../../base/errors.ts';
import type { ApiClient, JobHandle } from '../../node/api-client.ts';
import type { JobSpec } from '../../node/api-types.ts';
import { shownFolder } from '../../node/api-current-folder.ts';
import { exitCodeOf, signalExitCode } from './exit-code.ts';
import { addChanges, NOTHING_SEEN, printChanges } from './changes-view.ts';
import { jobSpecOf, type JobOptions } from './job-options.ts';
import { commandText } from './map-arguments.ts';
import { JsonOutput, printJson, printLine, withOutput, writeTo } from './output.ts';
import { reportCancellation, reportEnd, reportRefusal } from './run-report.ts';
import { expectationOf, printSummary } from './run-summary.ts';
import { SyncLine } from './sync-line.ts';
import { LentTerminal } from './terminal.ts';

const CANCEL_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * `run`: streams the command's bytes as they come and ends with its exit code. Ctrl-C ends the remote tree first. With
 * `--background` it ends once a node takes the job or it waits for a slot, and prints its id.
 *
 * @returns the exit code
 */
export async function runCommand(
  connect: () => Promise<ApiClient>,
  words: readonly string[],
  options: JobOptions,
  json: boolean,
): Promise<number> {
  try {
    checkTogether(options, json);
    if (options.background === true) return await runInBackground(connect, words, options, json);
    return await runJob(connect, words, options, json);
  } catch (error) {
    return reportRefusal(error, json, options.cwd ?? shownFolder());
  }
}

function checkTogether(options: JobOptions, json: boolean): void {
  if (options.tty !== true) return;
  const other = options.background === true ? '--background' : json ? '--json' : null;
  if (other !== null) throw new MeshError('bad_argument', `--tty and ${other} exclude each other; nothing was run`);
}

/** Its stdin is empty, as of a shell's `command &`: nobody stays to pass one on. */
async function runInBackground(
  connect: () => Promise<ApiClient>,
  words: readonly string[],
  options: JobOptions,
  json: boolean,
): Promise<number> {
  const spec = jobSpecOf(words, options, false);
  const api = await connect();
  try {
    const ignore = (): void => undefined;
    const result = await api.submit(spec, { stdin: null, onStdout: ignore, onStderr: ignore }).result;
    if (json) printJson(result);
    else if (result.error === undefined) printLine(result.job_id);
    if (!json) reportEnd(result);
    return result.error === undefined ? 0 : exitCodeOf(result);
  } finally {
    api.close();
  }
}

async function runJob(
  connect: () => Promise<ApiClient>,
  words: readonly string[],
  options: JobOptions,
  json: boolean,
): Promise<number> {
  const terminal = options.tty === true ? LentTerminal.open() : null;
  const stdin = terminal === null ? stdinToPassOn() : process.stdin;
  const spec: JobSpec = { ...jobSpecOf(words, options, stdin !== null), terminal: terminal?.size ?? null };
  const api = await connect();
  const stdout = new JsonOutput();
  const stderr = new JsonOutput();
  const syncLine = new SyncLine(process.stderr);
  const reader = new Reader(() => syncLine.clear());
  const job = api.submit(spec, {
    stdin,
    onStdout: json ? (bytes) => stdout.push(bytes) : reader.writer(process.stdout),
    onStderr: json ? (bytes) => stderr.push(bytes) : reader.writer(process.stderr),
    onEvent: (event) => {
      if (!json) syncLine.onEvent(event);
      terminal?.onEvent(event);
    },
  });
  reader.onGone(() => job.cancel());
  const interrupted = cancelOnSignal(job);
  terminal?.lendTo(job);
  const expected = json || !process.stderr.isTTY ? null : expectationOf(api, spec.cwd, commandText(words));
  try {
    const result = await job.result;
    terminal?.takeBack();
    syncLine.clear();
    if (json) printJson(withOutput(result, stdout, stderr));
    else reportEnd(result);
    if (!json && interrupted() === null && !reader.isGone) reportCancellation(result);
    if (expected !== null) printSummary(result, await expected);
    if (!json)
      printChanges(addChanges(NOTHING_SEEN, result.changes, result.executed_on), spec.cwd, spec.sync?.root ?? null);
    if (reader.isGone && result.reason === 'cancelled') return signalExitCode('SIGPIPE');
    const signal = interrupted();
    return signal !== null && result.reason === 'cancelled' ? signalExitCode(signal) : exitCodeOf(result);
  } finally {
    terminal?.takeBack();
    syncLine.clear();
    api.close();
  }
}

/** Whoever reads our output. */
class Reader {
  #isGone = false;
  #onGone: () => void = () => undefined;
  readonly #beforeOutput: () => void;

  constructor(beforeOutput: () => void) {
    this.#beforeOutput = beforeOutput;
    for (const stream of [process.stdout, process.stderr]) {
      stream.on('error', () => {
        this.#isGone = true;
      });
    }
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  onGone(act: () => void): void {
    this.#onGone = act;
  }

  writer(stream: NodeJS.WriteStream): (bytes: Uint8Array) => Promise<void> {
    return async (bytes) => {
      if (this.#isGone) return;
      this.#beforeOutput();
      try {
        await writeTo(stream, bytes.slice());
      } catch {
        // As in `run … | head`: the command ends as SIGPIPE would end it.
        this.#isGone = true;
        this.#onGone();
      }
    };
  }
}

/** stdin is passed on when it is not a terminal; a closed stdin is an empty one. */
function stdinToPassOn(): NodeJS.ReadStream | null {
  if (process.stdin.isTTY) return null;
  try {
    fstatSync(0);
  } catch {
    // stdin was closed by the caller (`<&-`): the command gets an empty one.
    return null;
  }
  return process.stdin;
}

function cancelOnSignal(job: JobHandle): () => string | null {
  let first: string | null = null;
  for (const signal of CANCEL_SIGNALS) {
    process.on(signal, () => {
      if (first !== null) {
        // Asked twice: leave now; the daemon ends the job when this connection closes.
        process.exit(signalExitCode(signal));
      }
      first = signal;
      job.cancel();
    });
  }
  return () => first;
}
