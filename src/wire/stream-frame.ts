/**
 * Binary frames of the data plane: `u8 kind | u32 stream id (big endian) | payload`. The same frames travel on a link's
 * bulk WebSocket, on the control socket and on the runner's socket.
 */
export const STREAM_HEADER_BYTES = 5;
/** The largest DATA payload; also how much one stream may delay the others on its socket. */
export const STREAM_CHUNK_BYTES_MAX = 64 * 1024;
export const STREAM_ID_MAX = 0x7fff_ffff;

export const FRAME_DATA = 1;
/** Payload: u32 of further bytes that the sender of DATA may send. */
export const FRAME_CREDIT = 2;
/** The stream ended in order; no payload. */
export const FRAME_END = 3;
/** The stream ended early; no payload: the reason travels in a control message. Sent by either side. */
export const FRAME_ABORT = 4;

export type StreamFrameKind = typeof FRAME_DATA | typeof FRAME_CREDIT | typeof FRAME_END | typeof FRAME_ABORT;

export interface StreamFrame {
  readonly kind: StreamFrameKind;
  readonly streamId: number;
  readonly payload: Uint8Array;
}

export function encodeStreamHeader(kind: StreamFrameKind, streamId: number): Uint8Array {
  const header = new Uint8Array(STREAM_HEADER_BYTES);
  header[0] = kind;
  new DataView(header.buffer).setUint32(1, streamId);
  return header;
}

export function encodeCredit(bytes: number): Uint8Array {
  const payload = new Uint8Array(4);
  new DataView(payload.buffer).setUint32(0, bytes);
  return payload;
}

/** @returns the frame (its payload a view of `bytes`), or a message that says what is malformed */
export function decodeStreamFrame(bytes: Uint8Array): StreamFrame | string {
  if (bytes.byteLength < STREAM_HEADER_BYTES) return `a stream frame of ${bytes.byteLength} bytes`;
  const kind = bytes[0];
  if (kind !== FRAME_DATA && kind !== FRAME_CREDIT && kind !== FRAME_END && kind !== FRAME_ABORT) {
    return `an unknown stream frame kind ${kind}`;
  }
  const streamId = new DataView(bytes.buffer, bytes.byteOffset).getUint32(1);
  if (streamId < 1 || streamId > STREAM_ID_MAX) return `a stream id of ${streamId}`;
  const payload = bytes.subarray(STREAM_HEADER_BYTES);
  const size = payload.byteLength;
  if (kind === FRAME_DATA && (size < 1 || size > STREAM_CHUNK_BYTES_MAX)) return `a data frame of ${size} bytes`;
  if (kind === FRAME_CREDIT && size !== 4) return `a credit frame of ${size} bytes`;
  if ((kind === FRAME_END || kind === FRAME_ABORT) && size !== 0) return `an end frame of ${size} bytes`;
  return { kind, streamId, payload };
}

export function decodeCredit(payload: Uint8Array): number {
  return new DataView(payload.buffer, payload.byteOffset).getUint32(0);
}
