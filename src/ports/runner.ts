import type { JobId } from '../base/ids.ts';
import type { Outcome } from '../wire/jobs.ts';
import type { LogRead, LogStream } from '../wire/job-query.ts';
import type { Command, TerminalSize } from '../wire/job-spec.ts';
import type { StreamMux } from '../wire/stream-mux.ts';

export interface AttemptName {
  readonly job: JobId;
  readonly attempt: number;
}

/** One attempt, fully resolved: the runner asks nobody anything. */
export interface RunRequest extends AttemptName {
  readonly command: Command;
  readonly cwd: string;
  /** The whole environment of the process; MESHWORK_JOB_ID is added to it. */
  readonly env: Readonly<Record<string, string>>;
  readonly umask: number;
  readonly timeoutMs: number | null;
  /** Null: stdin is empty and at its end. */
  readonly stdinStream: number | null;
  /** Both null: nobody reads now; the output is in the log. */
  readonly stdoutStream: number | null;
  readonly stderrStream: number | null;
  /** Bytes that the runner may send on each output stream before further credit. */
  readonly windowBytes: number;
  /** Output beyond this many bytes of a stream is dropped and the job marked truncated; null = unbounded. */
  readonly outputBytesMax: number | null;
  /** Null: the runner's own user. */
  readonly user: { readonly uid: number; readonly gid: number; readonly groups: readonly number[] } | null;
  /** stdout and stderr are one pipe, read as stdout. */
  readonly merge: boolean;
  /** A pseudo-terminal of that size instead of pipes, or null. */
  readonly terminal: TerminalSize | null;
  /** Goes on without the daemon; its log keeps head and tail when it is full. Otherwise the command waits for its reader. */
  readonly durable: boolean;
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
  /**
   * Exactly once; the tree is gone and all output is in the log. Streams that read it end by themselves once their
   * reader has taken everything.
   */
  readonly onEnded: (result: RunResult) => void;
}

/** An attempt that the runner had when this daemon connected: of an earlier daemon. */
export type KeptAttempt = AttemptName &
  (
    | { readonly kind: 'running'; readonly durable: boolean; readonly stdinBytes: number }
    /** Ended and not acknowledged yet. */
    | { readonly kind: 'ended'; readonly result: RunResult }
  );

export interface ReadRequest extends AttemptName {
  readonly stream: LogStream;
  readonly offset: number;
  /** True: until the attempt has ended; false: what there is now. */
  readonly follow: boolean;
  /**
   * True: what this reader has not read is kept, and the command waits where it is too far ahead. To abort its stream is
   * to close the command's output (SIGPIPE), unless `park` or `detach` came before.
   */
  readonly holds: boolean;
  /** Open on `mux`, with `windowBytes` granted; ended at the end of the read. */
  readonly streamId: number;
  readonly windowBytes: number;
}

export type ReadEnd =
  | ({ readonly ok: true } & LogRead)
  /** Unknown: no log of that attempt is kept here. Past the end: `end` is where it ends now. */
  | {
      readonly ok: false;
      readonly kind: 'unknown' | 'past_end' | 'io';
      readonly end: number;
      readonly message: string;
    };

/** The companion process that owns children, pipes and output logs, as the daemon sees it. It outlives the daemon. */
export interface Runner {
  /** Names this run of the runner process; another instance knows nothing of earlier attempts. */
  readonly instance: string;
  /** What it had when this daemon connected; give each to `adopt`, or `cancel` it. */
  readonly kept: readonly KeptAttempt[];
  /** The daemon's end of the streams named in requests; the daemon takes ids from its `nextId`. */
  readonly mux: StreamMux;
  /** The streams named in the request must be open on `mux`: outputs with `windowBytes` granted, stdin with no credit. */
  run(request: RunRequest, handlers: RunHandlers): void;
  /**
   * An attempt is likely to be run in some 10 ms: what a runner must wait for beforehand it waits for now. Only a hint; the
   * runner does nothing else meanwhile.
   */
  expect(): void;
  /** Takes over a kept attempt: `onEnded` comes for it, at once where it has ended. */
  adopt(name: AttemptName, handlers: RunHandlers): void;
  /** Ends the tree: TERM, 5 s, KILL. Unknown attempts are ignored. */
  cancel(job: JobId, attempt: number): void;
  /**
   * Output of a running or an ended attempt. `onEnd` comes exactly once, after the stream's last byte was sent. A read that
   * holds takes the place of the one that held that stream before, whose stream is aborted without telling the command.
   */
  read(request: ReadRequest, onEnd: (end: ReadEnd) => void): void;
  /** From now the attempt is durable, and no reader holds it back. */
  detach(name: AttemptName): void;
  /**
   * The link of its reader is lost, unlike a reader that closed its end: from here the runner takes no notice of the streams
   * that `run`, `resumeStdin` and holding reads opened for it; the caller aborts its ends after this call. The command is told
   * nothing: its stdin stays open, and what a foreground attempt wrote is kept for a `read` that goes on: from several windows
   * (2 × STREAM_CREDIT_BYTES_MAX) before what was sent, since the bytes under way on two sockets are lost with the link.
   */
  park(name: AttemptName): void;
  /**
   * Takes stdin up again: `streamId`, open on `mux` with no credit, replaces an earlier one. `onOffset` comes once, with the
   * bytes that had arrived (for the command or still on their way to it): what follows is to be sent; null where the
   * command's stdin is closed, and for an attempt that has ended or is unknown.
   */
  resumeStdin(name: AttemptName, streamId: number, onOffset: (bytes: number | null) => void): void;
  resize(name: AttemptName, size: TerminalSize): void;
  /** The result is on the daemon's disk: the runner need not tell it again. */
  acknowledge(name: AttemptName): void;
  /** Removes the logs of an ended attempt. */
  drop(name: AttemptName): void;
}
