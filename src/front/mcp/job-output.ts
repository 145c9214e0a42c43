import { MS_PER_SECOND } from '../../base/units.ts';
import type { JobRecord, LogStream } from '../../node/api-types.ts';
import type { DaemonApi } from './daemon-connection.ts';
import { jobFacts, jobNotices } from './job-facts.ts';
import { LOOK_AGAIN_MS, Reading, readOutput, type Piece } from './job-reading.ts';
import { RESULT_CHARS_MAX } from './run-report.ts';
import { jsonChars, shown } from './shown-text.ts';
import type { JsonDocument } from './tool.ts';

/** Between the end of a job's output and the record of its end lies the way to its origin. */
const END_WAIT_MS_MAX = 2000;
/** The longest notices and `next` that are added to a document whose room was shared out. */
const SLACK_CHARS = 1500;

export interface OutputWish {
  readonly job: string;
  readonly offset: number;
  readonly stream: LogStream;
  readonly waitS: number;
  readonly bytesMax: number;
  /** What to wait for in the next call. */
  readonly usualS: number;
  readonly signal: AbortSignal;
}

/**
 * The document of `job_output`: output from an offset on, where to read on, and the job as it is then.
 *
 * @throws MeshError `job_unknown`, `job_ambiguous`, `job_expired`, `job_unreachable`, `offset_out_of_range`
 */
export async function outputDocument(api: DaemonApi, wish: OutputWish): Promise<JsonDocument> {
  const deadlineMs = performance.now() + wish.waitS * MS_PER_SECOND;
  const { job, attempts } = await startedOrDue(api, wish, deadlineMs);
  const waitMs = Math.max(0, deadlineMs - performance.now());
  const reading = attempts === 0 ? new Reading(0) : await readOutput(api, { ...wish, job, waitMs });
  const record = await recordAfter(api, job, reading.hasEnded);
  const facts = jobFacts(record);
  const room = RESULT_CHARS_MAX - jsonChars(facts) - jsonChars(jobNotices(record)) - SLACK_CHARS;
  const piece = reading.piece(wish.bytesMax, room);
  const next = nextCall(record, piece, wish);
  return {
    notices: jobNotices(record, pieceNotices(piece, wish)),
    stream: wish.stream,
    offset: piece.offset,
    next_offset: piece.runAgain === null ? piece.nextOffset : 0,
    at_end: piece.isEnd,
    output: shown(piece.text),
    ...facts,
    ...(next === null ? {} : { next }),
  };
}

/** A job that waits for a slot has no output yet: the wait for its start counts. */
async function startedOrDue(api: DaemonApi, wish: OutputWish, deadlineMs: number): Promise<JobRecord> {
  let record = await api.call('job', { job: wish.job });
  for (;;) {
    const leftMs = deadlineMs - performance.now();
    if (record.attempts > 0 || record.state === 'finished' || leftMs <= 0 || wish.signal.aborted) return record;
    record = await api.call('wait', { job: record.job, wait_ms: Math.ceil(Math.min(LOOK_AGAIN_MS, leftMs)) });
  }
}

async function recordAfter(api: DaemonApi, job: string, hasEnded: boolean): Promise<JobRecord> {
  return hasEnded ? api.call('wait', { job, wait_ms: END_WAIT_MS_MAX }) : api.call('job', { job });
}

function pieceNotices(piece: Piece, wish: OutputWish): string[] {
  const gaps = piece.gaps.map(
    ({ from, to }) =>
      `bytes ${from} to ${to} of ${wish.stream} were dropped: the job wrote more than is kept (jobs.output_max_bytes)`,
  );
  if (piece.runAgain !== null) {
    return [...gaps, `the command was run again: its output starts anew at offset 0 (attempt ${piece.runAgain})`];
  }
  return piece.attempt > 1
    ? [...gaps, `this is the output of attempt ${piece.attempt}; offsets count within it`]
    : gaps;
}

/** What to call for the rest; null where there is none. */
function nextCall(record: JobRecord, piece: Piece, wish: OutputWish): string | null {
  const offset = piece.runAgain === null ? piece.nextOffset : 0;
  const call = `job_output with job_id "${record.job}", stream "${wish.stream}", offset ${offset}`;
  if (record.state !== 'finished') {
    return `It goes on; do not start it again. ${call} and wait_s ${wish.usualS} for what follows and for its end.`;
  }
  return piece.isEnd || record.attempts === 0 ? null : `There is more output: ${call}.`;
}
