import type { JobId, NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { Origin } from '../core/scheduling/origin.ts';
import type { AttemptPlace, JobTerms, LooseAttempt } from '../core/scheduling/origin-job.ts';
import type { StaysHere } from '../core/scheduling/placement-request.ts';
import type { JobEvent, RunObject } from '../wire/api.ts';
import type { Facts } from '../wire/facts.ts';
import type { JobRecord } from '../wire/job-record.ts';
import type { JobSpec } from '../wire/job-spec.ts';
import type { JobMessage } from '../wire/jobs.ts';
import type { OpenEntry, PlaceEntry } from '../wire/origin-entry.ts';
import type { StreamMux } from '../wire/stream-mux.ts';
import type { CoreLoop } from './core-loop.ts';
import type { JobBook } from './job-book.ts';
import type { PreparedJob } from './job-preparation.ts';
import type { LooseEntry } from './job-book-state.ts';
import type { OriginStreams } from './origin-streams.ts';
import type { ProjectCarrier } from './project-carrier.ts';

/** How the origin reaches an executor: over its link, or in memory where it is this node itself. */
export interface ExecutorEnd {
  readonly mux: StreamMux;
  send(message: JobMessage): boolean;
}

export interface OriginServiceOptions {
  readonly loop: CoreLoop;
  readonly origin: Origin;
  readonly log: Logger;
  readonly book: JobBook;
  /** This node, as records name it. */
  readonly self: () => { readonly id: NodeId; readonly name: string };
  /** Null where no link is up. */
  readonly executor: (node: NodeId) => ExecutorEnd | null;
  readonly factsOf: (node: NodeId) => Facts | null;
  /** Reads the project, the directory's evidence and the class. Throws MeshError where the job can't be placed. */
  readonly prepare: (job: JobId, spec: JobSpec) => Promise<PreparedJob>;
  /** Told of every job that finishes here, once. Must not throw. */
  readonly onFinished?: (record: JobRecord, spec: JobSpec) => void;
  /** Takes projects' files to other nodes; none are sent where it is left out. */
  readonly projects?: ProjectCarrier;
  /** So long a foreground job waits for its client after a start of the daemon; CLIENT_GRACE_MS where it is not given. */
  readonly clientGraceMs?: number;
}

/** A job that was submitted from inside another one, which runs at this node. */
export interface Nested {
  readonly parent: JobId;
  /** From 1; `nesting` of `job.start`. */
  readonly nesting: number;
}

/** An attempt that was sent, and how. */
export interface Sent {
  readonly node: NodeId;
  readonly attempt: number;
  /** Of the link that its streams are on. */
  readonly mux: StreamMux;
  /** The process is told by `job.started` after a start, by `job.attached` after an attach: then stdin flows. */
  readonly by: 'start' | 'attach';
}

/** An unfinished job as the runtime keeps it. */
export interface KeptJob {
  readonly job: JobId;
  /** Its `durable` becomes true when its client detaches. */
  spec: JobSpec;
  readonly nested: Nested | null;
  readonly submittedMs: number;
  /** Null where nobody reads. */
  streams: OriginStreams | null;
  onEvent: (event: JobEvent) => void;
  /** Answers the client. */
  resolve: (result: RunObject) => void;
  /** The scheduler has it. */
  submitted: boolean;
  cancelled: boolean;
  /** Why this node ends it although nobody asked for that. */
  lostBecause: string | null;
  /** The attempt that the streams, or the messages of a job without any, belong to. */
  sent: Sent | null;
  /** It became durable after an attempt was sent, so that its executor is to be told. */
  toldDetached: boolean;
  /** Of stdin when its end had been handed over, in an earlier run of this daemon. */
  readonly stdinBytes: number | null;
  notices: readonly string[];
  /** Of the files that were sent for the latest attempt: another one may run elsewhere, without any. */
  syncNotices: readonly string[];
  /** What of its project's files keeps it here. */
  staysHere: StaysHere | null;
  /** It has ended, and its changes are on their way back: what is told of it until they are here. */
  ending: JobRecord | null;
  /** It is of a journal that was damaged, and not to be run twice: where it seems not to have run, that is not believed. */
  uncertain: boolean;
}

/** A job of which nothing is known but what was asked for. */
export const freshJob = (
  given: Pick<KeptJob, 'job' | 'spec' | 'nested' | 'submittedMs' | 'stdinBytes' | 'onEvent' | 'resolve'>,
): KeptJob => ({
  ...given,
  streams: null,
  submitted: false,
  cancelled: false,
  lostBecause: null,
  sent: null,
  toldDetached: false,
  notices: [],
  syncNotices: [],
  staysHere: null,
  ending: null,
  uncertain: false,
});

export const JOURNAL_DAMAGED =
  "this node's journal of jobs was damaged, so that it cannot know whether the command was started: it is not started again";

/** What people are told of the job as it is now. */
export function noticesOf({ notices, syncNotices }: KeptJob): readonly string[] {
  return [...notices, ...syncNotices.filter((one) => !notices.includes(one))];
}

export function placeEntryOf(place: AttemptPlace): PlaceEntry {
  const { node, name, lease, instance, cwd, route, tools, syncMs } = place;
  return { node, name, lease, instance, cwd, route: route.slice(0, 8192), tools, sync_ms: syncMs };
}

export const placeOf = ({ sync_ms: syncMs, ...entry }: PlaceEntry): AttemptPlace => ({
  ...entry,
  reservedAtMs: 0,
  syncMs,
});

export const looseOf = ({ job, attempt, place, unwanted }: LooseEntry): LooseAttempt => ({
  job,
  attempt,
  place: placeOf(place),
  unwanted,
});

export const termsOfSpec = (spec: JobSpec, nested: Nested | null): JobTerms => ({
  retries: spec.retries,
  priority: spec.priority,
  submitter: spec.submitter,
  parent: nested?.parent ?? null,
});

export function openEntryOf(job: JobId, spec: JobSpec, nested: Nested | null, submittedMs: number): OpenEntry {
  return {
    e: 'open',
    job,
    attempt: 1,
    submitted_ms: submittedMs,
    spec,
    parent: nested?.parent ?? null,
    nesting: nested?.nesting ?? 0,
    place: null,
    queue_ms: 0,
    reruns: [],
    avoided: [],
    lost_at: null,
    notices: [],
    cancel_asked: false,
    stdin_bytes: null,
    stdout_before: 0,
    stderr_before: 0,
  };
}

/** What its client is told of a job that `down` ended. */
export const DAEMON_DOWN = 'the daemon of this node went down: what had been started of the command was ended';

/** What a job has to show that never came to be placed. */
export const NOT_PLACED = {
  attempts: 0,
  queueMs: 0,
  dispatchMs: 0,
  syncMs: 0,
  route: '',
  automatic: false,
  reruns: [],
} as const;
