import type { NodeId } from '../base/ids.ts';
import type { AttemptFacts } from '../core/jobs/attempt-book.ts';
import type { Facts } from '../wire/facts.ts';
import type { JobRecord } from '../wire/job-record.ts';
import { endOfOutcome } from './job-facts.ts';

export interface RecordContext {
  readonly self: NodeId;
  readonly facts: Facts;
  /** '' where it is no member any more. */
  readonly nameOf: (node: NodeId) => string;
}

/**
 * A job as far as the executor of one attempt knows it: the origin's record is the better one wherever it can be had.
 *
 * @param attempts of one job here, the newest last
 */
export function recordOfAttempts(attempts: readonly AttemptFacts[], context: RecordContext): JobRecord | null {
  const newest = attempts.at(-1);
  if (newest === undefined) return null;
  const result = newest.end?.result ?? null;
  const { facts } = context;
  const end = result === null ? null : endOfOutcome(result.outcome, { name: facts.name });
  return {
    job: newest.job,
    origin_id: newest.from,
    origin: context.nameOf(newest.from),
    command: newest.command,
    background: newest.durable,
    submitted_ms: newest.startedAtMs,
    finished_ms: newest.end?.atMs ?? null,
    state: newest.end === null ? 'running' : 'finished',
    detail: newest.end === null ? `runs on ${facts.name}` : `ended on ${facts.name}`,
    queue_position: null,
    return_code: end?.returnCode ?? null,
    signal: end?.signal ?? null,
    reason: end?.reason ?? null,
    late: false,
    error: end?.error ?? null,
    notices: ['as its executor knows it: its origin cannot be asked'],
    executed_on: facts.name,
    executed_on_id: context.self,
    os: facts.os,
    arch: facts.arch,
    tools: {},
    attempt: newest.attempt,
    attempts: newest.attempt,
    cwd: newest.cwd,
    route: '',
    auto_routed: false,
    stdout_bytes: result?.stdoutBytes ?? 0,
    stderr_bytes: result?.stderrBytes ?? 0,
    truncated: result?.truncated ?? false,
    changes: null,
    queue_ms: 0,
    dispatch_ms: 0,
    sync_ms: 0,
    duration_ms: result?.durationMs ?? 0,
  };
}
