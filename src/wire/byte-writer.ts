import { assert } from '../base/assert.ts';

/** Of lower case hexadecimal digits, by their codes. */
const DIGITS = Uint8Array.from({ length: 0x67 }, (_, code) => (code < 0x3a ? code - 0x30 : code - 0x57));

/** Writes binary forms into one buffer that grows by doubling. */
export class ByteWriter {
  #bytes: Uint8Array;
  #at = 0;

  constructor(expectedBytes = 1024) {
    this.#bytes = new Uint8Array(Math.max(expectedBytes, 64));
  }

  get length(): number {
    return this.#at;
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#at++] = value;
  }

  /** Big endian. */
  u32(value: number): void {
    this.#reserve(4);
    new DataView(this.#bytes.buffer, this.#at).setUint32(0, value);
    this.#at += 4;
  }

  /** A whole number from 0 to 2^53-1 in groups of seven bits, the lowest first (LEB128). */
  varint(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0, 'a varint is a whole number');
    this.#reserve(8);
    let rest = value;
    while (rest > 0x7f) {
      this.#bytes[this.#at++] = (rest % 128) | 0x80;
      rest = rest < 0x8000_0000 ? rest >>> 7 : Math.floor(rest / 128);
    }
    this.#bytes[this.#at++] = rest;
  }

  /** The characters of a byte string from `from` on. */
  byteString(text: string, from = 0): void {
    this.#reserve(text.length - from);
    const bytes = this.#bytes;
    let at = this.#at;
    for (let index = from; index < text.length; index++) bytes[at++] = text.charCodeAt(index);
    this.#at = at;
  }

  /** Two hexadecimal digits a byte, lower case. */
  hex(text: string): void {
    this.#reserve(text.length / 2);
    const bytes = this.#bytes;
    let at = this.#at;
    for (let index = 0; index < text.length; index += 2) {
      bytes[at++] = ((DIGITS[text.charCodeAt(index)] ?? 0) << 4) | (DIGITS[text.charCodeAt(index + 1)] ?? 0);
    }
    this.#at = at;
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.byteLength);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.byteLength;
  }

  /** A view of what was written; the writer is not used again. */
  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }

  #reserve(bytes: number): void {
    const needed = this.#at + bytes;
    if (needed <= this.#bytes.byteLength) return;
    const larger = new Uint8Array(Math.max(needed, this.#bytes.byteLength * 2));
    larger.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = larger;
  }
}
