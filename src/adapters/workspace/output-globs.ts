import { bytesOfText } from '../../base/byte-text.ts';

/** `{a,b}` multiplies: more than this of one glob are taken as they are written. */
const ALTERNATIVES_MAX = 64;
const ANY_DEPTH = '**';

type Part = typeof ANY_DEPTH | RegExp;
interface Glob {
  readonly parts: readonly Part[];
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
      .flatMap((glob) => alternativesOf(bytesOfText(glob)).map(compiled))
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
      if (glob.isNegative === isMatch && matchesFrom(glob.parts, 0, names, 0)) isMatch = !glob.isNegative;
    return isMatch;
  }

  /** False: nothing in that folder can match. */
  mayMatchBelow(folder: string): boolean {
    const names = folder.split('/');
    return this.#globs.some((glob) => !glob.isNegative && reaches(glob.parts, names));
  }
}

function reaches(parts: readonly Part[], names: readonly string[]): boolean {
  for (const [index, name] of names.entries()) {
    const part = parts[index];
    // A glob that ends above the folder takes all of it.
    if (part === undefined || part === ANY_DEPTH) return true;
    if (!part.test(name)) return false;
  }
  return true;
}

function matchesFrom(parts: readonly Part[], part: number, names: readonly string[], name: number): boolean {
  const expected = parts[part];
  if (expected === undefined) return true;
  if (name >= names.length) return false;
  if (expected !== ANY_DEPTH) return expected.test(names[name] ?? '') && matchesFrom(parts, part + 1, names, name + 1);
  if (part === parts.length - 1) return true;
  for (let from = name; from < names.length; from++) if (matchesFrom(parts, part + 1, names, from)) return true;
  return false;
}

function compiled(glob: string): Glob {
  const isNegative = glob.startsWith('!');
  const names = glob
    .slice(isNegative ? 1 : 0)
    .split('/')
    .filter((name) => name !== '' && name !== '.');
  // Neighbours that mean the same would be tried against each other without end.
  const parts = names.filter((name, index) => name !== ANY_DEPTH || names[index - 1] !== ANY_DEPTH);
  return { parts: parts.map((name) => (name === ANY_DEPTH ? ANY_DEPTH : patternOf(name))), isNegative };
}

/** One name with `*`, `?`, `[…]` and `\` before what is meant literally. */
function patternOf(name: string): RegExp {
  let source = '';
  for (let at = 0; at < name.length; at++) {
    const character = name.charAt(at);
    if (character === '*') source = source.endsWith('.*') ? source : `${source}.*`;
    else if (character === '?') source += '.';
    else if (character === '[') {
      const end = name.indexOf(']', at + 2);
      source += end < 0 ? String.raw`\[` : classOf(name.slice(at + 1, end));
      at = end < 0 ? at : end;
    } else {
      if (character === '\\' && at + 1 < name.length) at++;
      source += name.charAt(at).replace(/[\\^$.*+?()[\]{}|/-]/, String.raw`\$&`);
    }
  }
  return safePattern(source, name);
}

function classOf(body: string): string {
  const isNegative = /^[!^]/.test(body);
  return `[${isNegative ? '^' : ''}${body.slice(isNegative ? 1 : 0).replaceAll(/[\\\]^]/g, String.raw`\$&`)}]`;
}

/** A class such as `[z-a]` is no pattern: then the name means itself. */
function safePattern(source: string, name: string): RegExp {
  try {
    return new RegExp(`^${source}$`, 's');
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return new RegExp(`^${name.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, String.raw`\$&`)}$`, 's');
  }
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
