/** Text of bytes that may end within a character: such a beginning is not shown. A byte order mark is a character. */
const decode = (bytes: Uint8Array, isWhole: boolean): string =>
  new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes, { stream: !isWhole });

/**
 * How many bytes the first `chars` UTF-16 units of a text take.
 *
 * @param bytes what the text was decoded from; invalid sequences are U+FFFD there (WHATWG Encoding, "maximal subpart")
 */
export function bytesOfText(bytes: Uint8Array, chars: number): number {
  let low = 0;
  let high = bytes.byteLength;
  // The smallest beginning that shows so much.
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (decode(bytes.subarray(0, middle), false).length >= chars) high = middle;
    else low = middle + 1;
  }
  // The byte that tells that a sequence before it is invalid may be of a character of its own: it comes behind.
  return decode(bytes.subarray(0, low), true).length > chars ? low - 1 : low;
}

/**
 * The text of the first bytes, cut between characters.
 *
 * @param bytesMax of them at most, but one character always
 * @param isEnd true where nothing follows these bytes: then a character that is not whole is shown as U+FFFD
 * @returns the text, and how many bytes it stands for
 */
export function textSlice(
  bytes: Uint8Array,
  bytesMax: number,
  isEnd: boolean,
): { readonly text: string; readonly bytes: number } {
  const wanted = bytes.subarray(0, bytesMax);
  const isWhole = isEnd && wanted.byteLength === bytes.byteLength;
  const text = decode(wanted, isWhole);
  if (isWhole) return { text, bytes: wanted.byteLength };
  if (text !== '') return { text, bytes: bytesOfText(wanted, text.length) };
  const [first = ''] = decode(bytes, isEnd);
  return { text: first, bytes: bytesOfText(bytes, first.length) };
}

/** The most bytes that one character takes (RFC 3629). */
export const CHARACTER_BYTES_MAX = 4;
