import { escapeControls } from '../../base/escape.ts';

/** Lines and columns stay what they are; every other control character is shown escaped to the model. */
const KEPT_CONTROLS = '\n\t';
/** The end of a command's output says more than its beginning. */
const HEAD_SHARE = 0.4;

/** What a model may read: control characters, escape sequences and bidirectional controls written out. */
export const shown = (text: string): string => escapeControls(text, KEPT_CONTROLS);

/** Length of a value as JSON. */
export const jsonChars = (value: unknown): number => (JSON.stringify(value) ?? '').length;

/** Length of a text within JSON, quotes not counted. */
export const textChars = (text: string): number => jsonChars(shown(text)) - 2;

/** The same, but no more than is asked for is looked at: an answer above `enough` is one of many. */
export const textCharsUpTo = (text: string, enough: number): number =>
  text.length > enough ? text.length : textChars(text);

/** Applies `shown` to every string of a document, keys included. */
export function shownDeep(value: unknown): unknown {
  if (typeof value === 'string') return shown(value);
  if (Array.isArray(value)) return value.map(shownDeep);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [shown(key), shownDeep(item)]));
}

/** Shortens a line for people to `charsMax` characters. */
export function clip(text: string, charsMax: number): string {
  if (text.length <= charsMax) return text;
  // Half of a surrogate pair is no character.
  return `${text.slice(0, charsMax - 1).replace(/[\uD800-\uDBFF]$/, '')}…`;
}

export interface FittedText {
  readonly text: string;
  /** True where anything is missing. */
  readonly cut: boolean;
  /** How much of `head` comes before the mark, in UTF-16 units as it was given. */
  readonly headChars: number;
}

/**
 * Keeps the beginning and the end of a text.
 *
 * @param head its beginning; all of it where `tail` is null
 * @param tail its end, where the middle is missing already
 * @param mark stands for what is missing
 * @param charsMax bound of the answer within JSON
 * @returns the text as shown
 */
export function fitText(head: string, tail: string | null, mark: string, charsMax: number): FittedText {
  if (tail === null && textCharsUpTo(head, charsMax) <= charsMax)
    return { text: shown(head), cut: false, headChars: head.length };
  const room = charsMax - textChars(mark);
  if (room <= 0) return { text: '', cut: true, headChars: 0 };
  // No character is shorter within JSON than in the text: what lies further in cannot be kept.
  const first = Array.from(head.slice(0, room));
  const last = Array.from((tail ?? head).slice(-room));
  const tailNeed = textCharsUpTo(tail ?? head, room);
  const headKept = takeFrom(first, Math.max(Math.floor(room * HEAD_SHARE), room - tailNeed));
  const tailKept = takeFrom(last.toReversed(), room - textChars(headKept.join(''))).toReversed();
  const kept = headKept.join('');
  return { text: shown(`${kept}${mark}${tailKept.join('')}`), cut: true, headChars: kept.length };
}

/** The longest beginning of a text, between characters, that takes at most `charsMax` within JSON. */
export const prefixWithin = (text: string, charsMax: number): string =>
  textCharsUpTo(text, charsMax) <= charsMax
    ? text
    : takeFrom(Array.from(text.slice(0, Math.max(0, charsMax))), charsMax).join('');

/** The first characters whose length within JSON is at most `charsMax`. */
function takeFrom(characters: readonly string[], charsMax: number): string[] {
  let chars = 0;
  let count = 0;
  for (const character of characters) {
    chars += PLAIN.test(character) ? 1 : textChars(character);
    if (chars > charsMax) break;
    count += 1;
  }
  return characters.slice(0, count);
}

/** One character in JSON: printable ASCII but quote and backslash. */
const PLAIN = /^[ !#-[\]-~]$/;
