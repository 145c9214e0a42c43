import { networkInterfaces } from 'node:os';
import { isIPv6 } from 'node:net';
import { MeshError } from '../base/errors.ts';
import type { Address } from '../ports/links.ts';

export const DEFAULT_PORT = 47470;
/** As many as a member record carries. */
export const ADDRESSES_MAX = 16;
const ANY_HOSTS = new Set(['0.0.0.0', '::', '*', '']);
/** Interfaces of containers and virtual machines: their addresses mean nothing to other machines, so they come last. */
const VIRTUAL_INTERFACE = /^(docker|br-|veth|virbr|cni|flannel|podman|lxc|vmnet|utun)/;

/**
 * Reads `HOST:PORT`, `[IPV6]:PORT`, `HOST` or `:PORT`.
 *
 * @throws MeshError `bad_argument` saying what is accepted
 */
export function parseAddress(text: string, defaultPort: number = DEFAULT_PORT): Address {
  const match = /^(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:[\]]*))(?::(\d{1,5}))?$/.exec(text.trim());
  const host = match?.[1] ?? match?.[2] ?? '';
  const port = match?.[3] === undefined ? defaultPort : Number(match[3]);
  const bare = isIPv6(text.trim()) ? { host: text.trim(), port: defaultPort } : null;
  if (bare !== null) return bare;
  const hostIsSound =
    match !== null && !host.startsWith('-') && host.length <= 253 && (match[1] === undefined || isIPv6(host));
  if (!hostIsSound || port > 65_535) {
    throw new MeshError(
      'bad_argument',
      `"${text}" is not an address: give HOST:PORT or [IPV6]:PORT; nothing was changed`,
    );
  }
  return { host, port };
}

export const formatAddress = (address: Address): string =>
  address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;

/** True where a listening host means every interface. */
export const isAnyHost = (host: string): boolean => ANY_HOSTS.has(host);

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
