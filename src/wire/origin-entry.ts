import { z } from 'zod';
import { isLeaseId, type LeaseId } from '../base/ids.ts';
import { jobRecordSchema } from './job-record.ts';
import { ATTEMPTS_MAX, jobIdSchema } from './jobs.ts';
import { jobSpecSchema, PATH_CHARS_MAX } from './job-spec.ts';
import { nodeIdSchema } from './trust.ts';

/**
 * What an origin keeps of its jobs in `MESHWORK_HOME/jobs/origin.journal`, one entry a line. Entries of a job that no
 * earlier `open` or `finished` tells of are of no use and skipped.
 */
const key = { job: jobIdSchema, attempt: z.int().min(1).max(ATTEMPTS_MAX) };
const texts = z.array(z.string().max(4096)).max(ATTEMPTS_MAX);
const count = z.int().nonnegative();

export const placeEntrySchema = z.strictObject({
  node: nodeIdSchema,
  name: z.string().max(63),
  lease: z.string().refine((text): text is LeaseId => isLeaseId(text), { message: 'is not a lease id' }),
  instance: z.string().max(64),
  cwd: z.string().max(PATH_CHARS_MAX),
  route: z.string().max(8192),
  tools: z.record(z.string(), z.strictObject({ here: z.string(), there: z.string() })),
  /** How long its project's files took to get there. */
  sync_ms: z.number().nonnegative().default(0),
});
export type PlaceEntry = z.infer<typeof placeEntrySchema>;

export const originEntrySchema = z.discriminatedUnion('e', [
  /** A job that is not finished, whole: when it is submitted, and in a journal that was rewritten. */
  z.strictObject({
    e: z.literal('open'),
    ...key,
    /** Wall clock, for display. */
    submitted_ms: z.number(),
    spec: jobSpecSchema,
    parent: jobIdSchema.nullable(),
    nesting: count,
    place: placeEntrySchema.nullable(),
    queue_ms: z.number().nonnegative(),
    reruns: texts,
    avoided: z.array(nodeIdSchema).max(ATTEMPTS_MAX),
    lost_at: placeEntrySchema.nullable(),
    notices: texts,
    cancel_asked: z.boolean(),
    /** Bytes of stdin, once its end had been handed over; null before. */
    stdin_bytes: count.nullable(),
    /** What the client was sent of earlier attempts. */
    stdout_before: count,
    stderr_before: count,
  }),
  /** Before `job.start` is written. */
  z.strictObject({ e: z.literal('started'), ...key, place: placeEntrySchema, queue_ms: z.number().nonnegative() }),
  /** It was not started. */
  z.strictObject({ e: z.literal('requeued'), ...key }),
  /** Its outcome is unknown and another attempt follows. `over`: its executor told that itself, so nothing is to come. */
  z.strictObject({
    e: z.literal('rerun'),
    ...key,
    over: z.boolean(),
    text: z.string().max(4096),
    stdout_before: count,
    stderr_before: count,
  }),
  z.strictObject({ e: z.literal('cancel'), job: jobIdSchema }),
  /** It goes on without its client. */
  z.strictObject({ e: z.literal('detached'), job: jobIdSchema }),
  z.strictObject({ e: z.literal('stdin_ended'), job: jobIdSchema, bytes: count }),
  z.strictObject({ e: z.literal('finished'), record: jobRecordSchema }),
  /** In place of what was told before: the outcome came late, or a notice did. */
  z.strictObject({ e: z.literal('late'), record: jobRecordSchema }),
  /** An attempt whose end is unknown: its node is asked when it is back. */
  z.strictObject({ e: z.literal('loose'), ...key, place: placeEntrySchema, unwanted: z.boolean() }),
  /** Nothing is to come of that attempt any more. */
  z.strictObject({ e: z.literal('settled'), ...key }),
  z.strictObject({ e: z.literal('dropped'), job: jobIdSchema, at_ms: z.number() }),
]);
export type OriginEntry = z.infer<typeof originEntrySchema>;
export type OpenEntry = Extract<OriginEntry, { e: 'open' }>;
