import { BlockList, isIP } from 'node:net';
import { networkInterfaces, type NetworkInterfaceInfo } from 'node:os';

/** A host full of container bridges has dozens; the real ones come first. */
export const INTERFACES_MAX = 16;
const VIRTUAL = /^(docker|br-|veth|virbr|cni|flannel|cali|vmnet|vboxnet|utun|tun|tap|wg|tailscale|zt)/;

/** One network interface with an IPv4 address. */
export interface LinkInterface {
  readonly name: string;
  /** IPv4 first: the address that multicast leaves by. */
  readonly address: string;
  readonly addresses: readonly string[];
  /** Changes when the interface is another one or has other addresses. */
  readonly key: string;
  /** Whether an IPv4 address is in one of its subnets. */
  contains(address: string): boolean;
}

type Interfaces = Readonly<Record<string, NetworkInterfaceInfo[] | undefined>>;

/** Interfaces that may reach other machines, real ones first, at most `INTERFACES_MAX`. */
export function listInterfaces(all: Interfaces = networkInterfaces()): LinkInterface[] {
  const found: LinkInterface[] = [];
  for (const [name, infos] of Object.entries(all)) {
    const usable = (infos ?? []).filter((info) => !info.internal);
    const ipv4 = usable.filter((info) => info.family === 'IPv4');
    const first = ipv4[0];
    if (first !== undefined) found.push(toLink(name, first, ipv4, usable));
  }
  const rank = (link: LinkInterface): number => (VIRTUAL.test(link.name) ? 1 : 0);
  return found.sort((a, b) => rank(a) - rank(b)).slice(0, INTERFACES_MAX);
}

function toLink(
  name: string,
  first: NetworkInterfaceInfo,
  ipv4: readonly NetworkInterfaceInfo[],
  usable: readonly NetworkInterfaceInfo[],
): LinkInterface {
  const subnets = new BlockList();
  for (const { cidr } of ipv4) {
    const [network, prefix] = (cidr ?? '').split('/');
    if (network !== undefined && prefix !== undefined) subnets.addSubnet(network, Number(prefix), 'ipv4');
  }
  return {
    name,
    address: first.address,
    addresses: usable.map((info) => info.address),
    // The scope of an IPv6 address is the interface's index: it tells a device that was removed and came back.
    key: [name, ...usable.map((info) => `${info.cidr} ${info.mac} ${info.scopeid ?? 0}`)].join('|'),
    contains: (address) => isIP(address) === 4 && subnets.check(address, 'ipv4'),
  };
}

/** Whether a `--listen` host is one that other machines can never reach. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}
