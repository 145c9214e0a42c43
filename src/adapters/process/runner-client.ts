import type { Socket } from 'node:net';
import { unreachable } from '../../base/assert.ts';
import { messageOf } from '../../base/errors.ts';
import type { JobId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type {
  AttemptName,
  KeptAttempt,
  ReadEnd,
  ReadRequest,
  Runner,
  RunHandlers,
  RunRequest,
  RunResult,
} from '../../ports/runner.ts';
import type { TerminalSize } from '../../wire/job-spec.ts';
import {
  fromRunnerSchema,
  type FromRunner,
  type RunnerEnded,
  type RunnerHello,
  type RunnerRefused,
  type ToRunner,
} from '../../wire/runner.ts';
import { encodeStreamHeader, FRAME_ABORT } from '../../wire/stream-frame.ts';
import type { StreamMux } from '../../wire/stream-mux.ts';
import { PROTOCOL_VERSION } from '../../wire/version.ts';
import { FrameSocket } from './frame-socket.ts';
import { emptyResult, endUnstarted, orderOf, parseJson, readFailed, resultOf } from './runner-messages.ts';
import type { ControlGroup } from './control-group.ts';
import { killTrees } from './tree.ts';
import { type WatchedProcess, within } from './watched-process.ts';

const CLOSE_DEADLINE_MS = 8000;
const NO_RUNNER_READ = readFailed('the runner is not running');
const REFUSED_KNOWN_MAX = 32;
const NOT_UNDERSTOOD = 'the runner, of another version, does not understand this';
const NOT_ALIVE = 'the runner is not running. Nothing was run.';

export interface RunnerProcess extends Runner {
  readonly pid: number;
  /**
   * The runner died by itself. Comes once, after every open attempt was told that its outcome is unknown and its tree
   * was ended; at once where that is past. Start another then.
   */
  onDied(callback: (message: string) => void): void;
  /** Cancels what runs, waits for its end, then ends the runner. Settles within about 15 s; never rejects. */
  close(): Promise<void>;
  /** Lets go of the runner, which goes on with its attempts until another daemon comes. No handler is called any more. */
  release(): void;
}

export interface ClientOptions {
  readonly log: Logger;
  readonly logBytesMax: number;
  readonly contain: boolean;
  /** The control groups of a runner that is gone, by attempt. */
  readonly groupsLeft: () => ReadonlyMap<string, ControlGroup>;
}

interface OpenAttempt {
  readonly name: AttemptName;
  /** Null: kept from an earlier daemon, and not adopted yet. */
  handlers: RunHandlers | null;
  /** It ended before it was adopted. */
  result: RunResult | null;
  /** Until its process is there: ends it, where it is not run. */
  notRun: ((message: string) => void) | null;
}

const keyOf = ({ job, attempt }: AttemptName): string => `${job}/${attempt}`;
const only = ({ job, attempt }: AttemptName): AttemptName => ({ job, attempt });

/** The daemon's end of `runner.sock`. */
export class RunnerClient implements RunnerProcess {
  readonly kept: KeptAttempt[] = [];
  readonly #frames: FrameSocket;
  readonly #process: WatchedProcess;
  readonly #options: ClientOptions;
  readonly #open = new Map<string, OpenAttempt>();
  readonly #reads = new Map<number, (end: ReadEnd) => void>();
  readonly #stdins = new Map<number, (bytes: number | null) => void>();
  /** Kinds of orders that were refused, each told in the log once. */
  readonly #refused = new Set<string>();
  readonly #onReady: (trouble: string | null) => void;
  #hello: RunnerHello | null = null;
  #isReady = false;
  #state: 'alive' | 'closing' | 'closed' | 'dying' | 'dead' = 'alive';
  #deathMessage = '';
  #onDied: ((message: string) => void)[] = [];
  #onIdle: (() => void) | null = null;

  /** @param onReady once: null, or why the runner is of no use */
  constructor(
    socket: Socket,
    runner: WatchedProcess,
    options: ClientOptions,
    onReady: (trouble: string | null) => void,
  ) {
    this.#process = runner;
    this.#options = options;
    this.#onReady = onReady;
    this.#frames = new FrameSocket(socket, 'first', {
      onControl: (json) => this.#onControl(json),
      onClose: (reason) => void this.#onClose(reason),
    });
  }

  get instance(): string {
    return this.#hello?.instance ?? '';
  }

  get pid(): number {
    return this.#hello?.pid ?? 0;
  }

  get mux(): StreamMux {
    return this.#frames.mux;
  }

  show(key: string): void {
    this.#send({ t: 'runner.connect', key });
  }

  refuse(message: string): void {
    this.#frames.close(message);
  }

  /** The streams that the request names must be open on `mux` already. */
  run(request: RunRequest, handlers: RunHandlers): void {
    const name = only(request);
    const notRun = (message: string): void => endUnstarted(this.mux, request, handlers, message);
    if (this.#state !== 'alive') return notRun(NOT_ALIVE);
    if (this.#open.has(keyOf(name))) return notRun('this attempt is running already.');
    this.#open.set(keyOf(name), { name, handlers, result: null, notRun });
    if (this.#send(orderOf(request, this.#options))) return;
    this.#open.delete(keyOf(name));
    notRun('the command and its environment exceed 1 MiB. Nothing was run.');
  }

  adopt(name: AttemptName, handlers: RunHandlers): void {
    const open = this.#open.get(keyOf(name));
    if (open === undefined || open.handlers !== null) {
      const result = emptyResult({ kind: 'unknown', message: 'the runner has no such attempt' });
      setImmediate(() => handlers.onEnded(result));
      return;
    }
    open.handlers = handlers;
    const { result } = open;
    if (result === null) return;
    this.#open.delete(keyOf(name));
    setImmediate(() => handlers.onEnded(result));
  }

  cancel(job: JobId, attempt: number): void {
    if (this.#open.has(keyOf({ job, attempt }))) this.#send({ t: 'runner.cancel', job, attempt });
  }

  read(request: ReadRequest, onEnd: (end: ReadEnd) => void): void {
    const { stream, offset, follow, holds, streamId: stream_id, windowBytes: window_bytes } = request;
    if (this.#state !== 'alive') {
      setImmediate(() => {
        this.mux.receive(encodeStreamHeader(FRAME_ABORT, stream_id));
        onEnd(NO_RUNNER_READ);
      });
      return;
    }
    this.#reads.set(stream_id, onEnd);
    this.#send({ t: 'runner.read', ...only(request), stream, offset, follow, holds, stream_id, window_bytes });
  }

  expect(): void {
    if (this.#options.contain) this.#send({ t: 'runner.expect' });
  }

  park(name: AttemptName): void {
    this.#send({ t: 'runner.park', ...only(name) });
  }

  detach(name: AttemptName): void {
    this.#send({ t: 'runner.detach', ...only(name) });
  }

  resumeStdin(name: AttemptName, streamId: number, onOffset: (bytes: number | null) => void): void {
    if (this.#state !== 'alive') {
      setImmediate(() => onOffset(null));
      return;
    }
    this.#stdins.set(streamId, onOffset);
    this.#send({ t: 'runner.resume_stdin', ...only(name), stream_id: streamId });
  }

  resize(name: AttemptName, size: TerminalSize): void {
    this.#send({ t: 'runner.resize', ...only(name), size });
  }

  acknowledge(name: AttemptName): void {
    const open = this.#open.get(keyOf(name));
    if (open !== undefined && open.result !== null) this.#open.delete(keyOf(name));
    this.#send({ t: 'runner.acknowledge', ...only(name) });
  }

  drop(name: AttemptName): void {
    this.#send({ t: 'runner.drop', ...only(name) });
  }

  onDied(callback: (message: string) => void): void {
    if (this.#state === 'dead') callback(this.#deathMessage);
    else this.#onDied.push(callback);
  }

  release(): void {
    if (this.#state !== 'alive') return;
    this.#state = 'closed';
    this.#open.clear();
    this.#reads.clear();
    this.#stdins.clear();
    this.#frames.end();
  }

  async close(): Promise<void> {
    if (this.#state !== 'alive') return this.#state === 'closed' ? undefined : this.#process.gone();
    this.#state = 'closing';
    this.#send({ t: 'runner.stop' });
    if (this.#running.length > 0) {
      await within(new Promise<void>((resolve) => (this.#onIdle = resolve)), CLOSE_DEADLINE_MS);
    }
    this.#frames.end();
    await within(this.#process.gone(), CLOSE_DEADLINE_MS);
    if (this.#process.exitMessage() !== null) return;
    this.#options.log.error('the runner does not end: killing it', { pid: this.pid });
    this.#process.kill('SIGKILL');
    await this.#process.gone();
  }

  get #running(): OpenAttempt[] {
    return [...this.#open.values()].filter(({ result }) => result === null);
  }

  #send(message: ToRunner): boolean {
    return this.#frames.sendControl(message);
  }

  #onControl(json: string): string | null {
    const parsed = fromRunnerSchema.safeParse(parseJson(json));
    if (!parsed.success) return `it sent a malformed message: ${parsed.error.issues[0]?.message ?? ''}`;
    const message = parsed.data;
    if (message.t === 'runner.hello') return this.#onHello(message);
    if (this.#hello === null) return 'it did not greet';
    return this.#isReady ? this.#onMessage(message) : this.#onKept(message);
  }

  #onHello(hello: RunnerHello): string | null {
    if (this.#hello !== null) return 'it greeted twice';
    if (hello.protocol !== PROTOCOL_VERSION) return `it speaks protocol ${hello.protocol}, not ${PROTOCOL_VERSION}`;
    if (hello.pid !== this.#process.pid) return 'another process answers in its place';
    this.#hello = hello;
    return null;
  }

  #onKept(message: FromRunner): string | null {
    switch (message.t) {
      case 'runner.kept': {
        const { durable, stdin_bytes: stdinBytes } = message;
        this.kept.push({ ...only(message), kind: 'running', durable, stdinBytes });
        this.#open.set(keyOf(message), { name: only(message), handlers: null, result: null, notRun: null });
        return null;
      }
      case 'runner.ended': {
        const result = resultOf(message);
        this.kept.push({ ...only(message), kind: 'ended', result });
        this.#open.set(keyOf(message), { name: only(message), handlers: null, result, notRun: null });
        return null;
      }
      case 'runner.ready':
        this.#isReady = true;
        this.#onReady(null);
        return null;
      default:
        return `it sent ${message.t} before it was ready`;
    }
  }

  #onMessage(message: FromRunner): string | null {
    switch (message.t) {
      case 'runner.started': {
        const open = this.#open.get(keyOf(message));
        if (open !== undefined) open.notRun = null;
        open?.handlers?.onStarted(message.pid);
        return null;
      }
      case 'runner.ended':
        return this.#onEnded(message);
      case 'runner.read_end':
        return this.#onReadEnd(message.stream_id, message.end);
      case 'runner.stdin_at': {
        const told = this.#stdins.get(message.stream_id);
        this.#stdins.delete(message.stream_id);
        told?.(message.bytes);
        return null;
      }
      case 'runner.refused':
        return this.#onRefused(message);
      case 'runner.hello':
      case 'runner.kept':
      case 'runner.ready':
        return `it sent ${message.t} again`;
      default:
        return unreachable(message);
    }
  }

  #onEnded(message: RunnerEnded): string | null {
    const open = this.#open.get(keyOf(message));
    if (open === undefined)
      return this.#state === 'alive' ? `it spoke of ${keyOf(message)}, which it was not given` : null;
    open.result = resultOf(message);
    if (open.handlers !== null) {
      this.#open.delete(keyOf(message));
      open.handlers.onEnded(open.result);
    }
    if (this.#running.length === 0) this.#onIdle?.();
    return null;
  }

  #onReadEnd(id: number, end: ReadEnd): null {
    const told = this.#reads.get(id);
    this.#reads.delete(id);
    told?.(end);
    return null;
  }

  /** Nothing was done of it. Whoever waits for its answer gets one; what it had no answer to is left undone. */
  #onRefused({ order, job, attempt, stream_id: id }: RunnerRefused): null {
    if (!this.#refused.has(order) && this.#refused.size < REFUSED_KNOWN_MAX) {
      this.#refused.add(order);
      this.#options.log.warn('the runner, of another version, does not understand an order', { order, pid: this.pid });
    }
    if (order === 'runner.run' && job !== null && attempt !== null) {
      const open = this.#open.get(keyOf({ job, attempt }));
      this.#open.delete(keyOf({ job, attempt }));
      open?.notRun?.(`${NOT_UNDERSTOOD}. Nothing was run.`);
    }
    if (id === null) return null;
    if (this.#reads.has(id)) {
      this.mux.receive(encodeStreamHeader(FRAME_ABORT, id));
      this.#onReadEnd(id, readFailed(NOT_UNDERSTOOD));
    }
    this.#stdins.get(id)?.(null);
    this.#stdins.delete(id);
    return null;
  }

  async #onClose(reason: string | null): Promise<void> {
    if (!this.#isReady) return this.#onReady(reason ?? this.#process.exitMessage() ?? 'it closed the connection');
    if (this.#state === 'closed') return;
    const meant = this.#state === 'closing';
    this.#state = meant ? 'closed' : 'dying';
    if (!meant) {
      // Whatever state it is in, it is of no use without the connection, and must be gone before another starts.
      this.#process.kill('SIGKILL');
      await this.#process.gone();
      this.#deathMessage = `the runner died: ${reason ?? this.#process.exitMessage() ?? 'no reason known'}`;
      this.#options.log.error(this.#deathMessage, { pid: this.pid, attempts: this.#open.size });
    }
    await this.#endOpen(meant ? 'the runner was closed before it could tell how this ended' : this.#deathMessage);
    if (meant) return;
    this.#state = 'dead';
    for (const callback of this.#onDied.splice(0)) callback(this.#deathMessage);
  }

  async #endOpen(message: string): Promise<void> {
    const running = this.#running;
    this.#open.clear();
    const [reads, stdins] = [[...this.#reads.values()], [...this.#stdins.values()]];
    this.#reads.clear();
    this.#stdins.clear();
    for (const told of reads) told(NO_RUNNER_READ);
    for (const told of stdins) told(null);
    try {
      if (running.length > 0) {
        await killTrees(
          running.map(({ name }) => name),
          this.#options.groupsLeft(),
          this.#options.log,
        );
      }
    } catch (error) {
      this.#options.log.error('cannot end the trees of a lost runner', { error: messageOf(error) });
    }
    for (const { handlers } of running) handlers?.onEnded(emptyResult({ kind: 'unknown', message }));
    this.#onIdle?.();
  }
}
