import { MeshError, systemCodeOf } from '../../base/errors.ts';
import type { ApiClient } from '../../node/api-client.ts';
import type { LogStream } from '../../node/api-types.ts';
import { signalExitCode } from './exit-code.ts';
import { printError, printJson, writeTo } from './output.ts';
import { standingOf } from './record-view.ts';
import { wholeCharsBytes } from './utf8-cut.ts';

export interface LogsOptions {
  readonly follow?: boolean;
  readonly sinceOffset?: string;
  readonly stream?: string;
}

interface Reader {
  readonly onBytes: (bytes: Uint8Array) => void | Promise<void>;
  readonly onGap: (from: number, to: number) => void;
  readonly onAttempt: (attempt: number) => void;
}

/**
 * `logs`: a job's output from an offset on, byte for byte on stdout; with `--json` as JSON Lines. Ctrl-C leaves the job
 * alone.
 */
export async function logsCommand(
  connect: () => Promise<ApiClient>,
  job: string,
  options: LogsOptions,
  json: boolean,
): Promise<number> {
  const stream = streamOf(options.stream);
  const offset = offsetOf(options.sinceOffset);
  const api = await connect();
  const lines = json ? new LogLines(stream, offset) : null;
  const request = { job, stream, offset, follow: options.follow === true };
  process.stdout.on('error', () => process.exit(signalExitCode('SIGPIPE')));
  try {
    if (lines === null && process.stderr.isTTY) await sayWhatItWaitsFor(api, job);
    const read = await api.logs(request, lines ?? plain(stream));
    lines?.end(read);
    return 0;
  } catch (error) {
    // As in `logs … | head`.
    if (systemCodeOf(error) === 'EPIPE') return signalExitCode('SIGPIPE');
    throw error;
  } finally {
    api.close();
  }
}

/** Of a job that has not begun there is no output yet: says on the terminal what it does. */
async function sayWhatItWaitsFor(api: ApiClient, job: string): Promise<void> {
  const record = await api.call('job', { job });
  if (record.state === 'finished' || record.state === 'running') return;
  printError(`not running yet: ${standingOf(record)}${record.detail === '' ? '' : ` (${record.detail})`}`);
}

function plain(stream: LogStream): Reader {
  return {
    onBytes: (bytes) => writeTo(process.stdout, bytes.slice()),
    onGap: (from, to) => printError(gapText(stream, from, to)),
    onAttempt: (attempt) =>
      printError(`the command was run again: what follows is the output of attempt ${attempt}, from offset 0`),
  };
}

const gapText = (stream: LogStream, from: number, to: number): string =>
  `bytes ${from} to ${to} of ${stream === 'merged' ? 'the output' : stream} were dropped: the job wrote more than is kept (jobs.output_max_bytes)`;

/** The same as JSON Lines: `{offset, bytes, text}`, `{gap}`, `{attempt}`, and last `{job_id, next_offset, ended}`. */
class LogLines implements Reader {
  readonly #stream: LogStream;
  #offset: number;
  /** The beginning of a character whose rest has not come. */
  #rest: Uint8Array = new Uint8Array(0);

  constructor(stream: LogStream, offset: number) {
    this.#stream = stream;
    this.#offset = offset;
  }

  readonly onBytes = (bytes: Uint8Array): void => {
    const all = Buffer.concat([this.#rest, bytes]);
    const whole = wholeCharsBytes(all);
    this.#rest = all.subarray(whole);
    this.#print(all.subarray(0, whole));
  };

  readonly onGap = (from: number, to: number): void => {
    this.#flush();
    printJson({ stream: this.#stream, gap: { from, to } }, 0);
    this.#offset = to;
  };

  readonly onAttempt = (attempt: number): void => {
    this.#flush();
    printJson({ stream: this.#stream, attempt }, 0);
    this.#offset = 0;
  };

  end(read: {
    readonly job: string;
    readonly attempt: number;
    readonly next_offset: number;
    readonly ended: boolean;
  }): void {
    this.#flush();
    const { job, attempt, next_offset: next, ended } = read;
    printJson({ job_id: job, attempt, stream: this.#stream, next_offset: next, ended }, 0);
  }

  #flush(): void {
    const rest = this.#rest;
    this.#rest = new Uint8Array(0);
    this.#print(rest);
  }

  #print(bytes: Uint8Array): void {
    if (bytes.byteLength === 0) return;
    const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
    if (!printJson({ stream: this.#stream, offset: this.#offset, bytes: bytes.byteLength, text }, 0))
      process.exit(signalExitCode('SIGPIPE'));
    this.#offset += bytes.byteLength;
  }
}

function streamOf(text: string | undefined): LogStream {
  if (text === undefined || text === 'merged') return 'merged';
  if (text === 'stdout' || text === 'stderr') return text;
  throw new MeshError(
    'bad_argument',
    `--stream ${text}: give stdout or stderr; without it both come as they were written`,
  );
}

function offsetOf(text: string | undefined): number {
  if (text === undefined) return 0;
  const offset = Number(text);
  if (!/^[+-]?\d+$/.test(text) || !Number.isSafeInteger(offset))
    throw new MeshError('bad_argument', `--since-offset ${text}: give a number of bytes`);
  if (offset < 0)
    throw new MeshError('offset_out_of_range', `--since-offset ${text}: bytes count from 0; nothing was read`);
  return offset;
}
