import { z } from 'zod';
import { GLOB_CHARS_MAX, OUTPUT_GLOBS_MAX } from './changes.ts';
import { ATTEMPTS_MAX, jobIdSchema, leaseIdSchema, REASON_CHARS_MAX } from './jobs.ts';
import { manifestHashSchema, TREE_PATH_BYTES_MAX } from './manifest.ts';
import { envSchema, PATH_CHARS_MAX } from './job-spec.ts';

/**
 * Messages between an origin and an executor about a project's files, on the control socket of their link; the files
 * themselves are frames of `workspace-frame.ts` on streams of the bulk socket.
 *
 * ```
 * origin                                executor
 *   ws.open (lease, project, manifest) →   a slot's folder is taken
 *   ← ws.base (what it has)
 *   up stream: MANIFEST or CHANGED     →   objects that it lacks; with CHANGED those came along, mostly all
 *   ← ws.want
 *   up stream: PACK … END              →   ← ws.progress …
 *   ← ws.ready (or ws.failed)              files are in place, dependencies prepared
 *   job.start …
 * after job.ended with changes:
 *   ws.fetch (from an offset)          →   the change pack on the down stream, to its end
 *   ws.drop                            →   it need not be kept
 * ```
 * A session ends with its lease's link; objects that arrived are kept, so the next one asks for less.
 */
export const PREPARE_STEPS_MAX = 32;
export const PREPARE_INPUTS_MAX = 256;
export const RULE_FILES_MAX = 256;
/** All rules of a project together: they travel in one control message. */
export const RULES_CHARS_MAX = 256 * 1024;
/** A pack of `object-pack.ts`: about a mebibyte, or one object of up to 2 MiB with its head. So much decompressed, too. */
export const PACK_BYTES_MAX = 2 * 1024 * 1024 + 64 * 1024;
/** A whole manifest as one frame of the up stream, compressed; far above any that the caps let through. */
export const MANIFEST_BYTES_MAX = 128 * 1024 * 1024;
/** A pack that goes along with a manifest, unasked: what its receiver has after all is sent for nothing. */
export const CHANGED_PACK_BYTES_MAX = 256 * 1024;
/** A bit per object of the manifest, base64. */
const WANT_CHARS_MAX = 512 * 1024;

const key = { job: jobIdSchema, attempt: z.int().min(1).max(ATTEMPTS_MAX) };
const streamId = z.int().min(1).max(0x7fff_ffff);
const count = z.int().nonnegative();
/** Bytes as characters, see TreePath; '' is the root. */
const treePath = z.string().max(TREE_PATH_BYTES_MAX);

/**
 * Patterns in the syntax of .gitignore(5), bytes as characters, that hold beside the .gitignore files of the tree itself.
 * `exclude`: what a repository whose top is `folder` has in info/exclude and in its user's settings, weaker than its
 * .gitignore files. Each repository of the tree has one, since no .gitignore of a folder above reaches into it.
 * `project`: .meshworkignore files, options and defaults. What they ignore is ignored whatever git says.
 */
export const ignoreRulesSchema = z
  .array(
    z.strictObject({
      folder: treePath,
      text: z.string().max(RULES_CHARS_MAX),
      source: z.enum(['exclude', 'project']),
    }),
  )
  .max(RULE_FILES_MAX)
  .refine((rules) => rules.reduce((sum, rule) => sum + rule.text.length, 0) <= RULES_CHARS_MAX, {
    message: `more than ${RULES_CHARS_MAX} characters of ignore rules`,
  });
export type IgnoreRules = z.infer<typeof ignoreRulesSchema>;

/** One command that makes what is ignored and not sent (`npm ci`), run in `folder` where its inputs changed. */
export const prepareStepSchema = z.strictObject({
  folder: treePath,
  /** A shell line. */
  run: z.string().min(1).max(8192),
  /** The tool whose version counts (`npm`), '' for none. */
  tool: z.string().max(255),
  /** Files, relative to the root, whose content counts. */
  inputs: z.array(treePath).max(PREPARE_INPUTS_MAX),
  /** What it makes (`node_modules`), relative to the root: absent there means that it must run. */
  makes: z.array(treePath).max(PREPARE_INPUTS_MAX),
});
export type PrepareStep = z.infer<typeof prepareStepSchema>;

/** The name of a project at its origin, which gives no path away: half a SHA-256. */
export const projectKeySchema = z.string().regex(/^[0-9a-f]{32}$/);

/** Origin → executor, with a lease: here is a project. */
export const wsOpenSchema = z.strictObject({
  t: z.literal('ws.open'),
  ...key,
  lease: leaseIdSchema,
  project: projectKeySchema,
  /** The root's own name, for the folder there and for people. */
  label: z.string().min(1).max(255),
  /** The root at the origin, for people. */
  root: z.string().max(PATH_CHARS_MAX),
  /** The job's directory below the root. */
  folder: treePath,
  manifest: manifestHashSchema,
  files: count,
  bytes: count,
  rules: ignoreRulesSchema,
  /** True where .gitignore files of the tree hold. */
  is_git: z.boolean(),
  prepare: z.array(prepareStepSchema).max(PREPARE_STEPS_MAX),
  /** Of the job, for what is prepared: `job.start` comes after it. */
  env: envSchema,
  umask: z.int().min(0).max(0o777),
  /** Globs, relative to the root, of ignored products that come back. */
  outputs: z.array(z.string().min(1).max(GLOB_CHARS_MAX)).max(OUTPUT_GLOBS_MAX),
  /** False: nothing comes back. */
  returns: z.boolean(),
  /** Ignored products of earlier jobs are removed first. */
  clean: z.boolean(),
  /** The stream of the bulk socket on which the origin sends. */
  up: streamId,
});
export type WsOpen = z.infer<typeof wsOpenSchema>;

/** Executor → origin: a manifest of this project that it has, to send a difference from; null: none. */
export const wsBaseSchema = z.strictObject({ t: z.literal('ws.base'), ...key, base: manifestHashSchema.nullable() });

/** Executor → origin: the objects that it lacks, a bit for each distinct object of the manifest in order of appearance; none: no bits. */
export const wsWantSchema = z.strictObject({
  t: z.literal('ws.want'),
  ...key,
  want: z.base64().max(WANT_CHARS_MAX),
  objects: count,
  bytes: count,
});

export const WS_PHASES = ['receiving', 'placing', 'preparing'] as const;
/** Executor → origin, at least every few seconds while it works: counts of what `phase` has done so far. */
export const wsProgressSchema = z.strictObject({
  t: z.literal('ws.progress'),
  ...key,
  phase: z.enum(WS_PHASES),
  files: count,
  bytes: count,
  /** The last line of output of a preparation. */
  line: z.string().max(200),
});

/** Executor → origin: all is in place; `cwd` is the job's directory there. `job.start` may follow. */
export const wsReadySchema = z.strictObject({
  t: z.literal('ws.ready'),
  ...key,
  cwd: z.string().max(PATH_CHARS_MAX),
  /** For people: what was prepared, what was cloned. */
  notices: z.array(z.string().max(REASON_CHARS_MAX)).max(16),
  prepare_ms: z.number().nonnegative(),
});

export const WS_FAILURES = [
  'refused',
  'no_space',
  'quota',
  'collision',
  'needs_prepare',
  'prepare_failed',
  'expired',
  'busy',
  'io',
  'unknown',
] as const;
/** Executor → origin: it cannot be done, or a fetch cannot. The session is over, the lease is not needed any more. */
export const wsFailedSchema = z.strictObject({
  t: z.literal('ws.failed'),
  ...key,
  code: z.enum(WS_FAILURES),
  message: z.string().max(REASON_CHARS_MAX * 8),
});
export type WsFailure = (typeof WS_FAILURES)[number];

/** Origin → executor: the session is not wanted any more. */
export const wsCloseSchema = z.strictObject({ t: z.literal('ws.close'), ...key });

/** Origin → executor: send the change pack of that attempt from `offset` on, then end the stream. */
export const wsFetchSchema = z.strictObject({
  t: z.literal('ws.fetch'),
  ...key,
  offset: count,
  stream: streamId,
  window_bytes: z.int().positive(),
});

/** Origin → executor: the change pack is on the origin's disk, or of no use. */
export const wsDropSchema = z.strictObject({ t: z.literal('ws.drop'), ...key });

export const workspaceMessageSchema = z.discriminatedUnion('t', [
  wsOpenSchema,
  wsBaseSchema,
  wsWantSchema,
  wsProgressSchema,
  wsReadySchema,
  wsFailedSchema,
  wsCloseSchema,
  wsFetchSchema,
  wsDropSchema,
]);
export type WorkspaceMessage = z.infer<typeof workspaceMessageSchema>;
export type WorkspaceMessageOf<T extends WorkspaceMessage['t']> = Extract<WorkspaceMessage, { t: T }>;
