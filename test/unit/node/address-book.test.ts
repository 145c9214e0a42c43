import { networkInterfaces } from 'node:os';
import { expect, test } from 'vitest';
import { base32, type NodeId } from '../../../src/base/ids.ts';
import { AddressBook } from '../../../src/node/address-book.ts';
import { ADDRESSES_MAX, isOwnHost } from '../../../src/node/address.ts';

const NODE = base32(new Uint8Array(33).fill(1)).slice(0, 52) as NodeId;
const at = (host: number, port = 47470) => ({ host: `203.0.113.${host}`, port });
const many = (from: number, count: number) => Array.from({ length: count }, (_, index) => at(from + index));

test('what a node says of itself again and again leaves room for where it is next', () => {
  const book = new AddressBook();
  for (let said = 0; said < 4 * ADDRESSES_MAX; said++) book.learn(NODE, [at(1), at(2), at(3)]);
  expect(book.learn(NODE, [at(9)])).toContainEqual(at(9));
});

test('where a node says that it is now takes the place of where it was long ago, and is tried before', () => {
  const book = new AddressBook();
  for (let host = 1; host <= 2 * ADDRESSES_MAX; host++) {
    const known = book.learn(NODE, [at(host)]);
    expect(known[0]).toEqual(at(host));
    expect(known.length).toBeLessThanOrEqual(ADDRESSES_MAX);
  }
  book.learn(NODE, many(100, 3));
  expect(book.addressesOf(NODE).slice(0, 3)).toEqual(many(100, 3));
});

test('where links stood comes first, and does not keep out where the node says that it is', () => {
  const book = new AddressBook();
  for (let host = 1; host <= 2 * ADDRESSES_MAX; host++) book.worked(NODE, at(host));
  const known = book.learn(NODE, [at(200)]);
  expect(known[0]).toEqual(at(2 * ADDRESSES_MAX));
  expect(known).toContainEqual(at(200));
});

test('at the host where it was last, the port that it says it is at now is tried before the others', () => {
  const book = new AddressBook();
  book.learn(NODE, [at(1, 1000), at(2)]);
  book.worked(NODE, at(1, 1000));
  book.linked(NODE, '203.0.113.1:40000');
  expect(book.learn(NODE, [at(1, 2000), at(2)])).toEqual([at(1, 2000), at(1, 1000), at(2)]);
  book.worked(NODE, at(1, 2000));
  expect(book.addressesOf(NODE)).toEqual([at(1, 2000), at(1, 1000), at(2)]);
});

test('addresses of this machine are known as such, others are not', () => {
  const own = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address));
  for (const host of ['127.0.0.1', '127.5.0.1', '::1', ...own]) expect(isOwnHost(host), host).toBe(true);
  for (const host of ['192.0.2.1', '2001:db8::1', 'localhost.example']) expect(isOwnHost(host), host).toBe(false);
});
