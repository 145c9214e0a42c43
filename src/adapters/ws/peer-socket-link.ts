import type { RawData, WebSocket } from 'ws';
import { assert } from '../../base/assert.ts';
import { FrameMemory } from './frame-memory.ts';
import type { PeerLink, PeerLinkHandlers } from '../../ports/links.ts';
import type { Hello } from '../../wire/hello.ts';
import {
  BULK_QUEUED_BYTES_MAX,
  CLOSE_ASKED,
  CLOSE_OVERFLOW,
  CLOSE_SILENT,
  CLOSE_VIOLATION,
  CONTROL_QUEUED_BYTES_MAX,
  MESSAGE_BYTES_MAX,
  UNATTACHED_BYTES_MAX,
  UNATTACHED_MESSAGES_MAX,
} from './limits.ts';
import type { PeerKey } from './tls-peer.ts';
import { bytesOf, closeSocket, closeText } from './web-socket.ts';

export interface KeepaliveTimes {
  readonly pingMs: number;
  readonly silenceMs: number;
}

export interface LinkFacts {
  readonly key: PeerKey;
  readonly hello: Hello;
  readonly dialledByUs: boolean;
  readonly remoteAddress: string;
  readonly keepalive: KeepaliveTimes;
  /** For the transport's own books; comes before the attached handlers hear of it. */
  readonly onClosed: (reason: string) => void;
}

const FRAMES = new FrameMemory();

type Waiting =
  | { readonly kind: 'control'; readonly json: string }
  | { readonly kind: 'bulk'; readonly frame: Uint8Array };

/**
 * A link over two WebSockets. It begins with the control socket alone, hello done; `joinBulk` completes it. The first
 * cause of an end wins, and ends both sockets:
 *
 * - either side's `close(reason)`: the reason travels in the close frame;
 * - either socket closed or failed;
 * - a message that has no business there: empty, binary on control, text on bulk, over the limits of `ws`;
 * - more queued towards the peer than the bounds allow;
 * - nothing heard on a socket, not even the answer to a ping, for `silenceMs` (a half-open connection).
 */
export class PeerSocketLink implements PeerLink {
  readonly peer: PeerLink['peer'];
  readonly peerSpki: Uint8Array;
  readonly peerIncarnation: number;
  readonly peerName: string;
  readonly dialledByUs: boolean;
  readonly remoteAddress: string;
  readonly #facts: LinkFacts;
  readonly #control: WebSocket;
  #bulk: WebSocket | null = null;
  #handlers: PeerLinkHandlers | null = null;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #endReason: string | null = null;
  readonly #heardAtMs = new Map<WebSocket, number>();
  #tickedAtMs = performance.now();
  readonly #ticker: NodeJS.Timeout;

  constructor(control: WebSocket, facts: LinkFacts) {
    this.#facts = facts;
    this.peer = facts.key.peer;
    this.peerSpki = facts.key.spki;
    this.peerIncarnation = facts.hello.incarnation;
    this.peerName = facts.hello.name;
    this.dialledByUs = facts.dialledByUs;
    this.remoteAddress = facts.remoteAddress;
    this.#control = control;
    this.#ticker = setInterval(() => this.#tick(), facts.keepalive.pingMs);
    this.#watch(control, (data, isBinary) => this.#onControl(data, isBinary));
  }

  /** Why the link ended, or null while it lives. */
  get endReason(): string | null {
    return this.#endReason;
  }

  joinBulk(bulk: WebSocket): void {
    assert(this.#bulk === null, 'a link has one bulk socket');
    this.#bulk = bulk;
    this.#watch(bulk, (data, isBinary) => this.#onBulk(data, isBinary));
    if (this.#endReason !== null) closeSocket(bulk, CLOSE_ASKED, this.#endReason);
  }

  sendControl(json: string): boolean {
    if (this.#endReason !== null) return false;
    assert(json.length > 0 && json.length <= MESSAGE_BYTES_MAX, `a control message of ${json.length} characters`);
    this.#control.send(json);
    if (this.#control.bufferedAmount <= CONTROL_QUEUED_BYTES_MAX) return true;
    this.#end(CLOSE_OVERFLOW, 'the peer reads control messages too slowly');
    return false;
  }

  sendBulk(header: Uint8Array, payload: Uint8Array | null): void {
    const bulk = this.#bulk;
    if (this.#endReason !== null || bulk === null) return;
    const memory = FRAMES.take(header.byteLength + (payload?.byteLength ?? 0));
    memory.bytes.set(header, 0);
    if (payload !== null) memory.bytes.set(payload, header.byteLength);
    // Also called where it could not be written; the end of the socket is told elsewhere.
    bulk.send(memory.bytes, () => FRAMES.giveBack(memory));
    if (bulk.bufferedAmount > BULK_QUEUED_BYTES_MAX) {
      this.#end(CLOSE_OVERFLOW, 'the peer grants credit but does not read');
    }
  }

  attach(handlers: PeerLinkHandlers): void {
    assert(this.#handlers === null, 'a link is attached once');
    this.#handlers = handlers;
    const reason = this.#endReason;
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (const message of waiting) {
      // A handler may close the link; what ended before it was attached is still delivered, then its end.
      if (this.#endReason !== reason) return;
      deliver(handlers, message);
    }
    if (reason !== null) queueMicrotask(() => handlers.onClose(reason));
  }

  close(reason: string): void {
    this.#end(CLOSE_ASKED, reason);
  }

  #watch(socket: WebSocket, onMessage: (data: RawData, isBinary: boolean) => void): void {
    this.#heardAtMs.set(socket, performance.now());
    const heard = (): void => void this.#heardAtMs.set(socket, performance.now());
    socket.on('message', (data, isBinary) => {
      heard();
      if (this.#endReason === null) onMessage(data, isBinary);
    });
    socket.on('ping', heard);
    socket.on('pong', heard);
    socket.on('error', (error) => this.#end(CLOSE_VIOLATION, error.message));
    socket.on('close', (code, reason) => this.#end(CLOSE_ASKED, closeText(code, reason)));
  }

  #onControl(data: RawData, isBinary: boolean): void {
    if (isBinary) return this.#end(CLOSE_VIOLATION, 'binary data on the control socket');
    const bytes = bytesOf(data);
    if (bytes.byteLength === 0) return this.#end(CLOSE_VIOLATION, 'an empty control message');
    this.#receive({ kind: 'control', json: bytes.toString('utf8') }, bytes.byteLength);
  }

  #onBulk(data: RawData, isBinary: boolean): void {
    if (!isBinary) return this.#end(CLOSE_VIOLATION, 'text on the bulk socket');
    const frame = bytesOf(data);
    if (frame.byteLength === 0) return this.#end(CLOSE_VIOLATION, 'an empty bulk message');
    this.#receive({ kind: 'bulk', frame }, frame.byteLength);
  }

  #receive(message: Waiting, bytes: number): void {
    if (this.#handlers !== null) return deliver(this.#handlers, message);
    this.#waiting.push(message);
    this.#waitingBytes += bytes;
    if (this.#waiting.length > UNATTACHED_MESSAGES_MAX || this.#waitingBytes > UNATTACHED_BYTES_MAX) {
      this.#end(CLOSE_OVERFLOW, 'too much sent before the link was taken up');
    }
  }

  #tick(): void {
    const nowMs = performance.now();
    const { pingMs, silenceMs } = this.#facts.keepalive;
    // After a freeze of this process what the peer sent lies unread: its silence is ours.
    const frozen = nowMs - this.#tickedAtMs > 2 * pingMs;
    this.#tickedAtMs = nowMs;
    for (const [socket, heardAtMs] of this.#heardAtMs) {
      const silentMs = frozen ? 0 : nowMs - heardAtMs;
      if (frozen) this.#heardAtMs.set(socket, nowMs);
      if (silentMs >= silenceMs) return this.#end(CLOSE_SILENT, `nothing heard for ${Math.round(silenceMs / 1000)} s`);
      if (frozen || silentMs >= pingMs / 2) socket.ping();
    }
  }

  #end(code: number, reason: string): void {
    if (this.#endReason !== null) return;
    this.#endReason = reason;
    clearInterval(this.#ticker);
    closeSocket(this.#control, code, reason);
    if (this.#bulk !== null) closeSocket(this.#bulk, code, reason);
    this.#facts.onClosed(reason);
    const handlers = this.#handlers;
    if (handlers !== null) queueMicrotask(() => handlers.onClose(reason));
  }
}

function deliver(handlers: PeerLinkHandlers, message: Waiting): void {
  if (message.kind === 'control') handlers.onControl(message.json);
  else handlers.onBulk(message.frame);
}
