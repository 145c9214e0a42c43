import type { Readable } from 'node:stream';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { OutgoingStream, StreamMux } from '../wire/stream-mux.ts';

/** Once the tree is gone, a pipe that stays silent this long is held by somebody outside the tree. */
const DRAIN_IDLE_MS = 250;
/** The most that a pipe can hold for an unprivileged user (`/proc/sys/fs/pipe-max-size`); later bytes are another's. */
const DRAIN_BYTES_MAX = 1024 * 1024;

export interface OutputTarget {
  readonly mux: StreamMux;
  readonly stream: number;
  readonly windowBytes: number;
  /** Bytes beyond this are read and dropped; null = no bound. */
  readonly bytesMax: number | null;
}

/** Carries one output pipe of a command to its stream, reading no faster than the reader's credit allows. */
export class OutputPump {
  /** Settles once the last byte and the end were sent, or the reader gave up. */
  readonly done: Promise<void>;
  #bytes = 0;
  #truncated = false;
  #source: Readable | null = null;
  #sourceEnded = false;
  #drainedBytes: number | null = null;
  #idle: NodeJS.Timeout | null = null;
  #stream: OutgoingStream | null = null;
  #resolveDone: () => void = () => undefined;
  readonly #bytesMax: number;
  readonly #log: Logger;

  constructor(target: OutputTarget, log: Logger) {
    this.#log = log;
    this.#bytesMax = target.bytesMax ?? Number.POSITIVE_INFINITY;
    this.done = new Promise((resolve) => {
      this.#resolveDone = resolve;
    });
    this.#stream = target.mux.openOutgoing(target.stream, target.windowBytes, {
      onSent: () => this.#onSent(),
      onEnded: () => this.#finish(),
      // The reader is gone: closing the pipe tells the command so, by SIGPIPE, as it would be told here.
      onAbort: () => this.#finish(),
    });
  }

  /** Bytes that the command wrote, those dropped included. */
  get bytes(): number {
    return this.#bytes;
  }

  get truncated(): boolean {
    return this.#truncated;
  }

  attach(source: Readable): void {
    this.#source = source;
    source.on('data', (chunk: Uint8Array) => this.#onData(chunk));
    source.on('end', () => this.#onSourceEnd());
    source.on('close', () => this.#onSourceEnd());
    source.on('error', (error) => this.#log.warn('cannot read an output pipe', { error: messageOf(error) }));
    if (this.#stream?.closed === true) source.destroy();
  }

  /** Bytes of the runner's own making, where there is no process: what a shell would have said. */
  write(bytes: Uint8Array): void {
    this.#bytes += bytes.byteLength;
    this.#stream?.write(bytes);
  }

  /** There will be no source. */
  end(): void {
    this.#onSourceEnd();
  }

  /** The tree is gone: what the pipe holds is still sent, but nobody who holds the pipe open is waited for. */
  treeGone(): void {
    if (this.#sourceEnded) return;
    this.#drainedBytes = 0;
    this.#armIdle();
  }

  /** Stop waiting for a reader who does not read. */
  abort(): void {
    this.#stream?.abort();
    this.#finish();
  }

  #onData(chunk: Uint8Array): void {
    const room = Math.max(0, this.#bytesMax - this.#bytes);
    this.#bytes += chunk.byteLength;
    if (chunk.byteLength > room) this.#truncated = true;
    if (room > 0) this.#stream?.write(chunk.byteLength > room ? chunk.subarray(0, room) : chunk);
    if ((this.#stream?.queuedBytes ?? 0) > 0) this.#source?.pause();
    if (this.#drainedBytes === null) return;
    this.#drainedBytes += chunk.byteLength;
    if (this.#drainedBytes > DRAIN_BYTES_MAX) this.#onSourceEnd();
    else this.#armIdle();
  }

  #onSent(): void {
    if (this.#source?.isPaused() !== true || this.#stream?.queuedBytes !== 0) return;
    this.#source.resume();
    if (this.#drainedBytes !== null) this.#armIdle();
  }

  #armIdle(): void {
    if (this.#idle !== null) clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      const bytesBefore = this.#bytes;
      // On a busy machine this timer may be late and fire before the pipe was looked at: it is, once more, in between.
      setImmediate(() => {
        // While the reader holds us back, silence says nothing about the pipe.
        if (this.#sourceEnded || this.#source?.isPaused() === true) return;
        if (this.#bytes === bytesBefore) this.#onSourceEnd();
        else this.#armIdle();
      });
    }, DRAIN_IDLE_MS);
  }

  #onSourceEnd(): void {
    if (this.#sourceEnded) return;
    this.#sourceEnded = true;
    this.#closeSource();
    this.#stream?.end();
  }

  #finish(): void {
    this.#sourceEnded = true;
    this.#closeSource();
    this.#resolveDone();
  }

  #closeSource(): void {
    if (this.#idle !== null) clearTimeout(this.#idle);
    this.#idle = null;
    this.#source?.destroy();
  }
}
