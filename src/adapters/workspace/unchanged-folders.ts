import type { ManifestEntry } from '../../wire/manifest.ts';
import { isSameEntry } from '../../wire/manifest-difference.ts';
import { folderOf } from '../../wire/tree-path.ts';
import type { PlacedTree } from './placing.ts';
import type { TreeFolders } from './tree-folders.ts';
import type { TreeIndex } from './tree-index.ts';
import type { TreeState } from './tree-state.ts';

const UNKNOWN = 0;
const UNCHANGED = 1;
const CHANGED = 2;

/**
 * Which folders are as they were noted, so that nobody need open them and read their names. A tree that was collected
 * seconds ago and in which nothing ran since is taken to be so where its folders are alike. What would have to write to a file
 * in place meanwhile is a process that outlived its job, and that may write during the next job, too: no look before it helps.
 * Such a write is seen at the next collecting, as a change. Later every file of a folder that is alike is looked at, too.
 */
export class UnchangedFolders {
  readonly #before: { readonly index: TreeIndex; readonly state: TreeState } | null;
  readonly #folders: TreeFolders;
  /** Collected just now: folders tell enough. */
  readonly #isFresh: boolean;
  /** By the number that a folder had before. */
  readonly #known: Uint8Array;
  readonly #hasSameNames: boolean;
  /** Those that lost a name by the new manifest. */
  readonly #losing = new Set<string>();

  constructor(
    placing: { readonly before: PlacedTree | null; readonly clean: boolean; readonly index: TreeIndex },
    folders: TreeFolders,
  ) {
    const { before, clean, index } = placing;
    const state = before?.state ?? null;
    this.#folders = folders;
    this.#before = before === null || state === null || clean ? null : { index: before.index, state };
    this.#isFresh = state?.holds(Date.now()) === true;
    this.#known = new Uint8Array(this.#before?.index.folders.length ?? 0);
    this.#hasSameNames = this.#before !== null && index.sharesNamesWith(this.#before.index);
    if (this.#before === null || this.#hasSameNames) return;
    for (const entry of this.#before.index.manifest.entries) {
      if (index.entryOf(entry.path)?.kind === entry.kind) continue;
      let folder = folderOf(entry.path);
      while (!index.isFolder(folder)) folder = folderOf(folder);
      this.#losing.add(folder);
    }
  }

  /** True where the folder has no names but the manifest's, files and folders that it already had. */
  hasNamesAlone(folder: string): boolean {
    const number = this.#before?.index.numberOf(folder);
    return number !== undefined && this.#isUnchanged(number) && !this.#losing.has(folder) && !this.hasExtras(folder);
  }

  /** Of a folder that was not looked into: whether it had more names than the manifest's. */
  hasExtras(folder: string): boolean {
    const number = this.#before?.index.numberOf(folder);
    return number !== undefined && this.#before?.state.folders.hasExtras(number) === true;
  }

  /** @returns true where the entry lies there as it should, and is noted */
  carryOver(index: number, entry: ManifestEntry, state: TreeState): boolean {
    const before = this.#before;
    if (before === null) return false;
    const was = this.#hasSameNames ? index : before.index.indexOf(entry.path);
    const sent = was === undefined ? undefined : before.index.manifest.entries[was];
    if (was === undefined || sent === undefined || !isSameEntry(sent, entry)) return false;
    const isKnown = entry.kind === 'folder' || before.state.files.isKnown(was);
    if (!isKnown || !this.#isUnchanged(before.index.folderAt(was))) return false;
    if (entry.kind === 'folder') return true;
    // By its name: its folder is the one that was noted, so no link is on the way there.
    const stat = this.#isFresh ? null : this.#folders.look(entry.path);
    if (stat !== null && (stat === undefined || !before.state.isUntouched(was, stat))) return false;
    state.files.copy(index, before.state.files, was);
    return true;
  }

  /** @returns true where the folder was looked at, is as it was, and is noted so: for one in which no name was made or removed since */
  carryOverFolder(number: number, state: TreeState): boolean {
    if (this.#before === null || !this.#hasSameNames || this.#known[number] !== UNCHANGED) return false;
    state.folders.copy(number, this.#before.state.folders, number);
    return true;
  }

  #isUnchanged(number: number): boolean {
    const known = this.#known[number] ?? UNKNOWN;
    if (known !== UNKNOWN) return known === UNCHANGED;
    const isUnchanged = this.#look(number);
    this.#known[number] = isUnchanged ? UNCHANGED : CHANGED;
    return isUnchanged;
  }

  /** A folder below a link, or one that was moved, is not the same: those above it have changed then. */
  #look(number: number): boolean {
    if (this.#before === null) return false;
    const { index, state } = this.#before;
    const folder = index.folders[number] ?? '';
    if (number !== 0 && !this.#isUnchanged(index.numberOf(folderOf(folder)) ?? 0) && !this.#isThere(folder)) {
      return false;
    }
    const stat = this.#folders.look(folder);
    return stat?.isDirectory() === true && state.isFolderUntouched(number, stat);
  }

  #isThere(folder: string): boolean {
    return this.#folders.enter(folder) !== null;
  }
}
