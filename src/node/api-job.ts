import type { Readable } from 'node:stream';
import { MeshError } from '../base/errors.ts';
import type { JobEvent, RunObject } from '../wire/api.ts';
import type { JobSpec, TerminalSize } from '../wire/job-spec.ts';
import type { JobId } from '../base/ids.ts';
import { STREAM_WINDOW_BYTES } from '../wire/stream-mux.ts';
import { connectionLost, type ApiConnection, type DaemonLink } from './api-connection.ts';
import { InputFeed, OutputReader, type OutputHandler } from './api-streams.ts';

/** Where a job's bytes come from and go to. Each byte is handed over once, also where the daemon was restarted. */
export interface JobIo {
  readonly stdin: Readable | null;
  readonly onStdout: OutputHandler;
  readonly onStderr: OutputHandler;
  readonly onEvent?: (event: JobEvent) => void;
}

export interface JobHandle {
  /**
   * The run object, with empty `stdout` and `stderr`: the bytes went to the handlers, all of them before this settles.
   * Unfinished where the job is durable or was detached. Rejects with MeshError where the daemon could not take the
   * job or went away for good, and with what an output handler threw: the job is ended then.
   */
  readonly result: Promise<RunObject>;
  /** The job's id, once the daemon has accepted it; rejects as `result` where it did not. */
  readonly job: Promise<string>;
  /** Ends the job's process tree; `result` settles once it is gone. */
  cancel(): void;
  /**
   * Lets the job go on by itself; `result` settles unfinished then.
   *
   * @returns false where it had ended already: `result` tells how
   */
  detach(): Promise<boolean>;
  /** The submitter's terminal has another size. */
  resize(size: TerminalSize): void;
}

/** One submitted job, from the front's side. */
export class JobSession implements JobHandle {
  readonly result: Promise<RunObject>;
  readonly job: Promise<string>;
  readonly #link: DaemonLink;
  readonly #spec: JobSpec;
  readonly #io: JobIo;
  readonly #stdout: OutputReader;
  readonly #stderr: OutputReader;
  readonly #cancelled = new AbortController();
  #stdin: InputFeed | null = null;
  #id: JobId | null = null;
  #accepted: (job: string) => void = () => undefined;
  #size: TerminalSize | null = null;

  constructor(link: DaemonLink, spec: JobSpec, io: JobIo) {
    this.#link = link;
    this.#spec = spec;
    this.#io = io;
    this.#stdout = new OutputReader(io.onStdout, () => this.cancel());
    this.#stderr = new OutputReader(io.onStderr, () => this.cancel());
    const accepted = new Promise<string>((resolve) => {
      this.#accepted = resolve;
    });
    this.result = this.#run();
    // Only one of the two has to be looked at.
    this.job = Promise.race([accepted, this.result.then(({ job_id: job }) => job)]);
    this.job.catch(() => this.#id);
  }

  cancel(): void {
    if (this.#cancelled.signal.aborted) return;
    this.#cancelled.abort();
    if (this.#id !== null) this.#cancelNow(this.#id);
  }

  async detach(): Promise<boolean> {
    const job = (await this.job) as JobId;
    const { detached } = await this.#link.call('detach', { job });
    return detached;
  }

  resize(size: TerminalSize): void {
    this.#size = size;
    if (this.#id !== null) this.#resizeNow(this.#id);
  }

  async #run(): Promise<RunObject> {
    try {
      const result = await this.#answer();
      const faults = await Promise.all([this.#stdout.whenEnded(), this.#stderr.whenEnded()]);
      for (const fault of faults) if (fault !== null) throw fault.error;
      return result;
    } finally {
      // A submission that was refused has no streams at the other side: nothing would ever end them here.
      this.#stdout.drop();
      this.#stderr.drop();
      this.#stdin?.stop();
    }
  }

  async #answer(): Promise<RunObject> {
    const link = this.#link.connection();
    let connection = link instanceof Promise ? await link : link;
    let answer = this.#submit(connection);
    for (;;) {
      try {
        return await answer;
      } catch (error) {
        if (!connection.closed || this.#id === null) throw error;
        connection = await this.#comeBack(this.#id, error);
        answer = this.#attach(connection, this.#id);
      }
    }
  }

  #submit(connection: ApiConnection): Promise<RunObject> {
    // The streams of a connection that is gone would end while they are opened.
    if (connection.closed) return Promise.reject(connectionLost('the connection is closed'));
    const { mux } = connection;
    const { stdin } = this.#io;
    const stdinId = stdin === null ? null : mux.nextId();
    const streams = { stdin: stdinId, stdout: this.#stdout.open(mux), stderr: this.#stderr.open(mux) };
    if (stdin !== null && stdinId !== null) {
      this.#stdin = new InputFeed(mux, stdinId, stdin);
    }
    const params = { spec: this.#spec, streams, window_bytes: STREAM_WINDOW_BYTES };
    return this.#ask(connection, 'submit', params);
  }

  #attach(connection: ApiConnection, job: JobId): Promise<RunObject> {
    const offsets = { stdout_offset: this.#stdout.receivedBytes, stderr_offset: this.#stderr.receivedBytes };
    const streams = { stdout: this.#stdout.open(connection.mux), stderr: this.#stderr.open(connection.mux) };
    return this.#ask(connection, 'attach', { job, streams, ...offsets, window_bytes: STREAM_WINDOW_BYTES });
  }

  #ask(connection: ApiConnection, method: 'submit' | 'attach', params: object): Promise<RunObject> {
    const onEvent = (event: JobEvent): void => {
      if (event.kind === 'accepted') this.#welcome(event.job as JobId);
      else this.#io.onEvent?.(event);
    };
    return connection.request(method, params, onEvent) as Promise<RunObject>;
  }

  #welcome(job: JobId): void {
    const first = this.#id === null;
    this.#id = job;
    if (this.#cancelled.signal.aborted) this.#cancelNow(job);
    if (this.#size !== null) this.#resizeNow(job);
    if (!first) return;
    this.#accepted(job);
    this.#io.onEvent?.({ kind: 'accepted', job });
  }

  /** The daemon is away: waits for it, where the job can be taken up again. */
  async #comeBack(job: JobId, lost: unknown): Promise<ApiConnection> {
    const remedy = `what became of it: \`meshwork jobs\` and \`meshwork logs ${job}\`, once the daemon runs (\`meshwork up\`)`;
    if (this.#stdin !== null && !this.#stdin.done) {
      throw new MeshError(
        'lost',
        `the connection to this machine's daemon was lost while job ${job} was being given its stdin, so the job is ended; ${remedy}`,
        lost,
      );
    }
    this.#io.onEvent?.({
      kind: 'state',
      state: 'running',
      node: null,
      detail: "this machine's daemon went away; waiting for it to come back",
    });
    const { signal } = this.#cancelled;
    try {
      return await Promise.race([this.#link.comeBack(), aborted(signal)]);
    } catch (error) {
      if (error instanceof MeshError && error.code !== 'lost') throw error;
      const how = signal.aborted ? 'its end was asked for meanwhile' : 'it did not come back';
      throw new MeshError(
        'lost',
        `the connection to this machine's daemon was lost, and ${how}: job ${job} is ended when it starts again, or by the node it runs on; ${remedy}`,
        error,
      );
    }
  }

  #cancelNow(job: string): void {
    // A job that ended meanwhile is not there to cancel, and its result is on its way; a lost daemon is told on return.
    this.#link.call('cancel', { job }).catch(() => this.#id);
  }

  #resizeNow(job: JobId): void {
    if (this.#size === null) return;
    // Likewise: the size matters only while the job runs.
    this.#link.call('resize', { job, size: this.#size }).catch(() => this.#id);
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const fail = (): void => reject(new MeshError('lost', 'its end was asked for'));
    if (signal.aborted) fail();
    else signal.addEventListener('abort', fail, { once: true });
  });
}
