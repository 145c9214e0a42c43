import { isInheritedVariable } from '../base/submitter-env.ts';
import type { JobId } from '../base/ids.ts';
import type { LoginEnvironment } from '../ports/system.ts';
import type { AttemptSpec } from '../wire/job-spec.ts';

export interface EnvironmentRules {
  /** `exec.mode` is "commands": a list of commands decides what may run. */
  readonly commandsOnly: boolean;
  /** Names of variables that a submitter may set, each possibly with a * at its end, or * alone for all. */
  readonly allow: readonly string[];
}

/**
 * INTERFACE "A job's environment": the executor's login environment, then what the submitter passes on.
 *
 * Where a list of commands decides what may run, "all" means the variables that every job inherits: others make one
 * command run another (PATH, LD_PRELOAD, BASH_ENV, GIT_CONFIG_*, NODE_OPTIONS), and must be allowed by name.
 */
export function jobEnvironment(
  login: Pick<LoginEnvironment, 'env'>,
  spec: Pick<AttemptSpec, 'env'>,
  job: JobId,
  rules: EnvironmentRules,
): Record<string, string> {
  const env: Record<string, string> = { ...login.env };
  for (const [name, value] of Object.entries(spec.env)) {
    if (!name.startsWith('MESHWORK_') && rules.allow.some((item) => allows(item, name, rules))) env[name] = value;
  }
  env['MESHWORK_JOB_ID'] = job;
  return env;
}

function allows(item: string, name: string, { commandsOnly }: EnvironmentRules): boolean {
  if (item === '*') return !commandsOnly || isInheritedVariable(name);
  return item.endsWith('*') ? name.startsWith(item.slice(0, -1)) : name === item;
}
