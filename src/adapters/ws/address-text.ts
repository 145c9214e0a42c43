import { isIP, isIPv6 } from 'node:net';

/** `::ffff:10.0.0.1` (an IPv4 peer on a dual-stack socket, RFC 4291 §2.5.5.2) is `10.0.0.1`. */
export function normaliseHost(host: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(host)?.[1];
  return mapped ?? host;
}

/** `10.0.0.1:47470`, `[fe80::1]:47470`. */
export function formatAddress(host: string, port: number): string {
  return isIPv6(host) || host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * What limits are counted by: an IPv4 address, or the /64 of an IPv6 one. Link-local addresses share one /64 between
 * all machines of a link, so they stand for themselves.
 */
export function addressGroup(host: string): string {
  const normal = normaliseHost(host);
  if (isIP(normal) !== 6 || /^fe[89ab]/i.test(normal)) return normal;
  const [head = '', tail = ''] = (normal.split('%')[0] ?? '').split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === '' ? [] : tail.split(':');
  const zeros = Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => '0');
  const groups = [...left, ...zeros, ...right].slice(0, 4);
  return `${groups.map((group) => group.toLowerCase()).join(':')}::/64`;
}
