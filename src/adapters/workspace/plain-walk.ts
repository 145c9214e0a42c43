import { MADE_BESIDE, MADE_FOLDER_MARKS } from '../../core/workspace/default-excludes.ts';
import { textOfBytes } from '../../base/byte-text.ts';
import { escapeControls } from '../../base/escape.ts';
import { TREE_PATH_BYTES_MAX, type TreePath } from '../../wire/manifest.ts';
import { below, listFolder, type Named, readIgnoreFile } from './byte-files.ts';
import { gitPlacesOf } from './git-places.ts';
import { literalPattern } from './ignore-matcher.ts';
import type { KnownNames } from './known-names.ts';
import type { SelectionDraft } from './selection-draft.ts';
import type { ShipFilter } from './ship-filter.ts';
import { Turn } from './turn.ts';

/** Far enough beyond the cap to tell where the files are. */
const BEYOND_CAP = 4;

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

  constructor(root: string, draft: SelectionDraft, filter: ShipFilter, known: KnownNames) {
    this.#root = root;
    this.#known = known;
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
      else if (this.#known.has(path)) this.#draft.addKnown(path as TreePath);
      else if (this.#filter.leavesOut(path, false)) this.#draft.addIgnoredFile(path, false);
      else if (this.#draft.addUntracked(path) === 'plain') this.#known.add(path);
    }
  }

  #absolute(path: string): string {
    return path === '' ? this.#root : `${this.#root}/${path}`;
  }

  #learn(folder: string, entries: readonly Named[]): void {
    let rules = '';
    for (const { name } of entries) {
      const own = name === '.meshworkignore' ? readIgnoreFile(this.#absolute(below(folder, name))) : undefined;
      for (const text of [own, MADE_BESIDE[name]]) {
        if (text === undefined) continue;
        this.#filter.learn(folder, text);
        rules += `${text}\n`;
      }
    }
    this.#known.enter(folder, rules);
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
