import { constants } from 'node:os';
import { unreachable } from '../base/assert.ts';
import type { Facts } from '../wire/facts.ts';
import type { JobReason, RunObject } from '../wire/api.ts';
import type { Outcome } from '../wire/jobs.ts';
import type { JobId, NodeId } from '../base/ids.ts';
import type { AttemptPlace, JobResult } from '../core/scheduling/origin-job.ts';

const TIMEOUT_CODE = 124;
const CANCELLED_CODE = 130;

/** What the runtime adds to the scheduler's result. */
export interface RunContext {
  readonly job: JobId;
  readonly factsOf: (node: NodeId) => Facts | null;
  /** What this side received of the output; less than was sent where a link was lost. */
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  /** False where an attempt that was cancelled was not cancelled by us: its node went down. */
  readonly cancelAsked: boolean;
  /** Said before the job was placed, for instance that the pins of the project were not understood. */
  readonly notices: readonly string[];
}

interface End {
  readonly reason: JobReason;
  readonly returnCode: number | null;
  readonly signal: string | null;
  readonly error?: { readonly code: string; readonly message: string };
}

/** Builds the run object of the contract; the front fills in stdout and stderr. */
export function runObjectOf(result: JobResult, context: RunContext): RunObject {
  const place = 'place' in result ? result.place : null;
  const facts = place === null ? null : context.factsOf(place.node);
  const end = endOf(result, context.cancelAsked);
  const ended = result.kind === 'ended' ? result.ended : null;
  return {
    notices: noticesOf(result, context),
    state: 'finished',
    return_code: end.returnCode,
    executed_on: place?.name ?? null,
    cwd: place?.cwd ?? null,
    stdout: '',
    stderr: '',
    changes: { returned: [], deleted: [], conflicts: [], held_back: [], left_there: [] },
    success: end.reason === 'exited' && end.returnCode === 0,
    signal: end.signal,
    reason: end.reason,
    job_id: context.job,
    executed_on_id: place?.node ?? null,
    os: facts?.os ?? null,
    arch: facts?.arch ?? null,
    tools: place?.tools ?? {},
    route: result.route,
    auto_routed: result.automatic,
    attempts: result.attempts,
    stdout_bytes: ended?.stdout_bytes ?? context.stdoutBytes,
    stderr_bytes: ended?.stderr_bytes ?? context.stderrBytes,
    truncated: (ended?.truncated ?? false) || lostOutput(result, context),
    queue_ms: Math.round(result.queueMs),
    dispatch_ms: Math.round(result.dispatchMs),
    sync_ms: 0,
    duration_ms: Math.round(ended?.duration_ms ?? 0),
    ...(end.error === undefined ? {} : { error: end.error }),
  };
}

function endOf(result: JobResult, cancelAsked: boolean): End {
  switch (result.kind) {
    case 'ended':
      if (result.ended.outcome.kind === 'cancelled' && !cancelAsked) return endedByNode(result.place);
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
      return { reason: 'cancelled', returnCode: CANCELLED_CODE, signal: null };
    default:
      return unreachable(result);
  }
}

/** Nobody here asked for this end: 130 would say so. */
function endedByNode(place: AttemptPlace): End {
  const message = `${place.name} ended the command before it was done, as it went down: it ran in part`;
  return { reason: 'lost', returnCode: null, signal: null, error: { code: 'lost', message } };
}

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

function noticesOf(result: JobResult, context: RunContext): string[] {
  const notices = [...context.notices];
  if (result.kind !== 'ended') return notices;
  const { left_running: left, truncated } = result.ended;
  if (left > 0)
    notices.push(
      `${left} process${left === 1 ? '' : 'es'} that the command left running ${left === 1 ? 'was' : 'were'} ended`,
    );
  if (truncated) notices.push(`${result.place.name} cut the output at its limit (exec.output_max_bytes)`);
  else if (lostOutput(result, context)) notices.push('part of the output was lost with the link');
  return notices;
}

function lostOutput(result: JobResult, context: RunContext): boolean {
  if (result.kind !== 'ended' || result.ended.truncated) return false;
  return context.stdoutBytes < result.ended.stdout_bytes || context.stderrBytes < result.ended.stderr_bytes;
}
