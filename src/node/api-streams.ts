import type { Readable } from 'node:stream';
import { STREAM_WINDOW_BYTES, type OutgoingStream, type StreamMux } from '../wire/stream-mux.ts';

/** An output handler may return a promise: until it settles, at most one window (1 MiB) more is delivered. */
export type OutputHandler = (bytes: Uint8Array) => void | Promise<void>;

/** What an output handler threw. */
export type Fault = { readonly error: unknown } | null;

/**
 * One output of a job, delivered to its handler once, whatever connections it came over: after a lost one, `open` on
 * the next goes on behind `receivedBytes`. Once the handler has failed, the rest is dropped.
 */
export class OutputReader {
  readonly #handler: OutputHandler;
  readonly #onFault: () => void;
  #receivedBytes = 0;
  #fault: Fault = null;
  #last: Promise<void> = Promise.resolve();
  #stream: { abort(): void } | null = null;
  #isOpen = false;
  #onEnded: (() => void) | null = null;

  constructor(handler: OutputHandler, onFault: () => void) {
    this.#handler = handler;
    this.#onFault = onFault;
  }

  /** Bytes that were handed to the handler. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** @returns the id to name in the request that asks for the bytes */
  open(mux: StreamMux): number {
    const id = mux.nextId();
    const ended = (): void => {
      if (this.#stream !== stream) return;
      this.#isOpen = false;
      this.#onEnded?.();
    };
    this.#isOpen = true;
    const stream = mux.openIncoming(id, STREAM_WINDOW_BYTES, {
      onData: (bytes) => {
        const size = bytes.byteLength;
        this.#receivedBytes += size;
        const done = this.#deliver(bytes);
        if (done === undefined) return stream.consumed(size);
        this.#last = Promise.all([this.#last, done]).then(() => stream.consumed(size));
      },
      onEnd: ended,
      onAbort: ended,
    });
    this.#stream = stream;
    if (stream.closed) ended();
    return id;
  }

  /** Settles when the stream that is open has ended and the last handler call has settled. */
  async whenEnded(): Promise<Fault> {
    if (this.#isOpen) {
      await new Promise<void>((resolve) => {
        this.#onEnded = resolve;
      });
    }
    await this.#last;
    return this.#fault;
  }

  /** Reads no more. */
  drop(): void {
    this.#stream?.abort();
    this.#isOpen = false;
    this.#onEnded?.();
  }

  #deliver(bytes: Uint8Array): void | Promise<void> {
    if (this.#fault !== null) return;
    try {
      return this.#handler(bytes)?.catch((error: unknown) => this.#failed(error));
    } catch (error) {
      this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    if (this.#fault !== null) return;
    this.#fault = { error };
    this.#onFault();
  }
}

/** A job's stdin: pumps `source` into a stream as credit allows. */
export class InputFeed {
  readonly #source: Readable;
  readonly #stream: OutgoingStream;
  #done = false;

  constructor(mux: StreamMux, id: number, source: Readable) {
    this.#source = source;
    this.#stream = mux.openOutgoing(id, 0, {
      onSent: () => {
        if (this.#stream.queuedBytes === 0) source.resume();
      },
      onEnded: () => {
        this.#done = true;
      },
      onAbort: () => {
        // A daemon that is there wants no more of it; one that is gone never got the rest.
        if (!mux.isDead) this.#done = true;
        this.stop();
      },
    });
    source.on('data', this.#onData).on('end', this.#onEnd).on('error', this.#onError);
  }

  /** True once the daemon has all of it, or wanted no more. */
  get done(): boolean {
    return this.#done;
  }

  stop(): void {
    this.#source.off('data', this.#onData).off('end', this.#onEnd).off('error', this.#onError);
    this.#source.pause();
    this.#stream.abort();
  }

  readonly #onData = (chunk: Buffer | string): void => {
    this.#stream.write(typeof chunk === 'string' ? Buffer.from(chunk) : chunk);
    if (this.#stream.queuedBytes > 0) this.#source.pause();
  };
  readonly #onEnd = (): void => this.#stream.end();
  readonly #onError = (): void => this.#stream.abort();
}
