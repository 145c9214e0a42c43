import { assert } from '../base/assert.ts';
import {
  decodeCredit,
  decodeStreamFrame,
  encodeCredit,
  encodeStreamHeader,
  FRAME_ABORT,
  FRAME_CREDIT,
  FRAME_DATA,
  FRAME_END,
  STREAM_CHUNK_BYTES_MAX,
  STREAM_ID_MAX,
} from './stream-frame.ts';

/** The usual window: how many bytes of one stream may be under way or unread. */
export const STREAM_WINDOW_BYTES = 1024 * 1024;
/** What a receiver may have granted and not yet seen used: several windows. One that grants more reads nothing. */
export const STREAM_CREDIT_BYTES_MAX = 4 * STREAM_WINDOW_BYTES;
export const STREAMS_MAX = 8192;
/** Credit is returned in steps of at least this much, so that small reads do not cost a frame each. */
const CREDIT_STEP_BYTES = STREAM_WINDOW_BYTES / 4;

/** Writes one frame (header, payload) to the socket below. It must not throw; a dead socket drops it. */
export type SendFrame = (header: Uint8Array, payload: Uint8Array | null) => void;

export interface OutgoingHandlers {
  /** `bytes` of what was written have been handed to the socket: the source may produce as much again. */
  readonly onSent?: (bytes: number) => void;
  /** The last byte and the end have been handed to the socket. */
  readonly onEnded?: () => void;
  /** The receiver, or the loss of the link, ended the stream. */
  readonly onAbort?: () => void;
}

export interface IncomingHandlers {
  /** The handler owns `bytes` until the next turn only: copy to keep. Call `consumed` when they are dealt with. */
  readonly onData: (bytes: Uint8Array) => void;
  readonly onEnd: () => void;
  /** The sender, or the loss of the link, cut the stream short. */
  readonly onAbort: () => void;
}

/** The sending end of one stream. Writes beyond the credit wait here; sources bound them by heeding `onSent`. */
export class OutgoingStream {
  readonly id: number;
  #credit: number;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #ending = false;
  #closed = false;
  readonly #send: SendFrame;
  readonly #handlers: OutgoingHandlers;
  readonly #onClosed: () => void;

  constructor(id: number, credit: number, send: SendFrame, handlers: OutgoingHandlers, onClosed: () => void) {
    this.id = id;
    this.#credit = credit;
    this.#send = send;
    this.#handlers = handlers;
    this.#onClosed = onClosed;
  }

  /** Bytes written but not yet sent for want of credit. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Queues or sends. Writing to a closed stream is a no-op: the reader is gone and has been told. */
  write(bytes: Uint8Array): void {
    if (this.#closed) return;
    assert(!this.#ending, 'write after end');
    if (bytes.byteLength === 0) return;
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.byteLength;
    this.#flush();
  }

  end(): void {
    if (this.#closed || this.#ending) return;
    this.#ending = true;
    this.#flush();
  }

  abort(): void {
    if (this.#closed) return;
    this.#send(encodeStreamHeader(FRAME_ABORT, this.id), null);
    this.#close();
  }

  /** @internal called by the mux. @returns false where that is more than a receiver may grant */
  addCredit(bytes: number): boolean {
    if (this.#credit + bytes > STREAM_CREDIT_BYTES_MAX) return false;
    this.#credit += bytes;
    this.#flush();
    return true;
  }

  /** @internal the other side or the link ended it */
  aborted(): void {
    if (this.#closed) return;
    this.#close();
    this.#handlers.onAbort?.();
  }

  #flush(): void {
    let sent = 0;
    while (this.#credit > 0) {
      const head = this.#queue[0];
      if (head === undefined) break;
      const size = Math.min(head.byteLength, this.#credit, STREAM_CHUNK_BYTES_MAX);
      if (size === head.byteLength) this.#queue.shift();
      else this.#queue[0] = head.subarray(size);
      this.#credit -= size;
      this.#queuedBytes -= size;
      sent += size;
      this.#send(encodeStreamHeader(FRAME_DATA, this.id), head.subarray(0, size));
    }
    const ended = this.#ending && this.#queue.length === 0 && !this.#closed;
    if (ended) {
      this.#send(encodeStreamHeader(FRAME_END, this.id), null);
      this.#close();
    }
    if (sent > 0) this.#handlers.onSent?.(sent);
    if (ended) this.#handlers.onEnded?.();
  }

  #close(): void {
    this.#closed = true;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#onClosed();
  }
}

/** The receiving end of one stream. */
export class IncomingStream {
  readonly id: number;
  #granted: number;
  #owed = 0;
  #closed = false;
  readonly #send: SendFrame;
  readonly #handlers: IncomingHandlers;
  readonly #onClosed: () => void;

  constructor(id: number, granted: number, send: SendFrame, handlers: IncomingHandlers, onClosed: () => void) {
    this.id = id;
    this.#granted = granted;
    this.#send = send;
    this.#handlers = handlers;
    this.#onClosed = onClosed;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Says that `bytes` received earlier are dealt with, so that as many more may come. */
  consumed(bytes: number): void {
    if (this.#closed) return;
    this.#owed += bytes;
    if (this.#owed < CREDIT_STEP_BYTES && this.#granted >= CREDIT_STEP_BYTES) return;
    this.grant(this.#owed);
    this.#owed = 0;
  }

  /** Allows `bytes` more at once: how a receiver opens a stream whose sender started with no credit. */
  grant(bytes: number): void {
    if (this.#closed || bytes <= 0) return;
    this.#granted += bytes;
    this.#send(encodeStreamHeader(FRAME_CREDIT, this.id), encodeCredit(bytes));
  }

  /** Tells the sender to stop; nothing more is delivered. */
  abort(): void {
    if (this.#closed) return;
    this.#send(encodeStreamHeader(FRAME_ABORT, this.id), null);
    this.#close();
  }

  /** @internal @returns false where the sender broke its credit */
  receive(bytes: Uint8Array): boolean {
    if (bytes.byteLength > this.#granted) return false;
    this.#granted -= bytes.byteLength;
    this.#handlers.onData(bytes);
    return true;
  }

  /** @internal */
  ended(): void {
    this.#close();
    this.#handlers.onEnd();
  }

  /** @internal */
  aborted(): void {
    if (this.#closed) return;
    this.#close();
    this.#handlers.onAbort();
  }

  #close(): void {
    this.#closed = true;
    this.#onClosed();
  }
}

/**
 * The streams of one socket, with credit-based flow control for each (as in HTTP/2, RFC 9113 §5.2, but per stream
 * only): a sender never has more bytes under way than the receiver granted, so a slow reader holds back its own
 * stream alone and memory stays below window × streams.
 *
 * The opener of a stream chooses its id and tells the other side in a control message; `nextId` gives odd ids to one
 * side of a socket and even ids to the other. Frames of unknown streams are dropped: they belong to streams that
 * this side has closed already.
 */
export class StreamMux {
  readonly #outgoing = new Map<number, OutgoingStream>();
  readonly #incoming = new Map<number, IncomingStream>();
  readonly #send: SendFrame;
  #lastId: number;
  #dead = false;

  /** @param side `first` takes odd ids, `second` even ones; the two ends of a socket must differ */
  constructor(send: SendFrame, side: 'first' | 'second') {
    this.#send = send;
    this.#lastId = side === 'first' ? -1 : 0;
  }

  get size(): number {
    return this.#outgoing.size + this.#incoming.size;
  }

  /** The socket is gone: what aborts its streams is no decision of the other side. */
  get isDead(): boolean {
    return this.#dead;
  }

  nextId(): number {
    do {
      this.#lastId = this.#lastId + 2 > STREAM_ID_MAX ? (this.#lastId % 2 === 0 ? 2 : 1) : this.#lastId + 2;
    } while (this.#outgoing.has(this.#lastId) || this.#incoming.has(this.#lastId));
    return this.#lastId;
  }

  /** @param creditBytes what the receiver allowed beforehand; 0 waits for its first grant */
  openOutgoing(id: number, creditBytes: number, handlers: OutgoingHandlers): OutgoingStream {
    this.#checkOpen(id);
    const stream = new OutgoingStream(id, creditBytes, this.#send, handlers, () => this.#outgoing.delete(id));
    this.#outgoing.set(id, stream);
    if (this.#dead) stream.aborted();
    return stream;
  }

  /** @param grantedBytes what the sender was allowed beforehand, in a control message */
  openIncoming(id: number, grantedBytes: number, handlers: IncomingHandlers): IncomingStream {
    this.#checkOpen(id);
    const stream = new IncomingStream(id, grantedBytes, this.#send, handlers, () => this.#incoming.delete(id));
    this.#incoming.set(id, stream);
    if (this.#dead) stream.aborted();
    return stream;
  }

  /** True where a peer's wish to open streams of these ids, all of them, fits the bound and the ids are free. */
  canOpen(ids: readonly number[]): boolean {
    if (new Set(ids).size !== ids.length || this.size + ids.length > STREAMS_MAX) return false;
    return ids.every((id) => !this.#outgoing.has(id) && !this.#incoming.has(id));
  }

  /** @returns null, or what the sender did wrong: the socket should then be closed */
  receive(bytes: Uint8Array): string | null {
    const frame = decodeStreamFrame(bytes);
    if (typeof frame === 'string') return frame;
    const { kind, streamId, payload } = frame;
    switch (kind) {
      case FRAME_DATA: {
        const stream = this.#incoming.get(streamId);
        if (stream !== undefined && !stream.receive(payload)) return `stream ${streamId} sent more than its credit`;
        return null;
      }
      case FRAME_END:
        this.#incoming.get(streamId)?.ended();
        return null;
      case FRAME_CREDIT: {
        const granted = this.#outgoing.get(streamId)?.addCredit(decodeCredit(payload)) ?? true;
        return granted ? null : `stream ${streamId} was granted more than ${STREAM_CREDIT_BYTES_MAX} bytes`;
      }
      case FRAME_ABORT:
        this.#incoming.get(streamId)?.aborted();
        this.#outgoing.get(streamId)?.aborted();
        return null;
    }
  }

  /** The socket is gone: every stream is aborted, and those opened later are at once. */
  close(): void {
    this.#dead = true;
    for (const stream of this.#outgoing.values()) stream.aborted();
    for (const stream of this.#incoming.values()) stream.aborted();
  }

  #checkOpen(id: number): void {
    assert(!this.#outgoing.has(id) && !this.#incoming.has(id), `stream ${id} is open already`);
    assert(this.size < STREAMS_MAX, `more than ${STREAMS_MAX} streams`);
  }
}

/** How a joint came to its end: every byte handed on, or one of its sides lost. */
export type JointEnd = 'ended' | 'source_lost' | 'sink_lost';

/**
 * Joins an incoming stream of one mux to an outgoing one of another, credit included: the reader's pace reaches the
 * writer, and at most one window is held here.
 *
 * @param from where bytes arrive; its credit is returned only as bytes leave through `to`
 * @param onClosed exactly once, also where a mux is dead already
 * @param beforeAbort one side is lost, and the other is about to be aborted for it
 */
export function joinStreams(
  from: { readonly mux: StreamMux; readonly id: number; readonly grantedBytes: number },
  to: { readonly mux: StreamMux; readonly id: number; readonly creditBytes: number },
  onClosed: (how: JointEnd) => void,
  beforeAbort: () => void = () => undefined,
): { readonly incoming: IncomingStream; readonly outgoing: OutgoingStream } {
  let done = false;
  // The streams of a dead mux are aborted while they are opened, before the other end exists.
  let sink: OutgoingStream | null = null;
  let sourceLost = false;
  const finish = (how: JointEnd): void => {
    if (done) return;
    done = true;
    onClosed(how);
  };
  const incoming = from.mux.openIncoming(from.id, from.grantedBytes, {
    onData: (data) => sink?.write(data),
    onEnd: () => sink?.end(),
    onAbort: () => {
      sourceLost = true;
      beforeAbort();
      sink?.abort();
      finish('source_lost');
    },
  });
  const outgoing = to.mux.openOutgoing(to.id, to.creditBytes, {
    onSent: (sent) => incoming.consumed(sent),
    onEnded: () => finish('ended'),
    onAbort: () => {
      beforeAbort();
      incoming.abort();
      finish('sink_lost');
    },
  });
  sink = outgoing;
  if (sourceLost) outgoing.abort();
  return { incoming, outgoing };
}
