import { z } from 'zod';
import { ARCH_NAMES, OS_NAMES } from './facts.ts';
import { nodeIdSchema } from './trust.ts';

/** Longer than any real command line, short of the 1 MiB frame: Linux takes 128 KiB in one argument of bash -c. */
export const COMMAND_CHARS_MAX = 120_000;
/** Of one-letter words; the frame bounds their length, the system of the executor what it takes (ARG_MAX). */
export const ARGV_MAX = 65_536;
export const ENV_NAMES_MAX = 256;
export const ENV_VALUE_CHARS_MAX = 65_536;
export const PATH_CHARS_MAX = 4096;
export const CAPABILITIES_MAX = 32;
/** Re-runs that a submitter may allow; attempts are numbered from 1 to ATTEMPTS_MAX (wire/jobs.ts). */
export const RETRIES_MAX = 10;
/** A higher one goes first; 0 where nothing was said. */
export const PRIORITY_MAX = 100;
export const SUBMITTER_CHARS_MAX = 128;
export const AVOID_MAX = 8;
export const TERMINAL_CELLS_MAX = 10_000;
/** A job in a job in a job in a job: 0 is one that no job submitted. */
export const NESTING_MAX = 3;
export const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,254}$/;

const noNul = (text: string): boolean => !text.includes('\0');
const NO_NUL = { message: 'holds a NUL byte, which no command can' };
const path = z.string().min(1).max(PATH_CHARS_MAX).refine(noNul, NO_NUL);

/** One argument is a shell line (`bash -c`, else `sh -c`); several are an argv that no shell sees. */
export const commandSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('line'), line: z.string().min(1).max(COMMAND_CHARS_MAX).refine(noNul, NO_NUL) }),
  z.strictObject({
    kind: z.literal('argv'),
    argv: z.array(z.string().max(COMMAND_CHARS_MAX).refine(noNul, NO_NUL)).min(1).max(ARGV_MAX),
  }),
]);
export type Command = z.infer<typeof commandSchema>;

/** A requirement always binds. `os`/`arch`: null = same platform as the origin (automatic routing); `any` = relaxed. */
export const requirementsSchema = z.strictObject({
  os: z.enum([...OS_NAMES, 'any']).nullable(),
  arch: z.enum([...ARCH_NAMES, 'any']).nullable(),
  /** `tool:docker`, `gpu`, `label:K=V`. */
  capabilities: z.array(z.string().min(1).max(200)).max(CAPABILITIES_MAX),
  cpus: z.number().positive().nullable(),
  memory_bytes: z.number().positive().nullable(),
});
export type Requirements = z.infer<typeof requirementsSchema>;

/**
 * Where a job may run. `bash` = the rules of cluster_bash (light and other stay here); `any` = every capable node for
 * anything but bound commands (run, map, offload, parallel); `local` = here; `node` = the named one or a refusal.
 */
export const targetSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('bash') }),
  z.strictObject({ kind: z.literal('any') }),
  z.strictObject({ kind: z.literal('local') }),
  z.strictObject({ kind: z.literal('node'), node: z.string().min(1).max(256) }),
]);
export type Target = z.infer<typeof targetSchema>;

export const envSchema = z
  .record(z.string().regex(ENV_NAME), z.string().max(ENV_VALUE_CHARS_MAX).refine(noNul, NO_NUL))
  .refine((env) => Object.keys(env).length <= ENV_NAMES_MAX, { message: `more than ${ENV_NAMES_MAX} variables` });

const cells = z.int().min(1).max(TERMINAL_CELLS_MAX);
/** The size of the pseudo-terminal that a job gets. */
export const terminalSizeSchema = z.strictObject({ columns: cells, rows: cells });
export type TerminalSize = z.infer<typeof terminalSizeSchema>;

/** What holds for every attempt of a job, wherever it runs. */
const wayOfRunning = {
  /** stdout and stderr are one pipe, so that the order of what is written is kept; all of it counts as stdout. */
  merge: z.boolean(),
  /** A pseudo-terminal instead of pipes (then all output is stdout), or null. */
  terminal: terminalSizeSchema.nullable(),
  /** True where the job goes on without its client and its origin (`--background`). */
  durable: z.boolean(),
};

export const SYNC_GLOBS_MAX = 64;
const globs = z.array(z.string().min(1).max(1024).refine(noNul, NO_NUL)).max(SYNC_GLOBS_MAX);

/** How a project's files travel with a job. Null in a job's spec: they don't (`--no-sync`), the same-files rule holds. */
export const syncSpecSchema = z.strictObject({
  /** Absolute: the root that `--sync` names; null: the project that cwd lies in, if it lies in one. */
  root: path.nullable(),
  /** Files that come along although a rule leaves them out, and files that don't: globs relative to the root. */
  include: globs,
  exclude: globs,
  /** Globs relative to cwd of ignored products that come back. */
  outputs: globs,
  /** False: nothing comes back (`--no-return`). */
  returns: z.boolean(),
  /** Without the ignored products that earlier jobs left there. */
  clean: z.boolean(),
});
export type SyncSpec = z.infer<typeof syncSpecSchema>;

/** What a front submits to its daemon. */
export const jobSpecSchema = z.strictObject({
  command: commandSchema,
  /** Absolute, at the origin. */
  cwd: path.refine((text) => text.startsWith('/'), { message: 'is not absolute' }),
  /** What the submitter adds to the executor's login environment: LANG, LC_*, TZ, TERM, CI, NODE_ENV and --env. */
  env: envSchema,
  umask: z.int().min(0).max(0o777),
  requires: requirementsSchema,
  target: targetSchema,
  /** Of the execution alone; null = no limit. */
  timeout_ms: z.int().positive().nullable(),
  /** True where the front will send stdin; otherwise the command reads an empty stream at its end. */
  stdin: z.boolean(),
  ...wayOfRunning,
  /** Re-runs elsewhere where the outcome of an attempt is unknown: only for commands that are safe to repeat. */
  retries: z.int().min(0).max(RETRIES_MAX),
  /** May run twice at once: allows a second copy of a job that is the last of its batch. */
  idempotent: z.boolean(),
  priority: z.int().min(-PRIORITY_MAX).max(PRIORITY_MAX),
  /** Jobs of one submitter (a shell, a script, an MCP client) share its turn in the queue. */
  submitter: z.string().min(1).max(SUBMITTER_CHARS_MAX),
  sync: syncSpecSchema.nullable(),
  /** Nodes that it does not go to by itself: where another copy of it runs. */
  avoid: z.array(nodeIdSchema).max(AVOID_MAX),
});
export type JobSpec = z.infer<typeof jobSpecSchema>;

/**
 * What proves that a directory at the executor is the one at the origin (INTERFACE "same files"): the same inode of
 * the same boot, or both clean checkouts of one commit. Gathered by the origin, judged by the executor.
 */
export const cwdEvidenceSchema = z.strictObject({
  path,
  /** The path relative to the submitter's home ('' = the home itself), null where it lies outside. */
  home_relative: z.string().max(PATH_CHARS_MAX).refine(noNul, NO_NUL).nullable(),
  boot_id: z.string().max(128).nullable(),
  /** Decimal strings: device and inode numbers exceed 2^53 on some file systems. */
  device: z.string().max(32),
  inode: z.string().max(32),
  /** Null where cwd is not in a git work tree, or that tree has uncommitted or unignored new files. */
  clean_commit: z
    .string()
    .regex(/^[0-9a-f]{40,64}$/)
    .nullable(),
  /** cwd relative to the top of its work tree. */
  git_prefix: z.string().max(PATH_CHARS_MAX).nullable(),
});
export type CwdEvidence = z.infer<typeof cwdEvidenceSchema>;

/** What the executor needs to know to run one attempt; sent only after it granted a slot. */
export const attemptSpecSchema = z.strictObject({
  command: commandSchema,
  env: envSchema,
  umask: z.int().min(0).max(0o777),
  timeout_ms: z.int().positive().nullable(),
  stdin: z.boolean(),
  ...wayOfRunning,
  /** How many jobs this one is inside of. */
  nesting: z.int().min(0).max(NESTING_MAX),
});
export type AttemptSpec = z.infer<typeof attemptSpecSchema>;
