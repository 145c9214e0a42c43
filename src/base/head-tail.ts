/**
 * Keeps the first and the last bytes of a stream, so that output of any length costs bounded memory and people still
 * see how it began and how it ended.
 */
export class HeadTail {
  readonly #headBytesMax: number;
  readonly #tailBytesMax: number;
  readonly #head: Uint8Array[] = [];
  #tail: Uint8Array[] = [];
  #headBytes = 0;
  #tailBytes = 0;
  #totalBytes = 0;

  constructor(headBytesMax: number, tailBytesMax: number) {
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
      this.#head.push(bytes.slice(0, forHead));
      this.#headBytes += forHead;
    }
    if (forHead >= bytes.byteLength) return;
    this.#tail.push(bytes.slice(Math.max(forHead, bytes.byteLength - this.#tailBytesMax)));
    this.#tailBytes += this.#tail.at(-1)?.byteLength ?? 0;
    this.#trim();
  }

  /** @returns the kept bytes: all of them in `head` where nothing was dropped */
  parts(): { readonly head: Uint8Array; readonly tail: Uint8Array } {
    const tail = joinBytes(this.#tail);
    const kept = tail.subarray(Math.max(0, tail.byteLength - this.#tailBytesMax));
    const head = joinBytes(this.#head);
    return this.droppedBytes > 0 ? { head, tail: kept } : { head: joinBytes([head, kept]), tail: new Uint8Array(0) };
  }

  #trim(): void {
    let surplus = this.#tailBytes - this.#tailBytesMax;
    let from = 0;
    while (surplus > 0) {
      const first = this.#tail[from]?.byteLength ?? 0;
      if (first > surplus) break;
      surplus -= first;
      this.#tailBytes -= first;
      from += 1;
    }
    if (from > 0) this.#tail = this.#tail.slice(from);
  }
}

function joinBytes(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.byteLength;
  }
  return joined;
}
