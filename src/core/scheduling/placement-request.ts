import type { NodeId } from '../../base/ids.ts';
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
  /** Nodes that automatic routing leaves out: where another copy of the job runs. None where nothing is said. */
  readonly avoid?: readonly NodeId[];
  /** A project whose files go along to another node; absent: the same-files rule. */
  readonly workspace?: WorkspaceTerms;
}

export interface StaysHere {
  readonly code: 'too_large' | 'secrets' | 'needs_prepare' | 'sync';
  readonly text: string;
}

/** What placement needs to know of a project's files. */
export interface WorkspaceTerms {
  /** What keeps automatic routing here, with how to decide; null: nothing does. A named node takes the job all the same. */
  readonly staysHere: StaysHere | null;
  /** What refuses every node but this one; null: nothing. */
  readonly refused: { readonly code: 'too_large' | 'needs_prepare' | 'sync'; readonly text: string } | null;
  /** Bytes that a node would have to be sent. */
  readonly bytesTo: (node: NodeId) => number;
  /** Where the newest ignored products of this project are, when they are not here; null: here or nowhere. */
  readonly productsAt: { readonly node: NodeId; readonly what: string } | null;
}

/** What earlier runs tell of a job: src/core/history. */
export interface JobHistory {
  /** How long it takes here, seconds; null where nobody knows. */
  readonly durationS: number | null;
  /** How many times longer commands take there than here; null where too little is known. */
  readonly slownessOf: (node: NodeId) => number | null;
}

export const NO_HISTORY: JobHistory = { durationS: null, slownessOf: () => null };

/** What is known of tools; the first two are core/policy/tool-versions.ts. */
export interface ToolRules {
  /** Versions are never ''. */
  compatible(tool: string, here: string, there: string): boolean;
  pinSatisfied(pin: string, version: string, tool: string): boolean;
  /** True where every node looks for it, so that its absence from a node's facts means that the node lacks it. */
  isCatalogued(tool: string): boolean;
}
