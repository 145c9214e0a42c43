import type { Socket } from 'node:net';
import { messageOf } from '../base/errors.ts';
import { CHANNEL_CONTROL, CHANNEL_DATA, encodeFramePrefix, FRAME_BYTES_MAX, FrameDecoder } from '../wire/framing.ts';
import { StreamMux } from '../wire/stream-mux.ts';

/** A reader that lets this many bytes pile up in our socket is gone or hostile. Streams are bounded by their credit. */
const UNSENT_BYTES_MAX = 256 * 1024 * 1024;

export interface ControlChannelHandlers {
  readonly onJson: (message: unknown) => void;
  /** Exactly once; every stream of the mux has been aborted. */
  readonly onClose: (reason: string) => void;
}

/** JSON messages and streams over one Unix socket (wire/framing.ts): the control socket, from either end. */
export class ControlChannel {
  readonly mux: StreamMux;
  readonly #socket: Socket;
  readonly #decoder = new FrameDecoder();
  readonly #handlers: ControlChannelHandlers;
  #closedBecause: string | null = null;

  constructor(socket: Socket, side: 'first' | 'second', handlers: ControlChannelHandlers) {
    this.#socket = socket;
    this.#handlers = handlers;
    this.mux = new StreamMux((header, payload) => this.#write(CHANNEL_DATA, header, payload), side);
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', (error) => this.close(messageOf(error)));
    socket.on('close', () => this.#closed());
  }

  get closed(): boolean {
    return this.#closedBecause !== null;
  }

  /** Throws a RangeError for a message above one frame: callers bound what they say. */
  sendJson(message: unknown): void {
    const body = Buffer.from(JSON.stringify(message), 'utf8');
    if (body.byteLength >= FRAME_BYTES_MAX) throw new RangeError(`a control message of ${body.byteLength} bytes`);
    this.#write(CHANNEL_CONTROL, body, null);
  }

  /** Ends after what was written has been sent. */
  end(reason: string): void {
    this.#closedBecause ??= reason;
    this.#socket.end();
  }

  close(reason: string): void {
    this.#closedBecause ??= reason;
    this.#socket.destroy();
  }

  #write(channel: typeof CHANNEL_CONTROL | typeof CHANNEL_DATA, head: Uint8Array, tail: Uint8Array | null): void {
    const socket = this.#socket;
    if (!socket.writable) return;
    socket.cork();
    socket.write(encodeFramePrefix(channel, head.byteLength + (tail?.byteLength ?? 0)));
    socket.write(head);
    if (tail !== null) socket.write(tail);
    socket.uncork();
    if (socket.writableLength > UNSENT_BYTES_MAX) this.close('the reader of the control socket is too slow');
  }

  #read(chunk: Buffer): void {
    const frames = this.#decoder.push(chunk);
    if (typeof frames === 'string') return this.close(`malformed: ${frames}`);
    for (const frame of frames) {
      if (frame.channel === CHANNEL_DATA) {
        const wrong = this.mux.receive(frame.body);
        if (wrong !== null) return this.close(wrong);
        continue;
      }
      let message: unknown;
      try {
        message = JSON.parse(
          Buffer.from(frame.body.buffer, frame.body.byteOffset, frame.body.byteLength).toString('utf8'),
        );
      } catch (error) {
        return this.close(`malformed: ${messageOf(error)}`);
      }
      this.#handlers.onJson(message);
    }
  }

  #closed(): void {
    this.mux.close();
    this.#handlers.onClose(this.#closedBecause ?? 'the other side closed the control socket');
  }
}
