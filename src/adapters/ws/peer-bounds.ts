import type { NodeId } from '../../base/ids.ts';
import { PEER_LINKS_MAX, PEER_PENDING_MAX, PEER_SOCKETS_BURST, PEER_SOCKETS_PER_S, PEERS_MAX } from './limits.ts';
import { TokenBucket } from '../../base/token-bucket.ts';

interface PeerEntry {
  readonly sockets: TokenBucket;
  pending: number;
  links: number;
}

/** The bounds of trusted keys, each by itself, so that no stranger's flood and no other peer's fault uses them up. */
export class PeerBounds {
  readonly #peers = new Map<NodeId, PeerEntry>();

  /**
   * Counts one socket that is to become half of a link.
   *
   * @returns what to call once, when it is in a link or gone; null where the peer is over its bound
   */
  admitSocket(peer: NodeId, nowMs: number): (() => void) | null {
    const entry = this.#entry(peer, nowMs);
    if (entry === null || entry.pending >= PEER_PENDING_MAX || !entry.sockets.take(nowMs)) return null;
    entry.pending++;
    let counted = true;
    return () => {
      if (counted) entry.pending--;
      counted = false;
    };
  }

  canLink(peer: NodeId): boolean {
    return (this.#peers.get(peer)?.links ?? 0) < PEER_LINKS_MAX;
  }

  linkUp(peer: NodeId, nowMs: number): void {
    const entry = this.#entry(peer, nowMs);
    if (entry !== null) entry.links++;
  }

  linkDown(peer: NodeId): void {
    const entry = this.#peers.get(peer);
    if (entry !== undefined && entry.links > 0) entry.links--;
  }

  #entry(peer: NodeId, nowMs: number): PeerEntry | null {
    const known = this.#peers.get(peer);
    if (known !== undefined) return known;
    if (this.#peers.size >= PEERS_MAX) this.#forgetIdle(nowMs);
    if (this.#peers.size >= PEERS_MAX) return null;
    const entry = { sockets: new TokenBucket(PEER_SOCKETS_PER_S, PEER_SOCKETS_BURST, nowMs), pending: 0, links: 0 };
    this.#peers.set(peer, entry);
    return entry;
  }

  #forgetIdle(nowMs: number): void {
    for (const [peer, entry] of this.#peers) {
      if (entry.pending === 0 && entry.links === 0 && entry.sockets.isFull(nowMs)) this.#peers.delete(peer);
    }
  }
}
