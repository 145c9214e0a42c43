import { expect, test } from 'vitest';
import { YoungGarbage } from '../../../../src/adapters/workspace/young-garbage.ts';

const MIB = 1024 * 1024;

test('buffers that bytes passed through are not held until there are many of them', () => {
  const garbage = new YoungGarbage();
  let mostBytes = 0;
  for (let round = 0; round < 64; round++) {
    for (let piece = 0; piece < 16; piece++) Buffer.allocUnsafeSlow(MIB / 16).fill(round);
    garbage.passed(MIB);
    mostBytes = Math.max(mostBytes, process.memoryUsage().arrayBuffers);
  }
  expect(mostBytes).toBeLessThan(24 * MIB);
});
