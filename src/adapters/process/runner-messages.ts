import type { ReadEnd, RunHandlers, RunRequest, RunResult } from '../../ports/runner.ts';
import type { RunnerEnded, RunnerRun } from '../../wire/runner.ts';
import { encodeStreamHeader, FRAME_ABORT, FRAME_END } from '../../wire/stream-frame.ts';
import type { StreamMux } from '../../wire/stream-mux.ts';

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

/** Ends an attempt that is not run here, and its streams as the runner would have: in a later turn, as callers expect. */
export function endUnstarted(mux: StreamMux, request: RunRequest, handlers: RunHandlers, message: string): void {
  setImmediate(() => {
    for (const stream of [request.stdoutStream, request.stderrStream]) {
      if (stream !== null) mux.receive(encodeStreamHeader(FRAME_END, stream));
    }
    if (request.stdinStream !== null) mux.receive(encodeStreamHeader(FRAME_ABORT, request.stdinStream));
    handlers.onEnded(emptyResult({ kind: 'spawn_failed', message }));
  });
}

export const readFailed = (message: string): ReadEnd => ({ ok: false, kind: 'io', end: 0, message });

/** Undefined where it is no JSON. */
export function parseJson(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
