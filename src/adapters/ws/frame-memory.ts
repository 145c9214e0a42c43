import { STREAM_CHUNK_BYTES_MAX, STREAM_HEADER_BYTES } from '../../wire/stream-frame.ts';

/** Frames at hand, of all links together: 1 MiB, the window of one stream. */
const SPARES_MAX = 16;
const FRAME_BYTES = STREAM_HEADER_BYTES + STREAM_CHUNK_BYTES_MAX;
/** A smaller frame is not worth the memory of a large one. */
const LARGE_BYTES_MIN = FRAME_BYTES / 2;

interface Frame {
  readonly bytes: Buffer;
  /** What it is a part of, where that is used again. */
  readonly whole: Buffer | null;
}

/**
 * Memory of large frames, used again once the socket has written them: what is made anew for each counts for the collector
 * as memory of the heap, and would have it go through all of that every 20 MB.
 */
export class FrameMemory {
  readonly #spares: Buffer[] = [];

  take(bytes: number): Frame {
    if (bytes < LARGE_BYTES_MIN || bytes > FRAME_BYTES) return { bytes: Buffer.allocUnsafe(bytes), whole: null };
    const whole = this.#spares.pop() ?? Buffer.allocUnsafeSlow(FRAME_BYTES);
    return { bytes: whole.subarray(0, bytes), whole };
  }

  /** Once, when nothing reads it any more. */
  giveBack({ whole }: Frame): void {
    if (whole !== null && this.#spares.length < SPARES_MAX) this.#spares.push(whole);
  }
}
