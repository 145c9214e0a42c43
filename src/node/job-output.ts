import { MeshError } from '../base/errors.ts';
import type { NodeId } from '../base/ids.ts';
import type { ApiParams, ApiResults } from '../wire/api.ts';
import type { JobAnswer, LogRead } from '../wire/job-query.ts';
import type { JobRecord } from '../wire/job-record.ts';
import { STREAM_WINDOW_BYTES, type StreamMux } from '../wire/stream-mux.ts';
import { errorOf, pause, UNREACHABLE_MS_MAX, type JobDirectory } from './job-directory.ts';
import type { JobQuestions } from './job-questions.ts';
import type { OutputSink, SourceEnd } from './output-sink.ts';
import { errorAnswer, type OwnJobs } from './own-jobs.ts';

const LOOK_AGAIN_MS = 300;

export interface JobOutputOptions {
  readonly self: () => NodeId;
  readonly own: OwnJobs;
  readonly directory: JobDirectory;
  readonly questions: JobQuestions;
  /** The streams of the link to a node; null where none is up. */
  readonly muxOf: (node: NodeId) => StreamMux | null;
}

type LogsParams = Omit<ApiParams<'logs'>, 'stream_id' | 'window_bytes'>;
type LogsResult = ApiResults['logs'];

/** Output of jobs of the whole mesh, read where their newest attempt runs or ran. */
export class JobOutput {
  readonly #options: JobOutputOptions;

  constructor(options: JobOutputOptions) {
    this.#options = options;
  }

  /**
   * Sends output into `sink`, up to the first gap, and leaves it open. Over the link that follows a lost one the read goes on
   * where it was; without `follow` that link has to come at once. Where the job is run again, the answer says so.
   *
   * @throws MeshError as JobDirectory.find, and `offset_out_of_range`, `job_unreachable`, `io`
   */
  async read(params: LogsParams, sink: OutputSink, signal: AbortSignal): Promise<LogsResult> {
    const { offset, follow } = params;
    if (offset < 0) {
      throw new MeshError('offset_out_of_range', `offset ${offset} is negative: bytes count from 0; nothing was read`);
    }
    let record = await this.#options.directory.find(params.job, signal);
    let { attempt } = params;
    let position = offset;
    let silentSinceMs: number | null = null;
    let hasRead = false;
    for (;;) {
      record = await this.#started(record, follow, signal);
      attempt ??= record.attempt;
      const where = { job: record.job, attempt, run_again: null };
      if (!hasBegun(record)) return { ...nothing(record, offset), ...where };
      if (record.attempt > attempt && follow) {
        return { from: offset, next_offset: 0, ended: false, ...where, run_again: record.attempt };
      }
      const before = sink.bytes;
      const wasLinked = this.#isLinked(record);
      const answer = await this.#readAt(record, { ...params, attempt, offset: position }, sink, signal);
      const read = answer.kind === 'read' ? answer.read : emptyOf(answer, record, position);
      hasRead ||= read !== null || sink.bytes > before;
      if (read !== null) {
        const from = position === offset ? read.from : offset;
        const reached = Math.max(position, read.from) + sink.bytes - before;
        const isGap = read.next_offset > reached || read.from > position;
        if (read.ended || !follow || isGap) return { ...read, from, ...where };
      }
      position += sink.bytes - before;
      if (signal.aborted) return { from: offset, next_offset: position, ended: false, ...where };
      if (answer.kind === 'error' && read === null) {
        const isAway = answer.code === 'job_unreachable';
        // Unless it had ended and was never in reach.
        const isWorthWaiting = follow && (hasRead || record.state !== 'finished');
        if (!isAway || !(isWorthWaiting || wasLinked || this.#isRelinking(record))) throw errorOf(answer);
      }
      silentSinceMs = read === null ? (silentSinceMs ?? performance.now()) : null;
      if (silentSinceMs !== null && performance.now() - silentSinceMs > UNREACHABLE_MS_MAX) {
        throw outOfReach(record, position);
      }
      await pause(LOOK_AGAIN_MS, signal);
      record = await this.#refresh(record, signal);
    }
  }

  /** With `follow`, waits until an attempt has begun. Otherwise, and where there will be none, the job as it is. */
  async #started(record: JobRecord, follow: boolean, signal: AbortSignal): Promise<JobRecord> {
    let current = record;
    if (!follow) return current;
    while (!hasBegun(current) && current.state !== 'finished' && !signal.aborted) {
      current = await this.#options.directory.wait(current.job, LOOK_AGAIN_MS, signal);
    }
    return current;
  }

  async #refresh(record: JobRecord, signal: AbortSignal): Promise<JobRecord> {
    try {
      return await this.#options.directory.find(record.job, signal);
    } catch (error) {
      // Nobody in reach knows it for now: what was known is all there is.
      if (error instanceof MeshError && error.code === 'job_unknown') return record;
      throw error;
    }
  }

  #isLinked({ executed_on_id: node }: JobRecord): boolean {
    return node !== null && this.#options.muxOf(node) !== null;
  }

  #isRelinking({ executed_on_id: node }: JobRecord): boolean {
    return node !== null && this.#options.questions.isRelinking(node);
  }

  async #readAt(
    record: JobRecord,
    params: LogsParams & { readonly attempt: number },
    sink: OutputSink,
    signal: AbortSignal,
  ): Promise<JobAnswer> {
    const { self, own, questions, muxOf } = this.#options;
    const { executed_on_id: node } = record;
    const { attempt, stream, offset, follow } = params;
    const what = { job: record.job, attempt, stream, offset, follow };
    if (node === null || attempt !== record.attempt) {
      return errorAnswer('job_unknown', `there is no output of attempt ${attempt} of job ${record.job}`);
    }
    if (node === self()) return own.read(what, sink);
    const mux = muxOf(node);
    if (mux === null) {
      const text = `${record.executed_on ?? 'the node'}, where job ${record.job} ran, is out of reach, and its output is there`;
      return errorAnswer('job_unreachable', text);
    }
    const streamId = mux.nextId();
    const taking = sink.take(mux, streamId);
    const given = new AbortController();
    const giveUp = (): void => given.abort();
    signal.addEventListener('abort', giveUp);
    void stopWhenGone(taking.done, giveUp);
    try {
      const question = { kind: 'read', ...what, stream_id: streamId, window_bytes: STREAM_WINDOW_BYTES } as const;
      const answer = await questions.ask(node, question, null, given.signal);
      // A refusal has no stream; what was read comes on another socket than the answer.
      if (answer.kind === 'error') taking.stop();
      const how = await taking.done;
      if (answer.kind === 'read' && how === 'lost') return errorAnswer('job_unreachable', 'the link was lost');
      return answer;
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
  }
}

async function stopWhenGone(done: Promise<SourceEnd>, giveUp: () => void): Promise<void> {
  if ((await done) === 'gone') giveUp();
}

/** While its files travel and its dependencies are made there, a job has a node, and no attempt of its own there yet. */
const hasBegun = ({ executed_on_id: node, attempt, state }: JobRecord): boolean =>
  node !== null && attempt > 0 && state !== 'syncing' && state !== 'preparing';

function outOfReach(record: JobRecord, position: number): MeshError {
  const text = `${record.executed_on ?? 'its node'}, where job ${record.job} runs, has been out of reach for ${UNREACHABLE_MS_MAX / 1000} s; read on later from offset ${position}`;
  return new MeshError('job_unreachable', text);
}

/** Of a job that has no output to read. */
function nothing(record: JobRecord, offset: number): LogRead {
  if (offset > 0) {
    const text = `offset ${offset} is past the end: job ${record.job} has written nothing; nothing was read`;
    throw new MeshError('offset_out_of_range', text);
  }
  return { from: 0, next_offset: 0, ended: record.state === 'finished' };
}

/** An executor that does not know the attempt: it is about to start it, or nothing was written and so nothing kept. */
function emptyOf(answer: JobAnswer, record: JobRecord, offset: number): LogRead | null {
  if (answer.kind !== 'error' || answer.code !== 'job_unknown' || offset > 0) return null;
  const finished = record.state === 'finished';
  if (finished && record.stdout_bytes + record.stderr_bytes > 0) return null;
  return { from: 0, next_offset: 0, ended: finished };
}
