import { z } from 'zod';
import { ARCH_NAMES, OS_NAMES } from './facts.ts';
import { changesSchema } from './changes.ts';
import { ATTEMPTS_MAX, jobIdSchema, REASON_CHARS_MAX } from './jobs.ts';
import { PATH_CHARS_MAX } from './job-spec.ts';
import { nodeIdSchema } from './trust.ts';

/** Longer command lines are cut for display; the job runs the whole of it. */
export const SHOWN_COMMAND_CHARS_MAX = 2000;
const NOTICES_MAX = 32;
const NOTICE_CHARS_MAX = 1000;
const TOOLS_MAX = 64;
/** ECMA-262 §21.4.1.1: there is no date beyond it. */
const WALL_MS_MAX = 8.64e15;

export const JOB_STATES = ['queued', 'preparing', 'syncing', 'running', 'finished'] as const;
export const JOB_REASONS = ['exited', 'signaled', 'timeout', 'cancelled', 'refused', 'lost', 'unknown'] as const;

const text = z.string().max(NOTICE_CHARS_MAX);
const count = z.int().nonnegative();
const ms = z.number().min(0).max(WALL_MS_MAX);
/** Milliseconds since 1970. */
export const wallMsSchema = ms;

/**
 * What a node tells of a job, to its own fronts and to other members: the facts of the run object but for its output.
 * Kept by the job's origin, and told by its executor where the origin is out of reach.
 */
export const jobRecordSchema = z.strictObject({
  job: jobIdSchema,
  origin_id: nodeIdSchema,
  origin: z.string().max(63),
  /** Cut at SHOWN_COMMAND_CHARS_MAX. */
  command: z.string().max(SHOWN_COMMAND_CHARS_MAX),
  background: z.boolean(),
  /** The origin's wall clock, milliseconds since 1970; for display only. */
  submitted_ms: wallMsSchema,
  finished_ms: wallMsSchema.nullable(),
  state: z.enum(JOB_STATES),
  /** For people: the place in the queue and why it waits, or what it does. */
  detail: text,
  /** From 1 in the origin's queue; null where it does not wait. */
  queue_position: z.int().positive().nullable(),
  return_code: z.int().nullable(),
  signal: z.string().max(32).nullable(),
  reason: z.enum(JOB_REASONS).nullable(),
  /** The outcome came after it had been called unknown. */
  late: z.boolean(),
  error: z.strictObject({ code: z.string().max(64), message: z.string().max(REASON_CHARS_MAX * 8) }).nullable(),
  notices: z.array(text).max(NOTICES_MAX),
  /** Of the attempt that counts: the last one, or null where none was started. */
  executed_on: z.string().max(63).nullable(),
  executed_on_id: nodeIdSchema.nullable(),
  os: z.enum(OS_NAMES).nullable(),
  arch: z.enum(ARCH_NAMES).nullable(),
  tools: z
    .record(z.string().max(255), z.strictObject({ here: z.string().max(200), there: z.string().max(200) }))
    .refine((tools) => Object.keys(tools).length <= TOOLS_MAX, { message: `more than ${TOOLS_MAX} tools` }),
  attempt: z.int().min(0).max(ATTEMPTS_MAX),
  attempts: count,
  cwd: z.string().max(PATH_CHARS_MAX).nullable(),
  route: z.string().max(NOTICE_CHARS_MAX * 4),
  auto_routed: z.boolean(),
  stdout_bytes: count,
  stderr_bytes: count,
  truncated: z.boolean(),
  /** Null where it had no workspace. */
  changes: changesSchema.nullable(),
  queue_ms: ms,
  dispatch_ms: ms,
  sync_ms: ms,
  duration_ms: ms,
});
export type JobRecord = z.infer<typeof jobRecordSchema>;
