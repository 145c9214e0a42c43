import { fstatSync } from 'node:fs';
import { MeshError } from '../../base/errors.ts';
import type { ApiClient, JobHandle } from '../../node/api-client.ts';
import { refusalReport } from '../../node/api-refusal.ts';
import type { RunObject } from '../../node/api-types.ts';
import { EXIT_MESHWORK, exitCodeOf, signalExitCode } from './exit-code.ts';
import { jobSpecOf, type JobOptions } from './job-options.ts';
import { JsonOutput, printError, printJson, withOutput, writeTo } from './output.ts';

const CANCEL_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * `run`: streams the command's bytes as they come and ends with its exit code. Ctrl-C ends the remote tree first.
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
    return await runJob(connect, words, options, json);
  } catch (error) {
    // What never ran has a run object as well: a script reads one shape, whatever happened.
    if (json) printJson(refusalReport(error, options.cwd ?? process.cwd()));
    return reportFailure(error, false);
  }
}

async function runJob(
  connect: () => Promise<ApiClient>,
  words: readonly string[],
  options: JobOptions,
  json: boolean,
): Promise<number> {
  const stdin = stdinToPassOn();
  const spec = jobSpecOf(words, options, stdin !== null);
  const api = await connect();
  const stdout = new JsonOutput();
  const stderr = new JsonOutput();
  let readerGone = false;
  let handle: JobHandle | null = null;
  const deliver =
    (stream: NodeJS.WriteStream) =>
    async (bytes: Uint8Array): Promise<void> => {
      if (readerGone) return;
      try {
        await writeTo(stream, bytes.slice());
      } catch {
        // Whoever read our output is gone, as in `run … | head`: end the command as SIGPIPE would.
        readerGone = true;
        handle?.cancel();
      }
    };
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', () => {
      readerGone = true;
    });
  }
  const job = api.submit(spec, {
    stdin,
    onStdout: json ? (bytes) => stdout.push(bytes) : deliver(process.stdout),
    onStderr: json ? (bytes) => stderr.push(bytes) : deliver(process.stderr),
  });
  handle = job;
  const interrupted = cancelOnSignal(job);
  try {
    const result = await job.result;
    if (json) printJson(withOutput(result, stdout, stderr));
    else report(result);
    if (readerGone && result.reason === 'cancelled') return signalExitCode('SIGPIPE');
    const signal = interrupted();
    return signal !== null && result.reason === 'cancelled' ? signalExitCode(signal) : exitCodeOf(result);
  } finally {
    api.close();
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

/** What went wrong, or could mislead, goes to stderr, which is otherwise the command's own. */
function report(result: RunObject): void {
  for (const notice of result.notices) printError(notice);
  if (result.error !== undefined) printError(`${result.error.message} [${result.error.code}]`);
  else if (result.reason === 'timeout')
    printError(`the command was ended after its time limit on ${result.executed_on}`);
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

/** Every failure of meshwork itself ends here: its message on stderr (JSON on stdout with `--json`), exit 125. */
export function reportFailure(error: unknown, json: boolean): number {
  const code = error instanceof MeshError ? error.code : 'internal';
  const message = error instanceof Error ? error.message : String(error);
  if (json) printJson({ error: { code, message } });
  printError(`${message} [${code}]`);
  if (code === 'internal' && error instanceof Error && process.env['MESHWORK_DEBUG'] === '1')
    printError(error.stack ?? '');
  return EXIT_MESHWORK;
}
