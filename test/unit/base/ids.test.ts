import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  base32,
  isInviteId,
  isJobId,
  isLeaseId,
  isMeshId,
  isNodeId,
  isNodeName,
  makeJobId,
  NODE_ID_LENGTH,
} from '../../../src/base/ids.ts';

describe('base32', () => {
  // RFC 4648 §10, in lower case and without the padding.
  test.each([
    ['', ''],
    ['f', 'my'],
    ['fo', 'mzxq'],
    ['foo', 'mzxw6'],
    ['foob', 'mzxw6yq'],
    ['fooba', 'mzxw6ytb'],
    ['foobar', 'mzxw6ytboi'],
  ])('of %j is %j', (text, encoded) => {
    expect(base32(Buffer.from(text))).toBe(encoded);
  });

  test('spells every value in its own way, five bits a character', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70 }), (bytes) => {
        const text = base32(bytes);
        const bits = [...text].map((char) =>
          'abcdefghijklmnopqrstuvwxyz234567'.indexOf(char).toString(2).padStart(5, '0'),
        );
        const expected = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
        const spelled = bits.join('');
        expect(spelled.slice(0, expected.length)).toBe(expected);
        expect(spelled.slice(expected.length)).toMatch(/^0{0,4}$/);
      }),
    );
  });
});

describe('a job id', () => {
  test('is the ULID of its time and randomness', () => {
    // The example of the ULID specification: 01ARZ3NDEK is 2016-07-30T23:54:10.259Z.
    const id = makeJobId(1_469_922_850_259, new Uint8Array(16).fill(31));
    expect(id).toBe('01ARZ3NDEKZZZZZZZZZZZZZZZZ');
    expect(isJobId(id)).toBe(true);
    expect(makeJobId(2 ** 48 - 1, new Uint8Array(16))).toBe('7ZZZZZZZZZ0000000000000000');
  });

  test('sorts by time and is always of its form', () => {
    const times = fc.tuple(
      fc.nat({ max: 2 ** 47 }),
      fc.nat({ max: 2 ** 47 }),
      fc.uint8Array({ minLength: 16, maxLength: 20 }),
    );
    fc.assert(
      fc.property(times, ([a, b, random]) => {
        const [one, other] = [makeJobId(a, random), makeJobId(b, random)];
        expect(isJobId(one)).toBe(true);
        expect(one < other).toBe(a < b);
      }),
    );
  });
});

test.each([
  [
    'a node id',
    isNodeId,
    'a'.repeat(NODE_ID_LENGTH),
    ['a'.repeat(51), 'a'.repeat(53), `${'a'.repeat(51)}1`, `${'a'.repeat(51)}A`, `${'a'.repeat(52)}\n`],
  ],
  ['a mesh id', isMeshId, '2'.repeat(52), ['', '../etc/passwd']],
  ['a job id', isJobId, '01ARZ3NDEKZZZZZZZZZZZZZZZZ', ['01arz3ndekzzzzzzzzzzzzzzzz', '01ARZ3NDEKZZZZZZZZZZZZZZZI', '']],
  ['a lease id', isLeaseId, 'a'.repeat(26), ['a'.repeat(12), 'a'.repeat(53)]],
  ['an invite id', isInviteId, 'a'.repeat(13), ['a'.repeat(12), '0'.repeat(13)]],
  ['a node name', isNodeName, 'my-desk_2.lan', ['', 'a b', 'a'.repeat(64), 'ä', 'a/b', 'a\n']],
] as const)('%s is told from what is none', (_what, is, good, bad) => {
  expect(is(good)).toBe(true);
  for (const text of bad) expect(is(text), JSON.stringify(text)).toBe(false);
});
