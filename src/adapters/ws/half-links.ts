import type { WebSocket } from 'ws';
import type { NodeId } from '../../base/ids.ts';
import type { ListenOptions, PeerRefusal } from '../../ports/links.ts';
import { type Hello, type HelloFault, type HelloRefusal, readHello } from '../../wire/hello.ts';
import { PROTOCOL_VERSION } from '../../wire/version.ts';
import type { InboundConnection } from './inbound-connection.ts';
import { CLOSE_HELLO_REFUSED, CLOSE_OVERFLOW, CLOSE_TOO_LATE, CLOSE_VIOLATION, LINK_UP_MS } from './limits.ts';
import type { PeerBounds } from './peer-bounds.ts';
import { type KeepaliveTimes, PeerSocketLink } from './peer-socket-link.ts';
import type { RefusalLog } from './refusal-log.ts';
import type { LocalPeer, PeerKey } from './tls-peer.ts';
import { bytesOf, closeSocket } from './web-socket.ts';

export interface LinkBooks {
  readonly onLinkMade: (link: PeerSocketLink) => void;
  readonly onLinkClosed: (link: PeerSocketLink) => void;
}

export interface HalfLinksOptions extends LinkBooks, Pick<ListenOptions, 'onLink' | 'onRefused'> {
  readonly local: LocalPeer;
  readonly keepalive: KeepaliveTimes;
  readonly bounds: PeerBounds;
  readonly refusals: RefusalLog;
  readonly nowMs: () => number;
}

interface HalfLink {
  readonly link: PeerSocketLink;
  /** Ends the wait: the link is up, or gone. */
  readonly settle: () => void;
}

/**
 * The listening side of links that are being made: control socket → hello read, ours sent → bulk socket that names the
 * same link id under the same key → `onLink`. Each has LINK_UP_MS; how many there are is bounded by PeerBounds.
 */
export class HalfLinks {
  readonly #options: HalfLinksOptions;
  readonly #half = new Map<string, HalfLink>();
  readonly #greeting = new Set<WebSocket>();

  constructor(options: HalfLinksOptions) {
    this.#options = options;
  }

  has(peer: NodeId, linkId: string): boolean {
    return this.#half.has(halfLinkKey(peer, linkId));
  }

  takeControl(socket: WebSocket, key: PeerKey, inbound: InboundConnection): void {
    this.#greeting.add(socket);
    const timer = setTimeout(() => {
      this.#options.refusals.note('bad_hello', { peer: key.peer, address: inbound.remoteAddress, detail: 'too late' });
      closeSocket(socket, CLOSE_TOO_LATE, 'the link was not up in time');
    }, LINK_UP_MS);
    const stopGreeting = (): void => void this.#greeting.delete(socket);
    socket.once('close', () => {
      clearTimeout(timer);
      stopGreeting();
    });
    socket.on('error', (error) => {
      if (!this.#greeting.has(socket)) return;
      this.#options.refusals.note('bad_hello', {
        peer: key.peer,
        address: inbound.remoteAddress,
        detail: error.message,
      });
      socket.terminate();
    });
    // Everything happens within the message event, so that nothing that follows the hello is lost.
    socket.once('message', (data, isBinary) => {
      stopGreeting();
      if (socket.readyState !== socket.OPEN) return;
      if (isBinary) return this.#refuse(socket, key, inbound, { code: 'bad_hello', detail: 'binary' });
      const hello = readHello(bytesOf(data).toString('utf8'), this.#options.local.hello().mesh);
      if (!hello.ok) return this.#refuse(socket, key, inbound, hello.error);
      this.#makeHalf(socket, key, inbound, hello.value, () => clearTimeout(timer));
    });
  }

  takeBulk(socket: WebSocket, key: PeerKey, inbound: InboundConnection, linkId: string): void {
    const half = this.#half.get(halfLinkKey(key.peer, linkId));
    if (half === undefined) return closeSocket(socket, CLOSE_VIOLATION, 'no control socket waits for this one');
    half.settle();
    half.link.joinBulk(socket);
    inbound.join();
    this.#options.bounds.linkUp(key.peer, this.#options.nowMs());
    this.#options.onLink(half.link);
  }

  /** Ends all that is not a link yet. */
  close(reason: string): void {
    for (const socket of this.#greeting) closeSocket(socket, CLOSE_TOO_LATE, reason);
    for (const { link } of this.#half.values()) link.close(reason);
  }

  #makeHalf(socket: WebSocket, key: PeerKey, inbound: InboundConnection, hello: Hello, stopTimer: () => void): void {
    const { bounds, local, keepalive, refusals } = this.#options;
    const id = halfLinkKey(key.peer, hello.link_id);
    if (this.#half.has(id) || !bounds.canLink(key.peer)) {
      refusals.note('peer_limit', { peer: key.peer, address: inbound.remoteAddress });
      return closeSocket(socket, CLOSE_OVERFLOW, 'this peer holds too many links');
    }
    let isUp = false;
    const link: PeerSocketLink = new PeerSocketLink(socket, {
      key,
      hello,
      dialledByUs: false,
      remoteAddress: inbound.remoteAddress,
      keepalive,
      onClosed: () => {
        if (isUp) bounds.linkDown(key.peer);
        else this.#half.delete(id);
        this.#options.onLinkClosed(link);
      },
    });
    const settle = (): void => {
      isUp = true;
      stopTimer();
      this.#half.delete(id);
      inbound.join();
    };
    this.#half.set(id, { link, settle });
    this.#options.onLinkMade(link);
    const ours = local.hello();
    const answer: Hello = {
      type: 'hello',
      protocol: PROTOCOL_VERSION,
      mesh: ours.mesh,
      incarnation: ours.incarnation,
      name: ours.name,
      link_id: hello.link_id,
    };
    socket.send(JSON.stringify(answer));
  }

  #refuse(socket: WebSocket, key: PeerKey, inbound: InboundConnection, fault: HelloFault): void {
    const refusal: HelloRefusal = { type: 'refuse', code: fault.code, protocol: PROTOCOL_VERSION };
    socket.send(JSON.stringify(refusal));
    closeSocket(socket, CLOSE_HELLO_REFUSED, fault.code);
    const { refusals, onRefused } = this.#options;
    refusals.note(fault.code, {
      peer: key.peer,
      address: inbound.remoteAddress,
      ...(fault.code === 'bad_hello' ? { detail: fault.detail } : { theirs: fault.theirs }),
    });
    onRefused?.({ peer: key.peer, remoteAddress: inbound.remoteAddress, fault: publicFault(fault) });
  }
}

function publicFault(fault: HelloFault): PeerRefusal['fault'] {
  return fault.code === 'protocol_mismatch' ? { kind: fault.code, theirs: fault.theirs } : { kind: fault.code };
}

/** By whom and which: a bulk socket finds its control socket only under the same key. */
const halfLinkKey = (peer: NodeId, linkId: string): string => `${peer}/${linkId}`;
