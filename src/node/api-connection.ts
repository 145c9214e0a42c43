import { connect as connectSocket } from 'node:net';
import { FrameSocket } from '../adapters/process/frame-socket.ts';
import { MeshError, messageOf, systemCodeOf, type ErrorCode } from '../base/errors.ts';
import type { ApiDaemonMessage, ApiHello, ApiMethod, ApiParams, ApiResults, JobEvent } from '../wire/api.ts';
import type { StreamMux } from '../wire/stream-mux.ts';
import { PROTOCOL_VERSION } from '../wire/version.ts';
import { socketAddress } from './home.ts';

const HELLO_TIMEOUT_MS = 5000;

interface Pending {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: MeshError) => void;
  readonly onEvent: (event: JobEvent) => void;
}

/** One socket to this machine's daemon, hello done: requests, their answers and events, and streams. */
export class ApiConnection {
  readonly daemon: { readonly pid: number; readonly version: string };
  /** Settles with the reason when the connection is gone. */
  readonly whenClosed: Promise<string>;
  readonly #channel: FrameSocket;
  readonly #wire: Wire;
  #lastId = 0;

  /** @internal use openConnection */
  constructor(channel: FrameSocket, wire: Wire, daemon: { pid: number; version: string }) {
    this.#channel = channel;
    this.#wire = wire;
    this.daemon = daemon;
    this.whenClosed = wire.closed;
  }

  get mux(): StreamMux {
    return this.#channel.mux;
  }

  get closed(): boolean {
    return this.#channel.closed;
  }

  /** False where the daemon said that it goes down, or this side closed: nothing is there to come back to. */
  get mayComeBack(): boolean {
    return this.#wire.mayComeBack;
  }

  /** Rejects with MeshError: the daemon's refusal, or `lost` with the connection. */
  request(method: ApiMethod, params: unknown, onEvent: (event: JobEvent) => void): Promise<unknown> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      if (this.#channel.closed) {
        reject(connectionLost('the connection is closed'));
        return;
      }
      this.#wire.pending.set(id, { resolve, reject, onEvent });
      if (this.#channel.sendControl({ t: 'request', id, method, params })) return;
      this.#wire.pending.delete(id);
      reject(new MeshError('bad_argument', 'the request is larger than 1 MiB; nothing was run'));
    });
  }

  close(): void {
    this.#wire.mayComeBack = false;
    this.#channel.close('closed by this side');
  }
}

/** Methods whose answer is all there is to them. */
export type PlainMethod = Exclude<ApiMethod, 'submit' | 'attach' | 'logs'>;

/** What jobs and logs need of the client: a connection, and another one once it is lost. */
export interface DaemonLink {
  /** A promise only while it is being made again. */
  connection(): ApiConnection | Promise<ApiConnection>;
  /** Rejects with `lost` where the daemon does not come back within the client's COME_BACK_MS. */
  comeBack(): Promise<ApiConnection>;
  call<M extends PlainMethod>(method: M, params: ApiParams<M>): Promise<ApiResults[M]>;
}

export const connectionLost = (reason: string): MeshError =>
  new MeshError(
    'lost',
    `the connection to this machine's daemon was lost (${reason}); the jobs of this connection are ended`,
  );

/** What a socket's messages and its end change. */
class Wire {
  readonly pending = new Map<number, Pending>();
  readonly closed: Promise<string>;
  mayComeBack = true;
  #settleClosed: (reason: string) => void = () => undefined;

  constructor() {
    this.closed = new Promise((settle) => {
      this.#settleClosed = settle;
    });
  }

  /** Anything but a hello. */
  receive(message: Exclude<ApiDaemonMessage, { t: 'hello' }>): void {
    if (message.t === 'bye') {
      this.mayComeBack = message.comes_back;
      return;
    }
    const waiting = this.pending.get(message.id);
    if (waiting === undefined) return;
    if (message.t === 'event') return waiting.onEvent(message.event);
    this.pending.delete(message.id);
    if (message.ok) waiting.resolve(message.result);
    else waiting.reject(new MeshError(message.error.code as ErrorCode, message.error.message));
  }

  /** @returns what every open request got */
  end(reason: string): MeshError {
    const error = connectionLost(reason);
    for (const waiting of this.pending.values()) waiting.reject(error);
    this.pending.clear();
    this.#settleClosed(reason);
    return error;
  }
}

/**
 * Connects to the daemon of a MESHWORK_HOME.
 *
 * @param controlSocket path of its control.sock
 * @throws MeshError `daemon_not_running`, `protocol_mismatch`, `timeout`, `io`, `lost`
 */
export function openConnection(controlSocket: string, client: ApiHello['client']): Promise<ApiConnection> {
  const wire = new Wire();
  return new Promise((resolve, reject) => {
    const socket = connectSocket(socketAddress(controlSocket));
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
        const message = JSON.parse(json) as ApiDaemonMessage;
        if (message.t === 'hello') welcomed(message);
        else wire.receive(message);
        return null;
      },
      onClose: (reason) => {
        clearTimeout(timer);
        reject(wire.end(reason ?? 'it went down'));
      },
    });
    const welcomed = (hello: Extract<ApiDaemonMessage, { t: 'hello' }>): void => {
      clearTimeout(timer);
      if (hello.protocol !== PROTOCOL_VERSION) {
        const text = `the running daemon (version ${hello.version}) speaks protocol ${hello.protocol}, this program ${PROTOCOL_VERSION}: run \`meshwork down\` and \`meshwork up\``;
        reject(new MeshError('protocol_mismatch', text));
        channel.close('protocol mismatch');
        return;
      }
      resolve(new ApiConnection(channel, wire, { pid: hello.pid, version: hello.version }));
    };
    const parentJob = process.env['MESHWORK_JOB_ID'] ?? null;
    const hello: ApiHello = { t: 'hello', protocol: PROTOCOL_VERSION, client, parent_job: parentJob };
    channel.sendControl(hello);
  });
}
