import { describe, expect, it } from 'vitest';
import { FrameMemory } from '../../../../src/adapters/ws/frame-memory.ts';
import { STREAM_CHUNK_BYTES_MAX } from '../../../../src/wire/stream-frame.ts';

describe('FrameMemory', () => {
  it('gives large frames memory that was given back, and never twice at a time', () => {
    const memory = new FrameMemory();
    const [one, other] = [memory.take(STREAM_CHUNK_BYTES_MAX), memory.take(STREAM_CHUNK_BYTES_MAX)];
    expect(one.bytes.buffer).not.toBe(other.bytes.buffer);
    memory.giveBack(one);
    const again = memory.take(STREAM_CHUNK_BYTES_MAX - 1000);
    expect(again.bytes.buffer).toBe(one.bytes.buffer);
    expect(again.bytes.length).toBe(STREAM_CHUNK_BYTES_MAX - 1000);
    expect(memory.take(STREAM_CHUNK_BYTES_MAX).bytes.buffer).not.toBe(one.bytes.buffer);
  });

  it('keeps no more than a mebibyte, and nothing of small ones', () => {
    const memory = new FrameMemory();
    const frames = Array.from({ length: 40 }, () => memory.take(STREAM_CHUNK_BYTES_MAX));
    for (const frame of frames) memory.giveBack(frame);
    const known = new Set(frames.map(({ bytes }) => bytes.buffer));
    const again = Array.from({ length: 40 }, () => memory.take(STREAM_CHUNK_BYTES_MAX));
    expect(again.filter(({ bytes }) => known.has(bytes.buffer))).toHaveLength(16);
    expect(memory.take(10).whole).toBeNull();
  });
});
