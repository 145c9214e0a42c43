import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { MeshError, messageOf } from '../../base/errors.ts';
import { formatSize, MIB, MS_PER_SECOND } from '../../base/units.ts';
import type { RunObject } from '../../node/api-types.ts';
import { EXIT_MESHWORK, exitCodeOf } from './exit-code.ts';

/** The format of GNU parallel's `--joblog`, so that what reads those logs reads ours. */
const HEADER = 'Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand';
const COLUMNS = HEADER.split('\t').length;
const RUNTIME_WIDTH = 10;
/** 100,000 jobs with commands of 1,000 characters are 105 MB. */
const JOBLOG_BYTES_MAX = 256 * MIB;

/** One job that ended. */
export interface JoblogEntry {
  /** From 1, in the order of the arguments. */
  readonly seq: number;
  /** The node's name, or `:` where it ran nowhere. */
  readonly host: string;
  /** Wall clock, milliseconds since 1970. */
  readonly startMs: number;
  readonly runtimeMs: number;
  readonly receivedBytes: number;
  /** 0 where a signal ended it. */
  readonly exitCode: number;
  readonly signal: number;
  readonly command: string;
}

/** What an earlier run left of one job: its last line counts. */
export interface JoblogOutcome {
  readonly succeeded: boolean;
  readonly command: string;
}

/** One line, without the newline. Newlines of a command are NUL bytes, as GNU parallel has them. */
export function joblogLine(entry: JoblogEntry): string {
  const start = (entry.startMs / MS_PER_SECOND).toFixed(3);
  const runtime = (entry.runtimeMs / MS_PER_SECOND).toFixed(3).padStart(RUNTIME_WIDTH);
  const command = entry.command.replaceAll('\n', '\0');
  return [entry.seq, entry.host, start, runtime, 0, entry.receivedBytes, entry.exitCode, entry.signal, command].join(
    '\t',
  );
}

/** How a job ended, in the log's two columns: a signal has an exit value of 0, and what meshwork ended one of TERM. */
export function joblogEnd(result: RunObject | MeshError): { readonly exitCode: number; readonly signal: number } {
  if (result instanceof MeshError) return { exitCode: EXIT_MESHWORK, signal: 0 };
  if (result.reason === 'cancelled') return { exitCode: 0, signal: constants.signals.SIGTERM };
  const numbers: Readonly<Record<string, number>> = constants.signals;
  const signal = result.reason === 'signaled' && result.signal !== null ? (numbers[result.signal] ?? 0) : 0;
  return signal > 0 ? { exitCode: 0, signal } : { exitCode: exitCodeOf(result), signal: 0 };
}

/**
 * Reads a joblog, ours or GNU parallel's. A last line that was cut short is left out.
 *
 * @returns what is known of each job by its number, and how many bytes of the text are whole lines
 * @throws MeshError `bad_argument` where it is none
 */
export function parseJoblog(text: string, path: string): { jobs: Map<number, JoblogOutcome>; wholeChars: number } {
  const jobs = new Map<number, JoblogOutcome>();
  const wholeChars = text.lastIndexOf('\n') + 1;
  const [header = '', ...lines] = text.slice(0, wholeChars).split('\n');
  if (header !== HEADER && text !== '') {
    const remedy = 'nothing was run and the file is as it was: give another file, or remove this one';
    throw new MeshError('bad_argument', `--joblog ${path} is there and is no joblog; ${remedy}`);
  }
  for (const [index, line] of lines.entries()) {
    if (line === '') continue;
    const fields = line.split('\t');
    const [seq, exitCode, signal] = [fields[0], fields[6], fields[7]].map(Number);
    if (seq === undefined || !Number.isInteger(seq) || seq < 1 || fields.length < COLUMNS) {
      const remedy = 'nothing was run: correct or remove that line';
      throw new MeshError('bad_argument', `--joblog ${path}, line ${index + 2}: not the line of a joblog; ${remedy}`);
    }
    const command = fields
      .slice(COLUMNS - 1)
      .join('\t')
      .replaceAll('\0', '\n');
    jobs.set(seq, { succeeded: exitCode === 0 && signal === 0, command });
  }
  return { jobs, wholeChars };
}

/** The open log of one `map`. */
export class Joblog {
  /** What earlier runs left, where this one resumes them; else empty. */
  readonly earlier: ReadonlyMap<number, JoblogOutcome>;
  readonly #path: string;
  readonly #fd: number;

  private constructor(path: string, fd: number, earlier: ReadonlyMap<number, JoblogOutcome>) {
    this.#path = path;
    this.#fd = fd;
    this.earlier = earlier;
  }

  /**
   * Opens the log. Without `resume` it starts anew, as GNU parallel's does, but a file that is no joblog is not touched.
   *
   * @throws MeshError `bad_argument`, `limit`, `io`; nothing was run then
   */
  static open(path: string, resume: boolean): Joblog {
    let fd: number | null = null;
    try {
      fd = openSync(path, 'a+', 0o666);
      const { size } = fstatSync(fd);
      if (size > JOBLOG_BYTES_MAX) {
        const most = formatSize(JOBLOG_BYTES_MAX);
        throw new MeshError('limit', `--joblog ${path} is larger than ${most}; nothing was run: give another file`);
      }
      const text = size === 0 ? '' : readFileSync(path, 'utf8');
      const { jobs, wholeChars } = parseJoblog(text, path);
      // A line that was cut short when its writer was killed would swallow the next one.
      const kept = resume ? text.slice(0, wholeChars) : '';
      ftruncateSync(fd, Buffer.byteLength(kept));
      if (kept === '') writeSync(fd, `${HEADER}\n`);
      return new Joblog(path, fd, resume ? jobs : new Map());
    } catch (error) {
      if (fd !== null) closeSync(fd);
      if (error instanceof MeshError) throw error;
      throw new MeshError('io', `--joblog ${path}: ${messageOf(error)}; nothing was run`, error);
    }
  }

  /** Throws MeshError `io` where the disk does not take it. */
  append(entry: JoblogEntry): void {
    try {
      writeSync(this.#fd, `${joblogLine(entry)}\n`);
    } catch (error) {
      throw new MeshError('io', `--joblog ${this.#path}: ${messageOf(error)}`, error);
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}
