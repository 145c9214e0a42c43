import { randomBytes } from 'node:crypto';
import { WebSocket } from 'ws';
import { base32 } from '../../base/ids.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { DialFailure, DialOptions, PeerLink } from '../../ports/links.ts';
import {
  BULK_SUBPROTOCOL,
  CONTROL_SUBPROTOCOL,
  type Hello,
  LINK_ID_HEADER,
  LINK_PATH,
  type PAIR_SUBPROTOCOL,
  readHelloAnswer,
} from '../../wire/hello.ts';
import { PROTOCOL_VERSION } from '../../wire/version.ts';
import { formatAddress, normaliseHost } from './address-text.ts';
import { DialDeadline } from './deadline.ts';
import { failureOfError, failureOfHello, failureOfStatus } from './dial-failure.ts';
import { knockOf } from './knock.ts';
import { CLOSE_HELLO_REFUSED, CLOSE_TOO_LATE, DIAL_MS } from './limits.ts';
import { type KeepaliveTimes, PeerSocketLink } from './peer-socket-link.ts';
import {
  connectSecure,
  judgeForLink,
  judgeForPairing,
  type SecureConnection,
  type SecureTarget,
} from './secure-connection.ts';
import type { LocalPeer } from './tls-peer.ts';
import { bytesOf, closeSocket, closeText, SOCKET_OPTIONS } from './web-socket.ts';

export interface DialContext {
  readonly local: LocalPeer;
  readonly keepalive: KeepaliveTimes;
  readonly onLinkMade: (link: PeerSocketLink) => void;
  readonly onLinkClosed: (link: PeerSocketLink) => void;
}

/** Dials a peer: control socket, hello both ways, bulk socket. */
export async function dialLink(context: DialContext, options: DialOptions): Promise<Result<PeerLink, DialFailure>> {
  const at = formatAddress(options.host, options.port);
  const deadline = new DialDeadline(options.timeoutMs ?? DIAL_MS, options.signal, at);
  try {
    const judge = judgeForLink(context.local, options.expectedPeer, at);
    const knock = knockOf(context.local.hello().mesh);
    const first = await connectSecure(context.local, { ...options, knock }, judge, deadline);
    if (!first.ok) return first;
    const control = await openSocket(first.value, CONTROL_SUBPROTOCOL, {}, deadline, at, () => undefined);
    if (!control.ok) return control;
    const linkId = base32(randomBytes(16));
    const half = await exchangeHello(context, control.value, first.value, linkId, deadline, at);
    if (!half.ok) return half;
    const link = half.value;
    const bulk = await dialBulk(context, { ...options, knock }, link, linkId, deadline);
    if (!bulk.ok) {
      link.close(bulk.error.message);
      return bulk;
    }
    if (link.endReason !== null) return err({ kind: 'other', message: `the link to ${at} ended: ${link.endReason}` });
    return ok(link);
  } finally {
    deadline.dispose();
  }
}

async function dialBulk(
  context: DialContext,
  options: SecureTarget,
  link: PeerSocketLink,
  linkId: string,
  deadline: DialDeadline,
): Promise<Result<WebSocket, DialFailure>> {
  const at = formatAddress(options.host, options.port);
  const second = await connectSecure(context.local, options, judgeForPairing(link.peer, at), deadline);
  if (!second.ok) return second;
  const headers = { [LINK_ID_HEADER]: linkId };
  // Joined within the open event: the peer may send on it at once.
  return openSocket(second.value, BULK_SUBPROTOCOL, headers, deadline, at, (bulk) => link.joinBulk(bulk));
}

/** Upgrades a connection whose key has been judged. `onOpen` runs in the same turn as the first bytes may arrive in. */
export async function openSocket(
  connection: SecureConnection,
  subprotocol: typeof CONTROL_SUBPROTOCOL | typeof BULK_SUBPROTOCOL | typeof PAIR_SUBPROTOCOL,
  headers: Readonly<Record<string, string>>,
  deadline: DialDeadline,
  at: string,
  onOpen: (socket: WebSocket) => void,
): Promise<Result<WebSocket, DialFailure>> {
  return new Promise((resolve) => {
    // The host of the URL is only a header: the connection exists already.
    const socket = new WebSocket(`wss://meshwork${LINK_PATH}`, subprotocol, {
      ...SOCKET_OPTIONS,
      headers: { ...headers },
      createConnection: () => connection.socket,
      followRedirects: false,
      // TLS encrypts already, and an all-zero mask is one that ws need not apply (RFC 6455 §5.3 is about proxies).
      generateMask: (mask) => mask.fill(0),
    });
    let settled = false;
    const settle = (outcome: Result<WebSocket, DialFailure>): void => {
      if (settled) return;
      settled = true;
      forget();
      if (!outcome.ok) {
        socket.terminate();
        connection.socket.destroy();
      }
      resolve(outcome);
    };
    socket.on('error', (error) => settle(err(failureOfError(error, at))));
    socket.once('close', () => settle(err({ kind: 'other', message: `${at} closed the connection` })));
    socket.once('unexpected-response', (_request, response) => {
      response.resume();
      settle(err(failureOfStatus(response.statusCode ?? 0, at)));
    });
    socket.once('open', () => {
      if (settled) return;
      onOpen(socket);
      settle(ok(socket));
    });
    const forget = deadline.onExpired((failure) => queueMicrotask(() => settle(err(failure))));
  });
}

async function exchangeHello(
  context: DialContext,
  control: WebSocket,
  connection: SecureConnection,
  linkId: string,
  deadline: DialDeadline,
  at: string,
): Promise<Result<PeerSocketLink, DialFailure>> {
  const ours = context.local.hello();
  // Asked while the connection lives: afterwards it has no address.
  const { remoteAddress = '', remotePort = 0 } = connection.socket;
  return new Promise((resolve) => {
    const settle = (outcome: Result<PeerSocketLink, DialFailure>, code: number): void => {
      forget();
      control.off('close', onClose);
      if (!outcome.ok) closeSocket(control, code, outcome.error.message);
      resolve(outcome);
    };
    const onClose = (code: number, reason: Buffer): void => {
      settle(err({ kind: 'other', message: `${at} closed the connection: ${closeText(code, reason)}` }), code);
    };
    control.once('close', onClose);
    control.once('message', (data, isBinary) => {
      const answer = isBinary ? null : readHelloAnswer(bytesOf(data).toString('utf8'), ours.mesh);
      if (answer === null || !answer.ok) {
        const fault = answer === null ? { code: 'bad_hello' as const, detail: 'binary' } : answer.error;
        return settle(err(failureOfHello(fault, at)), CLOSE_HELLO_REFUSED);
      }
      if (answer.value.link_id !== linkId) {
        const fault = { code: 'bad_hello' as const, detail: 'another link id' };
        return settle(err(failureOfHello(fault, at)), CLOSE_HELLO_REFUSED);
      }
      // Made within the message event: what follows the hello in the same packet is the link's.
      const link: PeerSocketLink = new PeerSocketLink(control, {
        key: connection.key,
        hello: answer.value,
        dialledByUs: true,
        remoteAddress: formatAddress(normaliseHost(remoteAddress), remotePort),
        keepalive: context.keepalive,
        onClosed: () => context.onLinkClosed(link),
      });
      context.onLinkMade(link);
      settle(ok(link), 0);
    });
    const forget = deadline.onExpired((failure) => queueMicrotask(() => settle(err(failure), CLOSE_TOO_LATE)));
    const hello: Hello = {
      type: 'hello',
      protocol: PROTOCOL_VERSION,
      mesh: ours.mesh,
      incarnation: ours.incarnation,
      name: ours.name,
      link_id: linkId,
    };
    control.send(JSON.stringify(hello));
  });
}
