import type { ErrorCode } from '../../base/errors.ts';
import type { JobId, LeaseId, NodeId } from '../../base/ids.ts';
import type { Ended, JobMessageOf } from '../../wire/jobs.ts';
import type { Command, CwdEvidence } from '../../wire/job-spec.ts';
import type { JobMessage } from '../../wire/jobs.ts';
import type { Rejection } from './candidate.ts';
import type { PlacementRequest } from './placement-request.ts';

/** A job as its origin's scheduler sees it; environment, streams and time limit stay with the runtime. */
export interface Submission {
  readonly job: JobId;
  readonly command: Command;
  readonly cwd: CwdEvidence;
  readonly placement: PlacementRequest;
}

/** Where an attempt is. */
export interface AttemptPlace {
  readonly node: NodeId;
  readonly name: string;
  readonly lease: LeaseId;
  readonly instance: string;
  readonly cwd: string;
  readonly route: string;
  readonly tools: Readonly<Record<string, { readonly here: string; readonly there: string }>>;
  /** When the reservation that was granted was sent. */
  readonly reservedAtMs: number;
}

export type OriginJobState =
  | { readonly kind: 'queued' }
  | {
      readonly kind: 'reserving';
      readonly node: NodeId;
      readonly name: string;
      readonly route: string;
      readonly tools: AttemptPlace['tools'];
      readonly tried: readonly NodeId[];
      readonly askedAtMs: number;
      readonly deadlineMs: number;
    }
  | { readonly kind: 'starting'; readonly place: AttemptPlace }
  | { readonly kind: 'running'; readonly place: AttemptPlace; readonly startedAtMs: number }
  | {
      readonly kind: 'cancelling';
      readonly place: AttemptPlace;
      readonly startedAtMs: number | null;
      readonly deadlineMs: number;
    };

export type OriginInput =
  | { readonly kind: 'submit'; readonly submission: Submission }
  /** reserved, refused, started, not_started, ended, slot_free; others are the executor's and ignored here. */
  | { readonly kind: 'message'; readonly from: NodeId; readonly message: JobMessage }
  | { readonly kind: 'link_up'; readonly node: NodeId }
  | { readonly kind: 'link_down'; readonly node: NodeId }
  /** Membership or load changed: what waits is tried again. */
  | { readonly kind: 'nodes_changed' }
  | { readonly kind: 'cancel'; readonly job: JobId }
  /** The client that waits for the job is gone: the same as cancel. */
  | { readonly kind: 'client_gone'; readonly job: JobId }
  /** The runtime vouches that no byte of `job.start` was written: the job may be placed elsewhere. */
  | { readonly kind: 'start_not_written'; readonly job: JobId; readonly attempt: number; readonly reason: string }
  | { readonly kind: 'timer' };

export type JobResult = {
  readonly attempts: number;
  /** From submission until the reservation that was granted was sent, or until the end. */
  readonly queueMs: number;
  /** From then until the process existed; 0 where it never did. */
  readonly dispatchMs: number;
  readonly route: string;
  readonly automatic: boolean;
} & (
  | {
      readonly kind: 'refused';
      readonly code: ErrorCode;
      readonly message: string;
      readonly rejected: readonly Rejection[];
    }
  | { readonly kind: 'ended'; readonly place: AttemptPlace; readonly ended: Ended }
  | { readonly kind: 'unknown'; readonly place: AttemptPlace; readonly message: string }
  /** Never ran: cancelled while it waited. */
  | { readonly kind: 'cancelled' }
);

export type OriginEffect =
  | {
      readonly kind: 'send';
      /** May be this node itself: then to the own executor. */
      readonly to: NodeId;
      readonly message: JobMessageOf<'job.reserve' | 'job.release' | 'job.cancel'>;
    }
  /** Open the streams and send `job.start`. */
  | { readonly kind: 'start'; readonly job: JobId; readonly attempt: number; readonly place: AttemptPlace }
  | {
      readonly kind: 'state';
      readonly job: JobId;
      readonly state: OriginJobState['kind'];
      /** For people. */
      readonly detail: string;
    }
  | { readonly kind: 'finish'; readonly job: JobId; readonly result: JobResult };
