import { z } from 'zod';
import { jobRecordSchema, wallMsSchema } from './job-record.ts';
import { ATTEMPTS_MAX, jobIdSchema } from './jobs.ts';
import { STREAM_CREDIT_BYTES_MAX } from './stream-mux.ts';

/**
 * What any member asks another of its jobs, on the control socket of their link: `jobs`, `logs`, `wait` and `cancel` from
 * a third node. Only members with the role `submit` or `admin` are answered. Output goes over the bulk socket.
 */
export const JOBS_LISTED_MAX = 500;
/** Of a job id that people type, upper case. */
const prefix = z.string().regex(/^[0-9A-HJKMNP-TV-Z]{4,26}$/);
const streamId = z.int().min(1).max(0x7fff_ffff);
/** `merged`: both, in the order in which they were read from the pipes. */
export const LOG_STREAMS = ['stdout', 'stderr', 'merged'] as const;
export type LogStream = (typeof LOG_STREAMS)[number];

export const jobQuestionSchema = z.discriminatedUnion('kind', [
  /** Answer: `records`, as origin or executor, unfinished ones first, then newest first; not `all`: of the ended ones few. */
  z.strictObject({ kind: z.literal('list'), all: z.boolean() }),
  /** Answer: `records` whose ids begin so, as origin or as executor; `dropped` where it is gone. */
  z.strictObject({ kind: z.literal('find'), prefix }),
  /** To the origin. Answer: `records` with the job, once it has finished or `wait_ms` have passed. */
  z.strictObject({ kind: z.literal('wait'), job: jobIdSchema, wait_ms: z.int().min(0).max(60_000) }),
  /** To the origin, or to an executor whose origin is out of reach. Answer: `records` with the job. */
  z.strictObject({ kind: z.literal('cancel'), job: jobIdSchema }),
  /** To an executor: bytes of an attempt from `offset` on, into `stream_id` of the asker; the answer comes at its end. */
  z.strictObject({
    kind: z.literal('read'),
    job: jobIdSchema,
    attempt: z.int().min(1).max(ATTEMPTS_MAX),
    stream: z.enum(LOG_STREAMS),
    offset: z.int().nonnegative(),
    /** Until the attempt ends, instead of what there is now. */
    follow: z.boolean(),
    stream_id: streamId,
    window_bytes: z.int().positive().max(STREAM_CREDIT_BYTES_MAX),
  }),
]);
export type JobQuestion = z.infer<typeof jobQuestionSchema>;

/**
 * How a read went. It ends at a gap; one that begins in a gap ends at once, with `from` and `next_offset` behind the gap.
 * `from` is behind `offset` where the bytes between were dropped to keep the log within its bound.
 */
export const logReadSchema = z.strictObject({
  from: z.int().nonnegative(),
  /** Read on from here; behind `from` + what came where a gap follows. */
  next_offset: z.int().nonnegative(),
  /** The attempt has ended and nothing follows `next_offset`. */
  ended: z.boolean(),
});
export type LogRead = z.infer<typeof logReadSchema>;

export const jobAnswerSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('records'),
    records: z.array(jobRecordSchema).max(JOBS_LISTED_MAX),
    /** Records that were left out. */
    more: z.int().nonnegative(),
    /** Of a job that was dropped: when, on the answering node's wall clock. */
    dropped_ms: wallMsSchema.nullable(),
  }),
  z.strictObject({ kind: z.literal('read'), read: logReadSchema }),
  z.strictObject({ kind: z.literal('error'), code: z.string().max(64), message: z.string().max(2000) }),
]);
export type JobAnswer = z.infer<typeof jobAnswerSchema>;

const id = z.int().positive();
export const queryMessageSchema = z.discriminatedUnion('t', [
  z.strictObject({ t: z.literal('query.ask'), id, question: jobQuestionSchema }),
  z.strictObject({ t: z.literal('query.answer'), id, answer: jobAnswerSchema }),
  /** The asker has gone: a `wait` or a followed `read` is given up. */
  z.strictObject({ t: z.literal('query.drop'), id }),
]);
export type QueryMessage = z.infer<typeof queryMessageSchema>;
