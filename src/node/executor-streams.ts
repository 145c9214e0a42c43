import type { NodeId } from '../base/ids.ts';
import type { AttemptName, RunRequest, Runner, RunResult } from '../ports/runner.ts';
import type { JobMessageOf } from '../wire/jobs.ts';
import { joinStreams, STREAM_WINDOW_BYTES, type StreamMux } from '../wire/stream-mux.ts';

/** The origin of an attempt, as its executor sees it: another node's link, or this node itself. */
export interface OriginEnd {
  readonly id: NodeId;
  readonly mux: StreamMux;
}

type OriginStreams = NonNullable<JobMessageOf<'job.start'>['streams']>;

export type ResolvedRun = Omit<RunRequest, 'stdinStream' | 'stdoutStream' | 'stderrStream' | 'windowBytes'>;

/** What joins one attempt to its origin over one link. */
export interface AttemptStreams {
  /** Lets go of the origin: what it has not read is kept for the next `attachAttempt`, unless the attempt is durable. */
  close(): void;
}

/**
 * Runs one attempt and joins its streams to the origin's. `onEnded` waits for the last output byte to be handed to the
 * link, so that `job.ended` never overtakes it; an origin that reads no more holds its own job's slot, nobody else's.
 *
 * @param start streams null: nobody reads now, the output is in the runner's log
 */
export function runAttempt(
  origin: OriginEnd,
  runner: Runner,
  run: ResolvedRun,
  start: { readonly streams: OriginStreams | null; readonly window_bytes: number },
  handlers: { readonly onStarted: () => void; readonly onEnded: (result: RunResult) => void },
): AttemptStreams {
  let result: RunResult | null = null;
  const settle = (): void => {
    if (joints.outputsOpen > 0 || result === null) return;
    handlers.onEnded(result);
    result = null;
  };
  const joints = new Joints(origin, runner, run, settle);
  const { streams, window_bytes: creditBytes } = start;
  const request: RunRequest = {
    ...run,
    stdoutStream: streams === null ? null : joints.output(streams.stdout, creditBytes),
    stderrStream: streams === null ? null : joints.output(streams.stderr, creditBytes),
    stdinStream: streams === null || streams.stdin === null ? null : joints.stdin(streams.stdin),
    windowBytes: STREAM_WINDOW_BYTES,
  };
  runner.run(request, {
    onStarted: handlers.onStarted,
    onEnded: (ended) => {
      result = ended;
      settle();
    },
  });
  return joints;
}

export interface Attachment {
  readonly streams: OriginStreams;
  readonly stdoutOffset: number;
  readonly stderrOffset: number;
  /** What the executor may send at once on each output stream of the origin. */
  readonly windowBytes: number;
  /** False where the attempt is durable. */
  readonly holds: boolean;
}

/**
 * Joins a running or an ended attempt to the streams of an origin that came back, at the offsets that it has. Close the
 * earlier streams first.
 *
 * @param handlers `onStdin` comes once where the origin named a stream for it, with the bytes that had arrived (null: it is
 *   closed, and so is the stream); `onOutputsClosed` once, when both outputs were handed over to their end, or the link was
 *   lost again
 */
export function attachAttempt(
  origin: OriginEnd,
  runner: Runner,
  name: AttemptName,
  attachment: Attachment,
  handlers: { readonly onStdin: (offset: number | null) => void; readonly onOutputsClosed: () => void },
): AttemptStreams {
  const { streams, windowBytes, holds } = attachment;
  let told = false;
  const joints = new Joints(origin, runner, name, () => {
    if (told || joints.outputsOpen > 0) return;
    told = true;
    handlers.onOutputsClosed();
  });
  const { job, attempt } = name;
  const how = { job, attempt, holds, follow: true, windowBytes: STREAM_WINDOW_BYTES } as const;
  // Both are open before either is read: the first may end at once.
  const stdout = joints.output(streams.stdout, windowBytes);
  const stderr = joints.output(streams.stderr, windowBytes);
  const read = (stream: 'stdout' | 'stderr', offset: number, streamId: number): void =>
    runner.read({ ...how, stream, offset, streamId }, (end) => {
      if (!end.ok) joints.giveUp(streamId);
    });
  read('stdout', attachment.stdoutOffset, stdout);
  read('stderr', attachment.stderrOffset, stderr);
  if (streams.stdin !== null) {
    const stdin = joints.stdin(streams.stdin);
    runner.resumeStdin(name, stdin, (from) => {
      if (from === null) joints.giveUp(stdin);
      handlers.onStdin(from);
    });
  }
  return joints;
}

interface Joint {
  readonly abort: () => void;
  readonly runnerStream: number;
  readonly isOutput: boolean;
}

/** The streams of one attempt between its runner and its origin. */
class Joints implements AttemptStreams {
  outputsOpen = 0;
  readonly #origin: OriginEnd;
  readonly #runner: Runner;
  readonly #name: AttemptName;
  readonly #open = new Set<Joint>();
  readonly #onOutputClosed: () => void;

  constructor(origin: OriginEnd, runner: Runner, name: AttemptName, onOutputClosed: () => void) {
    this.#origin = origin;
    this.#runner = runner;
    this.#name = { job: name.job, attempt: name.attempt };
    this.#onOutputClosed = onOutputClosed;
  }

  /** @returns the id of the runner's stream */
  output(originStream: number, creditBytes: number): number {
    const id = this.#runner.mux.nextId();
    this.outputsOpen += 1;
    this.#join(
      true,
      { mux: this.#runner.mux, id, grantedBytes: STREAM_WINDOW_BYTES },
      { mux: this.#origin.mux, id: originStream, creditBytes },
    );
    return id;
  }

  stdin(originStream: number): number {
    const id = this.#runner.mux.nextId();
    const { incoming } = this.#join(
      false,
      { mux: this.#origin.mux, id: originStream, grantedBytes: 0 },
      { mux: this.#runner.mux, id, creditBytes: 0 },
    );
    incoming.grant(STREAM_WINDOW_BYTES);
    return id;
  }

  /** The runner does not serve this stream. */
  giveUp(runnerStream: number): void {
    for (const joint of this.#open) if (joint.runnerStream === runnerStream) this.#abort(joint);
  }

  close(): void {
    if (this.#open.size === 0) return;
    this.#runner.park(this.#name);
    for (const joint of this.#open) this.#abort(joint);
  }

  #join(
    isOutput: boolean,
    from: Parameters<typeof joinStreams>[0],
    to: Parameters<typeof joinStreams>[1],
  ): ReturnType<typeof joinStreams> {
    let closed = false;
    const joint: Joint = {
      isOutput,
      runnerStream: isOutput ? from.id : to.id,
      abort: () => {
        ends.incoming.abort();
        ends.outgoing.abort();
      },
    };
    const ends = joinStreams(
      from,
      to,
      () => {
        closed = true;
        this.#closed(joint);
      },
      // A link that is lost says nothing about who reads and writes at its other end.
      () => {
        if (this.#origin.mux.isDead) this.#runner.park(this.#name);
      },
    );
    if (!closed) this.#open.add(joint);
    return ends;
  }

  #abort(joint: Joint): void {
    joint.abort();
    this.#closed(joint);
  }

  #closed(joint: Joint): void {
    this.#open.delete(joint);
    if (!joint.isOutput) return;
    this.outputsOpen -= 1;
    this.#onOutputClosed();
  }
}

/** True where an origin's `job.start` names streams that can be opened: distinct, free and within the bound. */
export function streamsAreFree(mux: StreamMux, streams: OriginStreams): boolean {
  const ids = [streams.stdout, streams.stderr, ...(streams.stdin === null ? [] : [streams.stdin])];
  return mux.canOpen(ids);
}
