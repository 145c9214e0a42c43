import { networkInterfaces } from 'node:os';
import type { NodeId } from '../base/ids.ts';
import { orderAddresses, type AddressCandidate, type LocalSubnet } from '../core/membership/address-order.ts';
import type { Address } from '../ports/links.ts';
import { ADDRESSES_MAX } from './address.ts';
import { parseHostPort } from './config-schema.ts';

/** Nodes whose addresses are remembered; a mesh has at most as many members. */
const NODES_MAX = 1024;

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

  /** @returns all known addresses of that node, the likeliest first */
  learn(id: NodeId, hints: readonly Address[]): Address[] {
    const known = this.#known.get(id) ?? NOTHING;
    const added = hints.map(({ host, port }): AddressCandidate => ({ host, port, source: 'hint' }));
    this.#put(id, { ...known, candidates: [...known.candidates, ...added] });
    return this.addressesOf(id);
  }

  addressesOf(id: NodeId): Address[] {
    const known = this.#known.get(id);
    return known === undefined ? [] : this.#ordered(known);
  }

  /** A dial to that address succeeded. */
  worked(id: NodeId, { host, port }: Address): void {
    const known = this.#known.get(id) ?? NOTHING;
    const others = known.candidates.filter((one) => one.host !== host || one.port !== port);
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
    const ordered = this.#ordered(known);
    const kept = known.candidates.filter(({ host, port }) =>
      ordered.some((one) => one.host === host && one.port === port),
    );
    this.#known.set(id, { ...known, candidates: kept.slice(0, 2 * ADDRESSES_MAX) });
  }

  #ordered(known: Known): Address[] {
    const candidates = known.candidates.map((one): AddressCandidate => {
      const fromPacket = one.source === 'hint' && one.host === known.lastHost;
      return fromPacket ? { ...one, source: 'packet' } : one;
    });
    return orderAddresses(candidates, localSubnets());
  }
}

function localSubnets(): LocalSubnet[] {
  return Object.values(networkInterfaces()).flatMap((addresses) =>
    (addresses ?? []).flatMap(({ address, cidr, family }) =>
      family === 'IPv4' && cidr !== null ? [{ address, prefixBits: Number(cidr.split('/')[1] ?? 32) }] : [],
    ),
  );
}
