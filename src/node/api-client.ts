import { setTimeout as delay } from 'node:timers/promises';
import { MeshError } from '../base/errors.ts';
import type { ApiHello, ApiParams, ApiResults } from '../wire/api.ts';
import type { JobSpec } from '../wire/job-spec.ts';
import {
  connectionLost,
  openConnection,
  type ApiConnection,
  type DaemonLink,
  type PlainMethod,
} from './api-connection.ts';
import { JobSession, type JobHandle, type JobIo } from './api-job.ts';
import { readLogs, type LogsIo, type LogsRequest } from './api-logs.ts';

export type { JobHandle, JobIo } from './api-job.ts';
export type { LogsIo, LogsRequest } from './api-logs.ts';

/**
 * How long a daemon that went away may take to be there again: as long as `restart` waits for a service manager to start it,
 * and as any start may take. Half as long as the runner goes on without a daemon.
 */
export const COME_BACK_MS = 30_000;
const COME_BACK_POLL_MS = 50;

/**
 * This machine's daemon, as the CLI and the MCP server use it. Jobs and followed logs outlive the daemon's restart:
 * the connection is made again for them, and what is asked meanwhile waits for it.
 */
export class ApiClient {
  readonly #open: () => Promise<ApiConnection>;
  #connection: ApiConnection;
  #comingBack: Promise<ApiConnection> | null = null;
  #ended = false;

  /** @internal use connectDaemon */
  constructor(connection: ApiConnection, open: () => Promise<ApiConnection>) {
    this.#connection = connection;
    this.#open = open;
  }

  get daemon(): { readonly pid: number; readonly version: string } {
    return this.#connection.daemon;
  }

  /** Settles with the reason when the connection is gone. */
  get whenClosed(): Promise<string> {
    return this.#connection.whenClosed;
  }

  /** True where the connection is gone and is not being made again. */
  get closed(): boolean {
    return this.#connection.closed && this.#comingBack === null;
  }

  /**
   * Any method that needs no streams. `cancel` is answered once the job's end has been asked for: `wait` tells when
   * it is gone.
   *
   * @throws MeshError with the daemon's code
   */
  async call<M extends PlainMethod>(method: M, params: ApiParams<M>): Promise<ApiResults[M]> {
    for (;;) {
      const connection = this.#comingBack === null ? this.#connection : await this.#comingBack;
      try {
        return (await connection.request(method, params, () => undefined)) as ApiResults[M];
      } catch (error) {
        // Who waits for a job's end, however long it takes, waits on at the next daemon; all else is the caller's to repeat.
        const waitsForEnd = method === 'wait' && 'wait_ms' in params && params.wait_ms === null;
        if (!waitsForEnd || !connection.closed || !connection.mayComeBack) throw error;
        await this.#comeBack();
      }
    }
  }

  /** Submits one job. Many may be under way at once. */
  submit(spec: JobSpec, io: JobIo): JobHandle {
    return new JobSession(this.#link, spec, io);
  }

  /**
   * Output of a job of any node, from an offset on, in order and once. With `follow` until the job has ended,
   * across lost connections and gaps; otherwise what there is now.
   *
   * @returns where it came to: read on from `next_offset`. After `signal` was aborted: what was delivered until then
   * @throws MeshError `job_unknown`, `job_ambiguous`, `job_expired`, `job_unreachable`, `offset_out_of_range`, …
   */
  logs(request: LogsRequest, io: LogsIo): Promise<ApiResults['logs']> {
    return readLogs(this.#link, request, io);
  }

  close(): void {
    this.#ended = true;
    this.#connection.close();
  }

  get #link(): DaemonLink {
    return {
      connection: () => (this.#comingBack === null ? this.#connection : this.#comingBack),
      comeBack: () => this.#comeBack(),
      call: (method, params) => this.call(method, params),
    };
  }

  /** One new connection for all that the lost one carried. */
  #comeBack(): Promise<ApiConnection> {
    if (!this.#connection.closed) return Promise.resolve(this.#connection);
    this.#comingBack ??= this.#reconnect().finally(() => {
      this.#comingBack = null;
    });
    return this.#comingBack;
  }

  async #reconnect(): Promise<ApiConnection> {
    const reason = await this.#connection.whenClosed;
    const deadlineMs = performance.now() + COME_BACK_MS;
    while (!this.#ended && this.#connection.mayComeBack && performance.now() < deadlineMs) {
      try {
        const connection = await this.#open();
        this.#connection = connection;
        if (this.#ended) connection.close();
        return connection;
      } catch (error) {
        if (error instanceof MeshError && error.code === 'protocol_mismatch') throw error;
        await delay(COME_BACK_POLL_MS);
      }
    }
    throw connectionLost(reason);
  }
}

/**
 * Connects to the daemon of a MESHWORK_HOME.
 *
 * @param controlSocket path of its control.sock
 * @throws MeshError `daemon_not_running`, `protocol_mismatch`, `timeout`, `io`, `lost`
 */
export async function connectDaemon(controlSocket: string, client: ApiHello['client'] = 'other'): Promise<ApiClient> {
  const open = (): Promise<ApiConnection> => openConnection(controlSocket, client);
  return new ApiClient(await open(), open);
}
