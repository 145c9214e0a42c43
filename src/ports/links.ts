import type { MeshId, NodeId } from '../base/ids.ts';

/** One end of an authenticated link: a control socket and a bulk socket to the same peer, hello done on both. */
export interface PeerLink {
  readonly peer: NodeId;
  /** SubjectPublicKeyInfo of the peer's certificate, DER. */
  readonly peerSpki: Uint8Array;
  /** The peer's incarnation as its hello gave it; a newer one replaces the links of an older one. */
  readonly peerIncarnation: number;
  readonly dialledByUs: boolean;
  /** `host:port` that the packets come from. */
  readonly remoteAddress: string;
  /** False where the peer is so slow that the bound of queued control bytes was passed: the link is closed then. */
  sendControl(json: string): boolean;
  /** One stream frame on the bulk socket; credit bounds how much is under way. */
  sendBulk(header: Uint8Array, payload: Uint8Array | null): void;
  /** Sets who receives; messages that came before are delivered at once, in order. `onClose` comes exactly once. */
  attach(handlers: PeerLinkHandlers): void;
  close(reason: string): void;
}

export interface PeerLinkHandlers {
  readonly onControl: (json: string) => void;
  readonly onBulk: (frame: Uint8Array) => void;
  readonly onClose: (reason: string) => void;
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** Why a dial failed; `refused` = nobody listens there (at a link just closed: suspect at once). */
export type DialFailure =
  | { readonly kind: 'refused' | 'unreachable' | 'timeout'; readonly message: string }
  /** It answered with another key than expected, or its key is not in our trust set, or ours not in its. */
  | { readonly kind: 'untrusted' | 'wrong_key'; readonly message: string }
  | { readonly kind: 'protocol_mismatch'; readonly message: string; readonly theirs: number }
  | { readonly kind: 'other'; readonly message: string };

export interface HelloFacts {
  readonly mesh: MeshId;
  readonly incarnation: number;
  readonly name: string;
}
