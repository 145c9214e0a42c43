import { z } from 'zod';
import { MeshError } from '../../base/errors.ts';
import { ARCH_ALIASES, OS_ALIASES } from '../../base/platform-alias.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { DURATION_MS_MAX, MS_PER_SECOND } from '../../base/units.ts';
import type { JsonDocument } from './tool.ts';

/** At least 1,000 by contract; the bound keeps one call's results in bounded memory. */
export const COMMANDS_MAX = 2000;
const PATH_CHARS_MAX = 4096;
const CAPABILITIES_MAX = 32;
const CAPABILITY_CHARS_MAX = 200;
const VARIABLES_MAX = 256;
const TIMEOUT_S_MAX = Math.floor(DURATION_MS_MAX / MS_PER_SECOND);
const ISSUES_SHOWN_MAX = 5;

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
    .describe('Seconds that the command itself may run; waiting for a free slot does not count. Default 300.'),
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
};
export type PlacementArguments = z.infer<z.ZodObject<typeof placementShape>>;

const autoRoute = z
  .boolean()
  .default(true)
  .describe('False: run on this machine, whatever the load. True: heavy commands go to the best capable machine.');

export const bashArguments = z.strictObject({ command, ...placementShape, auto_route: autoRoute });
export const offloadArguments = z.strictObject({
  command,
  node_id: z.string().min(1).max(256).describe('The machine to run on: its name, or the start of its id.'),
  ...placementShape,
});
export const batchArguments = z.strictObject({
  commands: z
    // Shown as strings, taken as anything: what is no string spoils only its own entry.
    .array(z.unknown().meta({ type: 'string' }))
    .min(1)
    .max(COMMANDS_MAX)
    .describe(`Independent shell lines, at most ${COMMANDS_MAX}; they run in no particular order.`),
  ...placementShape,
});
export const noArguments = z.strictObject({});

/** Arguments that the contract promises for a later release: refused by name, never ignored. */
export const LATER_BASH = ['wait_s', 'background', 'outputs'] as const;
export const LATER_BATCH = ['wait_s', 'background', 'halt', 'outputs'] as const;

/**
 * Checks the arguments of a call. Null counts as not given: some clients send it for what they leave out.
 *
 * @param later names that are refused as things of a later release
 */
export function parseArguments<S extends z.ZodType>(
  schema: S,
  args: unknown,
  later: readonly string[] = [],
): Result<z.output<S>, MeshError> {
  const parsed = schema.safeParse(withoutNulls(args ?? {}));
  if (parsed.success) return ok(parsed.data);
  const unknownKeys = parsed.error.issues.flatMap((issue) => (issue.code === 'unrecognized_keys' ? issue.keys : []));
  const promised = unknownKeys.filter((key) => later.includes(key));
  if (promised.length > 0) {
    const names = promised.map((key) => `\`${key}\``).join(', ');
    return err(
      new MeshError('later_stage', `${names} comes in a later release of meshwork; leave it out. Nothing was run`),
    );
  }
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
