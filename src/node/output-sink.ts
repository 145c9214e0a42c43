import { STREAM_WINDOW_BYTES, type IncomingStream, type OutgoingStream, type StreamMux } from '../wire/stream-mux.ts';

/** How a source came to its end: `gone` = the sink's reader left. */
export type SourceEnd = 'ended' | 'lost' | 'gone';

export interface Taking {
  readonly done: Promise<SourceEnd>;
  /** Nothing more of it is wanted. */
  stop(): void;
}

/**
 * One stream to a reader, fed by one source after the other: a read that was cut off goes on from another one without
 * the reader seeing it. The reader's pace reaches each source; at most one window is held here.
 */
export class OutputSink {
  readonly #outgoing: OutgoingStream;
  readonly #onGone: () => void;
  #source: IncomingStream | null = null;
  #settle: (end: SourceEnd) => void = () => undefined;
  /** Bytes of earlier sources that wait for the reader: they are no credit to the source of now. */
  #staleBytes = 0;
  #bytes = 0;

  /** @param onGone the reader left, or its socket is gone */
  constructor(to: { readonly mux: StreamMux; readonly id: number; readonly creditBytes: number }, onGone: () => void) {
    this.#onGone = onGone;
    this.#outgoing = to.mux.openOutgoing(to.id, to.creditBytes, {
      onSent: (bytes) => {
        const stale = Math.min(bytes, this.#staleBytes);
        this.#staleBytes -= stale;
        this.#source?.consumed(bytes - stale);
      },
      onAbort: () => {
        this.#source?.abort();
        this.#finish('gone');
        this.#onGone();
      },
    });
  }

  /** Bytes taken from all sources. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Opens `id` of `mux`, with one window granted, as the source from now on. */
  take(mux: StreamMux, id: number): Taking {
    this.#staleBytes = this.#outgoing.queuedBytes;
    const done = new Promise<SourceEnd>((resolve) => {
      this.#settle = resolve;
    });
    const source = mux.openIncoming(id, STREAM_WINDOW_BYTES, {
      onData: (data) => {
        this.#bytes += data.byteLength;
        this.#outgoing.write(data);
      },
      onEnd: () => this.#finish('ended'),
      onAbort: () => this.#finish('lost'),
    });
    if (this.#outgoing.closed) {
      source.abort();
      this.#finish('gone');
    } else if (!source.closed) this.#source = source;
    return {
      done,
      stop: () => {
        source.abort();
        if (this.#source === source) this.#finish('lost');
      },
    };
  }

  /** The reader gets what is still held, and then the end. */
  end(): void {
    this.#source?.abort();
    this.#finish('gone');
    this.#outgoing.end();
  }

  /** The reader gets nothing more. */
  abort(): void {
    this.#source?.abort();
    this.#finish('gone');
    this.#outgoing.abort();
  }

  #finish(end: SourceEnd): void {
    this.#source = null;
    this.#settle(end);
  }
}
