import type { NodeId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Result } from '../../base/result.ts';
import type {
  CancelSignal,
  DialFailure,
  DialOptions,
  Listening,
  ListenOptions,
  PairOptions,
  PeerLink,
  PeerTransport,
} from '../../ports/links.ts';
import { AdmissionGate } from './admission-gate.ts';
import { KEEPALIVE_PING_MS, KEEPALIVE_SILENCE_MS } from './limits.ts';
import { dialLink } from './link-dialler.ts';
import { LinkListener } from './link-listener.ts';
import { pairWith } from './pairing.ts';
import { PeerBounds } from './peer-bounds.ts';
import type { KeepaliveTimes, PeerSocketLink } from './peer-socket-link.ts';
import { RefusalLog } from './refusal-log.ts';
import type { LocalPeer } from './tls-peer.ts';

export interface PeerTransportOptions extends LocalPeer {
  readonly log: Logger;
  /** For tests of half-open connections. */
  readonly keepalive?: KeepaliveTimes;
}

/** Links over WebSockets in mutual TLS 1.3. */
export class WebSocketTransport implements PeerTransport {
  readonly #local: LocalPeer;
  readonly #keepalive: KeepaliveTimes;
  readonly #refusals: RefusalLog;
  readonly #gate = new AdmissionGate();
  readonly #bounds = new PeerBounds();
  readonly #links = new Set<PeerSocketLink>();
  readonly #listenings = new Set<Listening>();
  readonly #closing = new AbortController();
  readonly #nowMs = (): number => performance.now();

  constructor(options: PeerTransportOptions) {
    this.#local = options;
    this.#keepalive = options.keepalive ?? { pingMs: KEEPALIVE_PING_MS, silenceMs: KEEPALIVE_SILENCE_MS };
    this.#refusals = new RefusalLog(options.log, this.#nowMs);
  }

  async listen(options: ListenOptions): Promise<Listening> {
    const listener = new LinkListener({
      ...this.#books(),
      local: this.#local,
      gate: this.#gate,
      bounds: this.#bounds,
      refusals: this.#refusals,
      nowMs: this.#nowMs,
      onLink: options.onLink,
      onPair: options.onPair,
      ...(options.onRefused === undefined ? {} : { onRefused: options.onRefused }),
    });
    const inner = await listener.listen(options.host, options.port);
    const listening: Listening = {
      host: inner.host,
      port: inner.port,
      close: async () => {
        this.#listenings.delete(listening);
        await inner.close();
      },
    };
    this.#listenings.add(listening);
    return listening;
  }

  async dial(options: DialOptions): Promise<Result<PeerLink, DialFailure>> {
    return this.#untilClosed(options.signal, (signal) =>
      dialLink({ ...this.#books(), local: this.#local }, { ...options, signal }),
    );
  }

  async pair(options: PairOptions): Promise<Result<unknown, DialFailure>> {
    return this.#untilClosed(options.signal, (signal) => pairWith(this.#local, { ...options, signal }));
  }

  closePeer(peer: NodeId, reason: string): void {
    for (const link of this.#links) if (link.peer === peer) link.close(reason);
  }

  async close(reason: string): Promise<void> {
    this.#closing.abort();
    await Promise.all([...this.#listenings].map(async (listening) => listening.close()));
    for (const link of this.#links) link.close(reason);
    this.#refusals.flush();
  }

  /** Runs something that either the caller or the end of this transport calls off. */
  async #untilClosed<T>(own: CancelSignal | undefined, run: (signal: CancelSignal) => Promise<T>): Promise<T> {
    const either = new AbortController();
    const abort = (): void => either.abort();
    const sources: CancelSignal[] = [this.#closing.signal, ...(own === undefined ? [] : [own])];
    for (const source of sources) {
      if (source.aborted) abort();
      source.addEventListener('abort', abort, { once: true });
    }
    try {
      return await run(either.signal);
    } finally {
      for (const source of sources) source.removeEventListener('abort', abort);
    }
  }

  #books(): {
    keepalive: KeepaliveTimes;
    onLinkMade: (link: PeerSocketLink) => void;
    onLinkClosed: (link: PeerSocketLink) => void;
  } {
    return {
      keepalive: this.#keepalive,
      onLinkMade: (link) => void this.#links.add(link),
      onLinkClosed: (link) => void this.#links.delete(link),
    };
  }
}
