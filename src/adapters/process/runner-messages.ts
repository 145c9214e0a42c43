import type { RunRequest, RunResult } from '../../ports/runner.ts';
import type { RunnerEnded, RunnerRun } from '../../wire/runner.ts';

/** What the port says, as the wire says it, and back. */
export function orderOf(
  request: RunRequest,
  { logBytesMax, contain }: { readonly logBytesMax: number; readonly contain: boolean },
): RunnerRun {
  return {
    t: 'runner.run',
    job: request.job,
    attempt: request.attempt,
    command: request.command,
    cwd: request.cwd,
    env: request.env,
    umask: request.umask,
    timeout_ms: request.timeoutMs,
    stdin_stream: request.stdinStream,
    stdout_stream: request.stdoutStream,
    stderr_stream: request.stderrStream,
    window_bytes: request.windowBytes,
    output_bytes_max: request.outputBytesMax,
    log_bytes_max: logBytesMax,
    contain,
    merge: request.merge,
    terminal: request.terminal,
    durable: request.durable,
    user: request.user === null ? null : { ...request.user, groups: [...request.user.groups] },
  };
}

export const emptyResult = (outcome: RunResult['outcome']): RunResult => ({
  outcome,
  stdoutBytes: 0,
  stderrBytes: 0,
  truncated: false,
  leftRunning: 0,
  durationMs: 0,
});

export const resultOf = (ended: RunnerEnded): RunResult => ({
  outcome: ended.outcome,
  stdoutBytes: ended.stdout_bytes,
  stderrBytes: ended.stderr_bytes,
  truncated: ended.truncated,
  leftRunning: ended.left_running,
  durationMs: ended.duration_ms,
});
