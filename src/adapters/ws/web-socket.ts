import type { RawData, WebSocket } from 'ws';
import { BUFFERED_CHUNKS_MAX, CLOSE_REASON_BYTES_MAX, FRAGMENTS_MAX, LINGER_MS, MESSAGE_BYTES_MAX } from './limits.ts';

/** The bounds of every WebSocket, on both sides. */
export const SOCKET_OPTIONS = {
  perMessageDeflate: false,
  maxPayload: MESSAGE_BYTES_MAX,
  maxFragments: FRAGMENTS_MAX,
  maxBufferedChunks: BUFFERED_CHUNKS_MAX,
} as const;

/** Why ws itself closes a socket (RFC 6455 §7.4.1), for people. */
const STANDARD_CLOSES: Readonly<Record<number, string>> = {
  1000: 'closed',
  1001: 'the peer is going away',
  1002: 'a malformed frame',
  1003: 'data of a kind that is not accepted',
  1005: 'closed without a reason',
  1006: 'connection lost',
  1007: 'text that is not UTF-8',
  1008: 'too many fragments',
  1009: 'a message over the size limit',
  1011: 'an internal error at the peer',
};

/** The text of a close frame, safe to show: a peer chose it. */
export function closeText(code: number, reason: Uint8Array): string {
  const text = Buffer.from(reason)
    .toString('utf8')
    .replaceAll(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/gu, '?');
  return text === '' ? (STANDARD_CLOSES[code] ?? `closed with code ${code}`) : text;
}

/** Says goodbye, and cuts the connection where the other side does not answer in time. */
export function closeSocket(socket: WebSocket, code: number, reason: string): void {
  if (socket.readyState === socket.CLOSED) return;
  if (socket.readyState === socket.CONNECTING) {
    socket.terminate();
    return;
  }
  socket.close(code, cutReason(reason));
  const cut = setTimeout(() => socket.terminate(), LINGER_MS);
  socket.once('close', () => clearTimeout(cut));
}

/** At most CLOSE_REASON_BYTES_MAX bytes, whole characters only. */
function cutReason(reason: string): string {
  const bytes = Buffer.from(reason);
  if (bytes.byteLength <= CLOSE_REASON_BYTES_MAX) return reason;
  // As part of a stream, a character that is cut in two is left for later.
  return new TextDecoder().decode(bytes.subarray(0, CLOSE_REASON_BYTES_MAX), { stream: true });
}

/** The bytes of a message as our `binaryType` gives them: one Buffer. */
export function bytesOf(data: RawData): Buffer {
  if (Buffer.isBuffer(data)) return data;
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);
}
