import ignore from 'ignore';
import type { IgnoreRules } from '../../wire/workspace.ts';
import { areHard, hardRules, isIgnoredByRules, type HardLayer } from './hard-patterns.ts';
import { isIgnoredBy, simplePatterns, type SimplePatterns } from './simple-patterns.ts';

/** Says what a tree's ignore rules leave out, as git-check-ignore(1) --no-index does. Paths are bytes, see TreePath. */
export interface IgnoreMatcher {
  /** @param path relative to the root; true also where a folder above it is ignored */
  isIgnored(path: string, isFolder: boolean): boolean;
  /** For whoever finds the rules on the way: before anything below that folder is asked about. */
  learnGitignore(folder: string, text: string): void;
  learnProjectRules(folder: string, text: string): void;
  /** @param text of its info/exclude; rules of repositories above don't reach into it */
  addRepository(folder: string, text: string): void;
}

export interface IgnoreSources {
  /** True where .gitignore files hold. */
  readonly isGit: boolean;
  readonly rules: IgnoreRules;
  /** The content of `.gitignore` files by the folder that they lie in ('' is the root), bytes as characters. */
  readonly gitignores: ReadonlyMap<string, string>;
  /** True where names that differ in case alone are the same (core.ignorecase). */
  readonly ignoreCase?: boolean;
}

/** Special in a pattern, so that a folder's name is taken literally. */
const SPECIAL = /[\\*?[\]!# ]/g;

/**
 * The package `ignore` takes the patterns of one file. Git lets a deeper file overrule those above, so here each folder
 * with a file has a matcher of its own that holds the patterns of all files from its repository's top down to it, each
 * written as if it stood at the top. A path is judged by the matcher of the nearest such folder above it. Where expressions
 * would take too long, own rules say the same.
 */
export function createIgnoreMatcher(sources: IgnoreSources): IgnoreMatcher {
  const ignoreCase = sources.ignoreCase ?? false;
  const project = new LayerMatcher('', ignoreCase);
  /** The deepest first: a repository within another is judged by its own rules. */
  let repositories: LayerMatcher[] = [];
  const repositoryOf = (path: string): LayerMatcher | undefined =>
    repositories.find(({ top }) => top === '' || path.startsWith(`${top}/`));
  const addRepository = (folder: string, text: string): void => {
    const known = repositories.find(({ top }) => top === folder);
    const repository = known ?? new LayerMatcher(folder, ignoreCase);
    repository.learn(folder, text);
    if (known !== undefined) return;
    repositories = [...repositories, repository].toSorted((a, b) => b.top.length - a.top.length);
  };
  const learnGitignore = (folder: string, text: string): void => {
    const repository = repositories.find(({ top }) => top === '' || top === folder || folder.startsWith(`${top}/`));
    repository?.learn(folder, text);
  };

  if (sources.isGit) addRepository('', '');
  for (const { folder, text, source } of sources.rules) {
    if (source === 'exclude') addRepository(folder, text);
    else project.learn(folder, text);
  }
  for (const [folder, text] of sources.gitignores) learnGitignore(folder, text);
  return {
    isIgnored: (path, isFolder) =>
      project.isIgnored(path, isFolder) || repositoryOf(path)?.isIgnored(path, isFolder) === true,
    addRepository,
    learnGitignore,
    learnProjectRules: (folder, text) => project.learn(folder, text),
  };
}

/** A stack of pattern files of which deeper ones win: a repository's, or the project's own. */
class LayerMatcher {
  readonly top: string;
  readonly #ignoreCase: boolean;
  readonly #texts = new Map<string, string>();
  /** By folder. */
  readonly #judges = new Map<string, Judge>();

  constructor(top: string, ignoreCase: boolean) {
    this.top = top;
    this.#ignoreCase = ignoreCase;
  }

  /** A second text of the same folder is stronger. */
  learn(folder: string, text: string): void {
    const known = this.#texts.get(folder);
    if (text === '' && known === undefined) return;
    this.#texts.set(folder, known === undefined ? text : `${known}\n${text}`);
    this.#judges.clear();
  }

  isIgnored(path: string, isFolder: boolean): boolean {
    if (this.#texts.size === 0) return false;
    const relative = this.top === '' ? path : path.slice(this.top.length + 1);
    const slash = relative.lastIndexOf('/');
    return this.#judgeFor(slash === -1 ? '' : relative.slice(0, slash)).isIgnored(relative, isFolder);
  }

  /** @param folder relative to the top */
  #judgeFor(folder: string): Judge {
    const known = this.#judges.get(folder);
    if (known !== undefined) return known;
    const slash = folder.lastIndexOf('/');
    const above = folder === '' ? NOTHING : this.#judgeFor(slash === -1 ? '' : folder.slice(0, slash));
    const full = this.top === '' ? folder : folder === '' ? this.top : `${this.top}/${folder}`;
    const text = this.#texts.get(full);
    const judge =
      text === undefined ? above : judgeWith(above, { folder, patterns: patternsOf(text) }, this.#ignoreCase);
    this.#judges.set(folder, judge);
    return judge;
  }
}

/** The patterns of one file. */
interface Layer {
  /** Relative to the top. */
  readonly folder: string;
  readonly patterns: readonly string[];
}

/** All patterns that hold in a folder, from the top down to it. */
interface Judge {
  readonly layers: readonly Layer[];
  readonly count: number;
  /** Null where one of them is more than simple. */
  readonly simple: readonly SimplePatterns[] | null;
  /** Null where none of them is hard. */
  readonly hard: readonly HardLayer[] | null;
  isIgnored(path: string, isFolder: boolean): boolean;
}

const NOTHING: Judge = { layers: [], count: 0, simple: [], hard: null, isIgnored: () => false };

function judgeWith(above: Judge, own: Layer, ignoreCase: boolean): Judge {
  const layers = [...above.layers, own];
  const count = above.count + own.patterns.length;
  const plain = ignoreCase || above.simple === null ? null : simplePatterns(own.patterns, own.folder);
  if (plain !== null && above.simple !== null) {
    const simple = [...above.simple, plain];
    return { layers, count, simple, hard: null, isIgnored: (path, isFolder) => isIgnoredBy(simple, path, isFolder) };
  }
  if (above.hard !== null || layers.some(({ patterns }) => areHard(patterns, count))) {
    const known = above.hard ?? above.layers.map((layer) => hardLayer(layer, ignoreCase));
    const hard = [...known, hardLayer(own, ignoreCase)];
    const isIgnored = (path: string, isFolder: boolean): boolean =>
      isIgnoredByRules(hard, ignoreCase ? path.toLowerCase() : path, isFolder);
    return { layers, count, simple: null, hard, isIgnored };
  }
  const matcher = ignore({ ignorecase: ignoreCase, allowRelativePaths: true });
  for (const { folder, patterns } of layers) {
    for (const pattern of patternsBelow(patterns, folder)) matcher.add({ pattern });
  }
  return {
    layers,
    count,
    simple: null,
    hard: null,
    isIgnored: (path, isFolder) => matcher.ignores(isFolder ? `${path}/` : path),
  };
}

function hardLayer({ folder, patterns }: Layer, ignoreCase: boolean): HardLayer {
  return { folder: ignoreCase ? folder.toLowerCase() : folder, rules: hardRules(patterns, ignoreCase) };
}

/** The pattern of that one path below the root. */
export const literalPattern = (path: string): string => `/${path.replaceAll(SPECIAL, String.raw`\$&`)}`;

function patternsOf(text: string): string[] {
  const lines = text.split('\n').map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line));
  return lines.filter((line) => line !== '' && !line.startsWith('#'));
}

/** The patterns of a file in `folder`, written as if it stood at the top. */
function patternsBelow(patterns: readonly string[], folder: string): readonly string[] {
  if (folder === '') return patterns;
  const prefix = `${literalPattern(folder)}/`;
  return patterns.map((pattern) => {
    const negative = pattern.startsWith('!');
    const body = negative ? pattern.slice(1) : pattern;
    const slash = body.indexOf('/');
    // gitignore(5): a slash that is not the last character ties the pattern to the file's folder.
    const anchored = slash !== -1 && slash !== body.trimEnd().length - 1;
    const tied = anchored ? body.replace(/^\//, '') : `**/${body}`;
    return `${negative ? '!' : ''}${prefix}${tied}`;
  });
}
