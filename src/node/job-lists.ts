import type { JobId, NodeId } from '../base/ids.ts';
import { JOBS_LISTED_MAX, type JobQuestion } from '../wire/job-query.ts';
import type { JobRecord } from '../wire/job-record.ts';

/** Of a list of records as JSON: well below the frame of 1 MiB, with room for what is around it. */
const RECORDS_BYTES_MAX = 640 * 1024;
/** Jobs that have ended and are listed where not all are asked for. */
const ENDED_LISTED = 20;

/** How long `status` tells of a job whose outcome is unknown. */
const UNKNOWN_TOLD_MS = 24 * 3_600_000;

export interface RecordList {
  readonly records: JobRecord[];
  /** How many were left out. */
  readonly more: number;
}

export interface Told {
  readonly record: JobRecord;
  readonly by: NodeId;
}

export const toldBy = (by: NodeId, records: readonly JobRecord[]): Told[] => records.map((record) => ({ record, by }));

/** One of each job: what its origin tells, else what the executor of its newest attempt does; the first of equals. */
export function mergeTold(told: readonly Told[]): Told[] {
  const isOrigin = ({ record, by }: Told): boolean => record.origin_id === by;
  const best = new Map<JobId, Told>();
  for (const one of told) {
    const known = best.get(one.record.job);
    const better = known === undefined || isOrigin(one) || one.record.attempt > known.record.attempt;
    if (better && (known === undefined || !isOrigin(known))) best.set(one.record.job, one);
  }
  return [...best.values()];
}

/** The nodes that say a job was submitted at them, where there are several: one of them forges, and nobody else can tell which. */
export function contested(told: readonly Told[], self: NodeId): Map<JobId, NodeId[]> {
  const claims = new Map<JobId, NodeId[]>();
  for (const { record, by } of told) {
    if (record.origin_id === by) claims.set(record.job, [...(claims.get(record.job) ?? []), by]);
  }
  for (const [job, by] of claims) if (new Set(by).size < 2 || by.includes(self)) claims.delete(job);
  return claims;
}

/** What a node may be believed to tell of: jobs that were submitted at it or ran at it, and that it was asked for. */
export function fittingRecords(by: NodeId, question: JobQuestion, records: readonly JobRecord[]): JobRecord[] {
  const wanted = (job: JobId): boolean => {
    if (question.kind === 'list') return true;
    return question.kind === 'find' ? job.startsWith(question.prefix) : job === question.job;
  };
  const isOwn = ({ origin_id, executed_on_id }: JobRecord): boolean => origin_id === by || executed_on_id === by;
  return records.filter((record) => wanted(record.job) && isOwn(record));
}

/** Unfinished ones first, then newest first. Ids begin with the time of submission. */
export function sortRecords(records: readonly JobRecord[]): JobRecord[] {
  const rank = ({ state }: JobRecord): number => (state === 'finished' ? 1 : 0);
  return [...records].sort((a, b) => rank(a) - rank(b) || (a.job < b.job ? 1 : a.job > b.job ? -1 : 0));
}

/** Of those that have ended only the newest few, unless all are asked for; bounded in any case. */
export function listRecords(records: readonly JobRecord[], all: boolean): RecordList {
  const sorted = sortRecords(records);
  const unfinished = sorted.filter(({ state }) => state !== 'finished').length;
  const wanted = Math.min(JOBS_LISTED_MAX, all ? sorted.length : unfinished + ENDED_LISTED);
  return { records: sorted.slice(0, wanted), more: Math.max(0, sorted.length - wanted) };
}

/** As many as fit into one message. */
export function withinBytes(records: readonly JobRecord[]): RecordList {
  let bytes = 0;
  const fitting: JobRecord[] = [];
  for (const record of records) {
    bytes += Buffer.byteLength(JSON.stringify(record)) + 1;
    if (bytes > RECORDS_BYTES_MAX) break;
    fitting.push(record);
  }
  return { records: fitting, more: records.length - fitting.length };
}

/** One line for `status` on the jobs whose outcome nobody could tell lately; none where there are none. */
export function unknownEnds(records: readonly JobRecord[], wallMs: number): string[] {
  const isRecent = ({ finished_ms: atMs }: JobRecord): boolean => atMs !== null && wallMs - atMs < UNKNOWN_TOLD_MS;
  const unknown = records.filter((record) => record.reason === 'unknown' && isRecent(record));
  const [newest] = sortRecords(unknown);
  if (newest === undefined) return [];
  const jobs = unknown.length === 1 ? 'a job' : `${unknown.length} jobs`;
  return [
    `${jobs} submitted here ended with an unknown outcome within the last day, lastly ${newest.job}: it may have run, wholly or in part (\`meshwork jobs --all\`)`,
  ];
}

/** How a job ended, as the end of a sentence that begins with its id. */
export function endOf(record: JobRecord): string {
  const where = record.executed_on === null ? '' : ` on ${record.executed_on}`;
  switch (record.reason) {
    case 'exited':
      return `has ended${where}: exit code ${record.return_code}`;
    case 'signaled':
      return `has ended${where}: ${record.signal ?? 'a signal'}`;
    case 'timeout':
      return `has ended${where}: its time limit`;
    case 'cancelled':
      return `was cancelled${where}`;
    case 'refused':
      return 'was refused and never ran';
    case 'lost':
    case 'unknown':
      return `has an unknown outcome${where}: nothing of it can be reached`;
    case null:
      return 'has ended';
  }
}
