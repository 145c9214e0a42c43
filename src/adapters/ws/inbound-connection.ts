import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Ticket } from './admission-gate.ts';
import { formatAddress, normaliseHost } from './address-text.ts';
import { HANDSHAKE_MS, LINGER_MS } from './limits.ts';
import type { PeerKey } from './tls-peer.ts';

/** What TLS proved about an incoming connection; `none` until it has, and where there is no usable certificate. */
export type InboundKey =
  | { readonly kind: 'none' }
  | { readonly kind: 'stranger'; readonly key: PeerKey }
  /** `release` frees its place among the peer's sockets that are not in a link yet. */
  | { readonly kind: 'trusted'; readonly key: PeerKey; readonly release: () => void };

/**
 * One accepted TCP connection until it is a WebSocket (and, of a stranger, until it is gone): it holds a ticket of the
 * admission gate and has HANDSHAKE_MS for TLS and upgrade together, however slowly it feeds bytes.
 */
export class InboundConnection {
  readonly host: string;
  readonly remoteAddress: string;
  key: InboundKey = { kind: 'none' };
  readonly raw: Socket;
  readonly #ticket: Ticket;
  #timer: NodeJS.Timeout;
  #isLinked = false;

  constructor(raw: Socket, ticket: Ticket, nowMs: () => number, onTimeout: () => void) {
    this.raw = raw;
    this.host = normaliseHost(raw.remoteAddress ?? '');
    this.remoteAddress = formatAddress(this.host, raw.remotePort ?? 0);
    this.#ticket = ticket;
    this.#timer = setTimeout(() => {
      onTimeout();
      raw.destroy();
    }, HANDSHAKE_MS);
    raw.once('close', () => {
      clearTimeout(this.#timer);
      ticket.failed(nowMs());
      this.#release();
    });
  }

  get peer(): PeerKey | null {
    return this.key.kind === 'none' ? null : this.key.key;
  }

  /** Its key is trusted: from now on the peer's own bounds hold it. */
  trust(key: PeerKey, release: () => void): void {
    this.key = { kind: 'trusted', key, release };
    this.#ticket.trusted();
  }

  /** The upgrade is done: what follows has deadlines of its own. */
  upgraded(): void {
    clearTimeout(this.#timer);
  }

  /** It is part of a link, which ends it from now on. */
  join(): void {
    this.#isLinked = true;
    this.#release();
  }

  /** The listener closes: whatever is no link yet ends with it. */
  drop(): void {
    if (!this.#isLinked) this.raw.destroy();
  }

  #release(): void {
    if (this.key.kind === 'trusted') this.key.release();
  }

  /** Answers with a plain HTTP status and an empty body, then cuts the connection. */
  refuse(socket: Duplex, status: number, reason: string): void {
    socket.end(`HTTP/1.1 ${status} ${reason}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.raw.destroy(), LINGER_MS);
  }
}
