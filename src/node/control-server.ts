import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { assert } from '../base/assert.ts';
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
import { socketAddress } from './home.ts';
import type { ClientStreams } from './origin-streams.ts';

const CLIENTS_MAX = 256;
const HELLO_TIMEOUT_MS = 5000;
/** Requests of one client that are not answered yet; a batch keeps far fewer under way. */
const REQUESTS_OPEN_MAX = 4096;
const ISSUES_SHOWN_MAX = 3;

/** What the daemon does for its clients: each method answers, or throws a MeshError that becomes the answer. */
export interface ApiHandlers {
  status(): Promise<ApiResults['status']>;
  settings(): ApiResults['settings'];
  explain(params: ApiParams<'explain'>): Promise<ApiResults['explain']>;
  invite(params: ApiParams<'invite'>): Promise<ApiResults['invite']>;
  join(params: ApiParams<'join'>): Promise<ApiResults['join']>;
  leave(): Promise<ApiResults['leave']>;
  down(params: ApiParams<'down'>): Promise<ApiResults['down']>;
  /** Opens the client's streams before it returns, so that no frame of theirs is missed. */
  submit(params: ApiParams<'submit'>, streams: ClientStreams, onEvent: (event: JobEvent) => void): SubmittedJob;
  /** False where no such job is under way. */
  cancel(job: JobId): boolean;
  /** True where a job with this id runs here now: its processes may not steer the mesh. */
  isRunningHere(job: string): boolean;
}

export interface SubmittedJob {
  readonly job: JobId;
  readonly result: Promise<ApiResults['submit']>;
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
): Promise<{ close(): Promise<void> }> {
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
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const session of sessions) session.end('the daemon is going down');
      }),
  };
}

class ControlSession {
  readonly #channel: FrameSocket;
  readonly #handlers: ApiHandlers;
  readonly #log: Logger;
  readonly #jobs = new Set<JobId>();
  readonly #helloTimer: NodeJS.Timeout;
  #requestsOpen = 0;
  #hello: ApiHello | null = null;

  constructor(socket: Socket, version: string, handlers: ApiHandlers, log: Logger, onGone: () => void) {
    this.#handlers = handlers;
    this.#log = log;
    this.#channel = new FrameSocket(socket, 'second', {
      onControl: (json) => this.#receiveText(json),
      onClose: () => {
        clearTimeout(this.#helloTimer);
        // Nobody is left to read what these jobs say, or to want it.
        for (const job of this.#jobs) handlers.cancel(job);
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
    const parent = this.#hello?.parent_job ?? null;
    if (parent !== null && request.method !== 'status' && this.#handlers.isRunningHere(parent)) {
      const what =
        request.method === 'submit' ? 'jobs that submit jobs come in a later release' : 'a job cannot steer the mesh';
      return {
        code: request.method === 'submit' ? 'later_stage' : 'not_permitted',
        message: `refused inside job ${parent}: ${what}; nothing was done`,
      };
    }
    return null;
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

  #call(request: ApiRequest): Promise<unknown> {
    switch (request.method) {
      case 'status':
        return this.#handlers.status();
      case 'settings':
        return Promise.resolve(this.#handlers.settings());
      case 'explain':
        return this.#handlers.explain(request.params);
      case 'invite':
        return this.#handlers.invite(request.params);
      case 'join':
        return this.#handlers.join(request.params);
      case 'leave':
        return this.#handlers.leave();
      case 'down':
        return this.#handlers.down(request.params);
      case 'cancel':
        return Promise.resolve({
          cancelled: this.#handlers.cancel(request.params.job as JobId),
          job: request.params.job,
        });
      case 'submit':
        return this.#submit(request.id, request.params);
      default:
        throw new MeshError('later_stage', `${request.method} comes in a later release; nothing was done`);
    }
  }

  async #submit(id: number, params: ApiParams<'submit'>): Promise<unknown> {
    const { mux } = this.#channel;
    const { streams } = params;
    const ids = [streams.stdout, streams.stderr, ...(streams.stdin === null ? [] : [streams.stdin])];
    if (!mux.canOpen(ids)) {
      throw new MeshError('limit', 'the streams of this request are in use or too many; nothing was run');
    }
    const client: ClientStreams = { mux, ...streams, windowBytes: params.window_bytes };
    const submitted = this.#handlers.submit(params, client, (event) => this.#send({ t: 'event', id, event }));
    assert(!this.#jobs.has(submitted.job), 'a job id is used once');
    this.#jobs.add(submitted.job);
    try {
      return await submitted.result;
    } finally {
      this.#jobs.delete(submitted.job);
    }
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
