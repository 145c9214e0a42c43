import { ADDRESSES_MAX, type MemberAddress } from '../../wire/membership.ts';

/** Where an address comes from, best first: a packet of the peer itself, a link that stood there, anything else. */
const ADDRESS_SOURCES = ['packet', 'known_good', 'hint'] as const;

export interface AddressCandidate extends MemberAddress {
  readonly source: (typeof ADDRESS_SOURCES)[number];
}

export interface LocalSubnet {
  readonly address: string;
  readonly prefixBits: number;
}

/**
 * The order in which to try the addresses of one peer (DESIGN §3): packet source, known-good, same subnet, others; the
 * given order within each. Duplicates go, and what is beyond ADDRESSES_MAX.
 */
export function orderAddresses(
  candidates: readonly AddressCandidate[],
  local: readonly LocalSubnet[],
): MemberAddress[] {
  const ranked = candidates.map((candidate) => ({ candidate, rank: rankOf(candidate, local) }));
  const ordered = new Map<string, MemberAddress>();
  for (const { candidate } of ranked.sort((a, b) => a.rank - b.rank)) {
    const { host, port } = candidate;
    const key = `${host} ${port}`;
    if (ordered.size < ADDRESSES_MAX && !ordered.has(key)) ordered.set(key, { host, port });
  }
  return [...ordered.values()];
}

function rankOf(candidate: AddressCandidate, local: readonly LocalSubnet[]): number {
  if (candidate.source !== 'hint') return ADDRESS_SOURCES.indexOf(candidate.source);
  return local.some((subnet) => inSubnet(candidate.host, subnet)) ? 2 : 3;
}

/** IPv4 only: link-local IPv6 has no use without a zone, and others sort by the order given. */
function inSubnet(host: string, subnet: LocalSubnet): boolean {
  const [a, b] = [ipv4Number(host), ipv4Number(subnet.address)];
  if (a === null || b === null) return false;
  const size = 2 ** (32 - subnet.prefixBits);
  return Math.floor(a / size) === Math.floor(b / size);
}

function ipv4Number(host: string): number | null {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(host);
  if (match === null) return null;
  const parts = match.slice(1).map(Number);
  return parts.every((part) => part <= 255) ? parts.reduce((sum, part) => sum * 256 + part, 0) : null;
}
