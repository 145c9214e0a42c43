import type { IncomingMessage } from 'node:http';
import { err, ok, type Result } from '../../base/result.ts';
import {
  BULK_SUBPROTOCOL,
  CONTROL_SUBPROTOCOL,
  LINK_ID,
  LINK_ID_HEADER,
  LINK_PATH,
  PAIR_SUBPROTOCOL,
} from '../../wire/hello.ts';
import type { RefusalKind } from './refusal-log.ts';
import type { LocalPeer, PeerKey } from './tls-peer.ts';

export type Upgrade =
  | { readonly kind: 'control'; readonly key: PeerKey }
  | { readonly kind: 'bulk'; readonly key: PeerKey; readonly linkId: string }
  | { readonly kind: 'pair'; readonly key: PeerKey };

export interface UpgradeRefusal {
  readonly status: 400 | 401 | 403 | 404 | 409 | 426 | 429;
  readonly kind: RefusalKind;
}

const refuse = (status: UpgradeRefusal['status'], kind: RefusalKind): Result<never, UpgradeRefusal> =>
  err({ status, kind });

/**
 * Judges an upgrade by its head alone; nothing else of it has been read. An `Origin` means a browser: no page has any
 * business here, whatever its key. Nothing in the answer tells a stranger anything about the mesh.
 *
 * @param key what TLS proved, null where there was no (usable) certificate
 */
export function checkUpgrade(
  request: IncomingMessage,
  key: PeerKey | null,
  local: LocalPeer,
): Result<Upgrade, UpgradeRefusal> {
  const { headers } = request;
  if (request.url !== LINK_PATH) return refuse(404, 'path');
  if (headers.origin !== undefined || headers['sec-websocket-origin'] !== undefined) return refuse(403, 'origin');
  if (request.method !== 'GET' || headers.upgrade?.toLowerCase() !== 'websocket') return refuse(426, 'not_websocket');
  if (headers['sec-websocket-version'] !== '13') return refuse(426, 'not_websocket');
  const subprotocol = headers['sec-websocket-protocol'];
  if (subprotocol !== CONTROL_SUBPROTOCOL && subprotocol !== BULK_SUBPROTOCOL && subprotocol !== PAIR_SUBPROTOCOL) {
    return refuse(400, 'subprotocol');
  }
  if (key === null) return refuse(401, 'no_certificate');
  if (key.peer === local.nodeId) return refuse(403, 'self');
  const trust = local.authorize(key.peer, key.spki);
  if (trust === 'revoked') return refuse(403, 'revoked');
  if (subprotocol === PAIR_SUBPROTOCOL) return ok({ kind: 'pair', key });
  if (trust !== 'trusted') return refuse(403, 'untrusted');
  if (subprotocol === CONTROL_SUBPROTOCOL) return ok({ kind: 'control', key });
  const linkId = headers[LINK_ID_HEADER];
  if (typeof linkId !== 'string' || !LINK_ID.test(linkId)) return refuse(409, 'unmatched_bulk');
  return ok({ kind: 'bulk', key, linkId });
}
