import { assert } from './assert.ts';

/** First size of a buffer that grows by doubling. */
const BUFFER_BYTES_MIN = 1024;

/**
 * Keeps the first and the last bytes of a stream, so that output of any length costs bounded memory and people still
 * see how it began and how it ended. The cost of a push is in proportion to its bytes, however small they come.
 */
export class HeadTail {
  readonly #headBytesMax: number;
  readonly #tailBytesMax: number;
  #head: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  /** Up to twice `#tailBytesMax`; its last bytes count, the others are cut off when it is full. */
  #tail: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #headBytes = 0;
  #tailBytes = 0;
  #totalBytes = 0;

  constructor(headBytesMax: number, tailBytesMax: number) {
    assert(headBytesMax >= 0 && tailBytesMax >= 0, 'a negative bound');
    this.#headBytesMax = headBytesMax;
    this.#tailBytesMax = tailBytesMax;
  }

  get totalBytes(): number {
    return this.#totalBytes;
  }

  get droppedBytes(): number {
    return this.#totalBytes - this.#headBytes - Math.min(this.#tailBytes, this.#tailBytesMax);
  }

  /** Copies what it keeps: the caller may reuse `bytes`. */
  push(bytes: Uint8Array): void {
    this.#totalBytes += bytes.byteLength;
    const forHead = Math.min(bytes.byteLength, this.#headBytesMax - this.#headBytes);
    if (forHead > 0) {
      this.#head = withRoom(this.#head, this.#headBytes, forHead, this.#headBytesMax);
      this.#head.set(bytes.subarray(0, forHead), this.#headBytes);
      this.#headBytes += forHead;
    }
    const rest = bytes.subarray(Math.max(forHead, bytes.byteLength - this.#tailBytesMax));
    if (rest.byteLength === 0) return;
    if (this.#tailBytes + rest.byteLength > 2 * this.#tailBytesMax) {
      const kept = this.#tailBytesMax - rest.byteLength;
      this.#tail.copyWithin(0, this.#tailBytes - kept, this.#tailBytes);
      this.#tailBytes = kept;
    }
    this.#tail = withRoom(this.#tail, this.#tailBytes, rest.byteLength, 2 * this.#tailBytesMax);
    this.#tail.set(rest, this.#tailBytes);
    this.#tailBytes += rest.byteLength;
  }

  /** @returns the kept bytes: all of them in `head` where nothing was dropped */
  parts(): { readonly head: Uint8Array; readonly tail: Uint8Array } {
    const head = this.#head.slice(0, this.#headBytes);
    const tail = this.#tail.slice(Math.max(0, this.#tailBytes - this.#tailBytesMax), this.#tailBytes);
    if (this.droppedBytes > 0) return { head, tail };
    const whole = new Uint8Array(this.#totalBytes);
    whole.set(head);
    whole.set(tail, head.byteLength);
    return { head: whole, tail: new Uint8Array(0) };
  }
}

/** @returns `buffer`, or a larger copy of its first `used` bytes where `more` would not fit behind them */
function withRoom(
  buffer: Uint8Array<ArrayBuffer>,
  used: number,
  more: number,
  bytesMax: number,
): Uint8Array<ArrayBuffer> {
  if (used + more <= buffer.byteLength) return buffer;
  const size = Math.min(bytesMax, Math.max(BUFFER_BYTES_MIN, used + more, 2 * buffer.byteLength));
  const larger = new Uint8Array(size);
  larger.set(buffer.subarray(0, used));
  return larger;
}
