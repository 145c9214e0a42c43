import { textOfBytes } from '../../base/byte-text.ts';
import { escapeControls } from '../../base/escape.ts';
import { DecidedSecrets } from '../../core/workspace/decided-secrets.ts';
import { isDependencyFile, isDependencyFolder } from '../../core/workspace/dependency-files.ts';
import { holdsSecret, judgeSecret } from '../../core/workspace/secret-files.ts';
import type { FoundDependency, ScanRequest } from '../../ports/workspace.ts';
import type { TreePath } from '../../wire/manifest.ts';
import { parseTreePath } from '../../wire/tree-path.ts';
import type { IgnoreRules } from '../../wire/workspace.ts';
import { below, listFolder, lookAt, lookThrough, readByteText } from './byte-files.ts';
import { foldersOf } from './empty-folders.ts';
import { literalPattern } from './ignore-matcher.ts';
import type { PlacedElsewhere, Selection, VirtualFile } from './selection.ts';
import type { ShipFilter } from './ship-filter.ts';
import { isTemporary } from './temporary-name.ts';

const DEPTH_MAX = 256;
const SECRET_BYTES_MAX = 1024 * 1024;
const NOTICES_MAX = 16;

/** A selection in the making: each file of the tree is offered to it once, and it decides. */
export class SelectionDraft {
  readonly virtual: VirtualFile[] = [];
  readonly #root: string;
  readonly #decided: DecidedSecrets;
  readonly #filter: ShipFilter;
  readonly #tracked: TreePath[] = [];
  readonly #others: TreePath[] = [];
  readonly #folders = new Set<TreePath>();
  readonly #elsewhere: PlacedElsewhere[] = [];
  readonly #secrets = new Set<TreePath>();
  readonly #withheld: string[] = [];
  readonly #undecided: string[] = [];
  readonly #dependencies: FoundDependency[] = [];
  readonly #lockfiles: string[] = [];
  /** What is in them no list names. */
  readonly #ignoredFolders = new Set<string>();
  readonly #notices: string[] = [];
  readonly #standing: string[] = [];
  /** Tracked files that .meshworkignore or an option leaves out. */
  #leftOut = 0;
  /** Folders by whether they are real ones: what lies behind a link is no part of the tree. */
  readonly #realFolders = new Map<string, boolean>([['', true]]);

  /** @param root absolute bytes */
  constructor(root: string, request: Pick<ScanRequest, 'secrets'>, filter: ShipFilter) {
    this.#root = root;
    this.#decided = new DecidedSecrets(request.secrets);
    this.#filter = filter;
  }

  /** How many files there are so far. */
  get count(): number {
    return this.#tracked.length + this.#others.length;
  }

  notice(text: string): void {
    if (this.#notices.length < NOTICES_MAX && !this.#notices.includes(text)) this.#notices.push(text);
  }

  /** See `Scan.standing`. */
  standing(text: string): void {
    if (this.#standing.length < NOTICES_MAX && !this.#standing.includes(text)) this.#standing.push(text);
  }

  /** In a git index: never withheld. It may be gone, which is left to whoever reads it. */
  addTracked(path: string): void {
    if (this.#filter.leavesOut(path, false)) {
      this.#leftOut += 1;
      return;
    }
    const parsed = this.#isInRealFolder(path) ? this.#parse(path) : null;
    if (parsed !== null) this.#keep(parsed, this.#tracked);
  }

  /**
   * @param isIgnored by a rule that an option overrides
   * @returns `plain` where it goes along whatever is in it, see KnownNames
   */
  addUntracked(path: string, isIgnored = false): 'plain' | 'judged' {
    if (isTemporary(path)) return 'judged';
    if (isDependencyFolder(path) && this.#isLinkToFolder(path)) {
      // A work tree that borrows another's dependencies: no file of the project, and it leads out of it.
      this.#addDependency(path);
      this.#filter.learn('', literalPattern(path));
      return 'judged';
    }
    if (this.#filter.leavesOut(path, false) || !this.#maySend(path, isIgnored)) return 'judged';
    const parsed = this.#parse(path);
    if (parsed === null) return 'judged';
    this.#keep(parsed, this.#others);
    const isPlain = !isDependencyFolder(path) && !isDependencyFile(path) && judgeSecret(path, isIgnored) === 'plain';
    return isPlain && this.#decided.ofName(path) === null ? 'plain' : 'judged';
  }

  /** What was found to be `plain` by the same rules. */
  addKnown(path: TreePath): void {
    this.#others.push(path);
  }

  /** @param isToolsOwn in a folder that ignores itself, or is one of dependencies */
  addIgnoredFile(path: string, isToolsOwn: boolean): void {
    if (isDependencyFolder(path) && this.#isLinkToFolder(path)) this.#addDependency(path);
    else if (this.#filter.leavesOut(path, false)) return;
    else if (this.#filter.includes(path, false)) this.addUntracked(path, true);
    else if (this.#decided.ofName(path) === 'send' || (!isToolsOwn && this.#isSecret(path, true))) {
      const parsed = this.#maySend(path, true) ? this.#parse(path) : null;
      if (parsed !== null) this.#keep(parsed, this.#others);
    }
  }

  /** Nothing of it is sent but what an option or a decision names. */
  addIgnoredFolder(path: string): void {
    this.#ignoredFolders.add(path);
    const sent = this.#filter.includes(path, true) && !this.#filter.leavesOut(path, true);
    if (!sent && isDependencyFolder(path)) this.#addDependency(path);
    if (sent || this.#filter.mayIncludeBelow(path, isDependencyFolder(path))) this.#addIncludedBelow(path, 0);
  }

  addFolder(path: string): void {
    if (this.#filter.leavesOut(path, true)) return;
    const parsed = this.#parse(path);
    if (parsed !== null) this.#folders.add(parsed);
  }

  /** A part of `.git`, which no rule of the project is about. */
  addPlaced(path: TreePath, absolute: string): void {
    if (
      absolute.length === this.#root.length + 1 + path.length &&
      absolute.endsWith(path) &&
      absolute.startsWith(`${this.#root}/`)
    ) {
      this.#others.push(path);
    } else this.#elsewhere.push({ path, absolute });
  }

  /** What somebody decided to send, also where no list names it: below a folder that is ignored as a whole. */
  addDecided(): void {
    for (const path of this.#decided.sentFiles) {
      const parsed = parseTreePath(path);
      if (!parsed.ok || this.#secrets.has(parsed.value) || this.#filter.excludes(parsed.value)) continue;
      const isListed = this.#tracked.includes(parsed.value) || this.#others.includes(parsed.value);
      if (isListed || !this.#isInRealFolder(parsed.value)) continue;
      if (lookAt(`${this.#root}/${parsed.value}`)?.isFile() !== true) continue;
      this.#secrets.add(parsed.value);
      this.#keep(parsed.value, this.#others);
    }
    const folders = this.#decided.sentFolders.filter((path) => this.#isIgnoredFolder(path));
    if (folders.length === 0) return;
    const listed = new Set<string>(this.#others);
    for (const folder of folders) if (this.#isRealFolder(folder)) this.#addAllBelow(folder, listed, 0);
  }

  finish(kind: Selection['kind'], repositories: IgnoreRules): Selection {
    const { rules, notices } = this.#filter.rules(repositories);
    if (this.#leftOut > 0) {
      const files = this.#leftOut === 1 ? '1 tracked file' : `${this.#leftOut} tracked files`;
      this.standing(`git there misses ${files} that .meshworkignore or --exclude leaves out`);
    }
    return {
      kind,
      root: this.#root,
      files: this.#tracked.concat(this.#others),
      trackedFiles: this.#tracked.length,
      secrets: this.#secrets,
      folders: this.#emptyFolders(),
      elsewhere: this.#elsewhere,
      virtual: this.virtual,
      withheld: this.#withheld.toSorted(),
      undecided: this.#undecided.toSorted(),
      trackedDecided: this.#trackedDecided(),
      dependencies: this.#dependencies,
      lockfiles: this.#lockfiles,
      rules,
      notices: [...this.#notices, ...notices],
      standing: this.#standing,
    };
  }

  #trackedDecided(): string[] {
    const decided = this.#decided;
    if (decided.isEmpty) return [];
    // A folder that is sent, or what is no secret in one that is not, is none's surprise.
    const tracked = this.#tracked.filter(
      (path) => decided.ofName(path) !== null || (decided.ofFolders(path) === 'skip' && this.#isSecret(path, true)),
    );
    return tracked.map((path) => escapeControls(textOfBytes(path)));
  }

  /** A folder of ignored files has a file after all where an option, or a decision, takes one of them along. */
  #emptyFolders(): TreePath[] {
    if (this.#folders.size === 0) return [];
    const filled = foldersOf(this.#others);
    return [...this.#folders].filter((folder) => !filled.has(folder));
  }

  #keep(path: TreePath, list: TreePath[]): void {
    list.push(path);
    if (isDependencyFile(path)) this.#lockfiles.push(textOfBytes(path));
  }

  #addDependency(path: string): void {
    this.#dependencies.push({ folder: textOfBytes(path) });
  }

  #parse(path: string): TreePath | null {
    const parsed = parseTreePath(path);
    if (parsed.ok) return parsed.value;
    this.notice(`left out: ${parsed.error}`);
    return null;
  }

  #isInRealFolder(path: string): boolean {
    const slash = path.lastIndexOf('/');
    return slash === -1 || this.#isRealFolder(path.slice(0, slash));
  }

  #isRealFolder(folder: string): boolean {
    const known = this.#realFolders.get(folder);
    if (known !== undefined) return known;
    const isReal = this.#isInRealFolder(folder) && lookAt(`${this.#root}/${folder}`)?.isDirectory() === true;
    this.#realFolders.set(folder, isReal);
    return isReal;
  }

  #isLinkToFolder(path: string): boolean {
    const absolute = `${this.#root}/${path}`;
    return lookAt(absolute)?.isSymbolicLink() === true && lookThrough(absolute)?.isDirectory() === true;
  }

  #isSecret(path: string, isIgnored: boolean): boolean {
    const verdict = judgeSecret(path, isIgnored);
    if (verdict !== 'content') return verdict === 'secret';
    const absolute = `${this.#root}/${path}`;
    const stats = lookThrough(absolute);
    if (stats === null || !stats.isFile()) return false;
    // What can't be judged is taken for a secret.
    return stats.size > SECRET_BYTES_MAX || holdsSecret(path, readByteText(absolute) ?? '');
  }

  /** Untracked: is it no secret, or did someone decide to send it? */
  #maySend(path: string, isIgnored: boolean): boolean {
    const own = this.#decided.ofName(path);
    if (own === null && (!this.#isSecret(path, isIgnored) || this.#filter.sendsAsIs(path, false))) return true;
    const decision = own ?? this.#decided.ofFolders(path);
    if (decision === 'send' || (decision === null && this.#filter.names(path))) {
      const parsed = this.#parse(path);
      if (parsed !== null) this.#secrets.add(parsed);
      return true;
    }
    const text = escapeControls(textOfBytes(path));
    this.#withheld.push(text);
    if (decision === null) this.#undecided.push(text);
    return false;
  }

  /** As a whole, and no dependencies: those are prepared there. */
  #isIgnoredFolder(path: string): boolean {
    const folders = [...foldersOf([`${path}/`])];
    return folders.some((one) => this.#ignoredFolders.has(one)) && !folders.some(isDependencyFolder);
  }

  /** @param listed what is selected anyway */
  #addAllBelow(folder: string, listed: Set<string>, depth: number): void {
    if (depth > DEPTH_MAX) return;
    // Where a rule leaves out all of it, the decision is about that rule.
    const isLeftOut = this.#filter.leavesOut(folder, true);
    for (const { name, kind } of listFolder(`${this.#root}/${folder}`) ?? []) {
      const path = below(folder, name);
      if (name === '.git' || kind === 'other' || listed.has(path) || this.#filter.excludes(path)) continue;
      if (!isLeftOut && this.#filter.leavesOut(path, kind === 'folder')) continue;
      if (kind === 'folder') {
        if (!isDependencyFolder(path)) this.#addAllBelow(path, listed, depth + 1);
      } else if (!isTemporary(path) && this.#maySend(path, true)) {
        const parsed = this.#parse(path);
        listed.add(path);
        if (parsed !== null) this.#keep(parsed, this.#others);
      }
    }
  }

  #addIncludedBelow(folder: string, depth: number): void {
    if (depth > DEPTH_MAX) return;
    for (const { name, kind } of listFolder(`${this.#root}/${folder}`) ?? []) {
      const path = below(folder, name);
      if (name === '.git' || kind === 'other') continue;
      if (kind === 'folder') {
        const isIncluded = this.#filter.includes(path, true) || this.#filter.mayIncludeBelow(path, false);
        if (isIncluded && !this.#filter.leavesOut(path, true)) this.#addIncludedBelow(path, depth + 1);
      } else if (
        this.#filter.includes(path, false) &&
        !this.#filter.leavesOut(path, false) &&
        this.#maySend(path, true)
      ) {
        const parsed = this.#parse(path);
        if (parsed !== null) this.#keep(parsed, this.#others);
      }
    }
  }
}
