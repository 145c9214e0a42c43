import { MeshError } from '../../base/errors.ts';
import { refusalReport } from '../../node/api-refusal.ts';
import type { JobRecord, RunObject } from '../../node/api-types.ts';

/** The run object of a job as its record tells it, without output; keys in the contract's order. */
export function runObjectOf(record: JobRecord): RunObject {
  const { error: _error, ...blank } = refusalReport(new MeshError('internal', ''), record.cwd);
  const isFinished = record.state === 'finished';
  return {
    ...blank,
    notices: record.notices,
    state: record.state,
    return_code: isFinished ? record.return_code : null,
    executed_on: record.executed_on,
    cwd: record.cwd,
    success: isFinished ? record.reason === 'exited' && record.return_code === 0 : null,
    signal: record.signal,
    reason: isFinished ? record.reason : null,
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
    duration_ms: record.duration_ms,
    ...(record.error === null ? {} : { error: record.error }),
    ...(isFinished ? {} : { next: nextOf(record.job) }),
    ...(record.late ? { late: true as const } : {}),
  };
}

export const nextOf = (job: string): string =>
  `meshwork wait ${job} (its end), meshwork logs -f ${job} (its output), meshwork cancel ${job}`;

/** How a job stands, in a word or two: `running`, `queued #3`, `exit 0`, `SIGKILL`, `timeout`, `unknown`. */
export function standingOf(record: JobRecord): string {
  if (record.state !== 'finished')
    return record.queue_position === null ? record.state : `queued #${record.queue_position}`;
  const late = record.late ? ' (late)' : '';
  switch (record.reason) {
    case 'exited':
      return `exit ${record.return_code ?? '?'}${late}`;
    case 'signaled':
      return `${record.signal ?? 'signal'}${late}`;
    case null:
      return 'finished';
    case 'timeout':
    case 'cancelled':
    case 'refused':
    case 'lost':
    case 'unknown':
      return `${record.reason}${late}`;
  }
}
