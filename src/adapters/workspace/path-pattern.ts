/**
 * Patterns of names and paths whose cost is bounded: expressions that are made from them go back over a name for each `*`,
 * so that a few dozen of them, from another node, would keep a thread busy for years. Here only the last `*`, or `**`, is
 * ever tried again, which is enough: what comes before it has been matched as early as can be.
 */
export const ANY_DEPTH = '**';

const ANY_CHARACTERS = 1;
const ANY_CHARACTER = 2;
/** One character, or one of a class. */
type Token = string | RegExp | typeof ANY_CHARACTERS | typeof ANY_CHARACTER;

export type NamePattern = readonly Token[];
export type PathPart = typeof ANY_DEPTH | NamePattern;

/** One name with `*`, `?`, `[…]` and `\` before what is meant literally. */
export function namePattern(text: string): NamePattern {
  const tokens: Token[] = [];
  for (let at = 0; at < text.length; at++) {
    const character = text.charAt(at);
    if (character === '*') {
      if (tokens.at(-1) !== ANY_CHARACTERS) tokens.push(ANY_CHARACTERS);
    } else if (character === '?') tokens.push(ANY_CHARACTER);
    else if (character === '[') {
      const end = endOfClass(text, at);
      const found = end === -1 ? null : classOf(text.slice(at + 1, end));
      tokens.push(found ?? character);
      if (found !== null) at = end;
    } else {
      if (character === '\\' && at + 1 < text.length) at++;
      tokens.push(text.charAt(at));
    }
  }
  return tokens;
}

/** As {@link namePattern} for each part; neighbouring `**` are one. */
export function pathPattern(parts: readonly string[]): PathPart[] {
  return parts
    .filter((part, index) => part !== ANY_DEPTH || parts[index - 1] !== ANY_DEPTH)
    .map((part) => (part === ANY_DEPTH ? ANY_DEPTH : namePattern(part)));
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
  return typeof token === 'string' ? token === character : token.test(character);
}

/** Where `]` ends the class that begins there; -1: nowhere, then `[` means itself. A `]` right at its beginning is in it. */
function endOfClass(text: string, start: number): number {
  let at = start + 1;
  if (/[!^]/.test(text.charAt(at))) at++;
  if (text.charAt(at) === ']') at++;
  for (; at < text.length; at++) {
    if (text.charAt(at) === '\\') at++;
    else if (text.charAt(at) === ']') return at;
  }
  return -1;
}

/** Null for one such as `[z-a]`, which is no class. */
function classOf(body: string): RegExp | null {
  const isNegative = /^[!^]/.test(body);
  const inner = (isNegative ? body.slice(1) : body).replaceAll(/\\?[\\\]^[]/gs, (found) => `\\${found.at(-1) ?? ''}`);
  try {
    return new RegExp(`^[${isNegative ? '^' : ''}${inner}]$`, 's');
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return null;
  }
}
