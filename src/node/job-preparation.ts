import type { LocalDirectories } from '../adapters/os/directories.ts';
import type { NodeProbe } from '../adapters/os/system-probe.ts';
import { unreachable } from '../base/assert.ts';
import { MeshError } from '../base/errors.ts';
import type { JobId } from '../base/ids.ts';
import type { ClassLists } from '../core/policy/class-lists.ts';
import { classify } from '../core/policy/classify.ts';
import { projectPins } from '../core/policy/tool-versions.ts';
import type { Submission } from '../core/scheduling/origin-job.ts';
import type { JobSpec, Requirements } from '../wire/job-spec.ts';
import { readProjectFiles } from './project-files.ts';

/** Linux takes at most 128 KiB in one argument (MAX_ARG_STRLEN, execve(2)), the closing NUL included. */
const COMMAND_BYTES_MAX = 131_071;

/**
 * Refuses what no shell could mean as a command, before anything runs.
 *
 * @throws MeshError `bad_command`
 */
export function checkCommand(spec: JobSpec): void {
  const { command } = spec;
  const bad = (what: string): MeshError => new MeshError('bad_command', `${what}; nothing was run`);
  switch (command.kind) {
    case 'line': {
      const line = command.line.trim();
      if (line === '') throw bad('the command is empty');
      if (line.startsWith('-'))
        throw bad(`the command begins with "-" (${line.slice(0, 40)}): options of meshwork go before \`--\``);
      if (Buffer.byteLength(command.line) > COMMAND_BYTES_MAX)
        throw bad(
          `the command is longer than ${COMMAND_BYTES_MAX} bytes, which no shell can be given: put it in a script`,
        );
      return;
    }
    case 'argv': {
      const program = command.argv[0] ?? '';
      if (program.trim() === '') throw bad('the program is empty');
      if (program.startsWith('-'))
        throw bad(`the program begins with "-" (${program.slice(0, 40)}): options of meshwork go before \`--\``);
      if (command.argv.some((word) => Buffer.byteLength(word) > COMMAND_BYTES_MAX))
        throw bad(`an argument is longer than ${COMMAND_BYTES_MAX} bytes`);
      return;
    }
    default:
      unreachable(command);
  }
}

/** How this node reads a job: its directories, its class lists, its tools. */
export interface PreparationContext {
  readonly directories: LocalDirectories;
  readonly lists: ClassLists;
  readonly probe: NodeProbe;
}

const TOOL_PREFIX = 'tool:';

/** The executables that a job states it needs. */
export function requiredTools(requires: Requirements): string[] {
  return requires.capabilities
    .filter((capability) => capability.startsWith(TOOL_PREFIX))
    .map((capability) => capability.slice(TOOL_PREFIX.length));
}

/** Those of `tools` that jobs here find. */
export async function toolsHere(probe: NodeProbe, tools: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const tool of new Set(tools)) if (await probe.hasTool(tool)) found.push(tool);
  return found;
}

/**
 * Reads what placement needs to know of a job: its class by its words and the project's scripts, the tools it runs, the
 * versions that the project pins, and what proves where its directory is.
 *
 * @throws MeshError `bad_command`, `cwd_missing`
 */
export async function prepareJob(job: JobId, spec: JobSpec, context: PreparationContext): Promise<Submission> {
  checkCommand(spec);
  const { command, requires, target } = spec;
  const project = await readProjectFiles(spec.cwd);
  const scripts = (name: string): string | null =>
    Object.hasOwn(project.scripts, name) ? (project.scripts[name] ?? null) : null;
  const classified = classify(command, { scripts, lists: context.lists });
  const placement = {
    jobClass: classified.class,
    classReason: classified.reason,
    target,
    requires,
    tools: classified.tools,
    toolsHere: await toolsHere(context.probe, [...classified.tools, ...requiredTools(requires)]),
    pins: projectPins(project.pins),
  };
  // What proves that a directory elsewhere is the same one costs milliseconds: only where it can be asked for.
  const mayLeave = target.kind === 'any' || target.kind === 'bash';
  const git = mayLeave && classified.class !== 'bound';
  return { job, command, cwd: await context.directories.evidence(spec.cwd, { git }), placement };
}
