import type { LocalDirectories } from '../adapters/os/directories.ts';
import type { NodeProbe } from '../adapters/os/system-probe.ts';
import { unreachable } from '../base/assert.ts';
import { MeshError } from '../base/errors.ts';
import type { JobId } from '../base/ids.ts';
import type { ClassLists } from '../core/policy/class-lists.ts';
import { classify, type Classification } from '../core/policy/classify.ts';
import { projectPins } from '../core/policy/tool-versions.ts';
import type { Submission } from '../core/scheduling/origin-job.ts';
import type { Command, JobSpec, Requirements } from '../wire/job-spec.ts';
import type { ProjectService } from './project-service.ts';
import { directoryFrom, readPins, readScripts } from './project-files.ts';

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
  /** Null: projects' files are not sent. */
  readonly projects: Pick<ProjectService, 'terms' | 'missedHere'> | null;
}

/** With what people are to be told of it, wherever it is placed. */
export type PreparedJob = Submission & { readonly notices?: readonly string[] };

/** Folders that one line changes into and runs package scripts in. */
const SCRIPT_FOLDERS_MAX = 16;
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
 * @throws MeshError `bad_command`, `cwd_missing`, `no_project`, `bad_config`
 */
export async function prepareJob(job: JobId, spec: JobSpec, context: PreparationContext): Promise<PreparedJob> {
  checkCommand(spec);
  const { command, requires, target } = spec;
  const classified = await classifyInProject(command, spec.cwd, context.lists);
  const { tools } = classified;
  const mayLeave = (target.kind === 'any' || target.kind === 'bash') && classified.class !== 'bound';
  const workspace = (await context.projects?.terms(job, spec, classified.class)) ?? null;
  const placement = {
    jobClass: classified.class,
    classReason: classified.reason,
    target,
    requires,
    tools,
    toolsHere: await toolsHere(context.probe, [...tools, ...requiredTools(requires)]),
    pins: mayLeave && tools.length > 0 ? projectPins(await readPins(spec.cwd)) : {},
    ...(spec.avoid.length > 0 ? { avoid: spec.avoid } : {}),
    ...(workspace === null ? {} : { workspace }),
  };
  // What proves that a directory elsewhere is the same one costs milliseconds: only where it can be asked for.
  const cwd = await context.directories.evidence(spec.cwd, { git: mayLeave && workspace === null });
  const missed = context.projects?.missedHere(spec, classified) ?? null;
  return { job, command, cwd, placement, ...(missed === null ? {} : { notices: [missed] }) };
}

/** Reads package scripts only where the command runs any. */
async function classifyInProject(command: Command, cwd: string, lists: ClassLists): Promise<Classification> {
  const wanted = new Set<string>();
  const ask = (folder: string): null => {
    if (wanted.size < SCRIPT_FOLDERS_MAX) wanted.add(folder);
    return null;
  };
  const first = classify(command, {
    lists,
    scripts: () => ask(cwd),
    scriptsAt: (named) => ask(directoryFrom(cwd, named)),
  });
  if (wanted.size === 0) return first;
  const scripts = new Map<string, Readonly<Record<string, string>>>();
  for (const folder of wanted) scripts.set(folder, await readScripts(folder));
  const lookUp = (folder: string, name: string): string | null => {
    const found = scripts.get(folder) ?? {};
    return Object.hasOwn(found, name) ? (found[name] ?? null) : null;
  };
  return classify(command, {
    lists,
    scripts: (name) => lookUp(cwd, name),
    scriptsAt: (named, name) => lookUp(directoryFrom(cwd, named), name),
  });
}
