/** What is no ASCII goes as bytes: as text Node.js would write it in UTF-8. */
const NOT_ASCII = /[^\0-\x7f]/;

/** A path of bytes, one character each, as functions of `node:fs` take it. A text is quicker than a Buffer. */
export function nativePath(bytes: string): string | Buffer {
  return NOT_ASCII.test(bytes) ? Buffer.from(bytes, 'latin1') : bytes;
}
