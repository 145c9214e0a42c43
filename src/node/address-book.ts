import { networkInterfaces } from 'node:os';
import type { NodeId } from '../base/ids.ts';
import { orderAddresses, type AddressCandidate, type LocalSubnet } from '../core/membership/address-order.ts';
import type { Address } from '../ports/links.ts';
import { ADDRESSES_MAX } from './address.ts';
import { parseHostPort } from './config-schema.ts';

/** Nodes whose addresses are remembered; a mesh has at most as many members. */
const NODES_MAX = 1024;
/** Of one node, where links stood: the rest of its addresses is what it says of itself, and where it may be by now. */
const KNOWN_GOOD_MAX = ADDRESSES_MAX / 2;

interface Known {
  readonly candidates: readonly AddressCandidate[];
  /** The host that packets of the last link came from. */
  readonly lastHost: string | null;
  /** Where a dial last succeeded. */
  readonly lastGood: Address | null;
}

const NOTHING: Known = { candidates: [], lastHost: null, lastGood: null };

/** Where each node was seen or said to be, in the order to try (DESIGN §3). */
export class AddressBook {
  readonly #known = new Map<NodeId, Known>();

  /**
   * What is new comes before what was said earlier, of which the oldest goes: a node that moves is found again.
   *
   * @returns all known addresses of that node, the likeliest first
   */
  learn(id: NodeId, hints: readonly Address[]): Address[] {
    const known = this.#known.get(id) ?? NOTHING;
    const isNews = hints.some((hint) => !known.candidates.some((one) => isSame(one, hint)));
    if (isNews) {
      const isGood = (hint: Address): boolean =>
        known.candidates.some((one) => one.source === 'known_good' && isSame(one, hint));
      const added = hints
        .filter((hint) => !isGood(hint))
        .map(({ host, port }): AddressCandidate => ({ host, port, source: 'hint' }));
      const others = known.candidates.filter((one) => !added.some((hint) => isSame(one, hint)));
      this.#put(id, { ...known, candidates: [...added, ...others] });
    }
    return this.addressesOf(id);
  }

  addressesOf(id: NodeId): Address[] {
    const known = this.#known.get(id);
    return known === undefined ? [] : this.#ordered(known);
  }

  /** A dial to that address succeeded. */
  worked(id: NodeId, { host, port }: Address): void {
    const known = this.#known.get(id) ?? NOTHING;
    const others = known.candidates.filter((one) => !isSame(one, { host, port }));
    const candidates = [{ host, port, source: 'known_good' } as const, ...others];
    this.#put(id, { ...known, candidates, lastGood: { host, port } });
  }

  /** A link stands, whoever dialled it. */
  linked(id: NodeId, remoteAddress: string): void {
    const remote = parseHostPort(remoteAddress);
    const known = this.#known.get(id) ?? NOTHING;
    if (remote.ok) this.#put(id, { ...known, lastHost: remote.value.host });
  }

  /** True for the address on which the node's last link stood, as far as this side can tell. */
  isLastGood(id: NodeId, { host, port }: Address): boolean {
    const known = this.#known.get(id) ?? NOTHING;
    return known.lastHost === host || (known.lastGood?.host === host && known.lastGood.port === port);
  }

  #put(id: NodeId, known: Known): void {
    if (!this.#known.has(id) && this.#known.size >= NODES_MAX) return;
    let good = 0;
    const candidates = known.candidates.filter(({ source }) => source !== 'known_good' || ++good <= KNOWN_GOOD_MAX);
    const ordered = this.#ordered({ ...known, candidates });
    const kept = candidates.filter((one) => ordered.some((other) => isSame(one, other)));
    this.#known.set(id, { ...known, candidates: kept.slice(0, 2 * ADDRESSES_MAX) });
  }

  #ordered(known: Known): Address[] {
    const candidates = known.candidates.map((one): AddressCandidate =>
      one.host === known.lastHost ? { ...one, source: 'packet' } : one,
    );
    return orderAddresses(candidates, localSubnets());
  }
}

const isSame = (one: Address, other: Address): boolean => one.host === other.host && one.port === other.port;

function localSubnets(): LocalSubnet[] {
  return Object.values(networkInterfaces()).flatMap((addresses) =>
    (addresses ?? []).flatMap(({ address, cidr, family }) =>
      family === 'IPv4' && cidr !== null ? [{ address, prefixBits: Number(cidr.split('/')[1] ?? 32) }] : [],
    ),
  );
}
