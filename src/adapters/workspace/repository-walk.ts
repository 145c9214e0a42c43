import type { GitIndex } from '../../core/workspace/git-index.ts';
import { below, listFolder, readIgnoreFile } from './byte-files.ts';
import { gitPlacesOf } from './git-places.ts';
import { createIgnoreMatcher } from './ignore-matcher.ts';

const DEPTH_MAX = 256;

export interface WalkedRepository {
  readonly untracked: readonly string[];
  readonly ignoredFiles: readonly string[];
  readonly ignoredFolders: readonly string[];
  readonly emptyFolders: readonly string[];
  readonly nested: readonly string[];
}

/**
 * What git would list as untracked or ignored, without git (it is missing, or refuses).
 *
 * @param top absolute bytes
 * @param excludes of info/exclude
 * @param index null where what is tracked is not known: then all that is not ignored counts as untracked
 */
export function walkRepository(top: string, excludes: string, index: GitIndex | null): WalkedRepository {
  const matcher = createIgnoreMatcher({
    isGit: true,
    rules: [{ folder: '', text: excludes, source: 'exclude' }],
    gitignores: new Map(),
  });
  const tracked = new Set(index?.files);
  const submodules = new Set(index?.submodules);
  const found = { untracked: [], ignoredFiles: [], ignoredFolders: [], emptyFolders: [], nested: [] } as {
    [key in keyof WalkedRepository]: string[];
  };
  const walk = (folder: string, depth: number): void => {
    const entries = listFolder(folder === '' ? top : `${top}/${folder}`) ?? [];
    if (entries.some(({ name }) => name === '.gitignore')) {
      matcher.learnGitignore(folder, readIgnoreFile(below(folder === '' ? top : `${top}/${folder}`, '.gitignore')));
    }
    if (entries.length === 0 && folder !== '') found.emptyFolders.push(folder);
    for (const { name, kind } of entries) {
      const path = below(folder, name);
      if (name === '.git' || kind === 'other' || submodules.has(path)) continue;
      if (kind === 'folder') {
        if (matcher.isIgnored(path, true)) found.ignoredFolders.push(path);
        else if (gitPlacesOf(`${top}/${path}`) !== null) found.nested.push(path);
        else if (depth < DEPTH_MAX) walk(path, depth + 1);
      } else if (!tracked.has(path)) {
        (matcher.isIgnored(path, false) ? found.ignoredFiles : found.untracked).push(path);
      }
    }
  };
  walk('', 0);
  for (const path of submodules) if (gitPlacesOf(`${top}/${path}`) !== null) found.nested.push(path);
  return found;
}
