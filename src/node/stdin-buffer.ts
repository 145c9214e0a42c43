import { assert } from '../base/assert.ts';
import { STREAM_WINDOW_BYTES, type IncomingStream, type OutgoingStream, type StreamMux } from '../wire/stream-mux.ts';

/**
 * What was sent last is kept: it may be lost with a link, on its way or in a daemon that died. Each of the two hops to the
 * process has at most a window under way.
 */
const KEPT_BYTES_MAX = 2 * STREAM_WINDOW_BYTES;

export interface StdinEvents {
  /** The last byte and the end were handed to the executor's link. */
  readonly onEnded: (bytes: number) => void;
}

/**
 * stdin on its way from the front to whichever link the attempt has now. The front is asked for bytes only once a process
 * exists, and never for more than a window beyond what an executor took; what was sent can be sent again from the offset
 * that arrived.
 */
export class StdinBuffer {
  readonly #source: IncomingStream;
  readonly #events: StdinEvents;
  #sink: OutgoingStream | null = null;
  /** Copies of the bytes from `#keptFrom` to `#received`. */
  #chunks: Uint8Array[] = [];
  #keptFrom = 0;
  #received = 0;
  /** How far the sink was given bytes; it queues for want of credit. */
  #written = 0;
  #sent = 0;
  /** How far the front got its credit back. */
  #consumed = 0;
  #asked = false;
  #ended = false;
  #aborted = false;
  #flowing = false;

  constructor(mux: StreamMux, id: number, events: StdinEvents) {
    this.#events = events;
    this.#source = mux.openIncoming(id, 0, {
      onData: (bytes) => this.#receive(bytes),
      onEnd: () => {
        this.#ended = true;
        if (this.#flowing) this.#sink?.end();
      },
      onAbort: () => {
        this.#aborted = true;
        if (this.#flowing) this.#sink?.abort();
      },
    });
  }

  /** True where all that was received could be sent to another attempt. */
  get canRestart(): boolean {
    return this.#keptFrom === 0 && !this.#aborted;
  }

  /** Opens this side's stream of an attempt; nothing flows before `flow`. */
  open(peer: StreamMux): number {
    this.drop(false);
    const id = peer.nextId();
    const sink: OutgoingStream = peer.openOutgoing(id, 0, {
      onSent: (bytes) => this.#onSent(sink, bytes),
      onEnded: () => {
        if (this.#sink === sink) this.#events.onEnded(this.#received);
      },
      onAbort: () => {
        // A lost link says nothing; nor does an attempt that is lost before its process exists.
        if (this.#sink !== sink || peer.isDead || !this.#flowing) return;
        this.#source.abort();
        this.#forget();
      },
    });
    this.#sink = sink;
    return id;
  }

  /**
   * The process exists, or is there again: bytes flow from that offset on.
   *
   * @returns false where these bytes are not kept any more: the command's input has a gap
   */
  flow(from: number): boolean {
    const sink = this.#sink;
    if (sink === null) return true;
    if (this.#flowing) return true;
    this.#flowing = true;
    if (from < this.#keptFrom || from > this.#received) return false;
    if (this.#aborted) sink.abort();
    else if (sink.closed) {
      this.#source.abort();
      this.#forget();
    } else {
      this.#written = this.#sent = from;
      this.#writeKept(sink);
      if (this.#ended) sink.end();
      else if (!this.#asked) this.#source.grant(STREAM_WINDOW_BYTES);
      this.#asked = true;
    }
    return true;
  }

  /**
   * The attempt's link is gone, or the attempt: what was not taken waits for the next.
   *
   * @param abort tells the executor; where the same attempt goes on over another stream it must not be
   */
  drop(abort: boolean): void {
    const sink = this.#sink;
    this.#sink = null;
    this.#flowing = false;
    if (abort) sink?.abort();
  }

  /** Nobody reads any more. */
  finish(): void {
    this.drop(true);
    this.#source.abort();
    this.#forget();
  }

  #receive(bytes: Uint8Array): void {
    this.#chunks.push(Uint8Array.from(bytes));
    this.#received += bytes.byteLength;
    const sink = this.#sink;
    if (sink === null || !this.#flowing) return;
    const chunk = this.#chunks.at(-1);
    assert(chunk !== undefined, 'a chunk was kept');
    this.#written += chunk.byteLength;
    sink.write(chunk);
  }

  #writeKept(sink: OutgoingStream): void {
    let at = this.#keptFrom;
    // What is sent on the way may be let go of.
    const chunks = [...this.#chunks];
    for (const chunk of chunks) {
      const end = at + chunk.byteLength;
      if (end > this.#written) {
        const rest = chunk.subarray(Math.max(0, this.#written - at));
        this.#written = end;
        sink.write(rest);
      }
      at = end;
    }
  }

  #onSent(sink: OutgoingStream, bytes: number): void {
    if (this.#sink !== sink) return;
    this.#sent += bytes;
    assert(this.#sent <= this.#written, 'more of stdin was sent than came');
    if (this.#sent > this.#consumed) {
      this.#source.consumed(this.#sent - this.#consumed);
      this.#consumed = this.#sent;
    }
    this.#trim();
  }

  #trim(): void {
    for (let first = this.#chunks[0]; first !== undefined; first = this.#chunks[0]) {
      if (this.#keptFrom + first.byteLength > this.#sent - KEPT_BYTES_MAX) return;
      this.#chunks.shift();
      this.#keptFrom += first.byteLength;
    }
  }

  #forget(): void {
    this.#chunks = [];
    this.#keptFrom = this.#received;
  }
}
