import type { Requirements, Target } from '../../wire/job-spec.ts';

export type JobClass = 'bound' | 'heavy' | 'other' | 'light';

/** What placement needs to know of a job. */
export interface PlacementRequest {
  readonly jobClass: JobClass;
  /** One line for people that names the class, such as `make is heavy`. */
  readonly classReason: string;
  readonly target: Target;
  readonly requires: Requirements;
  /** The command's own executables, without shell builtins. */
  readonly tools: readonly string[];
  /** Those of `tools`, and of the tools that `requires` names, that are on the PATH here. */
  readonly toolsHere: readonly string[];
  /** Tool → version prefix that the project pins (`.nvmrc`, `rust-toolchain.toml`). */
  readonly pins: Readonly<Record<string, string>>;
}

/** What is known of tools; the first two are core/policy/tool-versions.ts. */
export interface ToolRules {
  /** Versions are never ''. */
  compatible(tool: string, here: string, there: string): boolean;
  pinSatisfied(pin: string, version: string, tool: string): boolean;
  /** True where every node looks for it, so that its absence from a node's facts means that the node lacks it. */
  isCatalogued(tool: string): boolean;
}
