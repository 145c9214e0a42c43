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
  /** The whole environment of the process; MESHWORK_JOB_ID is added to it. */
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
  /** Bytes that the command wrote, those dropped beyond `outputBytesMax` included. */
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  readonly truncated: boolean;
  /** Processes that outlived the command and had to be ended; 0 where the tree was ended anyway. */
  readonly leftRunning: number;
  /** From the start of the process to its exit, or 0 where there was none. */
  readonly durationMs: number;
}

export interface RunHandlers {
  /** At most once; never where no process could be started. */
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
  /** The streams named in the request must be open on `mux`: outputs with `windowBytes` granted, stdin with no credit. */
  run(request: RunRequest, handlers: RunHandlers): void;
  /** Ends the tree: TERM, 5 s, KILL. Unknown attempts are ignored. */
  cancel(job: JobId, attempt: number): void;
}
