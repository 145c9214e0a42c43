import type { ErrorCode } from '../../base/errors.ts';
import type { JobId, LeaseId, NodeId } from '../../base/ids.ts';
import type { Ended, JobMessageOf, Reason } from '../../wire/jobs.ts';
import type { Command, CwdEvidence } from '../../wire/job-spec.ts';
import type { JobMessage } from '../../wire/jobs.ts';
import type { Rejection } from './candidate.ts';
import type { PlacementRequest } from './placement-request.ts';

/** What the queue and the rules of re-running need to know of a job. */
export interface JobTerms {
  /** How often it may be placed again after an attempt whose outcome is unknown. */
  readonly retries: number;
  /** A higher one goes first. */
  readonly priority: number;
  /** Those of one submitter share its turn in the queue. */
  readonly submitter: string;
  /** The job that it was submitted from; that one runs at this node and may lend its slot. */
  readonly parent: JobId | null;
}

export const PLAIN_TERMS: JobTerms = { retries: 0, priority: 0, submitter: '', parent: null };

/** A job as its origin's scheduler sees it; environment, streams and time limit stay with the runtime. */
export interface Submission {
  readonly job: JobId;
  readonly command: Command;
  readonly cwd: CwdEvidence;
  readonly placement: PlacementRequest;
  /** PLAIN_TERMS where nothing is said. */
  readonly terms?: JobTerms;
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
  /** How long its project's files took to get there, dependencies included; 0 where none were sent. */
  readonly syncMs: number;
}

/** While a project's files are sent, and while what they need there is prepared. */
export type SyncPhase = 'syncing' | 'preparing';

export type OriginJobState =
  | { readonly kind: 'queued' }
  | {
      readonly kind: 'reserving';
      readonly node: NodeId;
      readonly name: string;
      readonly route: string;
      readonly tools: AttemptPlace['tools'];
      /** Its project's files go there once it has a slot. */
      readonly isShipped: boolean;
      readonly tried: readonly NodeId[];
      readonly askedAtMs: number;
      readonly deadlineMs: number;
    }
  /** A slot is leased there, and the project's files are on their way. Nothing was started. */
  | {
      readonly kind: 'syncing';
      readonly place: AttemptPlace;
      readonly sinceMs: number;
      readonly phase: SyncPhase;
      /** For people: how far it has come. */
      readonly detail: string;
      /** Given up where nothing is heard of it until then. */
      readonly deadlineMs: number;
    }
  /** `deadlineMs`: the executor is asked what became of it. */
  | { readonly kind: 'starting'; readonly place: AttemptPlace; readonly deadlineMs: number }
  | { readonly kind: 'running'; readonly place: AttemptPlace; readonly startedAtMs: number }
  | DetachedState
  | {
      readonly kind: 'cancelling';
      readonly place: AttemptPlace;
      readonly startedAtMs: number | null;
      readonly deadlineMs: number;
    };

/** A state in which `job.start` was, or may have been, written. */
export type SentState = Exclude<Extract<OriginJobState, { place: AttemptPlace }>, { kind: 'syncing' }>;

/** A state as fronts and records are told of it. */
export type ToldState = OriginJobState['kind'] | 'preparing';

/** Sent there, and what became of it is not known now. */
export interface DetachedState {
  readonly kind: 'detached';
  readonly place: AttemptPlace;
  readonly startedAtMs: number | null;
  /** Since when. */
  readonly sinceMs: number;
  /** `job.attach` was sent over the link that stands. */
  readonly asked: boolean;
  /** Its end was asked for: when the client is told that nobody knows whether it came. */
  readonly cancelDeadlineMs: number | null;
  readonly deadlineMs: number;
}

/** An attempt whose end is unknown and whose job goes on without it, or is finished. */
export interface LooseAttempt {
  readonly job: JobId;
  readonly attempt: number;
  readonly place: AttemptPlace;
  /** Its job was placed again, or its end was asked for: it is ended when its node is back. */
  readonly unwanted: boolean;
}

/** A job of an earlier run of this daemon. */
export interface RestoredJob {
  readonly submission: Submission;
  readonly attempt: number;
  /** Null where none is out. */
  readonly place: AttemptPlace | null;
  readonly cancelAsked: boolean;
  /** One text for each attempt that was given up, for `notices`. */
  readonly reruns: readonly string[];
  readonly avoided: readonly NodeId[];
  /** Where the last attempt that was given up was. */
  readonly lostAt: AttemptPlace | null;
  readonly queueMs: number;
}

export type OriginInput =
  | { readonly kind: 'submit'; readonly submission: Submission }
  | { readonly kind: 'restore'; readonly job: RestoredJob }
  | { readonly kind: 'restore_loose'; readonly loose: LooseAttempt }
  /** What an executor says; others are the executor's and ignored here. */
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
  | SyncInput
  | { readonly kind: 'timer' };

/** Names a sync: an attempt that did not start keeps its number, so its lease tells one from the next. */
export interface SyncKey {
  readonly job: JobId;
  readonly attempt: number;
  readonly lease: LeaseId;
}

/** What the runtime says of a `sync` effect. What is said of another lease than the job's is of the past and ignored. */
export type SyncInput =
  /** It goes on: to be said at least every SYNC_SILENCE_MS. `detail`: for people, one line without the node's name. */
  | (SyncKey & { readonly kind: 'sync_progress'; readonly phase: SyncPhase; readonly detail: string })
  /** All is in place there; `cwd` is the job's directory. */
  | (SyncKey & { readonly kind: 'synced'; readonly cwd: string })
  /**
   * It is over, and the lease not wanted any more. `final`: that node is not asked again for this job; else the job
   * waits for its turn and may be sent there again. Not to be said of the end of a link, which is `link_down`.
   */
  | (SyncKey & { readonly kind: 'sync_failed'; readonly reason: Reason; readonly final: boolean });

export type JobResult = {
  readonly attempts: number;
  /** From submission until the reservation that was granted was sent, or until the end. */
  readonly queueMs: number;
  /** From then until the process existed, without `syncMs`; 0 where it never did. */
  readonly dispatchMs: number;
  /** Of the last attempt's project's files, dependencies included; 0 where none were sent. */
  readonly syncMs: number;
  readonly route: string;
  readonly automatic: boolean;
  /** One text for each attempt that was given up and followed by another. */
  readonly reruns: readonly string[];
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
  /** Send the project's files there, then `synced` or `sync_failed` back; `place.cwd` means nothing yet. */
  | { readonly kind: 'sync'; readonly job: JobId; readonly attempt: number; readonly place: AttemptPlace }
  /** The files are not wanted there any more. No `synced` or `sync_failed` is waited for. */
  | (SyncKey & { readonly kind: 'sync_abort'; readonly node: NodeId })
  /** Journal it, open the streams and send `job.start`. */
  | { readonly kind: 'start'; readonly job: JobId; readonly attempt: number; readonly place: AttemptPlace }
  /** Send `job.attach`: with streams where a client reads the job, without for a loose attempt or a durable job. */
  | {
      readonly kind: 'attach';
      readonly job: JobId;
      readonly attempt: number;
      readonly place: AttemptPlace;
      readonly loose: boolean;
    }
  /** The attempt's streams are no more: its node is out of reach. */
  | { readonly kind: 'detached'; readonly job: JobId; readonly attempt: number }
  /** The attempt was not started; the job waits again, with the next one. Journal it. */
  | { readonly kind: 'requeued'; readonly job: JobId; readonly attempt: number }
  /** What became of the attempt is unknown; the job waits again, with the next one. Journal it. */
  | {
      readonly kind: 'rerun';
      readonly loose: LooseAttempt;
      /** Its executor told that the outcome is unknown: it is over and to be acknowledged. */
      readonly over: boolean;
      readonly text: string;
    }
  /** A loose attempt ended after all. `superseded`: its job was placed again meanwhile. Journal, then acknowledge. */
  | { readonly kind: 'late'; readonly loose: LooseAttempt; readonly ended: Ended }
  /** Nobody will ever know of this loose attempt. Journal it. */
  | { readonly kind: 'given_up'; readonly loose: LooseAttempt }
  | {
      readonly kind: 'state';
      readonly job: JobId;
      readonly state: ToldState;
      /** For people. */
      readonly detail: string;
    }
  | { readonly kind: 'finish'; readonly job: JobId; readonly result: JobResult };

/** What the origin tells of a job that is under way. */
export interface JobView {
  readonly state: ToldState;
  readonly detail: string;
  readonly queuePosition: number | null;
  readonly attempt: number;
  /** Where it was sent, or where its files are being sent; null while it waits for a slot. */
  readonly place: AttemptPlace | null;
  /** False while nothing was started there. */
  readonly isSent: boolean;
  readonly startedAtMs: number | null;
  readonly submittedAtMs: number;
  readonly syncMs: number;
  readonly route: string;
  readonly automatic: boolean;
  readonly reruns: readonly string[];
}
