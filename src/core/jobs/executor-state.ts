import type { ChangePack } from '../../wire/changes.ts';
import type { JobId, LeaseId, NodeId } from '../../base/ids.ts';
import type { JobMessage, JobMessageOf, Outcome, Reason } from '../../wire/jobs.ts';
import type { TerminalSize } from '../../wire/job-spec.ts';

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
  /** What it changed in its workspace; absent or null where it had none. */
  readonly changes?: ChangePack | null;
}

/** What was given with a slot. */
export interface Grant {
  /** Reserved of this machine until the attempt ends; 0 where nothing was asked for. */
  readonly cpus: number;
  readonly memoryBytes: number;
  /** The job that this one is inside of. */
  readonly parent: JobId | null;
  /** The attempt whose slot, cpus and memory it uses instead of its own. */
  readonly lender: AttemptKey | null;
}

/** What an attempt is from its start on, whatever becomes of it. */
export interface GivenAttempt extends AttemptKey {
  readonly from: NodeId;
  readonly durable: boolean;
  readonly nesting: number;
  readonly grant: Grant;
}

/** An attempt of an earlier life of this daemon: what its journal and the runner know of it. */
export type RestoredAttempt = GivenAttempt & ({ readonly kind: 'running' } | EndedWith);
interface EndedWith {
  readonly kind: 'ended';
  readonly result: AttemptResult;
}

export type ExecutorInput =
  /** reserve, release, start, cancel, attach, detach, ack, resize; others are the origin's and ignored here. */
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
  /** The answer to an `attach` effect: streams are joined, so many bytes of stdin had arrived. */
  | { readonly kind: 'attach_ready'; readonly job: JobId; readonly attempt: number; readonly stdinOffset: number }
  | { readonly kind: 'link_down'; readonly peer: NodeId }
  | { readonly kind: 'slots_changed'; readonly slots: number }
  /** The runner process is gone and its trees are killed: what ran has an unknown outcome. */
  | { readonly kind: 'runner_lost'; readonly message: string }
  /**
   * Once, before any other input. `given`: attempts that were given to a runner and are over. `isWhole` is false where
   * the journal was damaged, so that an attempt of which nothing is known may have run all the same.
   */
  | {
      readonly kind: 'restored';
      readonly attempts: readonly RestoredAttempt[];
      readonly given: readonly AttemptKey[];
      readonly isWhole: boolean;
    }
  | LeaseInput
  /** Somebody with the right to it wants the job ended here, whoever submitted it. */
  | { readonly kind: 'cancel'; readonly job: JobId }
  /** What was kept of an ended attempt was dropped to make room. */
  | { readonly kind: 'dropped'; readonly job: JobId; readonly attempt: number }
  | { readonly kind: 'timer' };

/** An attempt that did not start keeps its number: its lease tells one try from the next. */
export interface LeaseKey extends AttemptKey {
  readonly lease: LeaseId;
}

/** What the runtime says of the project's files of a lease. Where there is no such lease it is ignored. */
export type LeaseInput =
  /** They are on their way: the lease is kept for at least `ttlMs` from now. */
  | (LeaseKey & { readonly kind: 'renew'; readonly ttlMs: number })
  /** They are in place: the attempt may be started within `ttlMs`, and runs in `cwd`. */
  | (LeaseKey & { readonly kind: 'ready'; readonly cwd: string; readonly ttlMs: number })
  /** They will not be: the slot is free. `wasted`: the origin fell silent, which counts against it. */
  | (LeaseKey & { readonly kind: 'unlease'; readonly wasted: boolean });

export type ExecutorEffect =
  /** Judge policy and directory, then give `checked` back, exactly once. */
  | { readonly kind: 'check'; readonly from: NodeId; readonly reserve: JobMessageOf<'job.reserve'> }
  /** A `job.ended` waits until the attempt's streams on that link have ended. */
  | { readonly kind: 'send'; readonly to: NodeId; readonly message: JobMessage }
  /** Give it to the runner, then `started` and `ended` (or `not_run`) back. */
  | {
      readonly kind: 'run';
      readonly from: NodeId;
      readonly start: JobMessageOf<'job.start'>;
      readonly cwd: string;
      readonly grant: Grant;
      /** Its project's files were sent: `cwd` lies in a workspace. */
      readonly isShipped: boolean;
    }
  /** Join the streams of the message to what the runner has, in place of earlier ones; then `attach_ready` back. */
  | {
      readonly kind: 'attach';
      readonly from: NodeId;
      readonly attach: JobMessageOf<'job.attach'>;
      readonly isRunning: boolean;
      readonly isDurable: boolean;
    }
  /** From now it is durable: close its streams, without a word to the command. */
  | { readonly kind: 'detach'; readonly job: JobId; readonly attempt: number }
  | { readonly kind: 'resize'; readonly job: JobId; readonly attempt: number; readonly size: TerminalSize }
  /** A lease for a job whose files are sent ended, other than by a start: their session, if there is one, is over. */
  | (LeaseKey & { readonly kind: 'lease_ended' })
  /** Its origin has the outcome on its disk. */
  | { readonly kind: 'acked'; readonly job: JobId; readonly attempt: number }
  /** End the whole tree; `ended` follows. */
  | { readonly kind: 'kill'; readonly job: JobId; readonly attempt: number };
