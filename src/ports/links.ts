import type { MeshId, NodeId } from '../base/ids.ts';
import type { Result } from '../base/result.ts';

/** One end of an authenticated link: a control socket and a bulk socket to the same peer, hello done on both. */
export interface PeerLink {
  readonly peer: NodeId;
  /** SubjectPublicKeyInfo of the peer's certificate, DER. */
  readonly peerSpki: Uint8Array;
  /** The peer's incarnation as its hello gave it; a newer one replaces the links of an older one. */
  readonly peerIncarnation: number;
  /** The name in the peer's hello: a label, not proven by anything. */
  readonly peerName: string;
  readonly dialledByUs: boolean;
  /** `host:port` that the packets come from (`[host]:port` for IPv6). */
  readonly remoteAddress: string;
  /** False where the link is closed, or is closed now because the bound of queued control bytes was passed. */
  sendControl(json: string): boolean;
  /** One stream frame on the bulk socket, copied; credit bounds how much is under way. Dropped on a closed link. */
  sendBulk(header: Uint8Array, payload: Uint8Array | null): void;
  /**
   * Sets who receives, once; messages that came before are delivered at once, in order. `onClose` comes exactly once,
   * never from within a call to the link, and nothing is delivered after `close`.
   */
  attach(handlers: PeerLinkHandlers): void;
  /** Closes both sockets; the reason, cut to 123 bytes, reaches the peer's `onClose` too. */
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

/** What the trust set says of a key at this moment. */
export type Trust = 'trusted' | 'unknown' | 'revoked';

/** Who sent a pairing request: proven by TLS, but possibly a stranger. */
export interface PairContext {
  readonly peer: NodeId;
  readonly peerSpki: Uint8Array;
  /** 32 bytes that only the two ends of this TLS connection share (RFC 8446 §7.5): a proof over them cannot be relayed. */
  readonly exporter: Uint8Array;
  readonly remoteAddress: string;
}

/** A trusted key was refused for what it said: worth a notice in `status`. */
export interface PeerRefusal {
  readonly peer: NodeId;
  readonly remoteAddress: string;
  readonly fault:
    | { readonly kind: 'protocol_mismatch'; readonly theirs: number }
    | { readonly kind: 'wrong_mesh' | 'bad_hello' };
}

export interface ListenOptions {
  /** Null: every interface. */
  readonly host: string | null;
  /** 0: any free port. */
  readonly port: number;
  /** Both sockets are up; `attach` it in the same turn or later. */
  readonly onLink: (link: PeerLink) => void;
  /** Parsed JSON of at most 4 KiB, otherwise unchecked; resolves to the reply, any JSON value. */
  readonly onPair: (request: unknown, context: PairContext) => Promise<unknown>;
  readonly onRefused?: (refusal: PeerRefusal) => void;
}

export interface Listening {
  readonly host: string;
  readonly port: number;
  /** Stops listening and drops what has not become a link; links live on until they are closed. */
  close(): Promise<void>;
}

/** As much of an AbortSignal as a transport needs: this layer knows no platform types. */
export interface CancelSignal {
  readonly aborted: boolean;
  addEventListener(type: 'abort', listener: () => void, options?: { readonly once?: boolean }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

export interface DialOptions extends Address {
  /** The id that the key found there must have; null takes any trusted key. */
  readonly expectedPeer: NodeId | null;
  readonly signal?: CancelSignal;
  /** All of it: connecting, TLS, upgrade and hello of both sockets. Default 6 s. */
  readonly timeoutMs?: number;
}

export interface PairOptions extends Address {
  /** The inviter, as the token names it: checked before a request is made. */
  readonly expectedPeer: NodeId;
  /** The request, any JSON value of at most 4 KiB. */
  readonly makeRequest: (context: PairContext) => unknown;
  readonly signal?: CancelSignal;
  readonly timeoutMs?: number;
}

/** Links to other nodes, over whatever carries them. */
export interface PeerTransport {
  /** Throws MeshError `port_in_use`, or `io` where the address cannot be bound. */
  listen(options: ListenOptions): Promise<Listening>;
  dial(options: DialOptions): Promise<Result<PeerLink, DialFailure>>;
  /** @returns the inviter's reply, unchecked JSON */
  pair(options: PairOptions): Promise<Result<unknown, DialFailure>>;
  /** Ends every link of that peer, those still being made included: its key is trusted no more. */
  closePeer(peer: NodeId, reason: string): void;
  /** Ends listeners, links and dials. */
  close(reason: string): Promise<void>;
}
