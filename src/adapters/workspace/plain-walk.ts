import { MADE_BESIDE, MADE_FOLDER_MARKS } from '../../core/workspace/default-excludes.ts';
import { textOfBytes } from '../../base/byte-text.ts';
import { escapeControls } from '../../base/escape.ts';
import { TREE_PATH_BYTES_MAX } from '../../wire/manifest.ts';
import { below, listFolder, type Named, readIgnoreFile } from './byte-files.ts';
import { gitPlacesOf } from './git-places.ts';
import { literalPattern } from './ignore-matcher.ts';
import type { SelectionDraft } from './selection-draft.ts';
import type { ShipFilter } from './ship-filter.ts';
import { Turn } from './turn.ts';

/** Far enough beyond the cap to tell where the files are. */
const BEYOND_CAP = 4;

/**
 * Offers every file of a project that isn't a git work tree, until there are far more than may be sent.
 *
 * @param root absolute bytes
 * @returns repositories within it, which are listed by their own rules
 */
export async function walkPlain(
  root: string,
  draft: SelectionDraft,
  filter: ShipFilter,
  filesMax: number,
): Promise<string[]> {
  const walk = new PlainWalk(root, draft, filter);
  const turn = new Turn();
  for (let folder = walk.waiting.pop(); folder !== undefined; folder = walk.waiting.pop()) {
    if (turn.isOver()) await turn.pass();
    if (draft.count > filesMax * BEYOND_CAP) break;
    walk.lookInto(folder);
  }
  return walk.nested;
}

class PlainWalk {
  readonly nested: string[] = [];
  readonly waiting: string[] = [''];
  readonly #root: string;
  readonly #draft: SelectionDraft;
  readonly #filter: ShipFilter;

  constructor(root: string, draft: SelectionDraft, filter: ShipFilter) {
    this.#root = root;
    this.#draft = draft;
    this.#filter = filter;
  }

  lookInto(folder: string): void {
    const entries = listFolder(this.#absolute(folder));
    if (entries === null) {
      this.#draft.notice(`${escapeControls(textOfBytes(folder))} can't be read: what it holds is left out`);
      return;
    }
    this.#learn(folder, entries);
    if (folder !== '' && this.#isMade(folder, entries)) return;
    if (entries.length === 0 && folder !== '') this.#draft.addFolder(folder);
    for (const { name, kind } of entries) {
      const path = below(folder, name);
      if (kind === 'other' || name === '.git') continue;
      if (kind === 'folder') this.#takeFolder(path);
      else if (this.#filter.leavesOut(path, false)) this.#draft.addIgnoredFile(path, false);
      else this.#draft.addUntracked(path);
    }
  }

  #absolute(path: string): string {
    return path === '' ? this.#root : `${this.#root}/${path}`;
  }

  #learn(folder: string, entries: readonly Named[]): void {
    for (const { name } of entries) {
      if (name === '.meshworkignore') this.#filter.learn(folder, readIgnoreFile(this.#absolute(below(folder, name))));
      const made = MADE_BESIDE[name];
      if (made !== undefined) this.#filter.learn(folder, made);
    }
  }

  /** Did a tool make that folder for itself? */
  #isMade(folder: string, entries: readonly Named[]): boolean {
    if (!entries.some(({ name }) => MADE_FOLDER_MARKS.includes(name)) || this.#filter.includes(folder, true))
      return false;
    this.#filter.learn('', `${literalPattern(folder)}/`);
    this.#draft.addIgnoredFolder(folder);
    return true;
  }

  #takeFolder(path: string): void {
    if (this.#filter.leavesOut(path, true)) this.#draft.addIgnoredFolder(path);
    else if (gitPlacesOf(this.#absolute(path)) !== null) this.nested.push(path);
    else if (path.length <= TREE_PATH_BYTES_MAX) this.waiting.push(path);
  }
}
