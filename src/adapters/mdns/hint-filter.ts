import { isIP } from 'node:net';
import { isNodeId } from '../../base/ids.ts';
import type { PeerHint } from '../../ports/discovery.ts';
import { TokenBucket } from '../../base/token-bucket.ts';

/** Announcements remembered; the one heard longest ago makes room. */
export const KNOWN_MAX = 256;
/** Announcements that one packet source may have among the known: several nodes run on one machine, not hundreds. */
export const KNOWN_PER_SOURCE_MAX = 16;
/** Announcements passed on per second, and at once after a quiet time (a whole LAN answers the first query). */
export const FORWARDED_PER_SECOND_MAX = 20;
export const FORWARDED_BURST_MAX = 100;
/** Addresses of one announcement worth a dial. */
export const ADDRESSES_MAX = 4;
/** An unchanged announcement that is heard again is passed on this often: it says that the node is still there. */
export const REPEAT_MS = 30_000;

/** One answer as it came from the network: nothing in it is proven. */
export interface Sighting {
  readonly id: unknown;
  readonly port: unknown;
  /** Where the packet came from: the address most likely to work. */
  readonly source: string;
  /** What it says of itself; tried after the source, IPv4 first. */
  readonly addresses: readonly string[];
}

interface Known {
  readonly source: string;
  readonly addresses: string;
  readonly forwardedMs: number;
}

/** Turns answers from the network into few, well-formed, new hints, whatever the network does. */
export class HintFilter {
  readonly #ownId: string;
  readonly #known = new Map<string, Known>();
  readonly #perSource = new Map<string, number>();
  readonly #rate: TokenBucket;

  constructor(ownId: string, nowMs: number) {
    this.#ownId = ownId;
    this.#rate = new TokenBucket(FORWARDED_PER_SECOND_MAX, FORWARDED_BURST_MAX, nowMs);
  }

  get size(): number {
    return this.#known.size;
  }

  /** @returns the hints to pass on, in the order in which they should be dialled; mostly none */
  offer(sighting: Sighting, nowMs: number): readonly PeerHint[] {
    const { id, port, source } = sighting;
    if (typeof id !== 'string' || !isNodeId(id) || id === this.#ownId) return [];
    if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535) return [];
    const claimed = [...sighting.addresses].sort((a, b) => isIP(a) - isIP(b));
    const hosts = [...new Set([source, ...claimed])].filter(isDialable).slice(0, ADDRESSES_MAX);
    if (hosts.length === 0) return [];

    const key = `${id} ${source} ${port}`;
    const addresses = hosts.join(' ');
    const before = this.#known.get(key);
    if (before === undefined && (this.#perSource.get(source) ?? 0) >= KNOWN_PER_SOURCE_MAX) return [];
    const isNews = before?.addresses !== addresses || nowMs - before.forwardedMs >= REPEAT_MS;
    const forwards = isNews && this.#rate.take(nowMs);
    if (before === undefined && !forwards) return [];
    this.#remember(key, forwards || before === undefined ? { source, addresses, forwardedMs: nowMs } : before);
    // The announcement carries no name: mDNS goes out in the clear to everyone, so it tells no more than the key's hash.
    return forwards ? hosts.map((host) => ({ host, port, claimedId: id, claimedName: null })) : [];
  }

  /** Puts it last: a Map keeps insertion order, so the first is the one heard longest ago. */
  #remember(key: string, entry: Known): void {
    this.#forget(key);
    const oldest = this.#known.keys().next();
    if (this.#known.size >= KNOWN_MAX && oldest.done !== true) this.#forget(oldest.value);
    this.#known.set(key, entry);
    this.#perSource.set(entry.source, (this.#perSource.get(entry.source) ?? 0) + 1);
  }

  #forget(key: string): void {
    const entry = this.#known.get(key);
    if (entry === undefined) return;
    this.#known.delete(key);
    const left = (this.#perSource.get(entry.source) ?? 1) - 1;
    if (left > 0) this.#perSource.set(entry.source, left);
    else this.#perSource.delete(entry.source);
  }
}

/** Unicast, not loopback, not unspecified; IPv6 link-local needs a scope that no announcement carries. */
function isDialable(host: string): boolean {
  switch (isIP(host)) {
    case 4: {
      const first = Number(host.split('.')[0]);
      return first !== 0 && first !== 127 && first < 224;
    }
    case 6:
      return /^[23fF]/.test(host) && !/^f[ef]/i.test(host);
    default:
      return false;
  }
}
