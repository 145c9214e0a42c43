import {
  isAnyDepth,
  matchesName,
  matchesPath,
  namePattern,
  type NamePattern,
  pathPattern,
  type PathPart,
} from './path-pattern.ts';

/** Each `*` of a name, and each `**`, multiplies what an expression may try: more than these are matched in another way. */
const STARS_MAX = 2;
const ANY_DEPTHS_MAX = 1;
/** Longer ones make expressions that are refused, or that take long to make. */
const PATTERN_CHARS_MAX = 1024;
/** Rules that hold in one folder: more would be written down anew for each folder below. */
const PATTERNS_MAX = 10_000;

/** Would expressions of these patterns of gitignore(5) take too long, or too much memory? */
export function areHard(patterns: readonly string[], total: number): boolean {
  return total > PATTERNS_MAX || patterns.some(isHard);
}

function isHard(pattern: string): boolean {
  if (pattern.length > PATTERN_CHARS_MAX) return true;
  if (!pattern.includes('*')) return false;
  const parts = pattern.split('/');
  return (
    parts.filter(isAnyDepth).length > ANY_DEPTHS_MAX ||
    parts.some((part) => !isAnyDepth(part) && part.replaceAll(/\*+/g, '*').split('*').length - 1 > STARS_MAX)
  );
}

/** One rule of an ignore file. */
export interface HardRule {
  readonly isNegative: boolean;
  readonly foldersOnly: boolean;
  /** Of the last name alone, at any depth; or of the path from the file's folder on. */
  readonly matches: { readonly name: NamePattern } | { readonly path: readonly PathPart[] };
}

/** An ignore file's rules, in order. @param lines without comments and empty ones */
export function hardRules(lines: readonly string[], ignoreCase: boolean): HardRule[] {
  return lines.map((line) => {
    const isNegative = line.startsWith('!');
    let body = withoutSpaces(isNegative ? line.slice(1) : line);
    if (ignoreCase) body = body.toLowerCase();
    const foldersOnly = body.endsWith('/');
    if (foldersOnly) body = body.slice(0, -1);
    // gitignore(5): a slash that is not the last character ties the pattern to the file's folder.
    if (!body.includes('/')) return { isNegative, foldersOnly, matches: { name: namePattern(body) } };
    const parts = body.split('/').filter((part, index) => part !== '' || index > 0);
    return { isNegative, foldersOnly, matches: { path: pathPattern(parts) } };
  });
}

/** Spaces at the end, but for one that is meant. */
function withoutSpaces(text: string): string {
  let end = text.length;
  while (end > 0 && text.charAt(end - 1) === ' ' && text.charAt(end - 2) !== '\\') end--;
  return text.slice(0, end);
}

export interface HardLayer {
  /** Relative to the repository's top. */
  readonly folder: string;
  readonly rules: readonly HardRule[];
}

/**
 * @param layers from the top down: the last rule that matches counts
 * @param path relative to the top. True also where a folder above it is ignored
 */
export function isIgnoredByRules(layers: readonly HardLayer[], path: string, isFolder: boolean): boolean {
  const names = path.split('/');
  return names.some((_name, index) =>
    isIgnoredItself(layers, names.slice(0, index + 1), isFolder || index + 1 < names.length),
  );
}

function isIgnoredItself(layers: readonly HardLayer[], names: readonly string[], isFolder: boolean): boolean {
  const path = names.join('/');
  const last = names.at(-1) ?? '';
  for (const { folder, rules } of layers.toReversed()) {
    if (folder !== '' && !path.startsWith(`${folder}/`)) continue;
    const below = folder === '' ? names : names.slice(folder.split('/').length);
    const rule = rules.findLast(
      ({ foldersOnly, matches }) =>
        (isFolder || !foldersOnly) &&
        ('name' in matches ? matchesName(matches.name, last) : matchesPath(matches.path, below, true)),
    );
    if (rule !== undefined) return !rule.isNegative;
  }
  return false;
}
