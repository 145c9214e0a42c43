import { z } from 'zod';
import { MeshError } from '../../base/errors.ts';
import { ARCH_ALIASES, OS_ALIASES } from '../../base/platform-alias.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { DURATION_MS_MAX, KIB, MIB, MS_PER_SECOND } from '../../base/units.ts';
import type { JsonDocument } from './tool.ts';

/** At least 1,000 by contract; the bound keeps one call's results in bounded memory. */
export const COMMANDS_MAX = 2000;
const PATH_CHARS_MAX = 4096;
const CAPABILITIES_MAX = 32;
const CAPABILITY_CHARS_MAX = 200;
const VARIABLES_MAX = 256;
const TIMEOUT_S_MAX = Math.floor(DURATION_MS_MAX / MS_PER_SECOND);
const ISSUES_SHOWN_MAX = 5;
const JOB_ID_CHARS_MAX = 200;
const OUTPUTS_MAX = 64;
const GLOB_CHARS_MAX = 1024;
/** More is asked for than a result can show: then it shows what it can. */
const READ_BYTES_MAX = MIB;
const DEFAULT_READ_BYTES = 32 * KIB;

const keysOf = <T extends object>(aliases: T): [keyof T & string, ...(keyof T & string)[]] =>
  Object.keys(aliases) as [keyof T & string, ...(keyof T & string)[]];

const command = z
  .string()
  .describe('A shell line, run by bash (else sh): pipes, &&, redirections and several lines work.');

/** What every tool that places a command takes. */
const placementShape = {
  cwd: z
    .string()
    .min(1)
    .max(PATH_CHARS_MAX)
    .optional()
    .describe('Absolute directory to run in, inside the project. Default: the project directory.'),
  env: z
    .union(
      [
        z.record(z.string(), z.string()),
        z.array(z.string()).max(VARIABLES_MAX).describe('NAME (its value here is passed on) or NAME=VALUE'),
      ],
      { error: 'give {"NAME": "value"} or a list of NAME and NAME=VALUE' },
    )
    .optional()
    .describe('Variables for the command beside the login environment of the node: {"NAME": "value"}, or a list.'),
  timeout_s: z
    .number()
    .positive()
    .max(TIMEOUT_S_MAX)
    .optional()
    .describe('Seconds that the command itself may run; waiting for a free slot does not count. Default 3600.'),
  requires_os: z
    .enum(keysOf(OS_ALIASES))
    .optional()
    .describe('Operating system it must run on. Default: the same as this machine; "any" accepts every one.'),
  requires_arch: z
    .enum(keysOf(ARCH_ALIASES))
    .optional()
    .describe('Processor architecture it must run on. Default: the same as this machine; "any" accepts every one.'),
  requires: z
    .array(z.string().min(1).max(CAPABILITY_CHARS_MAX))
    .max(CAPABILITIES_MAX)
    .optional()
    .describe('Capabilities that the node must have, such as "tool:docker", "gpu" or "label:KEY=VALUE".'),
  outputs: z
    .array(z.string().min(1).max(GLOB_CHARS_MAX))
    .max(OUTPUTS_MAX)
    .optional()
    .describe(
      'Globs, relative to cwd, of git-ignored products to bring back, such as ["dist/**"]. Other changes return by themselves.',
    ),
};
export type PlacementArguments = z.infer<z.ZodObject<typeof placementShape>>;

const seconds = z.number().min(0).max(TIMEOUT_S_MAX);

/** How long a call waits for what it started. */
const waitShape = {
  wait_s: seconds
    .optional()
    .describe(
      'Seconds that this call waits. Then it returns what there is, with the job id, and the command goes on. Default 110 or 45, by client.',
    ),
  background: z
    .boolean()
    .default(false)
    .describe(
      'True: return the job id at once; the command goes on also when this client ends. Read it by job_output.',
    ),
};
export interface WaitArguments {
  readonly wait_s?: number | undefined;
  readonly background: boolean;
}

const autoRoute = z
  .boolean()
  .default(true)
  .describe('False: run on this machine, whatever the load. True: heavy commands go to the best capable machine.');

export const bashArguments = z.strictObject({ command, ...placementShape, ...waitShape, auto_route: autoRoute });
export const offloadArguments = z.strictObject({
  command,
  node_id: z.string().min(1).max(256).describe('The machine to run on: its name, or the start of its id.'),
  ...placementShape,
  ...waitShape,
});

/** `now,fail=N` or `soon,fail=N`, as GNU parallel's --halt. */
const HALT = /^(now|soon),fail=([1-9]\d{0,3})$/;

export const batchArguments = z.strictObject({
  commands: z
    // Shown as strings, taken as anything: what is no string spoils only its own entry.
    .array(z.unknown().meta({ type: 'string' }))
    .min(1)
    .max(COMMANDS_MAX)
    .describe(`Independent shell lines, at most ${COMMANDS_MAX}; they run in no particular order.`),
  ...placementShape,
  ...waitShape,
  halt: z
    .string()
    .regex(HALT, { error: 'give "now,fail=N" or "soon,fail=N"' })
    .optional()
    .describe('"now,fail=1": at the first failure end all the others. "soon,fail=N": after N failures start no more.'),
});
export interface Halt {
  readonly when: 'now' | 'soon';
  readonly failures: number;
}

/** Reads what `batchArguments` has let through. */
export function haltOf(text: string | undefined): Halt | null {
  const [, when, failures] = HALT.exec(text ?? '') ?? [];
  return when === undefined ? null : { when: when === 'now' ? 'now' : 'soon', failures: Number(failures) };
}

const jobId = z
  .string()
  .min(1)
  .max(JOB_ID_CHARS_MAX)
  .describe('The job_id of a result, its first characters where they tell it apart, or its meshwork://jobs/ address.');

export const jobOutputArguments = z.strictObject({
  job_id: jobId,
  offset: z.int().default(0).describe('Byte to read from: the next_offset of the answer before. Default 0.'),
  stream: z
    .enum(['stdout', 'stderr', 'merged'])
    .default('merged')
    .describe('Offsets count within this stream. merged (the default): both, in the order they were written.'),
  wait_s: seconds
    .default(0)
    .describe('Seconds to wait for new output or for the end, where there is nothing new. Default 0.'),
  max_bytes: z
    .int()
    .min(1)
    .max(READ_BYTES_MAX)
    .default(DEFAULT_READ_BYTES)
    .describe(`Bytes of output at most; a result holds about 40,000 characters. Default ${DEFAULT_READ_BYTES}.`),
});
export const jobCancelArguments = z.strictObject({ job_id: jobId });
export const jobListArguments = z.strictObject({
  all: z.boolean().default(false).describe('True: also jobs that ended a while ago.'),
});
export const noArguments = z.strictObject({});

/** Checks the arguments of a call. Null counts as not given: some clients send it for what they leave out. */
export function parseArguments<S extends z.ZodType>(schema: S, args: unknown): Result<z.output<S>, MeshError> {
  const parsed = schema.safeParse(withoutNulls(args ?? {}));
  if (parsed.success) return ok(parsed.data);
  const shown = parsed.error.issues.slice(0, ISSUES_SHOWN_MAX).map(issueText);
  const more = parsed.error.issues.length - shown.length;
  const text = more > 0 ? `${shown.join('; ')}; and ${more} more` : shown.join('; ');
  return err(new MeshError('bad_argument', `${text}; nothing was run`));
}

function issueText(issue: z.core.$ZodIssue): string {
  if (issue.code === 'unrecognized_keys') {
    return `unknown argument${issue.keys.length === 1 ? '' : 's'} ${issue.keys.map((key) => `\`${key}\``).join(', ')}`;
  }
  const where = issue.path.length === 0 ? 'arguments' : `\`${issue.path.join('.')}\``;
  return issue.message.endsWith('received undefined') ? `${where} is missing` : `${where}: ${issue.message}`;
}

function withoutNulls(args: unknown): unknown {
  if (typeof args !== 'object' || args === null || Array.isArray(args)) return args;
  return Object.fromEntries(Object.entries(args).filter(([, value]) => value !== null));
}

/** JSON Schema as every client reads it: no dialect named, what is not listed is refused. */
export function jsonSchemaOf(schema: z.ZodType, io: 'input' | 'output'): JsonDocument {
  const { $schema: _dialect, ...document } = z.toJSONSchema(schema, { target: 'draft-7', io });
  return document;
}
