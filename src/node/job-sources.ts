import type { JobId } from '../base/ids.ts';
import type { ReadEnd } from '../ports/runner.ts';
import type { LogStream } from '../wire/job-query.ts';
import type { JobRecord } from '../wire/job-record.ts';
import type { OutputSink } from './output-sink.ts';

/** What a node knows of jobs by itself; `JobDirectory` makes one view of the mesh of it. */

/** Jobs that were submitted at this node, those that have ended and are still kept included. */
export interface OriginJobs {
  /** Newest first. */
  records(): readonly JobRecord[];
  /** Those whose ids begin so. */
  find(prefix: string): readonly JobRecord[];
  /** When a job whose id begins so was dropped, wall clock in milliseconds; null where none was, or nobody remembers. */
  droppedAt(prefix: string): number | null;
  /**
   * Settles when it has finished, `waitMs` have passed or nobody waits any more, with the job as it is then; null where it is
   * unknown. Earlier where too many wait.
   */
  wait(job: JobId, waitMs: number, signal?: AbortSignal): Promise<JobRecord | null>;
  /** The job that this one was submitted from within; null where none was, or it is unknown. */
  parentOf(job: JobId): JobId | null;
  /** Asks for its end. @returns false where it is unknown or has finished */
  cancel(job: JobId): boolean;
}

/** Jobs of which an attempt runs here, or ran here and is still kept. */
export interface ExecutorJobs {
  /** Those whose ids begin so, as far as an executor knows them; of several attempts here the newest. */
  records(prefix: string): readonly JobRecord[];
  droppedAt(prefix: string): number | null;
  /** Ends its tree, whoever is its origin. @returns false where no attempt of it runs here */
  cancel(job: JobId): boolean;
}

export interface OutputRequest {
  readonly job: JobId;
  readonly attempt: number;
  readonly stream: LogStream;
  readonly offset: number;
  readonly follow: boolean;
}

/** Output logs of attempts that ran here. */
export interface OwnOutput {
  /** Sends them into `sink`, which is left open, and holds nobody back. Ends early where the sink's reader is gone. */
  read(request: OutputRequest, sink: OutputSink): Promise<ReadEnd>;
}
