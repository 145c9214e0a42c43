import type { ObjectHash } from './manifest.ts';

/** What a reader throws where bytes are not what they should be. Decoders turn it into a refusal: it never leaves them. */
export class Malformed extends Error {
  override readonly name = 'Malformed';
}

/** A call with more arguments than this could overflow the stack. */
const CODES_PER_CALL_MAX = 4096;
const SHORT_MAX = 64;
const HEX_CODES = Uint8Array.from('0123456789abcdef', (digit) => digit.charCodeAt(0));

/** Reads binary forms. Each method throws Malformed where the bytes end too early or are not in canonical form. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  /** Arguments of a call by their number, kept: faster than a view of the bytes for each short text. */
  readonly #codes = Array.from({ length: SHORT_MAX + 1 }, (_, length) => Array.from({ length }, () => 0));
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.byteLength - this.#at;
  }

  byte(): number {
    const value = this.#bytes[this.#at++];
    if (value === undefined) throw new Malformed('it ends too early');
    return value;
  }

  /** Big endian. */
  u32(): number {
    const bytes = this.raw(4);
    return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
  }

  /** @see ByteWriter.varint; only its shortest form is taken */
  varint(max: number): number {
    let value = this.byte();
    if (value > 0x7f) {
      value &= 0x7f;
      for (let scale = 128; ; scale *= 128) {
        const group = this.byte();
        value += (group & 0x7f) * scale;
        if (value > Number.MAX_SAFE_INTEGER || (group === 0 && scale > 1)) throw new Malformed('a number is malformed');
        if (group <= 0x7f) break;
      }
    }
    if (value > max) throw new Malformed(`a number is ${value}, more than ${max}`);
    return value;
  }

  byteString(length: number): string {
    if (length <= SHORT_MAX) return this.#shortText(length);
    const bytes = this.raw(length);
    if (length <= CODES_PER_CALL_MAX) return fromCodes(bytes);
    let text = '';
    for (let at = 0; at < length; at += CODES_PER_CALL_MAX) {
      text += fromCodes(bytes.subarray(at, at + CODES_PER_CALL_MAX));
    }
    return text;
  }

  #shortText(length: number): string {
    if (this.left < length) throw new Malformed('it ends too early');
    const codes = this.#codes[length] ?? [];
    const bytes = this.#bytes;
    const from = this.#at;
    for (let index = 0; index < length; index++) codes[index] = bytes[from + index] ?? 0;
    this.#at = from + length;
    return String.fromCharCode.apply(null, codes);
  }

  /** 32 bytes as 64 hexadecimal digits. */
  hash(): ObjectHash {
    if (this.left < 32) throw new Malformed('it ends too early');
    const codes = this.#codes[64] ?? [];
    const bytes = this.#bytes;
    let at = this.#at;
    for (let index = 0; index < 64; index += 2) {
      const byte = bytes[at++] ?? 0;
      codes[index] = HEX_CODES[byte >> 4] ?? 0;
      codes[index + 1] = HEX_CODES[byte & 15] ?? 0;
    }
    this.#at = at;
    // Such digits by how they were made.
    return String.fromCharCode.apply(null, codes) as ObjectHash;
  }

  /** A view of the next bytes. */
  raw(length: number): Uint8Array {
    if (this.left < length) throw new Malformed('it ends too early');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  /** Nothing may follow. */
  end(): void {
    if (this.left > 0) throw new Malformed(`${this.left} bytes follow its end`);
  }
}

function fromCodes(bytes: Uint8Array): string {
  return String.fromCharCode.apply(null, bytes as unknown as number[]);
}
