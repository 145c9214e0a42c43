import { bytesOfText } from '../../base/byte-text.ts';
import { ANY_DEPTH, matchesName, matchesPath, pathPattern, type PathPart } from './path-pattern.ts';

/** `{a,b}` multiplies: more than this of one glob are taken as they are written. */
const ALTERNATIVES_MAX = 64;

interface Glob {
  /** As it was given. */
  readonly source: string;
  readonly parts: readonly PathPart[];
  readonly isNegative: boolean;
}

/**
 * The globs of `--out`, as a shell with `**` means them, from the project's root: `dist/**`, `*.tgz`, `build/`, `{a,b}.txt`.
 * What matches a folder means all that is in it; a later `!glob` takes out again. Names that begin with a dot match too.
 */
export class OutputGlobs {
  readonly #globs: readonly Glob[];

  constructor(globs: readonly string[]) {
    this.#globs = globs
      .flatMap((glob) => alternativesOf(bytesOfText(glob)).map((one) => compiled(glob, one)))
      .filter((glob) => glob.parts.length > 0);
  }

  get isEmpty(): boolean {
    return this.#globs.length === 0;
  }

  /** @param path of a file or link, relative to the root, bytes as characters */
  matches(path: string): boolean {
    const names = path.split('/');
    let isMatch = false;
    for (const glob of this.#globs)
      if (glob.isNegative === isMatch && matchesPath(glob.parts, names, false)) isMatch = !glob.isNegative;
    return isMatch;
  }

  /** Of the globs that ask for something, those that none of `paths` fits; these are read as far as it takes. */
  unmatchedBy(paths: Iterable<string>): string[] {
    const open = new Set(this.#globs.flatMap(({ source, isNegative }) => (isNegative ? [] : [source])));
    for (const path of open.size === 0 ? [] : paths) {
      const names = path.split('/');
      for (const { source, parts } of this.#globs)
        if (open.has(source) && matchesPath(parts, names, false)) open.delete(source);
      if (open.size === 0) break;
    }
    return [...open];
  }

  /** False: nothing in that folder can match. */
  mayMatchBelow(folder: string): boolean {
    const names = folder.split('/');
    return this.#globs.some((glob) => !glob.isNegative && reaches(glob.parts, names));
  }
}

function reaches(parts: readonly PathPart[], names: readonly string[]): boolean {
  for (const [index, name] of names.entries()) {
    const part = parts[index];
    // A glob that ends above the folder takes all of it.
    if (part === undefined || part === ANY_DEPTH) return true;
    if (!matchesName(part, name)) return false;
  }
  return true;
}

function compiled(source: string, glob: string): Glob {
  const isNegative = glob.startsWith('!');
  const names = glob
    .slice(isNegative ? 1 : 0)
    .split('/')
    .filter((name) => name !== '' && name !== '.');
  return { source, parts: pathPattern(names), isNegative };
}

function alternativesOf(glob: string): string[] {
  let globs = [glob];
  for (;;) {
    const next = globs.flatMap(firstBracesOf);
    if (next.length === globs.length || next.length > ALTERNATIVES_MAX) return globs;
    globs = next;
  }
}

/** Innermost braces with a comma; without one they are taken literally, as a shell does. */
function firstBracesOf(glob: string): string[] {
  const match = /\{([^{}]*,[^{}]*)\}/.exec(glob);
  if (match === null) return [glob];
  const [whole, body = ''] = match;
  return body.split(',').map((choice) => glob.slice(0, match.index) + choice + glob.slice(match.index + whole.length));
}
