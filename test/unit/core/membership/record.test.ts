import { expect, test } from 'vitest';
import { isNewer, pageRecords, recordBytes, recordFits, utf8Bytes } from '../../../../src/core/membership/record.ts';
import { memberRecordSchema, MEMBER_MESSAGE_BYTES_MAX } from '../../../../src/wire/membership.ts';
import { B, facts, item, nodeId, record } from './fixtures.ts';

test('what is signed does not depend on the order of keys, and survives the wire', () => {
  const one = record(B, 3, { facts: { ...facts('x'), tools: { b: '1', a: '2' }, labels: { é: 'ü' } } });
  const { facts: own, version, ...rest } = one;
  const other = { facts: { ...own, tools: { a: '2', b: '1' } }, ...rest, version };
  expect(recordBytes(other)).toBe(recordBytes(one));
  const ascii = record(B, 3, { facts: { ...facts('x'), cores: 0.5, labels: { gpu: 'a "b" \n ü 😀' } } });
  const arrived = memberRecordSchema.parse(JSON.parse(JSON.stringify(ascii)));
  expect(recordBytes(arrived)).toBe(recordBytes(ascii));
});

test.each([
  ['version', { version: 2 }],
  ['leaving', { state_claim: 'left' as const }],
  ['addresses', { addresses: [] }],
  ['facts', { facts: facts('y') }],
])('a change of %s changes what is signed', (_, changes) => {
  expect(recordBytes(record(B, 1, changes))).not.toBe(recordBytes(record(B, 1)));
});

test('newer is by incarnation, then by version', () => {
  expect(isNewer({ incarnation: 2, version: 1 }, { incarnation: 1, version: 9 })).toBe(true);
  expect(isNewer({ incarnation: 1, version: 2 }, { incarnation: 1, version: 1 })).toBe(true);
  expect(isNewer({ incarnation: 1, version: 1 }, { incarnation: 1, version: 1 })).toBe(false);
});

test.each(['', 'abc', 'äöü', '€', '😀', 'a😀ü€'])('UTF-8 length of %j', (text) => {
  expect(utf8Bytes(text)).toBe(new TextEncoder().encode(text).byteLength);
});

test('records are paged by size, and the pages are bounded', () => {
  const tools = Object.fromEntries(
    Array.from({ length: 250 }, (_, i) => [`tool-${i}`.padEnd(60, 'x'), 'v'.repeat(60)]),
  );
  const big = item(B, 1, { facts: { ...facts('big'), tools } });
  expect(recordFits(big.record)).toBe(true);
  const pages = pageRecords(Array.from({ length: 100 }, () => big));
  expect(pages).toHaveLength(8);
  for (const items of pages) {
    const bytes = utf8Bytes(JSON.stringify({ t: 'member.records', items }));
    expect(bytes).toBeLessThanOrEqual(MEMBER_MESSAGE_BYTES_MAX);
    expect(bytes).toBeGreaterThan(MEMBER_MESSAGE_BYTES_MAX / 2);
  }
  expect(pageRecords([])).toEqual([]);
  expect(pageRecords(Array.from({ length: 300 }, () => item(nodeId('d'), 1)))[0]).toHaveLength(256);
});
