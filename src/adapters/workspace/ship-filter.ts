import { bytesOfText } from '../../base/byte-text.ts';
import type { ShipSettings } from '../../ports/workspace.ts';
import { RULE_FILES_MAX, RULES_CHARS_MAX, type IgnoreRules } from '../../wire/workspace.ts';
import { createIgnoreMatcher, type IgnoreMatcher } from './ignore-matcher.ts';

/**
 * What settings, options and .meshworkignore files say of a path: options that exclude win over those that include,
 * which win over .meshworkignore. All patterns have the syntax of .gitignore(5), relative to the root.
 */
export class ShipFilter {
  readonly #exclude: IgnoreMatcher | null;
  readonly #include: IgnoreMatcher | null;
  readonly #asIs: IgnoreMatcher | null;
  readonly #wanted: readonly string[];
  readonly #excludes: string;
  readonly #matcher: IgnoreMatcher;
  readonly #rules: { folder: string; text: string; source: 'exclude' | 'project' }[] = [];
  readonly #notices: string[] = [];
  #hasRules = false;

  /** @param defaults patterns that a `.meshworkignore` may take back */
  constructor(ship: ShipSettings, defaults: string) {
    this.#exclude = matcherOf(ship.exclude);
    this.#include = matcherOf(ship.include);
    this.#asIs = matcherOf(ship.ignored);
    this.#wanted = [...ship.include, ...ship.ignored].map(bytesOfText);
    this.#matcher = createIgnoreMatcher({ isGit: false, rules: [], gitignores: new Map() });
    this.learn('', defaults);
    this.#excludes = ship.exclude.map(bytesOfText).join('\n');
  }

  /** A `.meshworkignore` in that folder, before anything below it is asked about. */
  learn(folder: string, text: string): void {
    if (text.trim() === '') return;
    this.#hasRules = true;
    this.#matcher.learnProjectRules(folder, text);
    this.#rules.push({ folder, text, source: 'project' });
  }

  /** By an option, which nothing overrules. */
  excludes(path: string): boolean {
    return this.#exclude?.isIgnored(path, false) === true;
  }

  leavesOut(path: string, isFolder: boolean): boolean {
    if (!this.#hasRules && this.#exclude === null) return false;
    if (this.#exclude?.isIgnored(path, isFolder) === true) return true;
    return this.#hasRules && this.#matcher.isIgnored(path, isFolder) && !this.includes(path, isFolder);
  }

  /** True where it comes along although a rule ignores it. */
  includes(path: string, isFolder: boolean): boolean {
    return this.#include?.isIgnored(path, isFolder) === true || this.sendsAsIs(path, isFolder);
  }

  /** `[ship] ignored`: what was named there is not asked whether it is secret. */
  sendsAsIs(path: string, isFolder: boolean): boolean {
    return this.#asIs?.isIgnored(path, isFolder) === true;
  }

  /**
   * Might something below an ignored folder come along? A pattern without a folder names none inside of others.
   *
   * @param isLarge true where only a pattern that begins with that folder's very name is worth a look
   */
  mayIncludeBelow(folder: string, isLarge: boolean): boolean {
    return this.#wanted.some((pattern) => {
      const plain = pattern.replace(/^\//, '');
      const literal = plain.slice(0, Math.max(0, plain.search(/[*?[\\]|$/)));
      if (!plain.includes('/')) return false;
      return literal.startsWith(`${folder}/`) || (!isLarge && `${folder}/`.startsWith(literal));
    });
  }

  /** Is that very file named, without a wildcard? */
  names(path: string): boolean {
    return this.#wanted.some((pattern) => pattern.replace(/^\//, '') === path);
  }

  /** For the executor. @param repositories what each repository has beside its .gitignore files */
  rules(repositories: IgnoreRules): { readonly rules: IgnoreRules; readonly notices: readonly string[] } {
    const options = this.#excludes === '' ? [] : [{ folder: '', text: this.#excludes, source: 'project' as const }];
    const kept: IgnoreRules = [];
    let chars = 0;
    for (const rule of [...this.#rules, ...options, ...repositories]) {
      if (kept.length >= RULE_FILES_MAX || chars + rule.text.length > RULES_CHARS_MAX) {
        this.#notices.push('there are too many ignore rules: some ignored files may come back');
        break;
      }
      chars += rule.text.length;
      kept.push(rule);
    }
    return { rules: kept, notices: this.#notices };
  }
}

/** As rules of ignore files are: these are a project's too, and one may be made so that an expression never ends. */
function matcherOf(patterns: readonly string[]): IgnoreMatcher | null {
  if (patterns.length === 0) return null;
  const text = patterns.map(bytesOfText).join('\n');
  const rules: IgnoreRules = [{ folder: '', text, source: 'project' }];
  return createIgnoreMatcher({ isGit: false, rules, gitignores: new Map() });
}
