import { z } from 'zod';
import { isJobId, isLeaseId, type JobId, type LeaseId } from '../base/ids.ts';
import { loadSchema } from './facts.ts';
import {
  attemptSpecSchema,
  commandSchema,
  cwdEvidenceSchema,
  requirementsSchema,
  terminalSizeSchema,
} from './job-spec.ts';
import { changePackSchema } from './changes.ts';
import { STREAM_CREDIT_BYTES_MAX } from './stream-mux.ts';

/** Messages between an origin and an executor, on the control socket of their link. */
export const ATTEMPTS_MAX = 16;
export const REASONS_MAX = 32;
export const REASON_CHARS_MAX = 500;
export const TOOLS_WANTED_MAX = 64;
/** Of a file name (limits.h, NAME_MAX). */
export const TOOL_CHARS_MAX = 255;

export const jobIdSchema = z.string().refine((text): text is JobId => isJobId(text), { message: 'is not a job id' });
export const leaseIdSchema = z
  .string()
  .refine((text): text is LeaseId => isLeaseId(text), { message: 'is not a lease id' });
const attempt = z.int().min(1).max(ATTEMPTS_MAX);
const key = { job: jobIdSchema, attempt };

export const REASON_CODES = [
  'os',
  'arch',
  'capability',
  'tool_missing',
  'tool_version',
  'cpus',
  'memory',
  'overloaded',
  'full',
  'files',
  'cwd_missing',
  'cwd_not_allowed',
  'exec_off',
  'denied',
  'not_accepted',
  'state',
  'unreachable',
  'draining',
  /** The project's files: too many, withheld ones that nobody decided about, products that lie elsewhere. */
  'too_large',
  'secrets',
  'products',
  'needs_prepare',
  'sync',
  'other',
] as const;
/** Why a node can't, or doesn't, take a job. Every failed reason is kept, not just the first. */
export const reasonSchema = z.strictObject({ code: z.enum(REASON_CODES), text: z.string().max(REASON_CHARS_MAX) });
export type Reason = z.infer<typeof reasonSchema>;

/** Origin → executor: may this run at yours now? `dry_run` takes no slot and is what `explain` sends. */
export const reserveSchema = z.strictObject({
  t: z.literal('job.reserve'),
  ...key,
  dry_run: z.boolean(),
  command: commandSchema,
  requires: requirementsSchema,
  /** Executables that the command runs and that its executor must have, beside those that `requires` names. */
  tools: z.array(z.string().min(1).max(TOOL_CHARS_MAX)).max(TOOLS_WANTED_MAX),
  cwd: cwdEvidenceSchema,
  /** An explicit target maps the directory instead of proving that it is the same one. */
  explicit: z.boolean(),
  /** The project's files are sent (wire/workspace.ts) once there is a lease: `cwd` proves nothing and need not exist there. */
  workspace: z.boolean(),
  /** The job that this one is inside of: it lends its slot where it runs at this executor and no slot is free. */
  parent: jobIdSchema.nullable(),
});

/** Executor → origin: a slot is yours for `ttl_ms`; `instance` names this run of the executor's runner. */
export const reservedSchema = z.strictObject({
  t: z.literal('job.reserved'),
  ...key,
  /** Null for a dry run. */
  lease: leaseIdSchema.nullable(),
  instance: z.string().max(64),
  ttl_ms: z.int().positive(),
  /** The directory at the executor. */
  cwd: z.string().max(4096),
  load: loadSchema,
});

/** Executor → origin: no, for all these reasons. `full`: only for want of a free slot, so ask again on `job.slot_free`. */
export const refusedSchema = z.strictObject({
  t: z.literal('job.refused'),
  ...key,
  reasons: z.array(reasonSchema).min(1).max(REASONS_MAX),
  full: z.boolean(),
  load: loadSchema,
});

/** Origin → executor: the lease is not needed. */
export const releaseSchema = z.strictObject({ t: z.literal('job.release'), ...key, lease: leaseIdSchema });

const streamId = z.int().min(1).max(0x7fff_ffff);
/** Streams on the bulk socket, chosen by the origin; null where it takes no output (a durable job's may be read later). */
const streamsSchema = z.strictObject({ stdin: streamId.nullable(), stdout: streamId, stderr: streamId });
const offset = z.int().nonnegative();

/**
 * Origin → executor: run it. Streams are on the bulk socket; the executor may send `window_bytes` on each output stream
 * at once, and grants credit for stdin itself. Once this is written the job may have run: see DESIGN "at most once".
 */
export const startSchema = z.strictObject({
  t: z.literal('job.start'),
  ...key,
  lease: leaseIdSchema,
  spec: attemptSpecSchema,
  cwd: z.string().max(4096),
  streams: streamsSchema.nullable(),
  window_bytes: z.int().positive().max(STREAM_CREDIT_BYTES_MAX),
});

/** Executor → origin: the process exists. */
export const startedSchema = z.strictObject({ t: z.literal('job.started'), ...key });

/** Executor → origin: it was not and will not be started, so it may be placed elsewhere. */
export const notStartedSchema = z.strictObject({ t: z.literal('job.not_started'), ...key, reason: reasonSchema });

export const outcomeSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('exited'), code: z.int().min(0).max(255) }),
  z.strictObject({ kind: z.literal('signaled'), signal: z.string().regex(/^SIG[A-Z0-9+-]{1,12}$/) }),
  /** Ended by its time limit; `code` or `signal` is how the process then ended. */
  z.strictObject({
    kind: z.literal('timeout'),
    code: z.int().min(0).max(255).nullable(),
    signal: z.string().max(16).nullable(),
  }),
  z.strictObject({
    kind: z.literal('cancelled'),
    code: z.int().min(0).max(255).nullable(),
    signal: z.string().max(16).nullable(),
  }),
  /** The runner could not start the process at all: no such directory, too many processes. */
  z.strictObject({ kind: z.literal('spawn_failed'), message: z.string().max(REASON_CHARS_MAX) }),
  /** The runner died with the attempt: nobody can know. */
  z.strictObject({ kind: z.literal('unknown'), message: z.string().max(REASON_CHARS_MAX) }),
]);
export type Outcome = z.infer<typeof outcomeSchema>;

/** Executor → origin: the whole process tree is gone and every output byte has been written to the bulk socket. */
export const endedSchema = z.strictObject({
  t: z.literal('job.ended'),
  ...key,
  outcome: outcomeSchema,
  stdout_bytes: z.number().int().nonnegative(),
  stderr_bytes: z.number().int().nonnegative(),
  /** True where the executor's `limits.output_max` cut the output. */
  truncated: z.boolean(),
  /** Processes that the command left running and that were ended. */
  left_running: z.int().nonnegative(),
  duration_ms: z.number().nonnegative(),
  /** Null where it had no workspace, or nothing comes back. */
  changes: changePackSchema.nullable(),
});
export type Ended = z.infer<typeof endedSchema>;

/** Origin → executor: end the whole tree, then answer `job.ended`. Unknown attempts are ignored. */
export const cancelSchema = z.strictObject({ t: z.literal('job.cancel'), ...key });

/**
 * Origin → executor, over a new link or after a restart: what became of this attempt? The answer is `job.attached` or
 * `job.gone`. With streams, output goes on from these offsets; whatever an earlier link had open is closed.
 */
export const attachSchema = z.strictObject({
  t: z.literal('job.attach'),
  ...key,
  /** The runner that granted the lease: `not_started` is only believed of the same one. */
  instance: z.string().max(64),
  streams: streamsSchema.nullable(),
  stdout_offset: offset,
  stderr_offset: offset,
  window_bytes: z.int().positive().max(STREAM_CREDIT_BYTES_MAX),
});

/** Executor → origin: it is running, or has ended: then `job.ended` follows once the streams have. */
export const attachedSchema = z.strictObject({
  t: z.literal('job.attached'),
  ...key,
  running: z.boolean(),
  /** Bytes of stdin that arrived; the origin goes on from there. */
  stdin_offset: offset,
});

/** Executor → origin: it has no such attempt, or cannot know. */
export const goneSchema = z.strictObject({
  t: z.literal('job.gone'),
  ...key,
  instance: z.string().max(64),
  kind: z.enum(['not_started', 'unknown']),
  message: z.string().max(REASON_CHARS_MAX),
});

/** Origin → executor: nobody reads on; from now the attempt is durable and its streams are closed. */
export const detachSchema = z.strictObject({ t: z.literal('job.detach'), ...key });

/** Origin → executor: the outcome is on the origin's disk. */
export const ackSchema = z.strictObject({ t: z.literal('job.ack'), ...key });

/** Origin → executor: the terminal of the submitter has another size. */
export const resizeSchema = z.strictObject({ t: z.literal('job.resize'), ...key, size: terminalSizeSchema });

/** Executor → an origin that was refused for want of a slot: one is free now. A hint; ask again. */
export const slotFreeSchema = z.strictObject({ t: z.literal('job.slot_free'), load: loadSchema });

export const jobMessageSchema = z.discriminatedUnion('t', [
  reserveSchema,
  reservedSchema,
  refusedSchema,
  releaseSchema,
  startSchema,
  startedSchema,
  notStartedSchema,
  endedSchema,
  cancelSchema,
  slotFreeSchema,
  attachSchema,
  attachedSchema,
  goneSchema,
  detachSchema,
  ackSchema,
  resizeSchema,
]);
export type JobMessage = z.infer<typeof jobMessageSchema>;
export type JobMessageOf<T extends JobMessage['t']> = Extract<JobMessage, { t: T }>;
