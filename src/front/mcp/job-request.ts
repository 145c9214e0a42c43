import { MeshError } from '../../base/errors.ts';
import { ARCH_ALIASES, OS_ALIASES } from '../../base/platform-alias.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { inheritedVariables, variableNameFault } from '../../base/submitter-env.ts';
import { MS_PER_SECOND } from '../../base/units.ts';
import type { Command, JobSpec, Target } from '../../node/api-types.ts';
import type { DaemonSettings } from './daemon-connection.ts';
import type { PlacementArguments } from './tool-arguments.ts';
import type { WorkingDirectory } from './working-directory.ts';

/** A job but for its command: what a batch shares. */
export type JobTemplate = Omit<JobSpec, 'command'>;

/** @returns the command as a shell line, or why it can be none */
export function shellLineOf(command: unknown): Result<Command, MeshError> {
  const refuse = (what: string): Result<never, MeshError> =>
    err(new MeshError('bad_command', `${what}; nothing was run`));
  if (typeof command !== 'string') return refuse('the command is not a string');
  if (command.trim() === '') return refuse('the command is empty');
  if (command.includes('\0')) return refuse('the command holds a NUL byte, which no shell can be given');
  return ok({ kind: 'line', line: command });
}

/**
 * Turns a tool's arguments into a job.
 *
 * @param env the environment of this process: what the contract passes on, and where named variables are looked up
 * @returns the job without its command, or why it is refused; nothing was run
 */
export async function jobTemplateOf(
  args: PlacementArguments,
  target: Target,
  from: {
    readonly directory: WorkingDirectory;
    readonly settings: DaemonSettings;
    readonly env: Readonly<Record<string, string | undefined>>;
  },
): Promise<Result<JobTemplate, MeshError>> {
  const env = environmentOf(args.env, from.env);
  if (!env.ok) return env;
  const cwd = await from.directory.resolve(args.cwd, from.settings.roots);
  if (!cwd.ok) return cwd;
  return ok({
    cwd: cwd.value,
    env: env.value,
    umask: process.umask(),
    requires: {
      os: args.requires_os === undefined ? null : OS_ALIASES[args.requires_os],
      arch: args.requires_arch === undefined ? null : ARCH_ALIASES[args.requires_arch],
      capabilities: args.requires ?? [],
      cpus: null,
      memory_bytes: null,
    },
    target,
    timeout_ms: Math.ceil((args.timeout_s ?? from.settings.timeoutS) * MS_PER_SECOND),
    stdin: false,
    merge: false,
    terminal: null,
    durable: false,
    retries: 0,
    idempotent: false,
    priority: 0,
    submitter: `mcp:${process.pid}`,
    avoid: [],
    sync: { root: null, include: [], exclude: [], outputs: args.outputs ?? [], returns: true, clean: false },
  });
}

function environmentOf(
  given: PlacementArguments['env'],
  here: Readonly<Record<string, string | undefined>>,
): Result<Record<string, string>, MeshError> {
  const refuse = (what: string): Result<never, MeshError> =>
    err(new MeshError('bad_argument', `env: ${what}; nothing was run`));
  const env = inheritedVariables(here);
  const pairs = Array.isArray(given) ? given.map(splitPair) : Object.entries(given ?? {});
  for (const [name, explicit] of pairs) {
    const fault = variableNameFault(name);
    if (fault !== null) return refuse(fault);
    const value = explicit ?? here[name];
    if (value === undefined) return refuse(`${name} is not set here; give ${name}=VALUE`);
    env[name] = value;
  }
  return ok(env);
}

function splitPair(item: string): [string, string | undefined] {
  const equals = item.indexOf('=');
  return equals < 0 ? [item, undefined] : [item.slice(0, equals), item.slice(equals + 1)];
}
