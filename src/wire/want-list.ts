/**
 * `ws.want`: a bit for each object of a manifest, in the order of `objectsOf`. Object i is bit i % 8, counted from the lowest,
 * of byte i / 8; bits behind the last object are 0.
 */
export function encodeWant(objects: number, isMissing: (index: number) => boolean): Uint8Array {
  const want = new Uint8Array(Math.ceil(objects / 8));
  for (let index = 0; index < objects; index++) {
    if (isMissing(index)) want[index >> 3] = (want[index >> 3] ?? 0) | (1 << (index & 7));
  }
  return want;
}

export function isWanted(want: Uint8Array, index: number): boolean {
  return ((want[index >> 3] ?? 0) & (1 << (index & 7))) !== 0;
}

/** Whether the list is one of a manifest with so many objects. */
export function wantFits(want: Uint8Array, objects: number): boolean {
  if (want.length !== Math.ceil(objects / 8)) return false;
  for (let index = objects; index < want.length * 8; index++) if (isWanted(want, index)) return false;
  return true;
}
