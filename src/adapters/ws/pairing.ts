import type { WebSocket } from 'ws';
import { assert } from '../../base/assert.ts';
import { messageOf } from '../../base/errors.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { DialFailure, PairContext, PairOptions } from '../../ports/links.ts';
import { PAIR_REQUEST_BYTES_MAX, PAIR_SUBPROTOCOL } from '../../wire/hello.ts';
import { formatAddress, normaliseHost } from './address-text.ts';
import { DialDeadline } from './deadline.ts';
import { CLOSE_INTERNAL, CLOSE_TOO_LATE, CLOSE_VIOLATION, HANDSHAKE_MS, MESSAGE_BYTES_MAX, PAIR_MS } from './limits.ts';
import { openSocket } from './link-dialler.ts';
import { connectSecure, judgeForPairing } from './secure-connection.ts';
import { exporterOf, type LocalPeer } from './tls-peer.ts';
import { bytesOf, closeSocket, closeText } from './web-socket.ts';

/** The joiner's side: the inviter's key is checked, then one request goes out and one reply comes back. */
export async function pairWith(local: LocalPeer, options: PairOptions): Promise<Result<unknown, DialFailure>> {
  const at = formatAddress(options.host, options.port);
  const deadline = new DialDeadline(options.timeoutMs ?? PAIR_MS, options.signal, at);
  try {
    const connection = await connectSecure(
      local,
      { ...options, knock: '' },
      judgeForPairing(options.expectedPeer, at),
      deadline,
    );
    if (!connection.ok) return connection;
    const { socket, key } = connection.value;
    const context: PairContext = {
      peer: key.peer,
      peerSpki: key.spki,
      exporter: exporterOf(socket),
      remoteAddress: formatAddress(normaliseHost(socket.remoteAddress ?? options.host), options.port),
    };
    const request = JSON.stringify(options.makeRequest(context));
    assert(Buffer.byteLength(request) <= PAIR_REQUEST_BYTES_MAX, 'a pairing request over its bound');
    const opened = await openSocket(connection.value, PAIR_SUBPROTOCOL, {}, deadline, at, () => undefined);
    if (!opened.ok) return opened;
    return await requestOnce(opened.value, request, deadline, at);
  } finally {
    deadline.dispose();
  }
}

async function requestOnce(
  socket: WebSocket,
  request: string,
  deadline: DialDeadline,
  at: string,
): Promise<Result<unknown, DialFailure>> {
  return new Promise((resolve) => {
    const settle = (outcome: Result<unknown, DialFailure>): void => {
      forget();
      closeSocket(socket, 1000, '');
      resolve(outcome);
    };
    const fail = (message: string): void => settle(err({ kind: 'other', message }));
    socket.once('message', (data, isBinary) => {
      const reply = isBinary ? undefined : readJson(bytesOf(data));
      if (reply === undefined) fail(`${at} sent a reply that is not JSON`);
      else settle(ok(reply.json));
    });
    socket.once('close', (code, reason) => fail(`${at} closed the connection: ${closeText(code, reason)}`));
    const forget = deadline.onExpired((failure) => queueMicrotask(() => settle(err(failure))));
    socket.send(request);
  });
}

export interface PairServing {
  readonly onPair: (request: unknown, context: PairContext) => Promise<unknown>;
  readonly context: PairContext;
  /** What was wrong, for the log; not told to the other side in detail. */
  readonly onFault: (detail: string) => void;
}

/** The inviter's side of one pairing socket: one request in time, one reply, goodbye. A stranger is told little. */
export function servePairing(socket: WebSocket, serving: PairServing): void {
  const close = (code: number, reason: string, detail = reason): void => {
    clearTimeout(timer);
    if (code !== 1000) serving.onFault(detail);
    closeSocket(socket, code, reason);
  };
  const expire = (): void => close(CLOSE_TOO_LATE, 'too late');
  let timer = setTimeout(expire, HANDSHAKE_MS);
  let asked = false;
  const answer = async (request: unknown): Promise<void> => {
    const reply = JSON.stringify(await serving.onPair(request, serving.context));
    if (socket.readyState !== socket.OPEN) return serving.onFault('gone before the reply');
    assert(Buffer.byteLength(reply) <= MESSAGE_BYTES_MAX, 'a pairing reply over its bound');
    socket.send(reply);
    close(1000, '');
  };
  socket.on('error', (error) => close(CLOSE_VIOLATION, 'malformed', error.message));
  socket.once('close', () => clearTimeout(timer));
  socket.on('message', (data, isBinary) => {
    if (socket.readyState !== socket.OPEN) return;
    const request = asked || isBinary ? undefined : readJson(bytesOf(data));
    if (request === undefined) return close(CLOSE_VIOLATION, 'not one pairing request in JSON');
    asked = true;
    clearTimeout(timer);
    timer = setTimeout(expire, PAIR_MS);
    answer(request.json).catch((error: unknown) => close(CLOSE_INTERNAL, 'pairing failed', messageOf(error)));
  });
}

function readJson(bytes: Uint8Array): { readonly json: unknown } | undefined {
  try {
    return { json: JSON.parse(Buffer.from(bytes).toString('utf8')) };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
