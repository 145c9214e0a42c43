/**
 * Frames on a byte stream (control socket, runner socket): `u32 length (big endian) | u8 channel | body`, where length
 * counts the channel byte and the body. Channel 0 carries one JSON message in UTF-8, channel 1 one stream frame.
 */
export const CHANNEL_CONTROL = 0;
export const CHANNEL_DATA = 1;
export const FRAME_PREFIX_BYTES = 5;
/** The bound of one frame, equal to the WebSocket's maxPayload. */
export const FRAME_BYTES_MAX = 1024 * 1024;

export type Channel = typeof CHANNEL_CONTROL | typeof CHANNEL_DATA;

export interface SocketFrame {
  readonly channel: Channel;
  readonly body: Uint8Array;
}

/** The prefix to write before a body of `bodyBytes`. */
export function encodeFramePrefix(channel: Channel, bodyBytes: number): Uint8Array {
  const prefix = new Uint8Array(FRAME_PREFIX_BYTES);
  new DataView(prefix.buffer).setUint32(0, bodyBytes + 1);
  prefix[4] = channel;
  return prefix;
}

/** Cuts a byte stream into frames. A malformed frame is final: the socket must be closed. */
export class FrameDecoder {
  #chunks: Uint8Array[] = [];
  #bytes = 0;

  /** @returns the frames completed by `chunk`, or a message that says what is malformed */
  push(chunk: Uint8Array): SocketFrame[] | string {
    this.#chunks.push(chunk);
    this.#bytes += chunk.byteLength;
    const frames: SocketFrame[] = [];
    for (;;) {
      if (this.#bytes < FRAME_PREFIX_BYTES) return frames;
      const head = this.#peek(FRAME_PREFIX_BYTES);
      const length = new DataView(head.buffer, head.byteOffset).getUint32(0);
      const channel = head[4];
      if (length < 1 || length > FRAME_BYTES_MAX) return `a frame of ${length} bytes`;
      if (channel !== CHANNEL_CONTROL && channel !== CHANNEL_DATA) return `a frame on channel ${channel}`;
      if (this.#bytes < length + 4) return frames;
      frames.push({ channel, body: this.#take(length + 4).subarray(FRAME_PREFIX_BYTES) });
    }
  }

  #peek(count: number): Uint8Array {
    const first = this.#chunks[0];
    if (first !== undefined && first.byteLength >= count) return first;
    this.#join();
    return this.#chunks[0] ?? new Uint8Array(0);
  }

  #take(count: number): Uint8Array {
    if ((this.#chunks[0]?.byteLength ?? 0) < count) this.#join();
    const first = this.#chunks[0] ?? new Uint8Array(0);
    const taken = first.subarray(0, count);
    if (first.byteLength === count) this.#chunks.shift();
    else this.#chunks[0] = first.subarray(count);
    this.#bytes -= count;
    return taken;
  }

  #join(): void {
    const joined = new Uint8Array(this.#bytes);
    let at = 0;
    for (const chunk of this.#chunks) {
      joined.set(chunk, at);
      at += chunk.byteLength;
    }
    this.#chunks = [joined];
  }
}
