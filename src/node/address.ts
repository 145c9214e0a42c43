import { networkInterfaces } from 'node:os';
import type { Address } from '../ports/links.ts';

/** As many as a member record carries. */
export const ADDRESSES_MAX = 16;
const ANY_HOSTS = new Set(['0.0.0.0', '::', '*', '']);
/** Interfaces of containers and virtual machines: their addresses mean nothing to other machines, so they come last. */
const VIRTUAL_INTERFACE = /^(docker|br-|veth|virbr|cni|flannel|podman|lxc|vmnet|utun)/;

/** True where a listening host means every interface. */
export const isAnyHost = (host: string): boolean => ANY_HOSTS.has(host);

/** Is that one of this machine's own? */
export function isOwnHost(host: string): boolean {
  if (host.startsWith('127.') || host === '::1') return true;
  return Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === host) === true);
}

/**
 * What this node tells others: a literal host alone, else every interface's address, the likeliest first.
 * A machine without a network says its loopback address, so that nodes on it still find each other.
 */
export function advertisedAddresses(listenHost: string, port: number): Address[] {
  if (!isAnyHost(listenHost)) return [{ host: listenHost, port }];
  const found: { readonly host: string; readonly rank: number }[] = [];
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    for (const one of addresses ?? []) {
      // Link-local IPv6 needs a zone that only this machine knows.
      if (one.internal || one.address.startsWith('fe80:')) continue;
      if (one.family === 'IPv6' && listenHost === '0.0.0.0') continue;
      const rank = (VIRTUAL_INTERFACE.test(name) ? 2 : 0) + (one.family === 'IPv6' ? 1 : 0);
      found.push({ host: one.address, rank });
    }
  }
  const hosts = found.sort((a, b) => a.rank - b.rank).map(({ host }) => host);
  return (hosts.length > 0 ? hosts : ['127.0.0.1']).slice(0, ADDRESSES_MAX).map((host) => ({ host, port }));
}
