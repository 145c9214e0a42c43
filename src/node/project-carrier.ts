import type { JobId, NodeId } from '../base/ids.ts';
import type { AttemptPlace, SyncInput, SyncKey } from '../core/scheduling/origin-job.ts';
import type { JobSpec } from '../wire/job-spec.ts';
import type { Ended } from '../wire/jobs.ts';
import type { Returned } from './change-return.ts';
import type { ShippedJob } from './shipped-jobs.ts';

/** What a carrier tells the jobs that it works for. */
export interface CarrierListener {
  readonly post: (input: SyncInput) => void;
  /** What people are to be told of a job. */
  readonly notify: (job: JobId, notices: readonly string[]) => void;
}

/** Takes projects' files to the nodes where their jobs run, and changes back. */
export interface ProjectCarrier {
  /** Once, before anything else. */
  listen(listener: CarrierListener): void;
  /** See the `sync` effect. */
  begin(job: JobId, attempt: number, place: AttemptPlace, spec: JobSpec): void;
  abort(key: SyncKey): void;
  /** Null where that attempt was not sent to that node with files. */
  shippedAs(job: JobId, attempt: number, node: NodeId): ShippedJob | null;
  /** That attempt never ran: nothing of it is to come back. */
  notStarted(job: JobId, attempt: number): void;
  /** Never throws. */
  bringBack(shipped: ShippedJob, ended: Ended): Promise<Returned>;
  /** An attempt that had been given up ended after all. @returns for people, where it has changes */
  hold(job: JobId, ended: Ended): string | null;
  /** What became of the attempt there is not known. @returns for people, where its files were sent */
  lost(job: JobId, node: NodeId): readonly string[];
  /** What is under way to bring changes back is not waited for any more: they are held. */
  giveUp(job: JobId): void;
  /** The job has finished, and its journal has it. @param ranOn null: nowhere */
  finished(job: JobId, ranOn: NodeId | null): void;
}
