import type { JobId, NodeId } from '../../base/ids.ts';
import type { JobMessage, JobMessageOf, Outcome, Reason } from '../../wire/jobs.ts';

export interface AttemptKey {
  readonly job: JobId;
  readonly attempt: number;
}

/** How an attempt ended; the runner port's RunResult has this shape. */
export interface AttemptResult {
  readonly outcome: Outcome;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  readonly truncated: boolean;
  readonly leftRunning: number;
  readonly durationMs: number;
}

export type ExecutorInput =
  /** reserve, release, start, cancel; others are the origin's and ignored here. */
  | { readonly kind: 'message'; readonly from: NodeId; readonly message: JobMessage }
  /** The answer to a `check` effect. */
  | {
      readonly kind: 'checked';
      readonly job: JobId;
      readonly attempt: number;
      readonly from: NodeId;
      readonly verdict:
        | {
            readonly ok: true;
            readonly cwd: string;
            /** Required tools that the facts do not list and that are on the PATH of jobs. */
            readonly toolsFound: readonly string[];
          }
        | { readonly ok: false; readonly reasons: readonly Reason[] };
    }
  | { readonly kind: 'started'; readonly job: JobId; readonly attempt: number }
  | { readonly kind: 'ended'; readonly job: JobId; readonly attempt: number; readonly result: AttemptResult }
  /** The answer to a `run` effect where nothing was given to the runner. */
  | { readonly kind: 'not_run'; readonly job: JobId; readonly attempt: number; readonly reason: Reason }
  | { readonly kind: 'link_down'; readonly peer: NodeId }
  | { readonly kind: 'slots_changed'; readonly slots: number }
  /** The runner process is gone and its trees are killed: what ran has an unknown outcome. */
  | { readonly kind: 'runner_lost'; readonly message: string }
  | { readonly kind: 'timer' };

export type ExecutorEffect =
  /** Judge policy and directory, then give `checked` back, exactly once. */
  | { readonly kind: 'check'; readonly from: NodeId; readonly reserve: JobMessageOf<'job.reserve'> }
  | { readonly kind: 'send'; readonly to: NodeId; readonly message: JobMessage }
  /** Give it to the runner, then `started` and `ended` (or `not_run`) back. */
  | { readonly kind: 'run'; readonly from: NodeId; readonly start: JobMessageOf<'job.start'>; readonly cwd: string }
  /** End the whole tree; `ended` follows. */
  | { readonly kind: 'kill'; readonly job: JobId; readonly attempt: number };
