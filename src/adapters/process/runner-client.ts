import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { MeshError, messageOf, systemCodeOf } from '../../base/errors.ts';
import type { JobId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Runner, RunHandlers, RunRequest, RunResult } from '../../ports/runner.ts';
import { fromRunnerSchema, type RunnerEnded, type RunnerHello, type RunnerRun } from '../../wire/runner.ts';
import { encodeStreamHeader, FRAME_ABORT, FRAME_END } from '../../wire/stream-frame.ts';
import type { StreamMux } from '../../wire/stream-mux.ts';
import { PROTOCOL_VERSION } from '../../wire/version.ts';
import { FrameSocket } from './frame-socket.ts';
import { killJobTrees } from './tree.ts';

/** Linux takes 107 bytes in `sun_path`, macOS 103. */
const SOCKET_PATH_BYTES_MAX = 103;
/** Longer than an earlier runner takes to end its trees, which it may have to before this one may start. */
const START_DEADLINE_MS = 10_000;
const CONNECT_RETRY_MS = 5;
const CLOSE_DEADLINE_MS = 8000;
const LOG_BYTES_MAX = 1024 * 1024;
/** What the runner allocates is short-lived: a small young generation saves 12 MB under load (measured). */
const YOUNG_SPACE = '--max-semi-space-size=1';
/** All that the runner inherits: no secret, no MESHWORK_*, nothing of which a command could get a glimpse. */
const INHERITED_NAMES = ['PATH', 'LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH', 'NIX_LD', 'NIX_LD_LIBRARY_PATH'];

export interface RunnerOptions {
  /** The bundled companion program, dist/runner.js. */
  readonly runnerPath: string;
  /** In MESHWORK_HOME, absolute; lock and journal of the runner lie beside it. */
  readonly socketPath: string;
  /** Gets the runner's own log lines; started anew where it exceeds 1 MiB. */
  readonly logPath: string;
  readonly log: Logger;
  readonly nodePath?: string;
}

export interface RunnerProcess extends Runner {
  readonly pid: number;
  /**
   * The runner died by itself. Comes once, after every open attempt was told that its outcome is unknown and its tree
   * was ended; at once where that is past. Start another then.
   */
  onDied(callback: (message: string) => void): void;
  /** Cancels what runs, waits for its end, then ends the runner. Settles within about 15 s; never rejects. */
  close(): Promise<void>;
}

/** Throws MeshError `daemon_start_failed` where the runner cannot be started or reached within 10 s. */
export async function startRunner(options: RunnerOptions): Promise<RunnerProcess> {
  const { runnerPath, socketPath } = options;
  if (Buffer.byteLength(socketPath) > SOCKET_PATH_BYTES_MAX) {
    const message = `${socketPath} is too long for a socket (${SOCKET_PATH_BYTES_MAX} bytes): choose a shorter MESHWORK_HOME`;
    throw new MeshError('daemon_start_failed', message);
  }
  const logFd = openLog(options.logPath);
  const env = Object.fromEntries(
    INHERITED_NAMES.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
  const child = spawn(options.nodePath ?? process.execPath, [YOUNG_SPACE, runnerPath, socketPath], {
    cwd: '/',
    detached: true,
    env,
    stdio: ['ignore', 'ignore', logFd],
  });
  closeSync(logFd);
  child.unref();
  const exit = watchExit(child);
  try {
    const socket = await connectTo(socketPath, exit, performance.now() + START_DEADLINE_MS);
    return await greet(socket, child, exit, options.log);
  } catch (error) {
    child.kill('SIGKILL');
    const message = `the runner did not start: ${messageOf(error)}. See ${options.logPath}`;
    throw new MeshError('daemon_start_failed', message, error);
  }
}

interface Exit {
  readonly done: Promise<void>;
  /** Null while it lives. */
  message: string | null;
}

function watchExit(child: ChildProcess): Exit {
  const exit: { message: string | null; done: Promise<void> } = { message: null, done: Promise.resolve() };
  exit.done = new Promise((resolve) => {
    const end = (message: string): void => {
      exit.message ??= message;
      resolve();
    };
    child.once('error', (error) => end(messageOf(error)));
    child.once('exit', (code, signal) => end(signal === null ? `it exited with ${code}` : `it was ended by ${signal}`));
  });
  return exit;
}

function openLog(logPath: string): number {
  let size = 0;
  try {
    size = statSync(logPath).size;
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') throw new MeshError('io', `cannot look at ${logPath}`, error);
  }
  return openSync(logPath, size > LOG_BYTES_MAX ? 'w' : 'a', 0o600);
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits no longer than that, and leaves no timer: it would hold a daemon that is going down. */
async function within(done: Promise<void>, waitMsMax: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const waited = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, waitMsMax);
  });
  await Promise.race([done, waited]);
  clearTimeout(timer);
}

async function connectTo(socketPath: string, exit: Exit, deadlineMs: number): Promise<Socket> {
  for (;;) {
    const result = await tryConnect(socketPath);
    if (!(result instanceof Error)) return result;
    if (exit.message !== null) throw new Error(exit.message);
    const code = systemCodeOf(result);
    // Not there yet, or the file of a runner that was killed.
    if (code !== 'ENOENT' && code !== 'ECONNREFUSED') throw result;
    if (performance.now() >= deadlineMs) throw new Error(`${START_DEADLINE_MS / 1000} s passed`);
    await pause(CONNECT_RETRY_MS);
  }
}

function tryConnect(socketPath: string): Promise<Socket | Error> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    socket.once('connect', () => {
      socket.removeListener('error', resolve);
      resolve(socket);
    });
    socket.once('error', resolve);
  });
}

/** Waits for the runner to say who it is. */
function greet(socket: Socket, child: ChildProcess, exit: Exit, log: Logger): Promise<RunnerProcess> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => client.refuse(`${START_DEADLINE_MS / 1000} s passed without a greeting`),
      START_DEADLINE_MS,
    );
    const client = new RunnerClient(socket, child, exit, log, (outcome) => {
      clearTimeout(timer);
      if (typeof outcome === 'string') reject(new Error(outcome));
      else resolve(outcome);
    });
  });
}

interface OpenAttempt {
  readonly job: JobId;
  readonly handlers: RunHandlers;
}

const keyOf = (job: JobId, attempt: number): string => `${job}/${attempt}`;

class RunnerClient implements RunnerProcess {
  readonly #frames: FrameSocket;
  readonly #child: ChildProcess;
  readonly #exit: Exit;
  readonly #log: Logger;
  readonly #open = new Map<string, OpenAttempt>();
  readonly #onGreeted: (outcome: RunnerClient | string) => void;
  #hello: RunnerHello | null = null;
  #state: 'alive' | 'closing' | 'closed' | 'dying' | 'dead' = 'alive';
  #deathMessage = '';
  #onDied: ((message: string) => void)[] = [];
  #onIdle: (() => void) | null = null;

  constructor(
    socket: Socket,
    child: ChildProcess,
    exit: Exit,
    log: Logger,
    onGreeted: (outcome: RunnerClient | string) => void,
  ) {
    this.#child = child;
    this.#exit = exit;
    this.#log = log;
    this.#onGreeted = onGreeted;
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

  refuse(message: string): void {
    this.#frames.close(message);
  }

  /** The streams that the request names must be open on `mux` already. */
  run(request: RunRequest, handlers: RunHandlers): void {
    const key = keyOf(request.job, request.attempt);
    if (this.#state !== 'alive') return this.#notRun(request, handlers, 'the runner is not running. Nothing was run.');
    if (this.#open.has(key)) return this.#notRun(request, handlers, 'this attempt is running already.');
    this.#open.set(key, { job: request.job, handlers });
    if (this.#frames.sendControl(orderOf(request))) return;
    this.#open.delete(key);
    this.#notRun(request, handlers, 'the command and its environment exceed 1 MiB. Nothing was run.');
  }

  cancel(job: JobId, attempt: number): void {
    if (this.#open.has(keyOf(job, attempt))) this.#frames.sendControl({ t: 'runner.cancel', job, attempt });
  }

  readonly kept: Runner['kept'] = [];

  adopt(): void {
    throw new MeshError('later_stage', 'not in this release');
  }

  read(): void {
    throw new MeshError('later_stage', 'not in this release');
  }

  detach(): void {
    // Nothing outlives this connection in this release.
  }

  park(): void {
    // In this release an attempt ends with its link.
  }

  resumeStdin(): void {
    throw new MeshError('later_stage', 'not in this release');
  }

  resize(): void {
    // Nothing outlives this connection in this release.
  }

  acknowledge(): void {
    // Nothing outlives this connection in this release.
  }

  drop(): void {
    // Nothing outlives this connection in this release.
  }

  onDied(callback: (message: string) => void): void {
    if (this.#state === 'dead') callback(this.#deathMessage);
    else this.#onDied.push(callback);
  }

  async close(): Promise<void> {
    if (this.#state !== 'alive') return this.#exit.done;
    this.#state = 'closing';
    for (const [key, { job }] of this.#open) this.cancel(job, Number(key.slice(key.indexOf('/') + 1)));
    if (this.#open.size > 0) {
      await within(new Promise<void>((resolve) => (this.#onIdle = resolve)), CLOSE_DEADLINE_MS);
    }
    this.#frames.end();
    await within(this.#exit.done, CLOSE_DEADLINE_MS);
    if (this.#exit.message !== null) return;
    this.#log.error('the runner does not end: killing it', { pid: this.pid });
    this.#child.kill('SIGKILL');
    await this.#exit.done;
  }

  #onControl(json: string): string | null {
    const parsed = fromRunnerSchema.safeParse(parseJson(json));
    if (!parsed.success) return `it sent a malformed message: ${parsed.error.issues[0]?.message ?? ''}`;
    const message = parsed.data;
    if (message.t === 'runner.hello') return this.#onHello(message);
    const key = keyOf(message.job, message.attempt);
    const attempt = this.#open.get(key);
    if (attempt === undefined) return `it spoke of ${key}, which it was not given`;
    if (message.t === 'runner.started') attempt.handlers.onStarted(message.pid);
    else {
      this.#open.delete(key);
      attempt.handlers.onEnded(resultOf(message));
      if (this.#open.size === 0) this.#onIdle?.();
    }
    return null;
  }

  #onHello(hello: RunnerHello): string | null {
    if (this.#hello !== null) return 'it greeted twice';
    if (hello.protocol !== PROTOCOL_VERSION) return `it speaks protocol ${hello.protocol}, not ${PROTOCOL_VERSION}`;
    if (hello.pid !== this.#child.pid) return 'another process answers in its place';
    this.#hello = hello;
    this.#onGreeted(this);
    return null;
  }

  async #onClose(reason: string | null): Promise<void> {
    if (this.#hello === null) return this.#onGreeted(reason ?? this.#exit.message ?? 'it closed the connection');
    const meant = this.#state === 'closing';
    this.#state = meant ? 'closed' : 'dying';
    if (!meant) {
      // Whatever state it is in, it is of no use without the connection, and must be gone before another starts.
      this.#child.kill('SIGKILL');
      await this.#exit.done;
      this.#deathMessage = `the runner died: ${reason ?? this.#exit.message ?? 'no reason known'}`;
      this.#log.error(this.#deathMessage, { pid: this.pid, attempts: this.#open.size });
    }
    await this.#endOpen(meant ? 'the runner was closed before it could tell how this ended' : this.#deathMessage);
    if (meant) return;
    this.#state = 'dead';
    for (const callback of this.#onDied.splice(0)) callback(this.#deathMessage);
  }

  async #endOpen(message: string): Promise<void> {
    const attempts = [...this.#open.values()];
    this.#open.clear();
    try {
      if (attempts.length > 0) {
        const jobs = [...new Set(attempts.map((attempt) => attempt.job))];
        await killJobTrees(jobs, this.#log);
      }
    } catch (error) {
      this.#log.error('cannot end the trees of a lost runner', { error: messageOf(error) });
    }
    for (const { handlers } of attempts) handlers.onEnded(emptyResult({ kind: 'unknown', message }));
    this.#onIdle?.();
  }

  /** Ends the attempt here, and its streams as the runner would have: in a later turn, as callers expect. */
  #notRun(request: RunRequest, handlers: RunHandlers, message: string): void {
    setImmediate(() => {
      const { mux } = this.#frames;
      for (const stream of [request.stdoutStream, request.stderrStream]) {
        if (stream === null) continue;
        mux.receive(encodeStreamHeader(FRAME_END, stream));
      }
      if (request.stdinStream !== null) mux.receive(encodeStreamHeader(FRAME_ABORT, request.stdinStream));
      handlers.onEnded(emptyResult({ kind: 'spawn_failed', message }));
    });
  }
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

function orderOf(request: RunRequest): RunnerRun {
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
    stdout_stream: request.stdoutStream ?? 0,
    stderr_stream: request.stderrStream ?? 0,
    window_bytes: request.windowBytes,
    output_bytes_max: request.outputBytesMax,
    user: request.user === null ? null : { ...request.user, groups: [...request.user.groups] },
  };
}

const emptyResult = (outcome: RunResult['outcome']): RunResult => ({
  outcome,
  stdoutBytes: 0,
  stderrBytes: 0,
  truncated: false,
  leftRunning: 0,
  durationMs: 0,
});

const resultOf = (ended: RunnerEnded): RunResult => ({
  outcome: ended.outcome,
  stdoutBytes: ended.stdout_bytes,
  stderrBytes: ended.stderr_bytes,
  truncated: ended.truncated,
  leftRunning: ended.left_running,
  durationMs: ended.duration_ms,
});
