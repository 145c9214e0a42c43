import { statfsSync, type Stats } from 'node:fs';
import { MADE_BESIDE, MADE_FOLDER_MARKS } from '../../core/workspace/default-excludes.ts';
import { textOfBytes } from '../../base/byte-text.ts';
import { escapeControls } from '../../base/escape.ts';
import { TREE_PATH_BYTES_MAX, type TreePath } from '../../wire/manifest.ts';
import { below, listFolder, lookAt, type Named, readIgnoreFile } from './byte-files.ts';
import { gitPlacesOf } from './git-places.ts';
import { literalPattern } from './ignore-matcher.ts';
import type { KnownFolder, KnownNames } from './known-names.ts';
import { nativePath } from './native-path.ts';
import { shownPath } from '../../wire/tree-path.ts';
import type { SelectionDraft } from './selection-draft.ts';
import type { ShipFilter } from './ship-filter.ts';
import { Turn } from './turn.ts';

/** Far enough beyond the cap to tell where the files are. */
const BEYOND_CAP = 4;

/**
 * File systems of which a folder's times are sure to tell that a name was put in or taken away (statfs(2)): ext2 to ext4,
 * XFS, Btrfs, tmpfs, F2FS, ZFS, overlayfs. Others may be a server's, or another system's, and are read anew.
 */
const TELLING_FILE_SYSTEMS: ReadonlySet<number> = new Set([
  0xef53, 0x58465342, 0x9123683e, 0x01021994, 0xf2f52010, 0x2fc12fc1, 0x794c7630,
]);

/**
 * Offers every file of a project that isn't a git work tree, until there are far more than may be sent.
 *
 * @param root absolute bytes
 * @param known of the last selection, and for the next
 * @returns repositories within it, which are listed by their own rules
 */
export async function walkPlain(
  root: string,
  draft: SelectionDraft,
  filter: ShipFilter,
  filesMax: number,
  known: KnownNames,
): Promise<string[]> {
  const walk = new PlainWalk(root, draft, filter, known);
  const turn = new Turn();
  for (let folder = walk.waiting.pop(); folder !== undefined; folder = walk.waiting.pop()) {
    if (turn.isOver()) await turn.pass();
    if (draft.count > filesMax * BEYOND_CAP) break;
    walk.lookInto(folder);
  }
  known.end(draft.count);
  return walk.nested;
}

class PlainWalk {
  readonly nested: string[] = [];
  readonly waiting: string[] = [''];
  readonly #root: string;
  readonly #draft: SelectionDraft;
  readonly #filter: ShipFilter;
  readonly #known: KnownNames;
  /** Null where folders are not sure to tell what changed. */
  readonly #device: number | null;
  /** Of folders that are waiting. */
  readonly #untouched = new Map<string, KnownFolder>();

  constructor(root: string, draft: SelectionDraft, filter: ShipFilter, known: KnownNames) {
    this.#root = root;
    this.#known = known;
    this.#draft = draft;
    this.#filter = filter;
    const top = lookAt(root);
    this.#device = top !== null && TELLING_FILE_SYSTEMS.has(statfsSync(nativePath(root)).type) ? top.dev : null;
    this.#isUntouched('');
  }

  lookInto(folder: string): void {
    const untouched = this.#untouched.get(folder);
    this.#untouched.delete(folder);
    if (untouched === undefined || !this.#known.isUsable) return this.#read(folder);
    for (const path of untouched.files) this.#draft.addKnown(path as TreePath);
    for (const path of untouched.folders) this.#takeFolder(path);
  }

  #read(folder: string): void {
    const readMs = Date.now();
    const stat = this.#device === null ? null : lookAt(this.#absolute(folder));
    const entries = listFolder(this.#absolute(folder));
    if (entries === null) {
      this.#draft.notice(`${escapeControls(textOfBytes(folder))} can't be read: what it holds is left out`);
      return;
    }
    const hasRules = this.#learn(folder, entries);
    if (folder !== '' && this.#isMade(folder, entries)) return;
    const files: string[] = [];
    const folders: string[] = [];
    for (const { name, kind } of entries) {
      const path = below(folder, name);
      if (kind === 'other' || name === '.git') continue;
      if (kind === 'folder') {
        if (this.#takeFolder(path)) folders.push(path);
      } else if (this.#takeFile(path)) files.push(path);
    }
    if (folder !== '' && files.length === 0 && !this.#hasFolders(folder, entries)) this.#draft.addFolder(folder);
    const isPlain = !hasRules && entries.length > 0 && files.length + folders.length === entries.length;
    // Sorted so that all files together are nearly so: folders are taken from the end.
    files.sort();
    folders.sort().reverse();
    if (isPlain && stat !== null) this.#keep(folder, { files, folders }, stat, readMs);
  }

  /** Beside those that are left out: what is in others may be sent. Of its files, the draft knows. */
  #hasFolders(folder: string, entries: readonly Named[]): boolean {
    return entries.some(({ name, kind }) => kind === 'folder' && !this.#filter.leavesOut(below(folder, name), true));
  }

  #keep(folder: string, found: KnownFolder, stat: Stats, readMs: number): void {
    if (stat.isDirectory() && stat.dev === this.#device) this.#known.keepFolder(folder, found, stat, readMs);
  }

  /** @returns whether it goes along whatever is in it */
  #takeFile(path: string): boolean {
    if (this.#known.has(path)) {
      this.#draft.addKnown(path as TreePath);
      return true;
    }
    if (this.#filter.leavesOut(path, false)) {
      this.#draft.addIgnoredFile(path, false);
      return false;
    }
    if (this.#draft.addUntracked(path) !== 'plain') return false;
    this.#known.add(path);
    return true;
  }

  /** Has the folder the names that it had? Then there is no repository in it either. */
  #isUntouched(folder: string): boolean {
    const stat = this.#device === null ? null : lookAt(this.#absolute(folder));
    if (stat?.isDirectory() !== true || stat.dev !== this.#device) return false;
    const known = this.#known.folder(folder, stat);
    if (known === null) return false;
    this.#untouched.set(folder, known);
    return true;
  }

  #absolute(path: string): string {
    return path === '' ? this.#root : `${this.#root}/${path}`;
  }

  /** @returns whether the folder has rules, or what makes some */
  #learn(folder: string, entries: readonly Named[]): boolean {
    let rules = '';
    let hasRules = false;
    for (const { name } of entries) {
      const made = Object.hasOwn(MADE_BESIDE, name) ? MADE_BESIDE[name] : undefined;
      const text = name === '.meshworkignore' ? readIgnoreFile(this.#absolute(below(folder, name))) : made;
      hasRules ||= text !== undefined || MADE_FOLDER_MARKS.includes(name);
      if (text === undefined) continue;
      this.#filter.learn(folder, text);
      rules += `${text}\n`;
    }
    this.#known.enter(folder, rules);
    return hasRules;
  }

  /** Did a tool make that folder for itself? */
  #isMade(folder: string, entries: readonly Named[]): boolean {
    if (!entries.some(({ name }) => MADE_FOLDER_MARKS.includes(name)) || this.#filter.includes(folder, true))
      return false;
    this.#filter.learn('', `${literalPattern(folder)}/`);
    this.#draft.addIgnoredFolder(folder);
    return true;
  }

  /** @returns whether it is looked into, as a folder like others */
  #takeFolder(path: string): boolean {
    if (this.#filter.leavesOut(path, true)) {
      this.#draft.addIgnoredFolder(path);
      return false;
    }
    if (!this.#isUntouched(path) && gitPlacesOf(this.#absolute(path)) !== null) {
      this.nested.push(path);
      return false;
    }
    if (path.length > TREE_PATH_BYTES_MAX) {
      this.#draft.notice(`left out: ${shownPath(path)} has a path of more than ${TREE_PATH_BYTES_MAX} bytes`);
      return false;
    }
    this.waiting.push(path);
    return true;
  }
}
