import { setMaxListeners } from 'node:events';
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { assert, unreachable } from '../base/assert.ts';
import { FrameSocket } from '../adapters/process/frame-socket.ts';
import { MeshError, messageOf, systemCodeOf } from '../base/errors.ts';
import type { JobId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import {
  apiHelloSchema,
  apiRequestSchema,
  type ApiDaemonMessage,
  type ApiErrorBody,
  type ApiHello,
  type ApiParams,
  type ApiRequest,
  type ApiResults,
  type JobEvent,
} from '../wire/api.ts';
import { FRAME_BYTES_MAX } from '../wire/framing.ts';
import { PROTOCOL_VERSION } from '../wire/version.ts';
import type { StreamMux } from '../wire/stream-mux.ts';
import { parentOf, refusalInsideJob, type NestingBook } from './control-guard.ts';
import { socketAddress } from './home.ts';
import type { ClientStreams } from './origin-streams.ts';
import type { ProjectHandlers } from './project-handlers.ts';

const CLIENTS_MAX = 256;
const HELLO_TIMEOUT_MS = 5000;
/** Requests of one client that are not answered yet; a batch keeps far fewer under way. */
const REQUESTS_OPEN_MAX = 4096;
const ISSUES_SHOWN_MAX = 3;

/** The job that a client is inside of, and how deep what it submits is. */
export interface ParentJob {
  readonly job: JobId;
  /** From 1. */
  readonly depth: number;
}

/** Where the output of `logs` goes, and whether anybody still wants it. */
export interface LogsTarget {
  readonly mux: StreamMux;
  readonly id: number;
  readonly creditBytes: number;
}

/**
 * What the daemon does for its clients: each method answers, or throws a MeshError that becomes the answer. A `signal`
 * is aborted when the client is gone.
 */
export interface ApiHandlers {
  status(): Promise<ApiResults['status']>;
  settings(): ApiResults['settings'];
  explain(params: ApiParams<'explain'>): Promise<ApiResults['explain']>;
  invite(params: ApiParams<'invite'>): Promise<ApiResults['invite']>;
  join(params: ApiParams<'join'>): Promise<ApiResults['join']>;
  leave(): Promise<ApiResults['leave']>;
  down(params: ApiParams<'down'>): Promise<ApiResults['down']>;
  restart(): Promise<ApiResults['restart']>;
  estimate(params: ApiParams<'estimate'>): Promise<ApiResults['estimate']>;
  /** Opens the client's streams before it returns, so that no frame of theirs is missed. */
  submit(
    params: ApiParams<'submit'>,
    streams: ClientStreams,
    onEvent: (event: JobEvent) => void,
    parent: ParentJob | null,
  ): SubmittedJob;
  /** Likewise, for a client that comes back to its foreground job. */
  attach(params: ApiParams<'attach'>, streams: ClientStreams, onEvent: (event: JobEvent) => void): SubmittedJob;
  /** The connection of a foreground job's client is gone. */
  clientGone(job: JobId): void;
  detach(params: ApiParams<'detach'>): boolean | Promise<boolean>;
  resize(params: ApiParams<'resize'>): boolean;
  cancel(params: ApiParams<'cancel'>, signal: AbortSignal): Promise<ApiResults['cancel']>;
  jobs(params: ApiParams<'jobs'>, signal: AbortSignal): Promise<ApiResults['jobs']>;
  job(params: ApiParams<'job'>, signal: AbortSignal): Promise<ApiResults['job']>;
  wait(params: ApiParams<'wait'>, signal: AbortSignal): Promise<ApiResults['wait']>;
  /** Opens the stream before it returns, and ends it before it settles. */
  logs(params: ApiParams<'logs'>, to: LogsTarget, signal: AbortSignal): Promise<ApiResults['logs']>;
  readonly projects: ProjectHandlers;
  readonly nesting: NestingBook;
}

export interface SubmittedJob {
  readonly job: JobId;
  readonly result: Promise<ApiResults['submit']>;
}

export interface ControlServer {
  /** @param comesBack another daemon takes this one's jobs over at once: its clients wait for it */
  close(comesBack: boolean): Promise<void>;
}

/**
 * Serves the control socket (0600: the user's own processes).
 *
 * @throws MeshError `io` where the socket cannot be made
 */
export async function serveControl(
  socketPath: string,
  version: string,
  handlers: ApiHandlers,
  log: Logger,
): Promise<ControlServer> {
  const sessions = new Set<ControlSession>();
  const server = createServer((socket) => {
    if (sessions.size >= CLIENTS_MAX) {
      log.warn('control client refused: too many', { clients: sessions.size });
      socket.destroy();
      return;
    }
    const session = new ControlSession(socket, version, handlers, log, () => sessions.delete(session));
    sessions.add(session);
  });
  // The daemon's lock is held: a socket file that is left here belongs to a dead daemon.
  rmSync(socketPath, { force: true });
  const umask = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(socketAddress(socketPath), resolve);
    });
    chmodSync(socketPath, 0o600);
  } catch (error) {
    throw new MeshError('io', `the control socket ${socketPath} can't be made: ${messageOf(error)}`, error);
  } finally {
    process.umask(umask);
  }
  server.on('error', (error) => log.error('control socket', { error: messageOf(error), code: systemCodeOf(error) }));
  return {
    close: (comesBack) =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const session of sessions) session.end('the daemon is going down', comesBack);
      }),
  };
}

class ControlSession {
  readonly #channel: FrameSocket;
  readonly #handlers: ApiHandlers;
  readonly #log: Logger;
  readonly #jobs = new Set<JobId>();
  readonly #gone = new AbortController();
  readonly #helloTimer: NodeJS.Timeout;
  #requestsOpen = 0;
  #hello: ApiHello | null = null;

  constructor(socket: Socket, version: string, handlers: ApiHandlers, log: Logger, onGone: () => void) {
    this.#handlers = handlers;
    this.#log = log;
    // Each of its requests may listen, and those are bounded.
    setMaxListeners(0, this.#gone.signal);
    this.#channel = new FrameSocket(socket, 'second', {
      onControl: (json) => this.#receiveText(json),
      onClose: () => {
        clearTimeout(this.#helloTimer);
        // Nobody is left to read what these jobs say, or to want it.
        for (const job of this.#jobs) handlers.clientGone(job);
        this.#gone.abort();
        onGone();
      },
    });
    this.#helloTimer = setTimeout(() => this.#channel.close('no hello'), HELLO_TIMEOUT_MS);
    this.#send({ t: 'hello', protocol: PROTOCOL_VERSION, pid: process.pid, version });
  }

  end(reason: string, comesBack = false): void {
    this.#send({ t: 'bye', comes_back: comesBack });
    this.#channel.end();
    // A client that does not close its side would hold the daemon: it has been told.
    setTimeout(() => this.#channel.close(reason), 500).unref();
  }

  #receiveText(json: string): string | null {
    try {
      this.#receive(JSON.parse(json));
      return null;
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      return `malformed: ${messageOf(error)}`;
    }
  }

  #receive(raw: unknown): void {
    const isHello = typeof raw === 'object' && raw !== null && 't' in raw && raw.t === 'hello';
    const parsed = (isHello ? apiHelloSchema : apiRequestSchema).safeParse(raw);
    if (!parsed.success) return this.#refuseMalformed(raw, parsed.error.issues);
    const message = parsed.data;
    if (message.t === 'hello') {
      clearTimeout(this.#helloTimer);
      // What a client of another version asks next could mean anything: it is not served.
      if (message.protocol !== PROTOCOL_VERSION) return this.end('another protocol');
      this.#hello = message;
      return;
    }
    if (this.#hello === null) return this.#channel.close('a request before hello');
    const refusal = this.#refusal(message);
    if (refusal !== null) return this.#answerError(message.id, refusal);
    this.#requestsOpen += 1;
    void this.#serve(message);
  }

  /** A request that does not fit its schema is answered where it can be, so that the caller learns what is wrong. */
  #refuseMalformed(
    raw: unknown,
    issues: readonly { readonly path: readonly PropertyKey[]; readonly message: string }[],
  ): void {
    const id = typeof raw === 'object' && raw !== null && 'id' in raw ? raw.id : null;
    const shown = issues.slice(0, ISSUES_SHOWN_MAX).map((issue) => {
      const where = issue.path.filter((part) => part !== 'params' && part !== 'spec').join('.');
      return where === '' ? issue.message : `${where}: ${issue.message}`;
    });
    if (typeof id !== 'number') return this.#channel.close(`malformed message: ${shown.join('; ')}`);
    this.#answerError(id, { code: 'bad_argument', message: `${shown.join('; ')}; nothing was run` });
  }

  #refusal(request: ApiRequest): ApiErrorBody | null {
    // A full client must still be able to end its jobs; that is answered at once and so never adds up.
    if (this.#requestsOpen >= REQUESTS_OPEN_MAX && request.method !== 'cancel') {
      return { code: 'limit', message: `more than ${REQUESTS_OPEN_MAX} requests at once; nothing was run` };
    }
    return refusalInsideJob(request, this.#parent, this.#handlers.nesting);
  }

  get #parent(): string | null {
    return this.#hello?.parent_job ?? null;
  }

  async #serve(request: ApiRequest): Promise<void> {
    try {
      const result = await this.#call(request);
      this.#send({ t: 'response', id: request.id, ok: true, result });
    } catch (error) {
      if (!(error instanceof MeshError)) {
        this.#log.error('a control request failed', {
          method: request.method,
          error: messageOf(error),
          stack: error instanceof Error ? error.stack : '',
        });
      }
      const code = error instanceof MeshError ? error.code : 'internal';
      this.#answerError(request.id, { code, message: messageOf(error) });
    } finally {
      this.#requestsOpen -= 1;
    }
  }

  async #call(request: ApiRequest): Promise<unknown> {
    const handlers = this.#handlers;
    const { signal } = this.#gone;
    switch (request.method) {
      case 'status':
        return handlers.status();
      case 'settings':
        return handlers.settings();
      case 'explain':
        return handlers.explain(request.params);
      case 'invite':
        return handlers.invite(request.params);
      case 'join':
        return handlers.join(request.params);
      case 'leave':
        return handlers.leave();
      case 'down':
        return handlers.down(request.params);
      case 'restart':
        return handlers.restart();
      case 'estimate':
        return handlers.estimate(request.params);
      case 'submit':
        return this.#submit(request.id, request.params);
      case 'attach':
        return this.#attach(request.id, request.params);
      case 'detach':
        return { detached: await handlers.detach(request.params) };
      case 'resize':
        return { resized: handlers.resize(request.params) };
      case 'cancel':
        return handlers.cancel(request.params, signal);
      case 'jobs':
        return handlers.jobs(request.params, signal);
      case 'job':
        return handlers.job(request.params, signal);
      case 'wait':
        return handlers.wait(request.params, signal);
      case 'logs':
        return this.#logs(request.params);
      case 'apply':
        return handlers.projects.apply(request.params, signal);
      case 'workspaces':
        return handlers.projects.workspaces();
      case 'workspaces_rm':
        return handlers.projects.remove(request.params);
      case 'secrets':
        return handlers.projects.secrets(request.params);
      default:
        return unreachable(request);
    }
  }

  #submit(id: number, params: ApiParams<'submit'>): Promise<unknown> {
    const client = this.#clientStreams(params.streams, params.window_bytes);
    const onEvent = (event: JobEvent): void => this.#send({ t: 'event', id, event });
    const parent = parentOf(this.#parent, this.#handlers.nesting);
    return this.#follow(this.#handlers.submit(params, client, onEvent, parent));
  }

  #attach(id: number, params: ApiParams<'attach'>): Promise<unknown> {
    const client = this.#clientStreams({ stdin: null, ...params.streams }, params.window_bytes);
    return this.#follow(this.#handlers.attach(params, client, (event) => this.#send({ t: 'event', id, event })));
  }

  /** The client's foreground jobs end with it, until they are answered. */
  async #follow({ job, result }: SubmittedJob): Promise<unknown> {
    assert(!this.#jobs.has(job), 'a client follows a job once');
    this.#jobs.add(job);
    try {
      return await result;
    } finally {
      this.#jobs.delete(job);
    }
  }

  #logs(params: ApiParams<'logs'>): Promise<unknown> {
    this.#checkStreams([params.stream_id]);
    const to = { mux: this.#channel.mux, id: params.stream_id, creditBytes: params.window_bytes };
    return this.#handlers.logs(params, to, this.#gone.signal);
  }

  #clientStreams(streams: ApiParams<'submit'>['streams'], windowBytes: number): ClientStreams {
    this.#checkStreams([streams.stdout, streams.stderr, ...(streams.stdin === null ? [] : [streams.stdin])]);
    return { mux: this.#channel.mux, ...streams, windowBytes };
  }

  #checkStreams(ids: readonly number[]): void {
    if (this.#channel.mux.canOpen(ids)) return;
    throw new MeshError('limit', 'the streams of this request are in use or too many; nothing was run');
  }

  #answerError(id: number, error: ApiErrorBody): void {
    this.#send({ t: 'response', id, ok: false, error });
  }

  #send(message: ApiDaemonMessage): void {
    if (this.#channel.closed || this.#channel.sendControl(message)) return;
    this.#log.error('an answer is larger than a frame', { kind: message.t });
    if (!('id' in message)) return this.#channel.close('a message larger than a frame');
    // The other requests of this client, and its jobs, are not to suffer from it.
    this.#answerError(message.id, { code: 'limit', message: `the answer is larger than ${FRAME_BYTES_MAX} bytes` });
  }
}
