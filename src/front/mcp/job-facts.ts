import type { JobRecord } from '../../node/api-types.ts';
import { briefChanges } from './brief-changes.ts';
import { brief, briefNotices } from './run-report.ts';
import { shown, shownDeep } from './shown-text.ts';
import type { JsonDocument } from './tool.ts';

const COMMAND_CHARS_MAX = 1000;
const LISTED_COMMAND_CHARS_MAX = 200;
const LINE_CHARS_MAX = 1000;
const ERROR_CHARS_MAX = 4000;

/** Claude Code and other clients name resources by it. */
export const JOB_URI_PREFIX = 'meshwork://jobs/';

/** A job id, also where it comes as the address of the job's resource. */
export const jobNameOf = (given: string): string =>
  given.startsWith(JOB_URI_PREFIX) ? given.slice(JOB_URI_PREFIX.length) : given.trim();

const nullable = (text: string | null, charsMax = LINE_CHARS_MAX): string | null =>
  text === null ? null : brief(text, charsMax);

/** What the run object says, but for output: of a job of any node, as it is now. */
export function jobFacts(record: JobRecord): JsonDocument {
  const isFinished = record.state === 'finished';
  return {
    state: record.state,
    return_code: isFinished ? record.return_code : null,
    success: isFinished ? record.reason === 'exited' && record.return_code === 0 : null,
    signal: record.signal,
    reason: isFinished ? record.reason : null,
    job_id: record.job,
    command: brief(record.command, COMMAND_CHARS_MAX),
    executed_on: nullable(record.executed_on),
    executed_on_id: record.executed_on_id,
    submitted_at: shown(record.origin),
    cwd: nullable(record.cwd, 2 * LINE_CHARS_MAX),
    ...(isFinished ? {} : { detail: brief(record.detail, LINE_CHARS_MAX), queue_position: record.queue_position }),
    tools: shownDeep(record.tools),
    route: brief(record.route, LINE_CHARS_MAX),
    attempts: record.attempts,
    stdout_bytes: record.stdout_bytes,
    stderr_bytes: record.stderr_bytes,
    truncated: record.truncated,
    queue_ms: record.queue_ms,
    dispatch_ms: record.dispatch_ms,
    sync_ms: record.sync_ms,
    duration_ms: record.duration_ms,
    ...(record.changes === null ? {} : { changes: briefChanges(record.changes) }),
    ...(record.late ? { late: true } : {}),
    ...(record.error === null
      ? {}
      : { error: { code: record.error.code, message: brief(record.error.message, ERROR_CHARS_MAX) } }),
  };
}

/** What could mislead about a job: first what is said here, then what its nodes said. */
export function jobNotices(record: JobRecord, own: readonly string[] = []): string[] {
  return briefNotices([...own, ...record.notices]);
}

/** One line of a list. */
export function listedJob(record: JobRecord): JsonDocument {
  const isFinished = record.state === 'finished';
  return {
    job_id: record.job,
    state: record.state,
    command: brief(record.command, LISTED_COMMAND_CHARS_MAX),
    submitted_at: shown(record.origin),
    submitted: new Date(record.submitted_ms).toISOString(),
    executed_on: nullable(record.executed_on),
    return_code: isFinished ? record.return_code : null,
    reason: isFinished ? record.reason : null,
    ...(isFinished
      ? { duration_ms: record.duration_ms }
      : { detail: brief(record.detail, LISTED_COMMAND_CHARS_MAX), queue_position: record.queue_position }),
    ...(record.late ? { late: true } : {}),
  };
}
