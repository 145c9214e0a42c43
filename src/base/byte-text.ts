/**
 * Byte strings: one character (U+0000 to U+00FF) per byte, as paths are kept that need not be UTF-8. Equality and order
 * (`<`) of byte strings are those of their bytes.
 */

const ASCII = /^[\0-\x7f]*$/;
const REPLACEMENT = 0xfffd;

/** @returns the text for people: decoded as UTF-8, with U+FFFD where it isn't (as the WHATWG decoder replaces) */
export function textOfBytes(bytes: string): string {
  if (ASCII.test(bytes)) return bytes;
  let text = '';
  for (let at = 0; at < bytes.length;) {
    const { code, size } = sequenceAt(bytes, at);
    text += String.fromCodePoint(code);
    at += size;
  }
  return text;
}

/** @returns whether the bytes are well-formed UTF-8: then `bytesOfText(textOfBytes(bytes))` is `bytes` */
export function isUtf8(bytes: string): boolean {
  return ASCII.test(bytes) || bytesOfText(textOfBytes(bytes)) === bytes;
}

/** @returns the UTF-8 bytes of a text, one character each; a lone surrogate becomes U+FFFD */
export function bytesOfText(text: string): string {
  if (ASCII.test(text)) return text;
  let bytes = '';
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    bytes += encodedOf(code >= 0xd800 && code <= 0xdfff ? REPLACEMENT : code);
  }
  return bytes;
}

function encodedOf(code: number): string {
  if (code < 0x80) return String.fromCharCode(code);
  const last = 0x80 | (code & 0x3f);
  if (code < 0x800) return String.fromCharCode(0xc0 | (code >> 6), last);
  const middle = 0x80 | ((code >> 6) & 0x3f);
  if (code < 0x10000) return String.fromCharCode(0xe0 | (code >> 12), middle, last);
  return String.fromCharCode(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 0x3f), middle, last);
}

/** The code point at `at`, or U+FFFD for the longest prefix of a sequence that can't go on (Unicode 15, table 3-7). */
function sequenceAt(bytes: string, at: number): { readonly code: number; readonly size: number } {
  const first = bytes.charCodeAt(at);
  if (first < 0x80) return { code: first, size: 1 };
  const length =
    first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xf0 && first < 0xf5 ? 4 : 0;
  if (length === 0) return { code: REPLACEMENT, size: 1 };
  let code = first & (0x7f >> length);
  for (let next = 1; next < length; next++) {
    // Past the end, NaN: no comparison holds.
    const byte = bytes.charCodeAt(at + next);
    const low = next > 1 ? 0x80 : first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
    const high = next > 1 ? 0xbf : first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
    if (!(byte >= low && byte <= high)) return { code: REPLACEMENT, size: next };
    code = (code << 6) | (byte & 0x3f);
  }
  return { code, size: length };
}
