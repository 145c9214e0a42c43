import { expect, test } from 'vitest';
import { orderAddresses } from '../../../../src/core/membership/address-order.ts';

const local = [{ address: '192.168.1.5', prefixBits: 24 }];
const hint = (host: string) => ({ host, port: 1, source: 'hint' as const });

test('packet source, known-good, same subnet, others; each once', () => {
  const ordered = orderAddresses(
    [
      hint('172.17.0.1'),
      hint('fe80::1'),
      hint('192.168.1.9'),
      hint('192.168.2.9'),
      { host: '10.1.1.1', port: 1, source: 'known_good' },
      { host: '172.17.0.1', port: 2, source: 'known_good' },
      { host: '192.168.1.9', port: 1, source: 'packet' },
    ],
    local,
  );
  expect(ordered.map(({ host, port }) => `${host} ${port}`)).toEqual([
    '192.168.1.9 1',
    '10.1.1.1 1',
    '172.17.0.1 2',
    '172.17.0.1 1',
    'fe80::1 1',
    '192.168.2.9 1',
  ]);
});

test('the same subnet comes before others, whatever is no IPv4 address after', () => {
  const hosts = orderAddresses([hint('999.1.1.1'), hint('box.local'), hint('192.168.1.77')], local);
  expect(hosts.map(({ host }) => host)).toEqual(['192.168.1.77', '999.1.1.1', 'box.local']);
});

test('at most 16 are kept, the best of them', () => {
  const many = Array.from({ length: 40 }, (_, i) => hint(`10.9.0.${i}`));
  const ordered = orderAddresses([...many, hint('192.168.1.2')], local);
  expect(ordered).toHaveLength(16);
  expect(ordered[0]?.host).toBe('192.168.1.2');
});
