import { MADE_BESIDE, MADE_FOLDER_MARKS } from '../../core/workspace/default-excludes.ts';
import { below, listFolder, readByteText } from './byte-files.ts';
import { gitPlacesOf } from './git-places.ts';
import { literalPattern } from './ignore-matcher.ts';
import type { SelectionDraft } from './selection-draft.ts';
import type { ShipFilter } from './ship-filter.ts';

const DEPTH_MAX = 256;

/**
 * Offers every file of a project that isn't a git work tree.
 *
 * @param root absolute bytes
 * @returns repositories within it, which are listed by their own rules
 */
export function walkPlain(root: string, draft: SelectionDraft, filter: ShipFilter): string[] {
  const nested: string[] = [];
  const walk = (folder: string, depth: number): void => {
    const absolute = folder === '' ? root : `${root}/${folder}`;
    const entries = listFolder(absolute);
    if (entries === null) {
      draft.notice(`${folder} can't be read: what it holds is left out`);
      return;
    }
    for (const { name } of entries) {
      if (name === '.meshworkignore') filter.learn(folder, readByteText(below(absolute, name)) ?? '');
      const made = MADE_BESIDE[name];
      if (made !== undefined) filter.learn(folder, made);
    }
    if (
      folder !== '' &&
      entries.some(({ name }) => MADE_FOLDER_MARKS.includes(name)) &&
      !filter.includes(folder, true)
    ) {
      filter.learn('', `${literalPattern(folder)}/`);
      draft.addIgnoredFolder(folder);
      return;
    }
    if (entries.length === 0 && folder !== '') draft.addFolder(folder);
    for (const { name, kind } of entries) {
      const path = below(folder, name);
      if (kind === 'other' || name === '.git') continue;
      if (kind !== 'folder') {
        if (filter.leavesOut(path, false)) draft.addIgnoredFile(path, false);
        else draft.addUntracked(path);
      } else if (filter.leavesOut(path, true)) draft.addIgnoredFolder(path);
      else if (gitPlacesOf(`${root}/${path}`) !== null) nested.push(path);
      else if (depth < DEPTH_MAX) walk(path, depth + 1);
    }
  };
  walk('', 0);
  return nested;
}
