import { unreachable } from '../base/assert.ts';
import type { NodeId } from '../base/ids.ts';
import type { ReadEnd } from '../ports/runner.ts';
import type { JobAnswer, JobQuestion } from '../wire/job-query.ts';
import type { JobRecord } from '../wire/job-record.ts';
import { endOf, listRecords, mergeTold, sortRecords, toldBy, withinBytes } from './job-lists.ts';
import type { ExecutorJobs, OriginJobs, OwnOutput } from './job-sources.ts';
import type { OutputSink } from './output-sink.ts';

export type ReadQuestion = Extract<JobQuestion, { kind: 'read' }>;
export type PlainQuestion = Exclude<JobQuestion, ReadQuestion>;

export interface OwnJobsOptions {
  readonly origin: OriginJobs;
  readonly executor: ExecutorJobs;
  readonly output: OwnOutput;
  readonly self: () => NodeId;
  readonly nodeName: string;
}

/** Answers what anybody, this node itself included, asks of the jobs that were submitted or run here. */
export class OwnJobs {
  readonly #options: OwnJobsOptions;

  constructor(options: OwnJobsOptions) {
    this.#options = options;
  }

  /** @param signal nobody waits for the answer any more */
  async answer(question: PlainQuestion, signal: AbortSignal): Promise<JobAnswer> {
    const { origin, executor } = this.#options;
    switch (question.kind) {
      case 'list':
        return recordsAnswer(listRecords(this.#merged(origin.records(), ''), question.all));
      case 'find': {
        const records = sortRecords(this.#merged(origin.find(question.prefix), question.prefix));
        const droppedMs = origin.droppedAt(question.prefix) ?? executor.droppedAt(question.prefix);
        return { ...recordsAnswer({ records, more: 0 }), dropped_ms: records.length > 0 ? null : droppedMs };
      }
      case 'wait': {
        const record = await origin.wait(question.job, question.wait_ms, signal);
        return record === null ? this.#unknown(question.job) : recordsAnswer({ records: [record], more: 0 });
      }
      case 'cancel':
        return this.#cancel(question.job);
      default:
        return unreachable(question);
    }
  }

  /** Sends output into `sink`, which is left open. */
  async read(
    question: Omit<ReadQuestion, 'kind' | 'stream_id' | 'window_bytes'>,
    sink: OutputSink,
  ): Promise<JobAnswer> {
    const { job, attempt, stream, offset, follow } = question;
    const end = await this.#options.output.read({ job, attempt, stream, offset, follow }, sink);
    if (end.ok) return { kind: 'read', read: { from: end.from, next_offset: end.next_offset, ended: end.ended } };
    return this.#readFailure(end, question);
  }

  #cancel(job: Extract<JobQuestion, { kind: 'cancel' }>['job']): JobAnswer {
    const { origin, executor } = this.#options;
    const [record] = this.#merged(origin.find(job), job);
    if (origin.cancel(job) || executor.cancel(job)) {
      return recordsAnswer({ records: record === undefined ? [] : [record], more: 0 });
    }
    if (record === undefined) return this.#unknown(job);
    return errorAnswer('job_finished', `job ${job} ${endOf(record)}; nothing was done`);
  }

  #readFailure(
    end: Extract<ReadEnd, { ok: false }>,
    { job, attempt, stream, offset }: Pick<ReadQuestion, 'job' | 'attempt' | 'stream' | 'offset'>,
  ): JobAnswer {
    const what = stream === 'merged' ? 'the output' : stream;
    switch (end.kind) {
      case 'past_end': {
        const size = `${what} of job ${job} has ${end.end} ${end.end === 1 ? 'byte' : 'bytes'}`;
        return errorAnswer('offset_out_of_range', `offset ${offset} is past the end: ${size}; nothing was read`);
      }
      case 'io':
        return errorAnswer('io', `${what} of job ${job} can't be read at ${this.#options.nodeName}: ${end.message}`);
      case 'unknown':
        return errorAnswer(
          'job_unknown',
          `${this.#options.nodeName} keeps no output of job ${job}, attempt ${attempt}`,
        );
    }
  }

  #merged(asOrigin: readonly JobRecord[], prefix: string): JobRecord[] {
    const asExecutor = this.#options.executor.records(prefix);
    return mergeTold(toldBy(this.#options.self(), [...asOrigin, ...asExecutor])).map(({ record }) => record);
  }

  #unknown(job: string): JobAnswer {
    return errorAnswer('job_unknown', `${this.#options.nodeName} knows no job ${job}`);
  }
}

export const errorAnswer = (code: string, message: string): JobAnswer => ({ kind: 'error', code, message });

function recordsAnswer(list: ReturnType<typeof listRecords>): Extract<JobAnswer, { kind: 'records' }> {
  const { records, more } = withinBytes(list.records);
  return { kind: 'records', records, more: more + list.more, dropped_ms: null };
}
