/**
 * Patterns of names and paths whose cost is bounded: expressions that are made from them go back over a name for each `*`,
 * so that a few dozen of them, from another node, would keep a thread busy for years. Here only the last `*`, or `**`, is
 * ever tried again, which is enough: what comes before it has been matched as early as can be.
 */
export const ANY_DEPTH = '**';

const ANY_CHARACTERS = 1;
const ANY_CHARACTER = 2;
/** `[…]`: first and last characters of its ranges, one after the other. */
interface CharacterClass {
  readonly isNegative: boolean;
  readonly ranges: string;
}
/** One character, or one of a class. */
type Token = string | CharacterClass | typeof ANY_CHARACTERS | typeof ANY_CHARACTER;

export type NamePattern = readonly Token[];
export type PathPart = typeof ANY_DEPTH | NamePattern;

/** One name with `*`, `?`, `[…]` and `\` before what is meant literally. */
export function namePattern(text: string): NamePattern {
  const tokens: Token[] = [];
  const ends = endsOfClasses(text);
  for (let at = 0; at < text.length; at++) {
    const character = text.charAt(at);
    if (character === '*') {
      if (tokens.at(-1) !== ANY_CHARACTERS) tokens.push(ANY_CHARACTERS);
    } else if (character === '?') tokens.push(ANY_CHARACTER);
    else if (character === '[') {
      const end = endOfClass(text, at, ends);
      tokens.push(end === -1 ? character : classOf(text.slice(at + 1, end)));
      if (end !== -1) at = end;
    } else {
      if (character === '\\' && at + 1 < text.length) at++;
      tokens.push(text.charAt(at));
    }
  }
  return tokens;
}

/** Does a part stand for any number of names? Git takes more than two `*` for two. */
export function isAnyDepth(part: string | undefined): boolean {
  return part !== undefined && /^\*\*+$/.test(part);
}

/** As {@link namePattern} for each part; neighbouring `**` are one. */
export function pathPattern(parts: readonly string[]): PathPart[] {
  return parts
    .filter((part, index) => !isAnyDepth(part) || !isAnyDepth(parts[index - 1]))
    .map((part) => (isAnyDepth(part) ? ANY_DEPTH : namePattern(part)));
}

/** Number of characters times number of tokens, at most. */
export function matchesName(pattern: NamePattern, name: string): boolean {
  let token = 0;
  let at = 0;
  let star = -1;
  let starAt = 0;
  while (at < name.length) {
    const expected = pattern[token];
    if (expected === ANY_CHARACTERS) {
      star = token++;
      starAt = at;
    } else if (expected !== undefined && isOne(expected, name.charAt(at))) {
      token++;
      at++;
    } else if (star < 0) return false;
    else {
      token = star + 1;
      at = ++starAt;
    }
  }
  while (pattern[token] === ANY_CHARACTERS) token++;
  return token === pattern.length;
}

/**
 * `**` stands for any number of names, at the end for at least one.
 *
 * @param whole false: what matches a folder matches all that is in it
 */
export function matchesPath(parts: readonly PathPart[], names: readonly string[], whole: boolean): boolean {
  let part = 0;
  let at = 0;
  let star = -1;
  let starAt = 0;
  while (at < names.length) {
    const expected = parts[part];
    if (expected === undefined && !whole) return true;
    if (expected === ANY_DEPTH) {
      if (part === parts.length - 1) return true;
      star = part++;
      starAt = at;
    } else if (expected !== undefined && matchesName(expected, names[at] ?? '')) {
      part++;
      at++;
    } else if (star < 0) return false;
    else {
      part = star + 1;
      at = ++starAt;
    }
  }
  return part === parts.length;
}

function isOne(token: Exclude<Token, typeof ANY_CHARACTERS>, character: string): boolean {
  if (token === ANY_CHARACTER) return true;
  return typeof token === 'string' ? token === character : isOfClass(token, character);
}

function isOfClass({ isNegative, ranges }: CharacterClass, character: string): boolean {
  for (let at = 0; at < ranges.length; at += 2) {
    if (character >= ranges.charAt(at) && character <= ranges.charAt(at + 1)) return !isNegative;
  }
  return isNegative;
}

/** For each place of a text the next `]` from there on that no `\` stands before; its length: there is none. */
function endsOfClasses(text: string): Int32Array {
  if (!text.includes('[')) return new Int32Array();
  const ends = new Int32Array(text.length + 2).fill(text.length);
  for (let at = text.length - 1; at >= 0; at--) {
    const next = text.charAt(at) === '\\' ? at + 2 : at + 1;
    ends[at] = text.charAt(at) === ']' ? at : (ends[next] ?? text.length);
  }
  return ends;
}

/** Where `]` ends the class that begins there; -1: nowhere, then `[` means itself. A `]` right at its beginning is in it. */
function endOfClass(text: string, start: number, ends: Int32Array): number {
  let at = start + 1;
  if (/[!^]/.test(text.charAt(at))) at++;
  if (text.charAt(at) === ']') at++;
  const end = ends[at] ?? text.length;
  return end < text.length ? end : -1;
}

/** One such as `[z-a]` means its first character, as git takes it. */
function classOf(body: string): CharacterClass {
  const isNegative = /^[!^]/.test(body);
  let ranges = '';
  for (let at = isNegative ? 1 : 0; at < body.length; at++) {
    const first = literalAt(body, at);
    at = first.at;
    // A `-` at the end is itself.
    const isRange = body.charAt(at + 1) === '-' && at + 2 < body.length;
    const last = isRange ? literalAt(body, at + 2) : first;
    at = last.at;
    ranges += first.character + (last.character < first.character ? first.character : last.character);
  }
  return { isNegative, ranges };
}

/** @returns the character meant there, and where it is */
function literalAt(body: string, at: number): { readonly character: string; readonly at: number } {
  const place = body.charAt(at) === '\\' && at + 1 < body.length ? at + 1 : at;
  return { character: body.charAt(place), at: place };
}
