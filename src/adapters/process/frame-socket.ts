import type { Socket } from 'node:net';
import { messageOf } from '../../base/errors.ts';
import {
  CHANNEL_CONTROL,
  CHANNEL_DATA,
  encodeFramePrefix,
  FRAME_BYTES_MAX,
  FRAME_PREFIX_BYTES,
  FrameDecoder,
  type SocketFrame,
} from '../../wire/framing.ts';
import { StreamMux } from '../../wire/stream-mux.ts';

export interface FrameSocketHandlers {
  /** One control message, not parsed. @returns null, or what is wrong with it: the socket is closed then */
  readonly onControl: (json: string) => string | null;
  /** Exactly once; every stream has been aborted before. `reason` is null where the other side closed in order. */
  readonly onClose: (reason: string | null) => void;
}

/** Payloads up to this size are copied next to their header: one small write costs less than two. */
const COPY_BYTES_MAX = 4096;

/**
 * One end of `runner.sock`: control messages and a StreamMux over one Unix socket. What waits to be written is bounded
 * by the credit of the streams and by the number of attempts.
 */
export class FrameSocket {
  readonly mux: StreamMux;
  readonly #socket: Socket;
  readonly #handlers: FrameSocketHandlers;
  readonly #decoder = new FrameDecoder();
  #closeReason: string | null = null;
  #closed = false;

  constructor(socket: Socket, side: 'first' | 'second', handlers: FrameSocketHandlers) {
    this.#socket = socket;
    this.#handlers = handlers;
    this.mux = new StreamMux((header, payload) => this.#sendFrame(header, payload), side);
    socket.on('data', (chunk: Uint8Array) => this.#receive(chunk));
    socket.on('error', (error) => {
      this.#closeReason ??= messageOf(error);
    });
    socket.on('close', () => this.#onClosed());
  }

  /** True once either side has closed it: nothing written from now on arrives. */
  get closed(): boolean {
    return this.#closed || !this.#socket.writable;
  }

  /** @returns false, and sends nothing, where the message exceeds the frame bound */
  sendControl(message: unknown): boolean {
    const body = Buffer.from(JSON.stringify(message), 'utf8');
    if (body.byteLength + 1 > FRAME_BYTES_MAX) return false;
    if (this.#socket.writable)
      this.#socket.write(Buffer.concat([encodeFramePrefix(CHANNEL_CONTROL, body.length), body]));
    return true;
  }

  /** Closes after what was written before has been flushed. */
  end(): void {
    this.#socket.end();
  }

  close(reason: string): void {
    this.#closeReason ??= reason;
    this.#socket.destroy();
  }

  #sendFrame(header: Uint8Array, payload: Uint8Array | null): void {
    if (!this.#socket.writable) return;
    const payloadBytes = payload?.byteLength ?? 0;
    const copied = payload !== null && payloadBytes <= COPY_BYTES_MAX ? payloadBytes : 0;
    const head = Buffer.allocUnsafe(FRAME_PREFIX_BYTES + header.byteLength + copied);
    head.set(encodeFramePrefix(CHANNEL_DATA, header.byteLength + payloadBytes), 0);
    head.set(header, FRAME_PREFIX_BYTES);
    if (payload !== null && copied > 0) head.set(payload, FRAME_PREFIX_BYTES + header.byteLength);
    if (payload === null || copied > 0) {
      this.#socket.write(head);
      return;
    }
    this.#socket.cork();
    this.#socket.write(head);
    this.#socket.write(payload);
    this.#socket.uncork();
  }

  #receive(chunk: Uint8Array): void {
    const frames = this.#decoder.push(chunk);
    if (typeof frames === 'string') return this.close(`it sent ${frames}`);
    for (const frame of frames) {
      if (this.#closed || this.#socket.destroyed) return;
      const wrong = this.#dispatch(frame);
      if (wrong !== null) return this.close(wrong);
    }
  }

  #dispatch(frame: SocketFrame): string | null {
    if (frame.channel === CHANNEL_DATA) return this.mux.receive(frame.body);
    const body = frame.body;
    return this.#handlers.onControl(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8'));
  }

  #onClosed(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.mux.close();
    this.#handlers.onClose(this.#closeReason);
  }
}
