import * as fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { HeadTail } from '../../../src/base/head-tail.ts';

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

describe('HeadTail', () => {
  test('keeps the first and the last bytes of the whole, and tells how many are missing', () => {
    fc.assert(
      fc.property(
        fc.nat({ max: 40 }),
        fc.nat({ max: 40 }),
        fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 30 }),
        (headMax, tailMax, pieces) => {
          const kept = new HeadTail(headMax, tailMax);
          for (const piece of pieces) kept.push(piece);
          const whole = joined(pieces);
          const dropped = Math.max(0, whole.byteLength - headMax - tailMax);
          expect([kept.totalBytes, kept.droppedBytes]).toEqual([whole.byteLength, dropped]);
          const { head, tail } = kept.parts();
          if (dropped === 0) expect({ head, tail }).toEqual({ head: whole, tail: new Uint8Array(0) });
          else {
            expect(head).toEqual(whole.subarray(0, headMax));
            expect(tail).toEqual(whole.subarray(whole.byteLength - tailMax));
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  test('keeps copies, and gives copies', () => {
    const kept = new HeadTail(2, 2);
    const buffer = new Uint8Array([1, 2, 3]);
    kept.push(buffer);
    buffer.fill(9);
    const before = kept.parts();
    kept.push(new Uint8Array([4, 5]));
    expect(before.head).toEqual(new Uint8Array([1, 2, 3]));
    expect(kept.parts()).toEqual({ head: new Uint8Array([1, 2]), tail: new Uint8Array([4, 5]) });
  });

  test('copies in proportion to what is pushed, however small the pieces', () => {
    const kept = new HeadTail(1000, 50_000);
    const copyWithin = vi.spyOn(Uint8Array.prototype, 'copyWithin');
    const one = new Uint8Array(1);
    for (let i = 0; i < 500_000; i++) kept.push(one);
    const moved = copyWithin.mock.calls.reduce((sum, [, from, end]) => sum + (end ?? 0) - from, 0);
    copyWithin.mockRestore();
    expect(moved).toBeLessThanOrEqual(500_000);
    expect(kept.droppedBytes).toBe(500_000 - 51_000);
  });
});
