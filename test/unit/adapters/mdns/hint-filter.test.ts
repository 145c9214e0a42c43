import { describe, expect, it } from 'vitest';
import {
  ADDRESSES_MAX,
  FORWARDED_BURST_MAX,
  FORWARDED_PER_SECOND_MAX,
  HintFilter,
  KNOWN_MAX,
  KNOWN_PER_SOURCE_MAX,
  REPEAT_MS,
  type Sighting,
} from '../../../../src/adapters/mdns/hint-filter.ts';

const OWN = 'o'.repeat(52);
const PEER = 'p'.repeat(52);
const LATER_MS = 60_000;

const idOf = (n: number): string => n.toString(2).replaceAll('0', 'a').replaceAll('1', 'b').padStart(52, 'c');
const sighting = (over: Partial<Sighting> = {}): Sighting => ({
  id: PEER,
  port: 47_470,
  source: '10.0.0.2',
  addresses: ['10.0.0.2'],
  ...over,
});

describe('HintFilter', () => {
  it('passes a new announcement on, its packet source first, with no name', () => {
    const hints = new HintFilter(OWN, 0).offer(sighting({ addresses: ['192.168.1.2', '10.0.0.2', 'fd00::2'] }), 0);
    expect(hints.map((hint) => hint.host)).toEqual(['10.0.0.2', '192.168.1.2', 'fd00::2']);
    expect(hints[0]).toEqual({ host: '10.0.0.2', port: 47_470, claimedId: PEER, claimedName: null });
  });

  it.each<[string, Partial<Sighting>]>([
    ['its own id', { id: OWN }],
    ['no id', { id: undefined }],
    ['a short id', { id: 'abc' }],
    ['an id with a path', { id: '../../etc/passwd' }],
    ['an id in capitals', { id: PEER.toUpperCase() }],
    ['port 0', { port: 0 }],
    ['port 65536', { port: 65_536 }],
    ['a fraction as port', { port: 1.5 }],
    ['a text as port', { port: '80' }],
    ['no usable address', { source: '127.0.0.1', addresses: ['0.0.0.0', '224.0.0.1', 'fe80::1', '::1', 'x', ''] }],
  ])('drops %s', (_what, over) => {
    const filter = new HintFilter(OWN, 0);
    expect(filter.offer(sighting(over), 0)).toEqual([]);
    expect(filter.size).toBe(0);
  });

  it('says the same once per interval, and a changed address at once', () => {
    const filter = new HintFilter(OWN, 0);
    expect(filter.offer(sighting(), 0)).toHaveLength(1);
    expect(filter.offer(sighting(), REPEAT_MS - 1)).toEqual([]);
    expect(filter.offer(sighting({ addresses: ['10.0.0.3'] }), REPEAT_MS - 1)).toHaveLength(2);
    expect(filter.offer(sighting({ addresses: ['10.0.0.3'] }), 2 * REPEAT_MS)).toHaveLength(2);
    expect(filter.offer(sighting({ source: '10.0.0.9' }), 2 * REPEAT_MS)).toHaveLength(2);
  });

  it('cuts the addresses of one announcement', () => {
    const addresses = Array.from({ length: 50 }, (_, n) => `10.0.1.${n}`);
    expect(new HintFilter(OWN, 0).offer(sighting({ addresses }), 0)).toHaveLength(ADDRESSES_MAX);
  });

  it('takes few names from one source, so that a forger there leaves room for others', () => {
    const filter = new HintFilter(OWN, 0);
    let passed = 0;
    for (let n = 0; n < 5000; n++) passed += filter.offer(sighting({ id: idOf(n) }), n).length;
    expect(passed).toBe(KNOWN_PER_SOURCE_MAX);
    expect(filter.offer(sighting({ source: '10.0.0.3', addresses: [] }), 5000)).toHaveLength(1);
  });

  it('is bounded in number and rate when the sources are forged too, and works again afterwards', () => {
    const filter = new HintFilter(OWN, 0);
    let passed = 0;
    const seconds = 10;
    for (let n = 0; n < 5000; n++) {
      const source = `10.1.${n >> 8}.${n & 255}`;
      passed += filter.offer(sighting({ id: idOf(n), source, addresses: [] }), (n * seconds) / 5).length;
    }
    expect(filter.size).toBeLessThanOrEqual(KNOWN_MAX);
    expect(passed).toBeLessThanOrEqual(FORWARDED_BURST_MAX + FORWARDED_PER_SECOND_MAX * seconds);
    expect(filter.offer(sighting(), LATER_MS)).toHaveLength(1);
  });

  it('offers again what the rate held back', () => {
    const filter = new HintFilter(OWN, 0);
    const all = Array.from({ length: FORWARDED_BURST_MAX + 1 }, (_, n) =>
      sighting({ id: idOf(n), source: `10.2.0.${n}`, addresses: [] }),
    );
    const first = all.filter((one) => filter.offer(one, 0).length > 0);
    expect(first).toHaveLength(FORWARDED_BURST_MAX);
    expect(all.filter((one) => filter.offer(one, 1000).length > 0)).toEqual(all.slice(-1));
  });
});
