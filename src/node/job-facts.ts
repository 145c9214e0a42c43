import { constants } from 'node:os';
import { unreachable } from '../base/assert.ts';
import type { JobId, NodeId } from '../base/ids.ts';
import { staysBecause } from '../core/scheduling/choice.ts';
import type { AttemptPlace, JobResult, JobView } from '../core/scheduling/origin-job.ts';
import type { StaysHere } from '../core/scheduling/placement-request.ts';
import type { JobReason } from '../wire/api.ts';
import type { Facts } from '../wire/facts.ts';
import { SHOWN_COMMAND_CHARS_MAX, type JobRecord } from '../wire/job-record.ts';
import { ATTEMPTS_MAX, REASON_CHARS_MAX, type Ended, type Outcome } from '../wire/jobs.ts';
import { PATH_CHARS_MAX, type JobSpec } from '../wire/job-spec.ts';
import type { OutputBytes } from './origin-streams.ts';

const TIMEOUT_CODE = 124;
const CANCELLED_CODE = 130;
/** As in wire/job-record.ts. */
const NOTICES_MAX = 32;
const NOTICE_CHARS_MAX = 1000;
const ROUTE_CHARS_MAX = 4000;
const ERROR_CHARS_MAX = REASON_CHARS_MAX * 8;
const TOOLS_MAX = 64;

/** What the runtime knows of a job beside its scheduler. */
export interface JobFacts {
  readonly job: JobId;
  readonly origin: { readonly id: NodeId; readonly name: string };
  readonly spec: Pick<JobSpec, 'command' | 'durable'>;
  /** Wall clock, milliseconds. */
  readonly submittedMs: number;
  readonly factsOf: (node: NodeId) => Facts | null;
  /** Said apart from how it ended, for instance that the pins of the project were not understood. */
  readonly notices: readonly string[];
}

export interface RecordContext extends JobFacts {
  readonly finishedMs: number;
  /** What this side received of the last attempt's output; null where it took none. */
  readonly received: OutputBytes | null;
  /** False where an attempt that was cancelled was not cancelled by us: its node went down. */
  readonly cancelAsked: boolean;
  /** Why this node ended it although nobody asked for that, or null. */
  readonly lostBecause: string | null;
  /** What of its project's files keeps automatic routing here, or null. */
  readonly staysHere: StaysHere | null;
}

interface End {
  readonly reason: JobReason;
  readonly returnCode: number | null;
  readonly signal: string | null;
  readonly error?: { readonly code: string; readonly message: string };
}

/** What is kept and told of a job that has finished. */
export function recordOf(result: JobResult, context: RecordContext): JobRecord {
  const place = 'place' in result ? result.place : null;
  const end = endOf(result, context);
  const ended = result.kind === 'ended' ? result.ended : null;
  return {
    ...plainRecord(context),
    finished_ms: context.finishedMs,
    state: 'finished',
    return_code: end.returnCode,
    signal: end.signal,
    reason: end.reason,
    error: errorOf(end),
    notices: boundedNotices(noticesOf(result, context)),
    ...placeFacts(place, context),
    attempt: Math.min(result.attempts, ATTEMPTS_MAX),
    attempts: result.attempts,
    route: cut(result.route, ROUTE_CHARS_MAX),
    auto_routed: result.automatic,
    stdout_bytes: ended?.stdout_bytes ?? context.received?.stdout ?? 0,
    stderr_bytes: ended?.stderr_bytes ?? context.received?.stderr ?? 0,
    truncated: (ended?.truncated ?? false) || lostOutput(result, context),
    queue_ms: Math.round(result.queueMs),
    dispatch_ms: Math.round(result.dispatchMs),
    sync_ms: Math.round(result.syncMs),
    duration_ms: Math.round(ended?.duration_ms ?? 0),
  };
}

/** @param view null while the project is being read */
export function liveRecordOf(
  view: JobView | null,
  facts: JobFacts & { readonly received: OutputBytes | null },
  nowMs: number,
): JobRecord {
  const plain = { ...plainRecord(facts), notices: boundedNotices(facts.notices) };
  if (view === null) return { ...plain, state: 'preparing', detail: 'reads what placement needs to know' };
  const { place, isSent } = view;
  return {
    ...plain,
    state: stateOf(view.state),
    detail: cut(view.detail, NOTICE_CHARS_MAX),
    queue_position: view.queuePosition,
    notices: boundedNotices([...facts.notices, ...view.reruns.map((text) => `${text}; it is run again`)]),
    ...placeFacts(place, facts),
    // Before the files are there nothing is known of the directory.
    ...(isSent ? {} : { cwd: null }),
    attempt: isSent ? view.attempt : view.attempt - 1,
    attempts: isSent ? view.attempt : view.attempt - 1,
    route: cut(view.route, ROUTE_CHARS_MAX),
    auto_routed: view.automatic,
    stdout_bytes: facts.received?.stdout ?? 0,
    stderr_bytes: facts.received?.stderr ?? 0,
    queue_ms: Math.round(Math.max(0, (place?.reservedAtMs ?? nowMs) - view.submittedAtMs)),
    sync_ms: Math.round(view.syncMs),
    duration_ms: view.startedAtMs === null ? 0 : Math.round(Math.max(0, nowMs - view.startedAtMs)),
  };
}

/** The record of a job whose outcome came after it had been called unknown. */
export function lateRecordOf(
  record: JobRecord,
  place: AttemptPlace,
  ended: Ended,
  at: { readonly finishedMs: number; readonly cancelAsked: boolean },
): JobRecord {
  const end =
    ended.outcome.kind === 'cancelled' && !at.cancelAsked ? endedByNode(place) : endOfOutcome(ended.outcome, place);
  return {
    ...record,
    finished_ms: at.finishedMs,
    late: true,
    return_code: end.returnCode,
    signal: end.signal,
    reason: end.reason,
    error: errorOf(end),
    notices: boundedNotices([...record.notices, 'how it ended was unknown at first and came to be known later']),
    stdout_bytes: ended.stdout_bytes,
    stderr_bytes: ended.stderr_bytes,
    truncated: ended.truncated,
    duration_ms: Math.round(ended.duration_ms),
  };
}

/** The record with one more thing to know. */
export const withNotice = (record: JobRecord, notice: string): JobRecord => ({
  ...record,
  notices: boundedNotices([...record.notices, notice]),
});

/** For people: `exit 3`, `SIGKILL`. */
export function outcomeText(outcome: Outcome): string {
  switch (outcome.kind) {
    case 'exited':
      return `exit ${outcome.code}`;
    case 'signaled':
      return outcome.signal;
    case 'timeout':
      return 'timed out';
    case 'cancelled':
      return 'ended on request';
    case 'spawn_failed':
    case 'unknown':
      return outcome.message;
    default:
      return unreachable(outcome);
  }
}

function plainRecord(facts: JobFacts): JobRecord {
  const { job, origin, spec } = facts;
  const { command } = spec;
  const text = command.kind === 'line' ? command.line : command.argv.map(quoted).join(' ');
  return {
    job,
    origin_id: origin.id,
    origin: origin.name,
    command: cut(text, SHOWN_COMMAND_CHARS_MAX),
    background: spec.durable,
    submitted_ms: facts.submittedMs,
    finished_ms: null,
    state: 'queued',
    detail: '',
    queue_position: null,
    return_code: null,
    signal: null,
    reason: null,
    late: false,
    error: null,
    notices: [],
    executed_on: null,
    executed_on_id: null,
    os: null,
    arch: null,
    tools: {},
    attempt: 0,
    attempts: 0,
    cwd: null,
    route: '',
    auto_routed: false,
    stdout_bytes: 0,
    stderr_bytes: 0,
    truncated: false,
    changes: null,
    queue_ms: 0,
    dispatch_ms: 0,
    sync_ms: 0,
    duration_ms: 0,
  };
}

function placeFacts(place: AttemptPlace | null, { factsOf }: Pick<JobFacts, 'factsOf'>) {
  if (place === null) return {};
  const facts = factsOf(place.node);
  return {
    executed_on: place.name,
    executed_on_id: place.node,
    os: facts?.os ?? null,
    arch: facts?.arch ?? null,
    cwd: cut(place.cwd, PATH_CHARS_MAX),
    tools: Object.fromEntries(Object.entries(place.tools).slice(0, TOOLS_MAX)),
  };
}

function stateOf(state: JobView['state']): JobRecord['state'] {
  switch (state) {
    case 'queued':
    case 'reserving':
      return 'queued';
    case 'syncing':
      return 'syncing';
    case 'starting':
    case 'preparing':
      return 'preparing';
    case 'running':
    case 'detached':
    case 'cancelling':
      return 'running';
    default:
      return unreachable(state);
  }
}

const cut = (text: string, charsMax: number): string =>
  text.length <= charsMax ? text : `${text.slice(0, charsMax - 1)}…`;

const quoted = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

const errorOf = ({ error }: End) =>
  error === undefined ? null : { ...error, message: cut(error.message, ERROR_CHARS_MAX) };

function boundedNotices(notices: readonly string[]): string[] {
  const shown = notices.slice(0, NOTICES_MAX).map((notice) => cut(notice, NOTICE_CHARS_MAX));
  if (notices.length > NOTICES_MAX) shown[NOTICES_MAX - 1] = `and ${notices.length - NOTICES_MAX + 1} more notices`;
  return shown;
}

function endOf(result: JobResult, { cancelAsked, lostBecause }: RecordContext): End {
  switch (result.kind) {
    case 'ended':
      if (result.ended.outcome.kind === 'cancelled') {
        if (lostBecause !== null) return lost(lostBecause);
        if (!cancelAsked) return endedByNode(result.place);
      }
      return endOfOutcome(result.ended.outcome, result.place);
    case 'refused':
      return {
        reason: 'refused',
        returnCode: null,
        signal: null,
        error: { code: result.code, message: result.message },
      };
    case 'unknown':
      return {
        reason: 'unknown',
        returnCode: null,
        signal: null,
        error: { code: 'unknown_outcome', message: result.message },
      };
    case 'cancelled':
      if (lostBecause !== null) return lost(lostBecause);
      return { reason: 'cancelled', returnCode: CANCELLED_CODE, signal: null };
    default:
      return unreachable(result);
  }
}

/** Nobody here asked for this end: 130 would say so. */
function endedByNode(place: AttemptPlace): End {
  const message = `${place.name} ended the command before it was done, as it went down: it ran in part`;
  return lost(message);
}

const lost = (message: string): End => ({
  reason: 'lost',
  returnCode: null,
  signal: null,
  error: { code: 'lost', message },
});

/** What an outcome means to people and scripts. */
export function endOfOutcome(outcome: Outcome, place: Pick<AttemptPlace, 'name'>): End {
  switch (outcome.kind) {
    case 'exited':
      return { reason: 'exited', returnCode: outcome.code, signal: null };
    case 'signaled':
      return { reason: 'signaled', returnCode: codeOfSignal(outcome.signal), signal: outcome.signal };
    case 'timeout':
      return { reason: 'timeout', returnCode: TIMEOUT_CODE, signal: outcome.signal };
    case 'cancelled':
      return { reason: 'cancelled', returnCode: CANCELLED_CODE, signal: outcome.signal };
    case 'spawn_failed': {
      const message = `${place.name} could not start the command: ${outcome.message}`;
      return { reason: 'refused', returnCode: null, signal: null, error: { code: 'spawn_failed', message } };
    }
    case 'unknown': {
      const message = `${outcome.message} on ${place.name}: the command may have run, wholly or in part`;
      return { reason: 'unknown', returnCode: null, signal: null, error: { code: 'unknown_outcome', message } };
    }
    default:
      return unreachable(outcome);
  }
}

function codeOfSignal(signal: string): number | null {
  const numbers: Readonly<Record<string, number>> = constants.signals;
  const number = numbers[signal];
  return number === undefined ? null : 128 + number;
}

/** `route` has all of it, such as the largest folders. */
const staysNotice = ({ text }: StaysHere): string => `ran here: ${text.split('. ')[0] ?? text}`;

function noticesOf(result: JobResult, context: RecordContext): string[] {
  const notices = [...context.notices, ...result.reruns.map((text) => `${text}; it was run again`)];
  const { staysHere } = context;
  if (staysHere !== null && staysBecause(result.route, staysHere)) notices.push(staysNotice(staysHere));
  if (result.kind !== 'ended') return notices;
  const { left_running: left, truncated } = result.ended;
  if (left > 0)
    notices.push(
      `${left} process${left === 1 ? '' : 'es'} that the command left running ${left === 1 ? 'was' : 'were'} ended`,
    );
  if (truncated)
    notices.push(
      `${result.place.name} kept a part of the output only (its exec.output_max_bytes or jobs.output_max_bytes, or a full disk)`,
    );
  else if (lostOutput(result, context)) notices.push('part of the output was lost');
  return notices;
}

function lostOutput(result: JobResult, context: RecordContext): boolean {
  if (context.received === null) return false;
  if (result.kind !== 'ended' || result.ended.truncated) return false;
  return context.received.stdout < result.ended.stdout_bytes || context.received.stderr < result.ended.stderr_bytes;
}
