import ignore, { type Ignore } from 'ignore';
import type { IgnoreRules } from '../../wire/workspace.ts';

/** Says what a tree's ignore rules leave out, as git-check-ignore(1) --no-index does. Paths are bytes, see TreePath. */
export interface IgnoreMatcher {
  /** @param path relative to the root; true also where a folder above it is ignored */
  isIgnored(path: string, isFolder: boolean): boolean;
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

/** One stack of pattern files of which deeper ones win, as far as a repository's or the project's own rules go. */
interface Layer {
  readonly top: string;
  readonly texts: ReadonlyMap<string, string>;
}

/** Special in a pattern, so that a folder's name is taken literally. */
const SPECIAL = /[\\*?[\]!# ]/g;

/**
 * The package `ignore` takes the patterns of one file. Git lets a deeper file overrule those above, so here each folder
 * with a file has a matcher of its own that holds the patterns of all files from its repository's top down to it, each
 * written as if it stood at the top. A path is judged by the matcher of the nearest such folder above it.
 */
export function createIgnoreMatcher(sources: IgnoreSources): IgnoreMatcher {
  const layers = layersOf(sources).map((layer) => new LayerMatcher(layer, sources.ignoreCase ?? false));
  const [project, ...repositories] = layers;
  // The deepest first: a repository within another is judged by its own rules.
  const byDepth = repositories.toSorted((a, b) => b.top.length - a.top.length);
  return {
    isIgnored(path, isFolder) {
      if (project?.isIgnored(path, isFolder) === true) return true;
      for (const repository of byDepth) {
        if (path === repository.top || !isBelow(path, repository.top)) continue;
        if (repository.isIgnored(path, isFolder)) return true;
        return false;
      }
      return false;
    },
  };
}

const isBelow = (path: string, folder: string): boolean => folder === '' || path.startsWith(`${folder}/`);

function layersOf(sources: IgnoreSources): Layer[] {
  const projectTexts = new Map<string, string>();
  const repositories = new Map<string, Map<string, string>>();
  if (sources.isGit) repositories.set('', new Map());
  for (const rule of sources.rules) {
    if (rule.source === 'project') {
      projectTexts.set(rule.folder, joined(projectTexts.get(rule.folder), rule.text));
    } else {
      repositories.set(rule.folder, new Map([[rule.folder, rule.text]]));
    }
  }
  const tops = [...repositories.keys()].toSorted((a, b) => b.length - a.length);
  for (const [folder, text] of sources.gitignores) {
    const top = tops.find((candidate) => candidate === folder || isBelow(folder, candidate));
    const texts = top === undefined ? undefined : repositories.get(top);
    texts?.set(folder, joined(texts.get(folder), text));
  }
  return [{ top: '', texts: projectTexts }, ...[...repositories].map(([top, texts]) => ({ top, texts }))];
}

/** Later patterns win, so what is stronger comes last. */
const joined = (weaker: string | undefined, stronger: string): string =>
  weaker === undefined ? stronger : `${weaker}\n${stronger}`;

class LayerMatcher {
  readonly top: string;
  readonly #texts: ReadonlyMap<string, string>;
  readonly #ignoreCase: boolean;
  /** By folder; null: no pattern holds there. */
  readonly #matchers = new Map<string, Ignore | null>();

  constructor(layer: Layer, ignoreCase: boolean) {
    this.top = layer.top;
    this.#texts = layer.texts;
    this.#ignoreCase = ignoreCase;
  }

  isIgnored(path: string, isFolder: boolean): boolean {
    if (this.#texts.size === 0) return false;
    const relative = this.top === '' ? path : path.slice(this.top.length + 1);
    const slash = relative.lastIndexOf('/');
    const matcher = this.#matcherFor(slash === -1 ? '' : relative.slice(0, slash));
    return matcher !== null && matcher.ignores(isFolder ? `${relative}/` : relative);
  }

  /** @param folder relative to the top */
  #matcherFor(folder: string): Ignore | null {
    const known = this.#matchers.get(folder);
    if (known !== undefined) return known;
    const slash = folder.lastIndexOf('/');
    const above = folder === '' ? null : this.#matcherFor(slash === -1 ? '' : folder.slice(0, slash));
    const full = this.top === '' ? folder : folder === '' ? this.top : `${this.top}/${folder}`;
    const text = this.#texts.get(full);
    let matcher = above;
    if (text !== undefined) {
      matcher = ignore({ ignorecase: this.#ignoreCase, allowRelativePaths: true });
      if (above !== null) matcher.add(above);
      for (const pattern of patternsBelow(text, folder)) matcher.add({ pattern });
    }
    this.#matchers.set(folder, matcher);
    return matcher;
  }
}

/** The patterns of a file in `folder`, written as if it stood at the top. */
function patternsBelow(text: string, folder: string): string[] {
  const lines = text.split('\n').map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line));
  const patterns = lines.filter((line) => line !== '' && !line.startsWith('#'));
  if (folder === '') return patterns;
  const prefix = `/${folder.replaceAll(SPECIAL, String.raw`\$&`)}/`;
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
