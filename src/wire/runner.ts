import { z } from 'zod';
import { LOG_STREAMS, logReadSchema } from './job-query.ts';
import { commandSchema, PATH_CHARS_MAX, terminalSizeSchema } from './job-spec.ts';
import { ATTEMPTS_MAX, jobIdSchema, outcomeSchema } from './jobs.ts';

/**
 * What the daemon and its runner say to each other on `runner.sock`, as control frames of framing.ts. The daemon speaks
 * for StreamMux `first`, the runner for `second`; only the daemon opens streams, by naming them in its orders.
 * The runner outlives the daemon: on each connection it says what it has, and it tells a result until it is acknowledged.
 *
 * The runner takes only the types from here: it checks what it is told by hand (src/runner/orders.ts), so that zod
 * stays out of its memory and its start. A test holds the two to one meaning.
 */
const key = { job: jobIdSchema, attempt: z.int().min(1).max(ATTEMPTS_MAX) };
const streamId = z.int().min(1).max(0x7fff_ffff);
const ORDER_CHARS_MAX = 40;
const userId = z.int().min(0).max(0xffff_fffe);

/** Daemon → runner, first of all: the content of `runner.key`, which lies in MESHWORK_HOME. Nobody else is answered. */
export const runnerConnectSchema = z.strictObject({ t: z.literal('runner.connect'), key: z.string().max(256) });
export type RunnerConnect = z.infer<typeof runnerConnectSchema>;

/** Daemon → runner: run it. Its output streams may send `window_bytes` at once; stdin starts without credit. */
export const runnerRunSchema = z.strictObject({
  t: z.literal('runner.run'),
  ...key,
  command: commandSchema,
  /** Absolute. */
  cwd: z.string().min(1).max(PATH_CHARS_MAX),
  /** The whole environment; the runner adds MESHWORK_JOB_ID, which is how it finds the tree again. */
  env: z.record(z.string(), z.string()),
  umask: z.int().min(0).max(0o777),
  timeout_ms: z.int().positive().nullable(),
  stdin_stream: streamId.nullable(),
  /** Null: nobody reads now. Otherwise a read from 0 that follows and, of a foreground attempt, holds. */
  stdout_stream: streamId.nullable(),
  stderr_stream: streamId.nullable(),
  window_bytes: z.int().positive(),
  output_bytes_max: z.int().nonnegative().nullable(),
  /** Bound of the output log. */
  log_bytes_max: z.int().positive(),
  /** In a control group of its own, where the runner can make one. */
  contain: z.boolean(),
  merge: z.boolean(),
  terminal: terminalSizeSchema.nullable(),
  durable: z.boolean(),
  user: z.strictObject({ uid: userId, gid: userId, groups: z.array(userId).max(1024) }).nullable(),
});
export type RunnerRun = z.infer<typeof runnerRunSchema>;

/** Daemon → runner: see `Runner.expect` of ports/runner.ts. */
export const runnerExpectSchema = z.strictObject({ t: z.literal('runner.expect') });

/** Daemon → runner: end the tree: TERM, 5 s, KILL. Unknown attempts are ignored. */
export const runnerCancelSchema = z.strictObject({ t: z.literal('runner.cancel'), ...key });
export type RunnerCancel = z.infer<typeof runnerCancelSchema>;

/** Daemon → runner: see `Runner.read` of ports/runner.ts; answered by `runner.read_end`. */
export const runnerReadSchema = z.strictObject({
  t: z.literal('runner.read'),
  ...key,
  stream: z.enum(LOG_STREAMS),
  offset: z.int().nonnegative(),
  follow: z.boolean(),
  holds: z.boolean(),
  stream_id: streamId,
  window_bytes: z.int().positive(),
});
export type RunnerRead = z.infer<typeof runnerReadSchema>;

/** Daemon → runner: see the methods of the same names in ports/runner.ts. */
export const runnerParkSchema = z.strictObject({ t: z.literal('runner.park'), ...key });
export const runnerDetachSchema = z.strictObject({ t: z.literal('runner.detach'), ...key });
export const runnerAcknowledgeSchema = z.strictObject({ t: z.literal('runner.acknowledge'), ...key });
export const runnerDropSchema = z.strictObject({ t: z.literal('runner.drop'), ...key });
/** Answered by `runner.stdin_at`. */
export const runnerResumeStdinSchema = z.strictObject({
  t: z.literal('runner.resume_stdin'),
  ...key,
  stream_id: streamId,
});
export const runnerResizeSchema = z.strictObject({ t: z.literal('runner.resize'), ...key, size: terminalSizeSchema });

/** Daemon → runner: end every tree, tell about each, then end. */
export const runnerStopSchema = z.strictObject({ t: z.literal('runner.stop') });

export const toRunnerSchema = z.discriminatedUnion('t', [
  runnerConnectSchema,
  runnerRunSchema,
  runnerExpectSchema,
  runnerCancelSchema,
  runnerReadSchema,
  runnerParkSchema,
  runnerDetachSchema,
  runnerAcknowledgeSchema,
  runnerDropSchema,
  runnerResumeStdinSchema,
  runnerResizeSchema,
  runnerStopSchema,
]);
export type ToRunner = z.infer<typeof toRunnerSchema>;

/** Runner → daemon, first of all: who it is. What it has follows, then `runner.ready`. */
export const runnerHelloSchema = z.strictObject({
  t: z.literal('runner.hello'),
  protocol: z.int(),
  instance: z.string().regex(/^[0-9a-f]{32}$/),
  pid: z.int().positive(),
});
export type RunnerHello = z.infer<typeof runnerHelloSchema>;

/** Runner → daemon: the process exists. Not sent where nothing could be started (126, 127, spawn_failed). */
export const runnerStartedSchema = z.strictObject({
  t: z.literal('runner.started'),
  ...key,
  pid: z.int().positive(),
});

/** Runner → daemon, between hello and ready: an attempt of an earlier connection runs. */
export const runnerKeptSchema = z.strictObject({
  t: z.literal('runner.kept'),
  ...key,
  durable: z.boolean(),
  stdin_bytes: z.int().nonnegative(),
});

/** Runner → daemon: all that was kept has been told, running ones by `runner.kept`, others by `runner.ended`. */
export const runnerReadySchema = z.strictObject({ t: z.literal('runner.ready') });

/** Runner → daemon: how much of stdin had arrived; null where it is closed. */
export const runnerStdinAtSchema = z.strictObject({
  t: z.literal('runner.stdin_at'),
  stream_id: streamId,
  bytes: z.int().nonnegative().nullable(),
});

/** Runner → daemon: a read is over; its stream was ended, or aborted where it failed, before this. */
export const runnerReadEndSchema = z.strictObject({
  t: z.literal('runner.read_end'),
  stream_id: streamId,
  end: z.discriminatedUnion('ok', [
    z.strictObject({ ok: z.literal(true), ...logReadSchema.shape }),
    z.strictObject({
      ok: z.literal(false),
      kind: z.enum(['unknown', 'past_end', 'io']),
      end: z.int().nonnegative(),
      message: z.string(),
    }),
  ]),
});
export type RunnerReadEnd = z.infer<typeof runnerReadEndSchema>;

/** Runner → daemon: the tree is gone and every byte of output is in the log. Told until `runner.acknowledge`. */
export const runnerEndedSchema = z.strictObject({
  t: z.literal('runner.ended'),
  ...key,
  outcome: outcomeSchema,
  /** Bytes that the command wrote, those beyond `output_bytes_max` included. */
  stdout_bytes: z.int().nonnegative(),
  stderr_bytes: z.int().nonnegative(),
  truncated: z.boolean(),
  left_running: z.int().nonnegative(),
  duration_ms: z.number().nonnegative(),
});
export type RunnerEnded = z.infer<typeof runnerEndedSchema>;

/**
 * Runner → daemon: it does not understand that order, which nothing was done of; all else goes on. A runner outlives the
 * daemon that started it, so that one of a later build may ask for what this one has never heard of.
 */
export const runnerRefusedSchema = z.strictObject({
  t: z.literal('runner.refused'),
  /** The `t` of it. */
  order: z.string().max(ORDER_CHARS_MAX),
  /** What it was about, where that could be read. */
  job: key.job.nullable(),
  attempt: key.attempt.nullable(),
  stream_id: streamId.nullable(),
});
export type RunnerRefused = z.infer<typeof runnerRefusedSchema>;

export const fromRunnerSchema = z.discriminatedUnion('t', [
  runnerHelloSchema,
  runnerKeptSchema,
  runnerReadySchema,
  runnerStartedSchema,
  runnerStdinAtSchema,
  runnerReadEndSchema,
  runnerEndedSchema,
  runnerRefusedSchema,
]);
export type FromRunner = z.infer<typeof fromRunnerSchema>;
