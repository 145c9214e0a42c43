import { MeshError } from '../../base/errors.ts';
import { MS_PER_SECOND } from '../../base/units.ts';
import type { JobRecord, LogStream } from '../../node/api-types.ts';
import type { DaemonApi } from './daemon-connection.ts';
import { jobFacts, jobNotices } from './job-facts.ts';
import { readOutput, type Piece, type Reading } from './job-reading.ts';
import { RESULT_CHARS_MAX } from './run-report.ts';
import { jsonChars, shown } from './shown-text.ts';
import type { JsonDocument } from './tool.ts';

/** Between the end of a job's output and the record of its end lies the way to its origin. */
const END_WAIT_MS_MAX = 2000;
/** The longest notices and `next` that are added to a document whose room was shared out. */
const SLACK_CHARS = 1500;

/** What the node that kept the output is asked in vain for. */
const WITHOUT_OUTPUT: ReadonlySet<string> = new Set(['job_unknown', 'job_expired', 'job_unreachable', 'io']);

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
  const reading = await readOutput(api, { ...wish, waitMs: wish.waitS * MS_PER_SECOND });
  const record = await recordAfter(api, reading);
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

/**
 * The document of a job whose output cannot be read, where the job itself is known.
 *
 * @param why what reading it was refused with
 * @throws what it was given where nothing is known of the job
 */
export async function outputless(api: DaemonApi, wish: OutputWish, why: unknown): Promise<JsonDocument> {
  if (!(why instanceof MeshError) || !WITHOUT_OUTPUT.has(why.code)) throw why;
  let record: JobRecord;
  try {
    record = await api.call('job', { job: wish.job });
  } catch (error) {
    // The same is not known twice: the first answer is about what was asked for.
    throw error instanceof MeshError && error.code === 'lost' ? error : why;
  }
  return {
    notices: jobNotices(record),
    stream: wish.stream,
    offset: wish.offset,
    next_offset: wish.offset,
    at_end: false,
    output: '',
    ...jobFacts(record),
    error: { code: why.code, message: shown(why.message) },
  };
}

function recordAfter(api: DaemonApi, { job, hasEnded }: Reading): Promise<JobRecord> {
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
