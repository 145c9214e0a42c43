import { NO_CHANGES } from '../wire/changes.ts';
import { MeshError, messageOf } from '../base/errors.ts';
import type { RunObject } from '../wire/api.ts';

/** A run object whose job may never have got an id. */
export type RunReport = Omit<RunObject, 'job_id'> & { readonly job_id: string | null };

/** The run object of what never ran, or was lost with the daemon; keys in the contract's order. */
export function refusalReport(error: unknown, cwd: string | null): RunReport {
  const code = error instanceof MeshError ? error.code : 'internal';
  const lost = code === 'lost';
  return {
    notices: lost ? ['the command may have run, wholly or in part: look before it is run again'] : [],
    state: 'finished',
    return_code: null,
    executed_on: null,
    cwd,
    stdout: '',
    stderr: '',
    changes: NO_CHANGES,
    success: false,
    signal: null,
    reason: lost ? 'lost' : code === 'cancelled' ? 'cancelled' : 'refused',
    job_id: null,
    executed_on_id: null,
    os: null,
    arch: null,
    tools: {},
    route: '',
    auto_routed: false,
    attempts: 0,
    stdout_bytes: 0,
    stderr_bytes: 0,
    truncated: false,
    queue_ms: 0,
    dispatch_ms: 0,
    sync_ms: 0,
    duration_ms: 0,
    error: { code, message: messageOf(error) },
  };
}
