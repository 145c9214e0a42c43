import { KIB, MIB } from '../../base/units.ts';

/** One WebSocket message, either way. */
export const MESSAGE_BYTES_MAX = MIB;
/** Fragments of one message; ours are never fragmented. */
export const FRAGMENTS_MAX = 64;
/** Reads of the socket that one unfinished frame may span. */
export const BUFFERED_CHUNKS_MAX = 1024;
/** Request line and headers of an upgrade. */
export const UPGRADE_HEADER_BYTES_MAX = 8 * KIB;

/** From TCP accept to a finished upgrade; also TCP connect to a finished TLS handshake when dialling. */
export const HANDSHAKE_MS = 5_000;
/** From the upgrade of the control socket to both sockets up, hello included. */
export const LINK_UP_MS = 5_000;
/** A whole dial. */
export const DIAL_MS = 6_000;
/** A whole pairing, the inviter's work included. */
export const PAIR_MS = 10_000;
/** How long a closed socket may take to say goodbye before it is cut. */
export const LINGER_MS = 1_000;

/** An idle socket is pinged this often, and given up after so long without a byte from the peer. */
export const KEEPALIVE_PING_MS = 5_000;
export const KEEPALIVE_SILENCE_MS = 15_000;

/** Bytes handed to a socket that the peer has not taken yet; beyond it the link is closed. */
export const CONTROL_QUEUED_BYTES_MAX = 4 * MIB;
/** Credit keeps bulk far below this; only a peer that grants credit and does not read gets here. */
export const BULK_QUEUED_BYTES_MAX = 256 * MIB;
/** Messages that came before `attach`. */
export const UNATTACHED_MESSAGES_MAX = 1024;
export const UNATTACHED_BYTES_MAX = 8 * MIB;
/** A close frame's reason (RFC 6455 §5.5: 125 bytes with the code). */
export const CLOSE_REASON_BYTES_MAX = 123;

/** Sockets of one address that have not shown a trusted key, and how many of them may fail per second. */
export const PENDING_PER_ADDRESS_MAX = 10;
export const FAILURES_PER_ADDRESS_PER_S = 5;
export const FAILURES_PER_ADDRESS_BURST = 10;
/** The same for connections that know the mesh, once their address has used up the above. */
export const MEMBER_PENDING_PER_ADDRESS_MAX = 8;
export const MEMBERS_PER_ADDRESS_PER_S = 20;
export const MEMBERS_PER_ADDRESS_BURST = 20;
export const MEMBER_PENDING_MAX = 32;
/** Connections whose first bytes are awaited, and for how long: a knock comes within a round trip. */
export const KNOCKS_MAX = 32;
export const KNOCK_MS = 1_000;
/** All sockets that have not shown a trusted key. */
export const PENDING_MAX = 64;
/** A pending socket of this age gives way to a newer one: an honest handshake on a LAN takes a few milliseconds. */
export const PENDING_YIELDS_AFTER_MS = 250;
export const ADDRESSES_MAX = 4096;

/** Of one trusted key: sockets that are not part of a link yet, new sockets per second, links. */
export const PEER_PENDING_MAX = 8;
export const PEER_SOCKETS_PER_S = 20;
export const PEER_SOCKETS_BURST = 40;
export const PEER_LINKS_MAX = 8;
export const PEERS_MAX = 4096;

/** Pause before a dial whose connection was cut before TLS was done tries again: the other side may be flooded. */
export const DIAL_RETRY_MIN_MS = 100;
export const DIAL_RETRY_SPREAD_MS = 200;

/** One log line per kind of refusal within this time. */
export const REFUSAL_LOG_INTERVAL_MS = 10_000;

/** Close codes (RFC 6455 §7.4.2: 4000–4999 are an application's own). */
export const CLOSE_ASKED = 4000;
export const CLOSE_HELLO_REFUSED = 4001;
export const CLOSE_VIOLATION = 4002;
export const CLOSE_OVERFLOW = 4003;
export const CLOSE_SILENT = 4004;
export const CLOSE_TOO_LATE = 4005;
export const CLOSE_INTERNAL = 4006;
