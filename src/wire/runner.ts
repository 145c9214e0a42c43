import { z } from 'zod';
import { commandSchema, PATH_CHARS_MAX } from './job-spec.ts';
import { ATTEMPTS_MAX, jobIdSchema, outcomeSchema } from './jobs.ts';

/**
 * What the daemon and its runner say to each other on `runner.sock`, as control frames of framing.ts. The daemon speaks
 * for StreamMux `first`, the runner for `second`; only the daemon opens streams, by naming them in `runner.run`.
 *
 * The runner takes only the types from here: it checks what it is told by hand (src/runner/orders.ts), so that zod
 * stays out of its memory and its start. A test holds the two to one meaning.
 */
const key = { job: jobIdSchema, attempt: z.int().min(1).max(ATTEMPTS_MAX) };
const streamId = z.int().min(1).max(0x7fff_ffff);
const userId = z.int().min(0).max(0xffff_fffe);

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
  stdout_stream: streamId,
  stderr_stream: streamId,
  window_bytes: z.int().positive(),
  output_bytes_max: z.int().nonnegative().nullable(),
  user: z.strictObject({ uid: userId, gid: userId, groups: z.array(userId).max(1024) }).nullable(),
});
export type RunnerRun = z.infer<typeof runnerRunSchema>;

/** Daemon → runner: end the tree: TERM, 5 s, KILL. Unknown attempts are ignored. */
export const runnerCancelSchema = z.strictObject({ t: z.literal('runner.cancel'), ...key });
export type RunnerCancel = z.infer<typeof runnerCancelSchema>;

export const toRunnerSchema = z.discriminatedUnion('t', [runnerRunSchema, runnerCancelSchema]);
export type ToRunner = z.infer<typeof toRunnerSchema>;

/** Runner → daemon, first of all: who it is. */
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

/** Runner → daemon: the tree is gone and every byte of output was sent before this. */
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

export const fromRunnerSchema = z.discriminatedUnion('t', [runnerHelloSchema, runnerStartedSchema, runnerEndedSchema]);
export type FromRunner = z.infer<typeof fromRunnerSchema>;
