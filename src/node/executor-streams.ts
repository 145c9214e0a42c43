import type { NodeId } from '../base/ids.ts';
import type { RunRequest, Runner, RunResult } from '../ports/runner.ts';
import type { JobMessageOf } from '../wire/jobs.ts';
import { joinStreams, STREAM_WINDOW_BYTES, type StreamMux } from '../wire/stream-mux.ts';

/** The origin of an attempt, as its executor sees it: another node's link, or this node itself. */
export interface OriginEnd {
  readonly id: NodeId;
  readonly mux: StreamMux;
}

type AttemptStreams = NonNullable<JobMessageOf<'job.start'>['streams']>;

export type ResolvedRun = Omit<RunRequest, 'stdinStream' | 'stdoutStream' | 'stderrStream' | 'windowBytes'>;

/**
 * Runs one attempt and joins its streams to the origin's. `onEnded` waits for the last output byte to be handed to the
 * link, so that `job.ended` never overtakes it; an origin that reads no more holds its own job's slot, nobody else's.
 */
export function runAttempt(
  origin: OriginEnd,
  runner: Runner,
  run: ResolvedRun,
  start: { readonly streams: AttemptStreams; readonly window_bytes: number },
  handlers: { readonly onStarted: () => void; readonly onEnded: (result: RunResult) => void },
): void {
  let outputsOpen = 2;
  let result: RunResult | null = null;
  const settle = (): void => {
    if (outputsOpen > 0 || result === null) return;
    handlers.onEnded(result);
    result = null;
  };
  const joinOutput = (originStream: number): number => {
    const id = runner.mux.nextId();
    joinStreams(
      { mux: runner.mux, id, grantedBytes: STREAM_WINDOW_BYTES },
      { mux: origin.mux, id: originStream, creditBytes: start.window_bytes },
      () => {
        outputsOpen -= 1;
        settle();
      },
    );
    return id;
  };
  const stdoutStream = joinOutput(start.streams.stdout);
  const stderrStream = joinOutput(start.streams.stderr);
  let stdinStream: number | null = null;
  if (start.streams.stdin !== null) {
    stdinStream = runner.mux.nextId();
    const joint = joinStreams(
      { mux: origin.mux, id: start.streams.stdin, grantedBytes: 0 },
      { mux: runner.mux, id: stdinStream, creditBytes: 0 },
      () => undefined,
    );
    joint.incoming.grant(STREAM_WINDOW_BYTES);
  }
  const request: RunRequest = { ...run, stdinStream, stdoutStream, stderrStream, windowBytes: STREAM_WINDOW_BYTES };
  runner.run(request, {
    onStarted: handlers.onStarted,
    onEnded: (ended) => {
      result = ended;
      settle();
    },
  });
}

/** True where an origin's `job.start` names streams that can be opened: distinct, free and within the bound. */
export function streamsAreFree(mux: StreamMux, streams: AttemptStreams): boolean {
  const ids = [streams.stdout, streams.stderr, ...(streams.stdin === null ? [] : [streams.stdin])];
  return mux.canOpen(ids);
}
