import type { JobId } from '../base/ids.ts';
import type { Outcome } from '../wire/jobs.ts';
import type { Command } from '../wire/job-spec.ts';
import type { StreamMux } from '../wire/stream-mux.ts';

/** One attempt, fully resolved: the runner asks nobody anything. */
export interface RunRequest {
  readonly job: JobId;
  readonly attempt: number;
  readonly command: Command;
  readonly cwd: string;
  /** The whole environment of the process. */
  readonly env: Readonly<Record<string, string>>;
  readonly umask: number;
  readonly timeoutMs: number | null;
  /** Null: stdin is empty and at its end. */
  readonly stdinStream: number | null;
  readonly stdoutStream: number;
  readonly stderrStream: number;
  /** Bytes that the runner may send on each output stream before further credit. */
  readonly windowBytes: number;
  /** Output beyond this many bytes of a stream is dropped and the job marked truncated; null = unbounded. */
  readonly outputBytesMax: number | null;
  /** Null: the runner's own user. */
  readonly user: { readonly uid: number; readonly gid: number; readonly groups: readonly number[] } | null;
}

export interface RunResult {
  readonly outcome: Outcome;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  readonly truncated: boolean;
  readonly leftRunning: number;
  readonly durationMs: number;
}

export interface RunHandlers {
  readonly onStarted: (pid: number) => void;
  /** Exactly once; the tree is gone and all output has been written to the streams, ended. */
  readonly onEnded: (result: RunResult) => void;
}

/** The companion process that owns children and pipes, as the daemon sees it. */
export interface Runner {
  /** Names this run of the runner process; another instance knows nothing of earlier attempts. */
  readonly instance: string;
  /** The daemon's end of the streams named in requests; the daemon takes ids from its `nextId`. */
  readonly mux: StreamMux;
  run(request: RunRequest, handlers: RunHandlers): void;
  /** Ends the tree: TERM, 5 s, KILL. Unknown attempts are ignored. */
  cancel(job: JobId, attempt: number): void;
}
