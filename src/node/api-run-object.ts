import type { RunObject } from '../wire/api.ts';
import { NO_CHANGES } from '../wire/changes.ts';
import type { JobRecord } from '../wire/job-record.ts';

/** The run object of the contract, of a finished or an unfinished job; the front fills in stdout and stderr. */
export function runObjectOf(record: JobRecord): RunObject {
  const isFinished = record.state === 'finished';
  return {
    notices: record.notices,
    state: record.state,
    return_code: record.return_code,
    executed_on: record.executed_on,
    cwd: record.cwd,
    stdout: '',
    stderr: '',
    changes: record.changes ?? NO_CHANGES,
    success: isFinished ? record.reason === 'exited' && record.return_code === 0 : null,
    signal: record.signal,
    reason: record.reason,
    job_id: record.job,
    executed_on_id: record.executed_on_id,
    os: record.os,
    arch: record.arch,
    tools: record.tools,
    route: record.route,
    auto_routed: record.auto_routed,
    attempts: record.attempts,
    stdout_bytes: record.stdout_bytes,
    stderr_bytes: record.stderr_bytes,
    truncated: record.truncated,
    queue_ms: record.queue_ms,
    dispatch_ms: record.dispatch_ms,
    sync_ms: record.sync_ms,
    duration_ms: record.duration_ms,
    ...(record.error === null ? {} : { error: record.error }),
    ...(isFinished ? {} : { next: nextOf(record) }),
    ...(record.late ? { late: true as const } : {}),
  };
}

const nextOf = ({ job }: JobRecord): string =>
  `follow it with \`meshwork logs -f ${job}\` or the tool job_output, wait for it with \`meshwork wait ${job}\`; do not start it again`;
