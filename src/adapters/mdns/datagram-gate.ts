import { TokenBucket } from '../../base/token-bucket.ts';

/** Our announcement is about 400 bytes; what is far larger than an Ethernet frame (RFC 6762 §17) is none of ours. */
export const DATAGRAM_BYTES_MAX = 2048;
/** Records of all sections: what the library does with a packet grows with their square. */
const RECORDS_MAX = 64;
/** Datagrams decoded per second of one source and of all, and at once after a quiet time. */
const SOURCE_PER_SECOND_MAX = 20;
export const SOURCE_BURST_MAX = 60;
const ALL_PER_SECOND_MAX = 200;
export const ALL_BURST_MAX = 600;
const SOURCES_MAX = 256;

const HEADER_BYTES = 12;
const RESPONSE_BIT = 0x80;

export type Verdict =
  | { readonly kind: 'query' | 'response' }
  /** Not about us, our own, or malformed: no news. */
  | { readonly kind: 'irrelevant' }
  /** It may concern us, but there are too many or it is too large. */
  | { readonly kind: 'excess' };

/**
 * Judges datagrams before anything decodes them: 20,000 forged names cost the library's browser most of a minute. A
 * look for the labels that concern us also spares us the other traffic of a busy network.
 */
export class DatagramGate {
  readonly #ownLabel: string;
  readonly #all: TokenBucket;
  readonly #sources = new Map<string, TokenBucket>();

  /** @param ownId this node's id, which is its instance name and host name */
  constructor(ownId: string, nowMs: number) {
    this.#ownLabel = label(ownId);
    this.#all = new TokenBucket(ALL_PER_SECOND_MAX, ALL_BURST_MAX, nowMs);
  }

  judge(datagram: Buffer, source: string, nowMs: number): Verdict {
    if (datagram.byteLength < HEADER_BYTES) return { kind: 'irrelevant' };
    const isResponse = ((datagram[2] ?? 0) & RESPONSE_BIT) !== 0;
    const text = datagram.toString('latin1', 0, DATAGRAM_BYTES_MAX).toLowerCase();
    // Only a first occurrence is literal, later ones are compressed (RFC 1035 §4.1.4): one look is enough.
    const isOurType = text.includes(TYPE_LABEL);
    const isAboutUs = text.includes(this.#ownLabel);
    // Multicast comes back to its sender, and others have nothing to tell us about ourselves.
    const isRelevant = isResponse ? isOurType && !isAboutUs : isOurType || isAboutUs || text.includes(LISTING_LABEL);
    if (!isRelevant) return { kind: 'irrelevant' };
    if (datagram.byteLength > DATAGRAM_BYTES_MAX || recordCount(datagram) > RECORDS_MAX) return { kind: 'excess' };
    if (!this.#bucketOf(source, nowMs).take(nowMs) || !this.#all.take(nowMs)) return { kind: 'excess' };
    return { kind: isResponse ? 'response' : 'query' };
  }

  #bucketOf(source: string, nowMs: number): TokenBucket {
    const known = this.#sources.get(source);
    if (known !== undefined) return known;
    const oldest = this.#sources.keys().next();
    if (this.#sources.size >= SOURCES_MAX && oldest.done !== true) this.#sources.delete(oldest.value);
    const bucket = new TokenBucket(SOURCE_PER_SECOND_MAX, SOURCE_BURST_MAX, nowMs);
    this.#sources.set(source, bucket);
    return bucket;
  }
}

/** A name's label as it stands in a packet: its length, then its characters. */
const label = (text: string): string => `${String.fromCharCode(text.length)}${text}`;

const TYPE_LABEL = label('_meshwork');
/** Of `_services._dns-sd._udp`, by which tools list the service types of a network (RFC 6763 §9). */
const LISTING_LABEL = label('_dns-sd');

function recordCount(datagram: Buffer): number {
  let count = 0;
  for (const offset of [4, 6, 8, 10]) count += datagram.readUInt16BE(offset);
  return count;
}
