import { describe, expect, test } from 'vitest';
import { Nearby } from '../../../src/node/nearby.ts';

const hint = (id: string, host: string) => ({ claimedId: id, claimedName: null, host, port: 47_470 });

describe('machines nearby', () => {
  test('whoever had an address before, with another key, is not nearby any more', () => {
    const nearby = new Nearby();
    nearby.note(hint('aaaaaaaaaa', '10.0.0.1'), 0);
    nearby.note(hint('cccccccccc', '10.0.0.1'), 1);
    expect(nearby.list(2)).toEqual([{ name: 'cccccccc', address: '10.0.0.1:47470' }]);
    expect(nearby.list(2, new Set(['10.0.0.1:47470']))).toEqual([]);
  });
});
