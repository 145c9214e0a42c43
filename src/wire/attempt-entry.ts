import { z } from 'zod';
import { changePackSchema } from './changes.ts';
import { SHOWN_COMMAND_CHARS_MAX } from './job-record.ts';
import { NESTING_MAX, PATH_CHARS_MAX } from './job-spec.ts';
import { ATTEMPTS_MAX, jobIdSchema, outcomeSchema } from './jobs.ts';
import { nodeIdSchema } from './trust.ts';

/** Lines of `jobs/executor.journal`: what an executor must know of its attempts after its daemon was started again. */
const count = z.int().nonnegative();
const key = { job: jobIdSchema, attempt: z.int().min(1).max(ATTEMPTS_MAX) };
/** This node's wall clock, milliseconds since 1970: for retention and for people. */
const at_ms = z.number();

const startedEntrySchema = z.strictObject({
  e: z.literal('started'),
  ...key,
  from: nodeIdSchema,
  durable: z.boolean(),
  cwd: z.string().max(PATH_CHARS_MAX),
  /** Cut at SHOWN_COMMAND_CHARS_MAX. */
  command: z.string().max(SHOWN_COMMAND_CHARS_MAX),
  /** The run of the runner that it was given to. */
  instance: z.string().max(64),
  nesting: z.int().min(0).max(NESTING_MAX),
  cpus: z.number().nonnegative(),
  memory_bytes: z.number().nonnegative(),
  parent: jobIdSchema.nullable(),
  /** The attempt whose slot it borrowed. */
  lender: z.strictObject(key).nullable(),
  at_ms,
});

export const attemptEntrySchema = z.discriminatedUnion('e', [
  /** Written before the runner gets it. */
  startedEntrySchema,
  z.strictObject({ e: z.literal('detached'), ...key }),
  z.strictObject({
    e: z.literal('ended'),
    ...key,
    outcome: outcomeSchema,
    stdout_bytes: count,
    stderr_bytes: count,
    truncated: z.boolean(),
    left_running: count,
    duration_ms: z.number().nonnegative(),
    changes: changePackSchema.nullable(),
    at_ms,
  }),
  /** Its origin has the outcome. */
  z.strictObject({ e: z.literal('acked'), ...key }),
  /** Its output was removed, and it is forgotten but for this. */
  z.strictObject({ e: z.literal('dropped'), ...key, at_ms }),
]);
/** Lines are missing here of what was given to that run of the runner: what is not in this journal may have run there. */
export const lackingEntrySchema = z.strictObject({ e: z.literal('lacking'), instance: z.string().max(64) });
export type LackingEntry = z.infer<typeof lackingEntrySchema>;
export type AttemptEntry = z.infer<typeof attemptEntrySchema>;
