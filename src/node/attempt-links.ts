import type { NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { AttemptKey, ExecutorEffect } from '../core/jobs/executor-state.ts';
import type { AttemptName, Runner, RunResult } from '../ports/runner.ts';
import type { JobMessage, JobMessageOf } from '../wire/jobs.ts';
import type { StreamMux } from '../wire/stream-mux.ts';
import {
  attachAttempt,
  runAttempt,
  streamsAreFree,
  type AttemptStreams,
  type ResolvedRun,
} from './executor-streams.ts';

/** How the executor reaches an origin. */
export interface OriginLink {
  readonly mux: StreamMux;
  send(message: JobMessage): boolean;
}

interface Joined {
  readonly link: OriginLink;
  streams: AttemptStreams | null;
  /** Outputs that are read again are under way; `ended` goes out after them. */
  isDraining: boolean;
  ended: JobMessage | null;
}

type Attach = Extract<ExecutorEffect, { kind: 'attach' }>;

/** The streams of the attempts that run here, or ended and are read, each joined to its origin over one link at a time. */
export class AttemptLinks {
  readonly #log: Logger;
  readonly #joined = new Map<string, Joined>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Gives it to the runner. `onEnded` waits until what its first origin reads has been handed over, or its link is gone. */
  run(
    from: NodeId,
    link: OriginLink,
    runner: Runner,
    request: ResolvedRun,
    start: JobMessageOf<'job.start'>,
    handlers: { readonly onStarted: () => void; readonly onEnded: (result: RunResult) => void },
  ): void {
    const joined: Joined = { link, streams: null, isDraining: false, ended: null };
    this.#joined.set(nameOf(request), joined);
    joined.streams = runAttempt({ id: from, mux: link.mux }, runner, request, start, handlers);
  }

  /**
   * Joins it to the link of an origin that came back.
   *
   * @param onReady once, with the bytes of stdin that had arrived
   * @returns false where the origin named streams that it cannot open
   */
  attach(effect: Attach, link: OriginLink, runner: Runner | null, onReady: (stdinOffset: number) => void): boolean {
    const { attach, isRunning, isDurable, from } = effect;
    const { streams } = attach;
    this.close(attach);
    if (streams === null) {
      onReady(0);
      return true;
    }
    if (!streamsAreFree(link.mux, streams)) return false;
    if (runner === null) {
      refuseStreams(link.mux, streams);
      onReady(0);
      return true;
    }
    const joined: Joined = { link, streams: null, isDraining: true, ended: null };
    this.#joined.set(nameOf(attach), joined);
    const attachment = {
      streams,
      stdoutOffset: attach.stdout_offset,
      stderrOffset: attach.stderr_offset,
      windowBytes: attach.window_bytes,
      holds: isRunning && !isDurable,
    };
    joined.streams = attachAttempt({ id: from, mux: link.mux }, runner, keyOf(attach), attachment, {
      onStdin: (offset) => onReady(offset ?? 0),
      onOutputsClosed: () => this.#drained(joined),
    });
    if (streams.stdin === null) onReady(0);
    return true;
  }

  /** Lets go of its origin: what was not read stays in the log. */
  close(key: AttemptKey): void {
    const joined = this.#joined.get(nameOf(key));
    this.#joined.delete(nameOf(key));
    joined?.streams?.close();
  }

  /** After the last output byte that is on its way over that link; not at all where that link is gone. */
  sendEnded(link: OriginLink | null, message: JobMessageOf<'job.ended'>): void {
    const joined = this.#joined.get(nameOf(message));
    if (joined?.isDraining === true) {
      joined.ended = message;
      return;
    }
    this.#joined.delete(nameOf(message));
    if (joined?.link.mux.isDead === true) return;
    const sent = link?.send(message) ?? false;
    if (!sent) this.#log.debug('not told: no link', { job: message.job });
  }

  /** A link is gone, and with it its streams: what it was joined to may be joined again. */
  sweep(): void {
    for (const [name, { link }] of this.#joined) if (link.mux.isDead) this.#joined.delete(name);
  }

  #drained(joined: Joined): void {
    joined.isDraining = false;
    if (joined.ended === null || joined.link.mux.isDead) return;
    joined.link.send(joined.ended);
    joined.ended = null;
  }
}

/** Nobody can read the log now: the origin's streams end at once, short of what there is. */
function refuseStreams(mux: StreamMux, streams: NonNullable<Attach['attach']['streams']>): void {
  for (const id of [streams.stdout, streams.stderr]) mux.openOutgoing(id, 0, {}).abort();
  const ignore = (): void => undefined;
  if (streams.stdin !== null)
    mux.openIncoming(streams.stdin, 0, { onData: ignore, onEnd: ignore, onAbort: ignore }).abort();
}

const nameOf = ({ job, attempt }: AttemptKey): string => `${job}/${attempt}`;
const keyOf = ({ job, attempt }: AttemptKey): AttemptName => ({ job, attempt });
