import * as fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import {
  CHANNEL_CONTROL,
  CHANNEL_DATA,
  type Channel,
  encodeFramePrefix,
  FRAME_BYTES_MAX,
  FrameDecoder,
  type SocketFrame,
} from '../../../src/wire/framing.ts';
import { numbered } from './joined-muxes.ts';

function encoded(frames: readonly SocketFrame[]): Uint8Array {
  const parts = frames.flatMap(({ channel, body }) => [encodeFramePrefix(channel, body.byteLength), body]);
  return Buffer.concat(parts);
}

/** Cuts `bytes` after each of these sizes in turn, over and over. */
function* cut(bytes: Uint8Array, sizes: readonly number[]): Generator<Uint8Array> {
  for (let at = 0, turn = 0; at < bytes.byteLength; turn++) {
    const size = sizes[turn % sizes.length] ?? bytes.byteLength;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

function decoded(chunks: Iterable<Uint8Array>): SocketFrame[] | string {
  const decoder = new FrameDecoder();
  const frames: SocketFrame[] = [];
  for (const chunk of chunks) {
    const some = decoder.push(chunk);
    if (typeof some === 'string') return some;
    frames.push(...some.map(({ channel, body }) => ({ channel, body: Uint8Array.from(body) })));
  }
  return frames;
}

const frame = fc.record({
  channel: fc.constantFrom<Channel>(CHANNEL_CONTROL, CHANNEL_DATA),
  body: fc.uint8Array({ maxLength: 200 }),
});

describe('the frame decoder', () => {
  test('gives back the frames, however the bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 20 }),
        fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 10 }),
        (frames, sizes) => {
          expect(decoded(cut(encoded(frames), sizes))).toEqual(frames);
        },
      ),
      { numRuns: 200 },
    );
  });

  test('takes bytes one by one, and chunks that are empty', () => {
    const frames = [
      { channel: CHANNEL_CONTROL, body: new Uint8Array(0) },
      { channel: CHANNEL_DATA, body: numbered(0, 100) },
    ] as const;
    const single = [...cut(encoded(frames), [1])].flatMap((byte) => [new Uint8Array(0), byte]);
    expect(decoded(single)).toEqual(frames);
  });

  test('takes the largest frame, and refuses the next size before its body comes', () => {
    const largest = { channel: CHANNEL_DATA, body: numbered(0, FRAME_BYTES_MAX - 1) } as const;
    expect(decoded([encoded([largest])])).toEqual([largest]);
    expect(new FrameDecoder().push(encodeFramePrefix(CHANNEL_DATA, FRAME_BYTES_MAX))).toMatch(/a frame of 1048577/);
  });

  test.each([
    ['no length', [0, 0, 0, 0, 0]],
    ['a huge length', [0xff, 0xff, 0xff, 0xff, 0]],
    ['a channel that is none', [0, 0, 0, 2, 2, 0]],
  ])('refuses %s, also byte by byte', (_what, bytes) => {
    expect(decoded([Uint8Array.from(bytes)])).toBeTypeOf('string');
    expect(decoded(cut(Uint8Array.from(bytes), [1]))).toBeTypeOf('string');
  });

  test('copies each byte of a large frame a bounded number of times, however small the chunks', () => {
    // Time would depend on the machine: what is counted is how often bytes are copied.
    const body = numbered(0, FRAME_BYTES_MAX - 1);
    const bytes = encoded([{ channel: CHANNEL_DATA, body }]);
    const set = vi.spyOn(Uint8Array.prototype, 'set');
    const decoder = new FrameDecoder();
    let frames = 0;
    for (let round = 0; round < 2; round++) {
      for (const chunk of cut(bytes, [64])) frames += decoder.push(chunk).length;
    }
    const copied = set.mock.calls.reduce((sum, [source]) => sum + source.length, 0);
    set.mockRestore();
    expect(frames).toBe(2);
    expect(copied).toBeLessThan(2 * 3 * FRAME_BYTES_MAX);
  });
});
