import { MeshError, messageOf } from '../../base/errors.ts';
import { Batch } from './batch.ts';
import { estimates, startOrder } from './batch-order.ts';
import { batchDocument } from './batch-report.ts';
import type { DaemonApi } from './daemon-connection.ts';
import { refusalReport } from '../../node/api-refusal.ts';
import { endUnanswered } from './job-end.ts';
import { closeOutcome, meshworkFailed } from './job-run.ts';
import { jobTemplateOf } from './job-request.ts';
import { keepHalt } from './halt-watch.ts';
import { batchSchema } from './result-schemas.ts';
import { boundedRun } from './run-report.ts';
import { batchArguments, haltOf, jsonSchemaOf, parseArguments, type Halt } from './tool-arguments.ts';
import type { ToolParts } from './tool-parts.ts';
import type { Tool, ToolContext, ToolResult } from './tool.ts';
import { waitOf } from './wait-time.ts';

/** `parallel_execute`: many independent commands, spread over the mesh. */
export function parallelExecute(parts: ToolParts): Tool {
  return {
    name: 'parallel_execute',
    title: 'Run many commands across the machines',
    description: `Runs independent shell commands (up to 2,000) at the same time, each on the least-loaded capable machine of the user's own mesh. Use it for test files one by one, shards, builds of several packages, or the same check over many inputs. The commands must not depend on each other or write the same files: their order is not fixed, and one does not see another's changes.

cwd, env, timeout_s, outputs and requirements count for every command. Pass an absolute cwd inside the project: its files go along as they are now, and changed unignored files come back. A command that is invalid or fails spoils only its own entry.

The results come in the order of the commands, each with its command, return_code, stdout and stderr. \`succeeded\` and \`failed\` count them. Where the whole is too long, failures keep their output first, and a notice names the file that holds every result. Read \`notices\` first.

What is not done after wait_s goes on in the background: \`unfinished\` counts those commands, their entries have a job_id and a state but no return_code, and job_output follows each. Do not start them again. halt ends or stops the batch after failures.`,
    inputSchema: jsonSchemaOf(batchArguments, 'input'),
    outputSchema: batchSchema,
    readOnly: false,
    alwaysLoad: true,
    run: (args, context) => execute(parts, args, context),
  };
}

async function execute(parts: ToolParts, args: unknown, context: ToolContext): Promise<ToolResult> {
  const parsed = parseArguments(batchArguments, args);
  if (!parsed.ok) return refused(parsed.error);
  const { commands, halt: haltText, ...placement } = parsed.value;
  const startedMs = performance.now();
  try {
    const daemon = await parts.connection.daemon();
    const template = await jobTemplateOf(placement, { kind: 'any' }, { ...parts, settings: daemon.settings });
    if (!template.ok) return refused(template.error);
    const { waitMs, usualS } = waitOf(placement.background ? 0 : placement.wait_s, daemon.settings, context.client);
    const order = await orderOf(daemon.api, template.value.cwd, commands);
    const request = { api: daemon.api, template: template.value, commands, order, halt: haltOf(haltText) };
    const batch = new Batch({ ...request, startedMs, waitMs, files: parts.files }, context);
    const entries = await batch.run();
    const runs = entries.map(({ outcome }) => outcome.run);
    if (context.signal.aborted) await endUnanswered(daemon.api, runs);
    try {
      const wallMs = performance.now() - startedMs;
      const openFile = () => parts.files.create(`batch-${Date.now().toString(36)}-${process.pid}-${nextBatch()}.jsonl`);
      const notices = haltOnwards(parts, daemon.api, batch, request.halt);
      const nothingRan = runs.every(meshworkFailed);
      return { document: batchDocument(entries, { wallMs, openFile, notices, waitS: usualS }), isError: nothingRan };
    } finally {
      for (const { outcome } of entries) closeOutcome(outcome);
    }
  } catch (error) {
    return refused(error);
  }
}

/** The halt of what goes on. @returns what is to be said of it */
function haltOnwards(parts: ToolParts, api: DaemonApi, batch: Batch, halt: Halt | null): string[] {
  const { unfinished: jobs, failures } = batch;
  if (halt === null || jobs.length === 0) return [];
  keepHalt(api, { jobs, halt, failures }).catch((error: unknown) =>
    parts.warn(`the halt of a batch is given up: ${messageOf(error)}`),
  );
  return ['halt still counts for the commands that go on, for as long as this client stays'];
}

/** History only helps: without it the commands start as they were given. */
async function orderOf(api: DaemonApi, cwd: string, commands: readonly unknown[]): Promise<number[]> {
  try {
    return startOrder(await estimates(api, cwd, commands));
  } catch (error) {
    if (!(error instanceof MeshError) || error.code === 'lost') throw error;
    return commands.map((_, place) => place);
  }
}

let batches = 0;
const nextBatch = (): number => ++batches;

function refused(error: unknown): ToolResult {
  const bounded = boundedRun(refusalReport(error, null));
  const none = { notices: [], succeeded: 0, failed: 0, wall_ms: 0, ran_on: {}, results: [] };
  return { document: { ...none, error: bounded.error }, isError: true };
}
