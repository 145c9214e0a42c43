import { connect as connectSocket } from 'node:net';
import type { Readable } from 'node:stream';
import { FrameSocket } from '../adapters/process/frame-socket.ts';
import { MeshError, messageOf, systemCodeOf, type ErrorCode } from '../base/errors.ts';
import type { ApiDaemonMessage, ApiHello, ApiMethod, ApiParams, ApiResults, JobEvent, RunObject } from '../wire/api.ts';
import type { JobSpec } from '../wire/job-spec.ts';
import { STREAM_WINDOW_BYTES, type OutgoingStream } from '../wire/stream-mux.ts';
import { PROTOCOL_VERSION } from '../wire/version.ts';
import { socketAddress } from './home.ts';

const HELLO_TIMEOUT_MS = 5000;

/**
 * Where a job's bytes come from and go to. An output handler may return a promise: until it settles, at most one window
 * (1 MiB) more is delivered, and the command itself is held back.
 */
export interface JobIo {
  readonly stdin: Readable | null;
  readonly onStdout: (bytes: Uint8Array) => void | Promise<void>;
  readonly onStderr: (bytes: Uint8Array) => void | Promise<void>;
  readonly onEvent?: (event: JobEvent) => void;
}

export interface JobHandle {
  /**
   * The run object, with empty `stdout` and `stderr`: the bytes went to the handlers, all of them before this settles.
   * Rejects with MeshError where the daemon could not take the job or went away, and with what an output handler threw:
   * the job is ended then.
   */
  readonly result: Promise<RunObject>;
  /** Ends the job's process tree; `result` settles once it is gone. */
  cancel(): void;
}

interface Pending {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: MeshError) => void;
  readonly onEvent: (event: JobEvent) => void;
}

/** One connection to this machine's daemon: what the CLI and the MCP server are built on. */
export class ApiClient {
  readonly daemon: { readonly pid: number; readonly version: string };
  readonly #channel: FrameSocket;
  readonly #pending: Map<number, Pending>;
  readonly #closed: Promise<string>;
  #lastId = 0;

  /** @internal use connectDaemon */
  constructor(
    channel: FrameSocket,
    pending: Map<number, Pending>,
    closed: Promise<string>,
    daemon: { pid: number; version: string },
  ) {
    this.#channel = channel;
    this.#pending = pending;
    this.#closed = closed;
    this.daemon = daemon;
  }

  /** Settles with the reason when the connection is gone. */
  get whenClosed(): Promise<string> {
    return this.#closed;
  }

  get closed(): boolean {
    return this.#channel.closed;
  }

  /** Any method but `submit`. Throws MeshError with the daemon's code. */
  call<M extends Exclude<ApiMethod, 'submit'>>(method: M, params: ApiParams<M>): Promise<ApiResults[M]> {
    return this.#request(method, params, () => undefined) as Promise<ApiResults[M]>;
  }

  /** Submits one job. Many may be under way on one connection. */
  submit(spec: JobSpec, io: JobIo): JobHandle {
    // The streams of a connection that is gone end while they are opened.
    if (this.#channel.closed) {
      return { result: Promise.reject(connectionLost('the connection is closed')), cancel: () => undefined };
    }
    const { mux } = this.#channel;
    const streams = { stdin: io.stdin === null ? null : mux.nextId(), stdout: 0, stderr: 0 };
    const outputs: Output[] = [];
    const openOutput = (handler: (bytes: Uint8Array) => void | Promise<void>): number => {
      const id = mux.nextId();
      outputs.push(receive(this.#channel, id, handler, () => cancel()));
      return id;
    };
    streams.stdout = openOutput(io.onStdout);
    streams.stderr = openOutput(io.onStderr);
    const stopStdin = io.stdin === null || streams.stdin === null ? null : feed(this.#channel, streams.stdin, io.stdin);

    let job: string | null = null;
    let cancelWanted = false;
    const cancelNow = (id: string): void => {
      // A job that ended meanwhile is not there to cancel: its result is on its way.
      this.call('cancel', { job: id as never }).catch(() => cancelWanted);
    };
    const answer = this.#request('submit', { spec, streams, window_bytes: STREAM_WINDOW_BYTES }, (event) => {
      if (event.kind === 'accepted') {
        job = event.job;
        if (cancelWanted) cancelNow(job);
      }
      io.onEvent?.(event);
    }) as Promise<RunObject>;
    const cancel = (): void => {
      if (cancelWanted) return;
      cancelWanted = true;
      if (job !== null) cancelNow(job);
    };
    const finish = async (): Promise<RunObject> => {
      try {
        const result = await answer;
        const faults = await Promise.all(outputs.map(({ ended }) => ended));
        for (const fault of faults) if (fault !== null) throw fault.error;
        return result;
      } finally {
        // A submission that was refused has no streams at the other side: nothing would ever end them here.
        for (const { drop } of outputs) drop();
        stopStdin?.();
      }
    };
    return { result: finish(), cancel };
  }

  close(): void {
    this.#channel.close('closed by this side');
  }

  #request(method: ApiMethod, params: unknown, onEvent: (event: JobEvent) => void): Promise<unknown> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      if (this.#channel.closed) {
        reject(connectionLost('the connection is closed'));
        return;
      }
      this.#pending.set(id, { resolve, reject, onEvent });
      if (this.#channel.sendControl({ t: 'request', id, method, params })) return;
      this.#pending.delete(id);
      reject(new MeshError('bad_argument', 'the request is larger than 1 MiB; nothing was run'));
    });
  }
}

const connectionLost = (reason: string): MeshError =>
  new MeshError(
    'lost',
    `the connection to this machine's daemon was lost (${reason}); the jobs of this connection are ended`,
  );

/** What an output handler threw. */
type Fault = { readonly error: unknown } | null;

interface Output {
  /** Settles when the stream has ended and the last handler call has settled. */
  readonly ended: Promise<Fault>;
  readonly drop: () => void;
}

/** Delivers one output stream to `handler`. Once that has failed, the rest is dropped. */
function receive(channel: FrameSocket, id: number, handler: JobIo['onStdout'], onFault: () => void): Output {
  let fault: Fault = null;
  const failed = (error: unknown): void => {
    if (fault !== null) return;
    fault = { error };
    onFault();
  };
  let last: Promise<void> = Promise.resolve();
  let settle = (): void => undefined;
  const ended = new Promise<Fault>((resolve) => {
    settle = () => void last.then(() => resolve(fault));
  });
  const deliver = (bytes: Uint8Array): void | Promise<void> => {
    if (fault !== null) return;
    try {
      return handler(bytes)?.catch(failed);
    } catch (error) {
      failed(error);
    }
  };
  const stream = channel.mux.openIncoming(id, STREAM_WINDOW_BYTES, {
    onData: (bytes) => {
      const done = deliver(bytes);
      if (done === undefined) return stream.consumed(bytes.byteLength);
      last = Promise.all([last, done]).then(() => stream.consumed(bytes.byteLength));
    },
    onEnd: () => settle(),
    onAbort: () => settle(),
  });
  return { ended, drop: () => stream.abort() };
}

/** Pumps `source` into a stream as credit allows. @returns a function that stops reading it */
function feed(channel: FrameSocket, id: number, source: Readable): () => void {
  const stream: OutgoingStream = channel.mux.openOutgoing(id, 0, {
    onSent: () => {
      if (stream.queuedBytes === 0) source.resume();
    },
    onAbort: () => stop(),
  });
  const onData = (chunk: Buffer | string): void => {
    stream.write(typeof chunk === 'string' ? Buffer.from(chunk) : chunk);
    if (stream.queuedBytes > 0) source.pause();
  };
  const onEnd = (): void => stream.end();
  const onError = (): void => stream.abort();
  const stop = (): void => {
    source.off('data', onData).off('end', onEnd).off('error', onError);
    source.pause();
    stream.abort();
  };
  source.on('data', onData).on('end', onEnd).on('error', onError);
  return stop;
}

/**
 * Connects to the daemon of a MESHWORK_HOME.
 *
 * @param controlSocket path of its control.sock
 * @throws MeshError `daemon_not_running`, `protocol_mismatch`, `timeout`
 */
export function connectDaemon(controlSocket: string, client: ApiHello['client'] = 'other'): Promise<ApiClient> {
  const pending = new Map<number, Pending>();
  return new Promise((resolve, reject) => {
    const socket = connectSocket(socketAddress(controlSocket));
    let closedResolve: (reason: string) => void = () => undefined;
    const closed = new Promise<string>((settle) => {
      closedResolve = settle;
    });
    const timer = setTimeout(() => {
      reject(new MeshError('timeout', `the daemon did not answer within ${HELLO_TIMEOUT_MS / 1000} s`));
      channel.close('no hello');
    }, HELLO_TIMEOUT_MS);
    socket.once('error', (error) => {
      clearTimeout(timer);
      const code = systemCodeOf(error);
      // ENOTDIR: a file stands where the home should be, which `up` tells.
      const gone = code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTDIR';
      const text = gone
        ? 'no daemon runs here: start it with `meshwork up`'
        : `the control socket: ${messageOf(error)}`;
      reject(new MeshError(gone ? 'daemon_not_running' : 'io', text, error));
    });
    const channel = new FrameSocket(socket, 'first', {
      onControl: (json) => {
        // Our own daemon, of our own version or told apart by its hello: it is trusted to keep to its types.
        receiveMessage(JSON.parse(json) as ApiDaemonMessage);
        return null;
      },
      onClose: (reason) => {
        clearTimeout(timer);
        const why = reason ?? 'it went down';
        const error = connectionLost(why);
        reject(error);
        for (const waiting of pending.values()) waiting.reject(error);
        pending.clear();
        closedResolve(why);
      },
    });
    const receiveMessage = (message: ApiDaemonMessage): void => {
      if (message.t === 'hello') {
        clearTimeout(timer);
        if (message.protocol !== PROTOCOL_VERSION) {
          const text = `the running daemon (version ${message.version}) speaks protocol ${message.protocol}, this program ${PROTOCOL_VERSION}: run \`meshwork down\` and \`meshwork up\``;
          reject(new MeshError('protocol_mismatch', text));
          channel.close('protocol mismatch');
          return;
        }
        resolve(new ApiClient(channel, pending, closed, { pid: message.pid, version: message.version }));
        return;
      }
      const waiting = pending.get(message.id);
      if (waiting === undefined) return;
      if (message.t === 'event') return waiting.onEvent(message.event);
      pending.delete(message.id);
      if (message.ok) waiting.resolve(message.result);
      else waiting.reject(new MeshError(message.error.code as ErrorCode, message.error.message));
    };
    const parentJob = process.env['MESHWORK_JOB_ID'] ?? null;
    const hello: ApiHello = { t: 'hello', protocol: PROTOCOL_VERSION, client, parent_job: parentJob };
    channel.sendControl(hello);
  });
}
