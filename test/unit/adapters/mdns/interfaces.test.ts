import { describe, expect, it } from 'vitest';
import type { NetworkInterfaceInfo } from 'node:os';
import { INTERFACES_MAX, isLoopback, listInterfaces } from '../../../../src/adapters/mdns/interfaces.ts';

const ipv4 = (address: string, over: { mac?: string; internal?: boolean } = {}): NetworkInterfaceInfo => ({
  family: 'IPv4',
  address,
  netmask: '255.255.255.0',
  cidr: `${address}/24`,
  mac: over.mac ?? '02:00:00:00:00:01',
  internal: over.internal ?? false,
});
const ipv6 = (address: string): NetworkInterfaceInfo => ({
  family: 'IPv6',
  address,
  netmask: 'ffff:ffff:ffff:ffff::',
  cidr: `${address}/64`,
  mac: '02:00:00:00:00:01',
  internal: false,
  scopeid: 0,
});

const keyOf = (info: NetworkInterfaceInfo): string | undefined => listInterfaces({ eth0: [info] })[0]?.key;

describe('listInterfaces', () => {
  it('takes what has an IPv4 address and is not loopback, real ones first', () => {
    const links = listInterfaces({
      lo: [ipv4('127.0.0.1', { internal: true })],
      docker0: [ipv4('172.17.0.1')],
      eth0: [ipv6('fd00::5'), ipv4('192.168.1.5'), ipv4('10.0.0.5')],
      wlan0: [ipv6('fd01::5')],
      gone: undefined,
    });
    expect(links.map((link) => link.name)).toEqual(['eth0', 'docker0']);
    expect(links[0]?.address).toBe('192.168.1.5');
    expect(links[0]?.addresses).toEqual(['fd00::5', '192.168.1.5', '10.0.0.5']);
  });

  it('is bounded and keeps the real ones', () => {
    const bridges = Object.fromEntries(Array.from({ length: 50 }, (_, n) => [`br-${n}`, [ipv4(`172.18.${n}.1`)]]));
    const links = listInterfaces({ ...bridges, eth0: [ipv4('192.168.1.5')] });
    expect(links).toHaveLength(INTERFACES_MAX);
    expect(links[0]?.name).toBe('eth0');
  });

  it('knows its subnets', () => {
    const [link] = listInterfaces({ eth0: [ipv4('192.168.1.5'), ipv4('10.0.0.5')] });
    expect(['192.168.1.77', '10.0.0.1', '10.0.1.1', '::1', 'x'].map((one) => link?.contains(one))).toEqual([
      true,
      true,
      false,
      false,
      false,
    ]);
  });

  it('gives another key to another address and to another device', () => {
    const keys = [ipv4('10.0.0.1'), ipv4('10.0.0.2'), ipv4('10.0.0.1', { mac: '02:00:00:00:00:02' })].map(keyOf);
    expect(new Set(keys).size).toBe(3);
    expect(keyOf(ipv4('10.0.0.1'))).toBe(keys[0]);
  });
});

describe('isLoopback', () => {
  it.each([
    ['127.0.0.1', true],
    ['127.1.2.3', true],
    ['::1', true],
    ['localhost', true],
    ['192.168.127.1', false],
    ['0.0.0.0', false],
  ])('%s: %s', (host, expected) => {
    expect(isLoopback(host)).toBe(expected);
  });
});
