import { z } from 'zod';
import { jsonSchemaOf } from './tool-arguments.ts';

/** What the tools return, as clients check it. Fields may be added, so unknown ones are allowed. */
const count = z.number();
const text = z.string();
const errorShape = z.looseObject({ code: text, message: text });
const toolVersions = z.looseObject({ here: text, there: text });

const changes = z
  .looseObject({
    returned: z.array(text),
    deleted: z.array(text),
    conflicts: z.array(text).describe("Changed here meanwhile: yours stayed, the job's version is kept aside."),
    held_back: z.array(text).describe('Not applied here: that takes `meshwork apply JOB`.'),
    left_there: z
      .array(z.looseObject({ path: text, files: count, bytes: count }))
      .describe('Git-ignored products that are on that machine only; outputs brings them.'),
    more: z.record(text, count).optional().describe('How many there are of each beyond what is listed.'),
  })
  .describe("What changed in the project's files here, paths relative to its root.");

const runShape = {
  notices: z.array(text).describe('What could mislead: read these first.'),
  state: z.enum(['queued', 'preparing', 'syncing', 'running', 'finished']),
  return_code: count.nullable().describe("The command's own exit code; 128+n after signal n, 124 after timeout_s."),
  executed_on: text.nullable(),
  cwd: text.nullable(),
  stdout: text,
  stderr: text,
  changes,
  success: z.boolean().nullable(),
  signal: text.nullable(),
  reason: z.enum(['exited', 'signaled', 'timeout', 'cancelled', 'refused', 'lost', 'unknown']).nullable(),
  job_id: text.nullable(),
  executed_on_id: text.nullable(),
  os: text.nullable(),
  arch: text.nullable(),
  tools: z.record(text, toolVersions).describe('Tools of the command whose versions differ there.'),
  route: text.describe('Why it ran there.'),
  auto_routed: z.boolean(),
  attempts: count,
  stdout_bytes: count,
  stderr_bytes: count,
  truncated: z.boolean(),
  queue_ms: count,
  dispatch_ms: count,
  sync_ms: count,
  duration_ms: count,
  error: errorShape.optional().describe('Why meshwork did not run it, or cannot know how it ended.'),
  next: text.optional().describe('Of a job that goes on: what to call. Do not start the command again.'),
};

export const runSchema = jsonSchemaOf(z.looseObject(runShape), 'output');

const batchEntry = z
  .looseObject(runShape)
  .partial()
  .extend({
    command: text,
    index: count.optional().describe('Place in commands, from 0; given where results are left out.'),
  })
  .describe('A run object with its command. In large batches the less telling fields are left out.');

export const batchSchema = jsonSchemaOf(
  z.looseObject({
    notices: z.array(text),
    succeeded: count,
    failed: count,
    wall_ms: count,
    ran_on: z.record(text, count).describe('How many commands ran on each machine.'),
    unfinished: count.optional().describe('Commands that go on in the background: see their job_id.'),
    results_left_out: count.optional(),
    next: text.optional().describe('What to call for the unfinished ones. Do not start them again.'),
    results: z.array(batchEntry),
    error: errorShape.optional(),
  }),
  'output',
);

/** What is told of a job beside its output. */
const jobShape = {
  notices: z.array(text).describe('What could mislead: read these first.'),
  state: runShape.state.nullable(),
  return_code: runShape.return_code,
  success: z.boolean().nullable(),
  reason: runShape.reason,
  job_id: text.nullable(),
  command: text.optional(),
  executed_on: text.nullable().optional(),
  detail: text.optional().describe('Of an unfinished job: why it waits, or what it does.'),
  queue_position: count.nullable().optional(),
  changes: changes.optional(),
  error: errorShape.optional(),
};

export const jobSchema = jsonSchemaOf(z.looseObject(jobShape), 'output');

export const jobOutputSchema = jsonSchemaOf(
  z.looseObject({
    ...jobShape,
    offset: count.optional().describe('Of the first byte of output.'),
    next_offset: count.nullable().describe('Read on from here.'),
    at_end: z.boolean().optional().describe('True when all output has been read and the job has ended.'),
    output: text,
    next: text.optional().describe('What to call for the rest.'),
  }),
  'output',
);

export const jobListSchema = jsonSchemaOf(
  z.looseObject({
    notices: z.array(text),
    jobs: z.array(
      z.looseObject({
        job_id: text,
        state: runShape.state,
        command: text,
        executed_on: text.nullable(),
        return_code: count.nullable(),
        reason: runShape.reason,
      }),
    ),
    jobs_left_out: count,
    error: errorShape.optional(),
  }),
  'output',
);

const nodeShape = z.looseObject({
  id: text,
  name: text,
  state: z.enum(['alive', 'suspect', 'dead', 'left']),
  reachable: z.boolean(),
  age_ms: count.nullable(),
  os: text.nullable(),
  arch: text.nullable(),
  cores: count.nullable(),
  slots: count.nullable(),
  jobs_running: count.nullable(),
  jobs_queued: count.nullable(),
  cpu_percent: count.nullable(),
  memory_percent: count.nullable(),
  load_1m: count.nullable(),
  status: z.enum(['healthy', 'overloaded']),
  capabilities: z.array(text).optional(),
  labels: z.record(text, text).optional(),
  addresses: z.array(text).optional(),
  version: text.nullable(),
  roles: z.array(text),
});

export const statusSchema = jsonSchemaOf(
  z.looseObject({
    mesh_id: text.nullable(),
    local_node: text.nullable(),
    daemon_pid: count.nullable(),
    notices: z.array(text),
    nodes: z.array(nodeShape),
    nodes_left_out: count.optional(),
    nearby: z.array(z.looseObject({ address: text })),
    error: errorShape.optional(),
  }),
  'output',
);

export const explainSchema = jsonSchemaOf(
  z.looseObject({
    notices: z.array(text),
    class: z.enum(['bound', 'light', 'heavy', 'other']).nullable(),
    class_reason: text,
    tools: z.array(text),
    would_run_on: text.nullable(),
    would_run_on_id: text.nullable(),
    route: text,
    candidates: z.array(
      z.looseObject({ id: text, name: text, score_s: count, terms: z.record(text, count), chosen: z.boolean() }),
    ),
    candidates_left_out: count.optional(),
    rejected: z.array(
      z.looseObject({ id: text, name: text, reasons: z.array(z.looseObject({ code: text, text: text })) }),
    ),
    rejected_left_out: count.optional(),
    error: errorShape.optional(),
  }),
  'output',
);
