import type { MeshError } from '../../base/errors.ts';
import type { Result } from '../../base/result.ts';
import type { Target } from '../../node/api-types.ts';
import { KEPT_BYTES_MAX } from './output-capture.ts';
import { refusalReport } from '../../node/api-refusal.ts';
import { endUnanswered } from './job-end.ts';
import { closeOutcome, meshworkFailed, runJob, type JobOutcome } from './job-run.ts';
import { jobTemplateOf, shellLineOf } from './job-request.ts';
import { runSchema } from './result-schemas.ts';
import { boundedRun, runDocument } from './run-report.ts';
import {
  bashArguments,
  jsonSchemaOf,
  offloadArguments,
  parseArguments,
  type PlacementArguments,
  type WaitArguments,
} from './tool-arguments.ts';
import type { ToolParts } from './tool-parts.ts';
import type { Tool, ToolContext, ToolResult } from './tool.ts';
import { HandOut, waitOf } from './wait-time.ts';

interface RunRequest {
  readonly command: string;
  readonly target: Target;
  readonly placement: PlacementArguments & WaitArguments;
}

const RESULT_HELP = `The result is the command's own: return_code, stdout, stderr; executed_on and route say where it ran and why. Read \`notices\` first: they say what could mislead. \`changes\` lists what came back, what is held back and what was left there. Long output keeps its beginning and end, and a notice says how to read the rest.

A command that takes longer than wait_s goes on: state is then not "finished", return_code is null, and \`next\` says how to follow it by job_output. Do not start it again.`;

/** `cluster_bash`: one command, where it is best run. */
export function clusterBash(parts: ToolParts): Tool {
  return {
    name: 'cluster_bash',
    title: 'Run a command on the best machine',
    description: `Runs a shell command on the least-loaded capable machine of the user's own mesh, which may be this one. Use it for builds, test suites, compilers, linters, type checks and bulk file work that take more than about 5 seconds. Use the plain shell for git, docker, dev servers, package installs and quick commands.

Commands that act on this machine's state, and quick ones, stay here by themselves. A command leaves only for a machine that has the same platform and the same tool versions; otherwise it runs here and \`route\` says why. Within a project (a git work tree) its files go along as they are now, uncommitted edits included, and what the command changes comes back; git-ignored products stay there unless \`outputs\` names them.

Pass an absolute cwd inside the project. Every call is a new shell: cd, variables and functions do not persist. stdin is empty. What the command leaves running when it exits is ended.

${RESULT_HELP} A failure on another machine that is about missing tools, variables, files or localhost: run it again with auto_route false before you edit code. reason "unknown" or "lost": it may have run.`,
    inputSchema: jsonSchemaOf(bashArguments, 'input'),
    outputSchema: runSchema,
    readOnly: false,
    alwaysLoad: true,
    run: (args, context) => {
      const parsed = parseArguments(bashArguments, args);
      return answer(parts, context, parsed, ({ command, auto_route, ...placement }) => ({
        command,
        target: { kind: auto_route ? 'bash' : 'local' },
        placement,
      }));
    },
  };
}

/** `offload_to`: one command on a machine that the caller names. */
export function offloadTo(parts: ToolParts): Tool {
  return {
    name: 'offload_to',
    title: 'Run a command on a named machine',
    description: `Runs a shell command on the machine that node_id names (its name, or the start of its id: see cluster_status), or refuses with the reason before anything runs. Use it where the user names a machine, or a command must run on that one.

cwd is an absolute directory here; within a project (a git work tree) its files go along, uncommitted edits included, and what the command changes comes back; git-ignored products only where \`outputs\` names them. Outside of one, the same path must exist there. Every call is a new shell; stdin is empty.

${RESULT_HELP}`,
    inputSchema: jsonSchemaOf(offloadArguments, 'input'),
    outputSchema: runSchema,
    readOnly: false,
    alwaysLoad: false,
    run: (args, context) => {
      const parsed = parseArguments(offloadArguments, args);
      return answer(parts, context, parsed, ({ command, node_id, ...placement }) => ({
        command,
        target: { kind: 'node', node: node_id },
        placement,
      }));
    },
  };
}

async function answer<A>(
  parts: ToolParts,
  context: ToolContext,
  parsed: Result<A, MeshError>,
  requestOf: (args: A) => RunRequest,
): Promise<ToolResult> {
  if (!parsed.ok) return refused(parsed.error);
  const startedMs = performance.now();
  const { command, target, placement } = requestOf(parsed.value);
  const line = shellLineOf(command);
  if (!line.ok) return refused(line.error);
  try {
    const { api, settings } = await parts.connection.daemon();
    const template = await jobTemplateOf(placement, target, { ...parts, settings });
    if (!template.ok) return refused(template.error);
    const { waitMs, usualS } = waitOf(placement.background ? 0 : placement.wait_s, settings, context.client);
    const spec = { ...template.value, command: line.value, durable: waitMs === 0 };
    const openFile = parts.files.create.bind(parts.files);
    const wait = new HandOut(startedMs + waitMs);
    const outcome = await runJob(api, spec, {
      ...context,
      keptBytesMax: KEPT_BYTES_MAX,
      openFile,
      handOut: wait.signal,
    });
    wait.end();
    if (context.signal.aborted) await endUnanswered(api, [outcome.run]);
    try {
      return resultOf(outcome, usualS);
    } finally {
      closeOutcome(outcome);
    }
  } catch (error) {
    return refused(error);
  }
}

function resultOf(outcome: JobOutcome, waitS: number): ToolResult {
  const { run } = outcome;
  const result = { document: runDocument(outcome, { waitS }), isError: meshworkFailed(run) };
  return run.state === 'finished' || run.job_id === null ? result : { ...result, job: run.job_id };
}

function refused(error: unknown): ToolResult {
  return { document: { ...boundedRun(refusalReport(error, null)) }, isError: true };
}
