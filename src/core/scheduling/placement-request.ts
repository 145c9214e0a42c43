import type { Requirements, Target } from '../../wire/job-spec.ts';

export type JobClass = 'bound' | 'heavy' | 'other' | 'light';

/** What placement needs to know of a job. */
export interface PlacementRequest {
  readonly jobClass: JobClass;
  /** One line for people, such as `git push acts on this machine's state`. */
  readonly classReason: string;
  readonly target: Target;
  readonly requires: Requirements;
  /** The command's own executables, without shell builtins. */
  readonly tools: readonly string[];
  /** Tool → version prefix that the project pins (`.nvmrc`, `rust-toolchain.toml`). */
  readonly pins: Readonly<Record<string, string>>;
}

/** How tool versions compare; given by core/policy/tool-versions.ts. */
export interface ToolRules {
  /** Versions are never ''. */
  compatible(tool: string, here: string, there: string): boolean;
  pinSatisfied(pin: string, version: string): boolean;
}
