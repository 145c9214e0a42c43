import { createInterface } from 'node:readline';
import { MeshError } from '../../base/errors.ts';
import type { ApiClient, JobHandle } from '../../node/api-client.ts';
import type { RunObject } from '../../node/api-types.ts';
import { mapExitCode, signalExitCode } from './exit-code.ts';
import { HeldOutput } from './held-output.ts';
import { jobSpecOf, type JobOptions } from './job-options.ts';
import { JsonOutput, printError, printJson, withOutput, writeTo } from './output.ts';

export interface MapOptions extends JobOptions {
  readonly jobs?: string;
  readonly tag?: boolean;
}

/** Jobs under way at once without `-j`: more than any small mesh has slots; the origin's queue places them late. */
const WIDTH_DEFAULT = 64;
const WIDTH_MAX = 1024;
const ARGUMENTS_MAX = 100_000;
/** Finished jobs whose turn has not come, as a multiple of the width: beyond it no new job is started. */
const AHEAD_FACTOR = 4;

/**
 * `map`: one job per argument, `{}` replaced; output grouped by job and in the order of the arguments.
 *
 * @param words the command, then `:::` and arguments; without `:::` the arguments are the lines of stdin
 * @returns 0, else the number of failed jobs up to 100, 101 above
 */
export async function mapCommand(
  connect: () => Promise<ApiClient>,
  words: readonly string[],
  options: MapOptions,
  json: boolean,
): Promise<number> {
  const separator = words.indexOf(':::');
  const command = separator < 0 ? words : words.slice(0, separator);
  const width = widthOf(options.jobs);
  // A bad option or an empty command is told before anything is read or run.
  jobSpecOf(command, options, false);
  const args = separator < 0 ? await stdinLines() : words.slice(separator + 1);
  if (args.length > ARGUMENTS_MAX)
    throw new MeshError('limit', `more than ${ARGUMENTS_MAX} arguments; nothing was run`);
  const api = await connect();
  const batch = new Batch(api, command, args, options, json, width);
  try {
    return await batch.run();
  } finally {
    api.close();
  }
}

function widthOf(text: string | undefined): number {
  if (text === undefined) return WIDTH_DEFAULT;
  const width = Number(text);
  if (Number.isInteger(width) && width >= 1 && width <= WIDTH_MAX) return width;
  throw new MeshError('bad_argument', `-j ${text}: give a whole number from 1 to ${WIDTH_MAX}; nothing was run`);
}

async function stdinLines(): Promise<string[]> {
  if (process.stdin.isTTY) {
    throw new MeshError('bad_argument', 'no arguments: give them after `:::` or as lines on stdin; nothing was run');
  }
  const lines: string[] = [];
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    if (lines.push(line) > ARGUMENTS_MAX) break;
  }
  return lines;
}

interface Entry {
  readonly arg: string;
  readonly output: { readonly stdout: HeldOutput; readonly stderr: HeldOutput };
  readonly whole: { readonly stdout: JsonOutput; readonly stderr: JsonOutput };
  readonly done: Promise<RunObject | MeshError>;
}

class Batch {
  readonly #api: ApiClient;
  readonly #command: readonly string[];
  readonly #args: readonly string[];
  readonly #options: MapOptions;
  readonly #json: boolean;
  readonly #width: number;
  readonly #handles = new Set<JobHandle>();
  readonly #entries = new Map<number, Entry>();
  #next = 0;
  #running = 0;
  #printed = 0;
  #stopped: string | null = null;

  constructor(
    api: ApiClient,
    command: readonly string[],
    args: readonly string[],
    options: MapOptions,
    json: boolean,
    width: number,
  ) {
    this.#api = api;
    this.#command = command;
    this.#args = args;
    this.#options = options;
    this.#json = json;
    this.#width = width;
  }

  async run(): Promise<number> {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => this.#stop(signal));
    for (const stream of [process.stdout, process.stderr]) stream.on('error', () => this.#stopReaderless());
    let failed = 0;
    this.#startMore();
    for (; this.#printed < this.#args.length; this.#printed++) {
      const entry = this.#entries.get(this.#printed);
      if (entry === undefined) break;
      const result = await entry.done;
      this.#entries.delete(this.#printed);
      if (result instanceof MeshError || result.success !== true) failed += 1;
      await this.#print(entry, result);
      this.#startMore();
    }
    return this.#stopped === null ? mapExitCode(failed) : signalExitCode(this.#stopped);
  }

  #stop(signal: string): void {
    if (this.#stopped !== null) process.exit(signalExitCode(signal));
    this.#stopped = signal;
    for (const handle of this.#handles) handle.cancel();
  }

  /** Nobody reads any more, as in `map … | head`: once is enough, and no haste. */
  #stopReaderless(): void {
    if (this.#stopped === null) this.#stop('SIGPIPE');
  }

  #startMore(): void {
    while (
      this.#stopped === null &&
      this.#next < this.#args.length &&
      this.#running < this.#width &&
      this.#next - this.#printed < this.#width * AHEAD_FACTOR
    ) {
      this.#entries.set(this.#next, this.#start(this.#args[this.#next] ?? ''));
      this.#next += 1;
    }
  }

  #start(arg: string): Entry {
    const output = { stdout: new HeldOutput(), stderr: new HeldOutput() };
    const whole = { stdout: new JsonOutput(), stderr: new JsonOutput() };
    const sink = this.#json ? whole : output;
    const spec = jobSpecOf(substitute(this.#command, arg), this.#options, false);
    const handle = this.#api.submit(spec, {
      stdin: null,
      onStdout: (bytes) => sink.stdout.push(bytes),
      onStderr: (bytes) => sink.stderr.push(bytes),
    });
    this.#running += 1;
    this.#handles.add(handle);
    const finished = (): void => {
      this.#running -= 1;
      this.#handles.delete(handle);
      this.#startMore();
    };
    const done = handle.result.then(
      (result) => {
        finished();
        return result;
      },
      (error: unknown) => {
        finished();
        return error instanceof MeshError ? error : new MeshError('internal', String(error), error);
      },
    );
    return { arg, output, whole, done };
  }

  async #print(entry: Entry, result: RunObject | MeshError): Promise<void> {
    if (this.#stopped === 'SIGPIPE') return;
    if (this.#json) {
      const shown =
        result instanceof MeshError
          ? { error: { code: result.code, message: result.message } }
          : withOutput(result, entry.whole.stdout, entry.whole.stderr);
      printJson({ arg: entry.arg, ...shown }, 0);
      return;
    }
    const tag = this.#options.tag === true ? `${entry.arg}\t` : '';
    await entry.output.stdout.drain(tagged(tag, process.stdout));
    await entry.output.stderr.drain(tagged(tag, process.stderr));
    if (result instanceof MeshError) return printError(`${entry.arg}: ${result.message} [${result.code}]`);
    if (result.error !== undefined) printError(`${entry.arg}: ${result.error.message} [${result.error.code}]`);
    for (const notice of result.notices) printError(`${entry.arg}: ${notice}`);
  }
}

const NEWLINE = 0x0a;

/** Writes with `tag` at the start of every line, as GNU parallel's --tag. */
function tagged(tag: string, stream: NodeJS.WriteStream): (bytes: Uint8Array) => void | Promise<void> {
  if (tag === '') return (bytes) => writeTo(stream, bytes);
  const prefix = Buffer.from(tag);
  let atLineStart = true;
  return (bytes) => {
    const parts: Uint8Array[] = [];
    for (let from = 0; from < bytes.byteLength;) {
      if (atLineStart) parts.push(prefix);
      const newline = bytes.indexOf(NEWLINE, from);
      const to = newline < 0 ? bytes.byteLength : newline + 1;
      parts.push(bytes.subarray(from, to));
      atLineStart = newline >= 0;
      from = to;
    }
    return writeTo(stream, Buffer.concat(parts));
  };
}

/** Replaces `{}`; without one the argument is added at the end. In a shell line it is quoted, in an argv it is not. */
export function substitute(command: readonly string[], arg: string): string[] {
  const [line, ...rest] = command;
  if (line !== undefined && rest.length === 0) {
    const quoted = quote(arg);
    return [line.includes('{}') ? line.replaceAll('{}', () => quoted) : `${line} ${quoted}`];
  }
  return command.some((word) => word.includes('{}'))
    ? command.map((word) => word.replaceAll('{}', () => arg))
    : [...command, arg];
}

/** One word for a POSIX shell (XCU 2.2.2). */
const quote = (text: string): string =>
  /^[A-Za-z0-9_./:@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
