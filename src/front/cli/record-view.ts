import type { JobRecord } from '../../node/api-types.ts';

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
