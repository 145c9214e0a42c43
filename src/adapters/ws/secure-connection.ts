import { connect, type TLSSocket } from 'node:tls';
import { systemCodeOf } from '../../base/errors.ts';
import type { NodeId } from '../../base/ids.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { Address, DialFailure } from '../../ports/links.ts';
import type { DialDeadline } from './deadline.ts';
import { failureOfError } from './dial-failure.ts';
import { formatAddress } from './address-text.ts';
import { DIAL_RETRY_MIN_MS, DIAL_RETRY_SPREAD_MS, HANDSHAKE_MS } from './limits.ts';
import { type LocalPeer, type PeerKey, peerKeyOf, tlsOptionsOf } from './tls-peer.ts';

export interface SecureTarget extends Address {
  /** The server name to send, none where it is empty: see knock.ts. */
  readonly knock: string;
}

export interface SecureConnection {
  readonly socket: TLSSocket;
  readonly key: PeerKey;
}

/** Judges the key at the other end before anything is sent to it: null accepts. */
export type JudgeKey = (key: PeerKey) => DialFailure | null;

/** A link's rule: the expected key where there is one, a trusted key in any case, and not our own. */
export function judgeForLink(local: LocalPeer, expectedPeer: NodeId | null, at: string): JudgeKey {
  return (key) => {
    if (expectedPeer !== null && key.peer !== expectedPeer) return wrongKey(expectedPeer, key.peer, at);
    if (key.peer === local.nodeId) return { kind: 'other', message: `${at} is this node itself` };
    const trust = local.authorize(key.peer, key.spki);
    if (trust === 'trusted') return null;
    return { kind: 'untrusted', message: `the node at ${at} is not in this mesh (${key.peer} is ${trust})` };
  };
}

/** A pairing's rule: the key that the token names. */
export function judgeForPairing(expectedPeer: NodeId, at: string): JudgeKey {
  return (key) => (key.peer === expectedPeer ? null : wrongKey(expectedPeer, key.peer, at));
}

function wrongKey(expected: NodeId, found: NodeId, at: string): DialFailure {
  return { kind: 'wrong_key', message: `${at} has the key of ${found}, not of ${expected}` };
}

/**
 * Connects and does TLS; the key is judged before the first application byte. A connection that is cut before TLS is
 * done is tried again until the deadline, since that is how a flooded node turns connections away.
 */
export async function connectSecure(
  local: LocalPeer,
  target: SecureTarget,
  judge: JudgeKey,
  deadline: DialDeadline,
): Promise<Result<SecureConnection, DialFailure>> {
  for (;;) {
    const outcome = await tryConnect(local, target, judge, deadline);
    if (outcome !== 'cut') return outcome;
    await deadline.pause(DIAL_RETRY_MIN_MS + Math.random() * DIAL_RETRY_SPREAD_MS);
    if (deadline.failure !== null) {
      const message = `${formatAddress(target.host, target.port)} cuts connections off before TLS: it is overloaded, or no node`;
      return err(deadline.failure.kind === 'timeout' ? { kind: 'other', message } : deadline.failure);
    }
  }
}

async function tryConnect(
  local: LocalPeer,
  target: SecureTarget,
  judge: JudgeKey,
  deadline: DialDeadline,
): Promise<Result<SecureConnection, DialFailure> | 'cut'> {
  const at = formatAddress(target.host, target.port);
  return new Promise((resolve) => {
    const socket = connect({ ...tlsOptionsOf(local), host: target.host, port: target.port, servername: target.knock });
    const settle = (outcome: Result<SecureConnection, DialFailure> | 'cut'): void => {
      clearTimeout(timer);
      forget();
      if (outcome === 'cut' || !outcome.ok) socket.destroy();
      resolve(outcome);
    };
    const fail = (failure: DialFailure): void => settle(err(failure));
    const timer = setTimeout(
      () => fail({ kind: 'timeout', message: `${at} did not finish TLS within ${HANDSHAKE_MS / 1000} s` }),
      HANDSHAKE_MS,
    );
    // The listener stays for the life of the socket: an error that nobody listens to would end the process.
    socket.on('error', (error) => settle(isCut(error) ? 'cut' : err(failureOfError(error, at))));
    socket.once('close', () => settle('cut'));
    socket.once('secureConnect', () => {
      const key = peerKeyOf(socket, local.nodeIdOf);
      if (key === null) return fail({ kind: 'wrong_key', message: `${at} shows no key of a kind that nodes have` });
      const failure = judge(key);
      settle(failure === null ? ok({ socket, key }) : err(failure));
    });
    const forget = deadline.onExpired((failure) => queueMicrotask(() => fail(failure)));
  });
}

/** The other side closed the TCP connection in the middle of TLS; nothing of ours was refused by it. */
function isCut(error: unknown): boolean {
  return systemCodeOf(error) === 'ECONNRESET' || systemCodeOf(error) === 'EPIPE';
}
