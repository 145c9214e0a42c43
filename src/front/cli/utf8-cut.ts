const CHAR_BYTES_MAX = 4;

/** How many of these bytes are whole UTF-8 characters: up to three at the end may be the beginning of one (RFC 3629). */
export function wholeCharsBytes(bytes: Uint8Array): number {
  const { byteLength } = bytes;
  for (let back = 1; back < CHAR_BYTES_MAX && back <= byteLength; back++) {
    const byte = bytes[byteLength - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const needs = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return needs > back ? byteLength - back : byteLength;
  }
  return byteLength;
}
