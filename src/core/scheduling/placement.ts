import type { ErrorCode } from '../../base/errors.ts';
import type { NodeId } from '../../base/ids.ts';
import type { Random } from '../../base/random.ts';
import type { Reason } from '../../wire/jobs.ts';
import type { Requirements, Target } from '../../wire/job-spec.ts';
import type { Candidate, Rejection } from './candidate.ts';
import type { ScoreTerms } from './score.ts';

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

export interface PlacementContext {
  /** Every node, this one included. */
  readonly nodes: readonly Candidate[];
  readonly rules: ToolRules;
  readonly random: Random;
  /** What executors already answered to this job, for good. */
  readonly refusals?: ReadonlyMap<NodeId, readonly Reason[]>;
}

export interface RankedCandidate {
  readonly id: NodeId;
  readonly name: string;
  readonly isSelf: boolean;
  readonly score: ScoreTerms;
  readonly overloaded: boolean;
  readonly freeSlots: number;
  /** One line: why there. */
  readonly route: string;
  /** The command's own tools whose versions differ from here. */
  readonly tools: Readonly<Record<string, { readonly here: string; readonly there: string }>>;
}

export type Placement =
  | {
      readonly kind: 'candidates';
      /** Best first, never empty. */
      readonly ordered: readonly RankedCandidate[];
      readonly rejected: readonly Rejection[];
      /** The route of the best. */
      readonly route: string;
      /** False where the user named the node. */
      readonly automatic: boolean;
    }
  | {
      readonly kind: 'impossible';
      readonly code: ErrorCode;
      /** Names every node with all its reasons. */
      readonly message: string;
      readonly rejected: readonly Rejection[];
    };
