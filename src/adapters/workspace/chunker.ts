import { CHUNK_BYTES_MAX } from '../../wire/manifest.ts';

/** No chunk but a file's last is smaller: below that no cut is looked for. */
export const CHUNK_BYTES_MIN = 64 * 1024;
export const CHUNK_BYTES_AVERAGE = 256 * 1024;
const GEAR_SEED = 0x6d_77_63_31;

/**
 * Normalised chunking: before the average size a cut needs two zero bits more than log2 of that, behind it two less, so
 * sizes keep close to it. The bits are the highest, which depend on the most bytes (32).
 */
const AVERAGE_BITS = Math.log2(CHUNK_BYTES_AVERAGE);
const MASK_BEFORE = highBits(AVERAGE_BITS + 2);
const MASK_BEHIND = highBits(AVERAGE_BITS - 2);
const GEAR = gearTable();

/**
 * Where the next chunk of a file ends, by content: bytes that are put in or taken out change the chunks that they lie in, and
 * the others stay what they were. FastCDC (Xia et al., USENIX ATC 2016): gear hash, minimum skipped, normalised.
 *
 * @param from where the chunk begins
 * @param to where the bytes end: at least CHUNK_BYTES_MAX behind `from`, or the file's end
 * @returns where it ends, at most CHUNK_BYTES_MAX behind `from`
 */
export function chunkEnd(bytes: Uint8Array, from: number, to: number): number {
  const end = Math.min(to, from + CHUNK_BYTES_MAX);
  if (end - from <= CHUNK_BYTES_MIN) return end;
  const middle = Math.min(end, from + CHUNK_BYTES_AVERAGE);
  let gear = 0;
  let at = from + CHUNK_BYTES_MIN;
  for (; at < middle; at++) {
    gear = ((gear << 1) + (GEAR[bytes[at] as number] as number)) | 0;
    if ((gear & MASK_BEFORE) === 0) return at + 1;
  }
  for (; at < end; at++) {
    gear = ((gear << 1) + (GEAR[bytes[at] as number] as number)) | 0;
    if ((gear & MASK_BEHIND) === 0) return at + 1;
  }
  return end;
}

function highBits(count: number): number {
  return ((2 ** count - 1) * 2 ** (32 - count)) | 0;
}

/** Any 256 numbers without a pattern do, the same on every node: xorshift32 (Marsaglia, 2003). */
function gearTable(): Int32Array {
  let state = GEAR_SEED;
  return Int32Array.from({ length: 256 }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state;
  });
}
