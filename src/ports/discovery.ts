/** A place where a node may be: a hint to try, never truth. */
export interface PeerHint {
  readonly host: string;
  readonly port: number;
  /** The id that the announcement claims, not proven by anything. */
  readonly claimedId: string | null;
  /** The name that the announcement claims; shown to people escaped. */
  readonly claimedName: string | null;
}

export interface Announcement {
  readonly nodeId: string;
  readonly name: string;
  readonly port: number;
  readonly productVersion: string;
  /** Literal host that alone is advertised (`--listen`), or null for all addresses of each interface. */
  readonly onlyHost: string | null;
}

export type DiscoveryState =
  | { readonly kind: 'off' | 'starting' | 'running' }
  | { readonly kind: 'failed'; readonly message: string };

export interface DiscoveryHandlers {
  readonly onHint: (hint: PeerHint) => void;
  /** Failures never throw: the daemon lives on and says so in `status`. */
  readonly onState: (state: DiscoveryState) => void;
}

export interface Discovery {
  start(announcement: Announcement, handlers: DiscoveryHandlers): void;
  /** Interfaces changed (sleep, new network): announce and query again. */
  refresh(): void;
  stop(): Promise<void>;
}
