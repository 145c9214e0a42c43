import type { Writable } from 'node:stream';
import { systemCodeOf, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { IncomingStream, StreamMux } from '../wire/stream-mux.ts';

/** Carries a stream to a command's stdin; credit returns as the command's pipe takes the bytes. */
export class StdinPump {
  readonly #incoming: IncomingStream;
  readonly #windowBytes: number;
  readonly #log: Logger;
  #sink: Writable | null = null;
  #pendingCount = 0;
  #ended = false;
  #closed = false;

  constructor(mux: StreamMux, stream: number, windowBytes: number, log: Logger) {
    this.#windowBytes = windowBytes;
    this.#log = log;
    this.#incoming = mux.openIncoming(stream, 0, {
      onData: (bytes) => this.#onData(bytes),
      onEnd: () => this.#onEnd(),
      // Cut short: the command sees an end, since a pipe knows no other; whoever cut it decides about the job.
      onAbort: () => this.#onEnd(),
    });
  }

  attach(sink: Writable): void {
    this.#sink = sink;
    sink.on('error', (error) => {
      // The command closed its stdin, which is its right: the source is told to stop.
      if (systemCodeOf(error) !== 'EPIPE') this.#log.warn('cannot write to stdin', { error: messageOf(error) });
      this.close();
    });
    if (this.#ended || this.#closed) this.#endIfWritten();
    else this.#incoming.grant(this.#windowBytes);
  }

  /** Nobody reads stdin any more: tells the source to stop. */
  close(): void {
    this.#closed = true;
    this.#incoming.abort();
    this.#sink?.destroy();
  }

  #onData(bytes: Uint8Array): void {
    const sink = this.#sink;
    if (sink === null || sink.destroyed) return;
    this.#pendingCount++;
    sink.write(bytes, (error) => {
      this.#pendingCount--;
      if (error !== null && error !== undefined) return;
      this.#incoming.consumed(bytes.byteLength);
      this.#endIfWritten();
    });
  }

  #onEnd(): void {
    this.#ended = true;
    this.#endIfWritten();
  }

  /** Closing the descriptor is the end of a pipe; `end()` would ask for a shutdown(2), which only sockets know. */
  #endIfWritten(): void {
    if ((this.#ended || this.#closed) && this.#pendingCount === 0) this.#sink?.destroy();
  }
}
