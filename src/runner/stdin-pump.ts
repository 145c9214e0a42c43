import type { Writable } from 'node:stream';
import { systemCodeOf, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { IncomingStream, StreamMux } from '../wire/stream-mux.ts';

/**
 * Carries a stream to a command's stdin; credit returns as the command's pipe takes the bytes. Where the link is lost,
 * stdin stays open, and another stream goes on with what follows the bytes that had arrived.
 */
export class StdinPump {
  readonly #windowBytes: number;
  readonly #log: Logger;
  #incoming: IncomingStream | null = null;
  #sink: Writable | null = null;
  #bytes = 0;
  #pendingCount = 0;
  #ended = false;
  #closed = false;

  constructor(windowBytes: number, log: Logger) {
    this.#windowBytes = windowBytes;
    this.#log = log;
  }

  /** Bytes that arrived, those on their way to the command included. */
  get bytes(): number {
    return this.#bytes;
  }

  /** @returns false where the command reads stdin no more, or all of it has come; the stream is aborted then */
  open(mux: StreamMux, stream: number): boolean {
    this.park();
    const incoming = mux.openIncoming(stream, 0, {
      onData: (bytes) => this.#onData(incoming, bytes),
      onEnd: () => this.#onEnd(incoming),
      // Cut short: the command sees an end, since a pipe knows no other; whoever cut it decides about the job.
      onAbort: () => {
        if (!mux.isDead) this.#onEnd(incoming);
      },
    });
    this.#incoming = incoming;
    if (this.#closed || this.#ended) {
      incoming.abort();
      return false;
    }
    if (this.#sink !== null) incoming.grant(this.#windowBytes);
    return true;
  }

  /** The link is lost: takes no notice of its stream any more. */
  park(): void {
    const incoming = this.#incoming;
    this.#incoming = null;
    incoming?.abort();
  }

  attach(sink: Writable): void {
    this.#sink = sink;
    sink.on('error', (error) => {
      // The command closed its stdin, which is its right: the source is told to stop.
      if (systemCodeOf(error) !== 'EPIPE') this.#log.warn('cannot write to stdin', { error: messageOf(error) });
      this.close();
    });
    if (this.#ended || this.#closed) this.#endIfWritten();
    else this.#incoming?.grant(this.#windowBytes);
  }

  /** Nobody reads stdin any more: tells the source to stop. */
  close(): void {
    this.#closed = true;
    this.#incoming?.abort();
    this.#sink?.destroy();
  }

  #onData(incoming: IncomingStream, bytes: Uint8Array): void {
    const sink = this.#sink;
    if (incoming !== this.#incoming) return;
    this.#bytes += bytes.byteLength;
    if (sink === null || sink.destroyed) return;
    this.#pendingCount++;
    sink.write(bytes, (error) => {
      this.#pendingCount--;
      if (error !== null && error !== undefined) return;
      incoming.consumed(bytes.byteLength);
      this.#endIfWritten();
    });
  }

  #onEnd(incoming: IncomingStream): void {
    if (incoming !== this.#incoming) return;
    this.#ended = true;
    this.#endIfWritten();
  }

  /** Closing the descriptor is the end of a pipe; `end()` would ask for a shutdown(2), which only sockets know. */
  #endIfWritten(): void {
    if ((this.#ended || this.#closed) && this.#pendingCount === 0) this.#sink?.destroy();
  }
}
