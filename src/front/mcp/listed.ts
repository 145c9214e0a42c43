import { jsonChars } from './shown-text.ts';
import type { JsonDocument } from './tool.ts';

const TRIES_MAX = 16;

/** The longest beginning of a list whose document is not too long, found by halving. */
export function asManyAsFit<T>(
  items: readonly T[],
  document: (some: readonly T[]) => JsonDocument,
  charsMax: number,
): JsonDocument {
  const whole = document(items);
  if (jsonChars(whole) <= charsMax) return whole;
  let fits = 0;
  let tooMany = items.length;
  for (let tries = 0; tries < TRIES_MAX && tooMany - fits > 1; tries++) {
    const middle = Math.floor((fits + tooMany) / 2);
    if (jsonChars(document(items.slice(0, middle))) <= charsMax) fits = middle;
    else tooMany = middle;
  }
  return document(items.slice(0, fits));
}
