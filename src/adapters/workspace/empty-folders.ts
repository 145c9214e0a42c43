import { isDependencyFolder } from '../../core/workspace/dependency-files.ts';
import { below, listFolder } from './byte-files.ts';

const FOLDERS_LOOKED_AT_MAX = 20_000;
const DEPTH_MAX = 256;
/**
 * Marks a folder that a tool made for itself: one that ignores itself (virtual environments, caches of linters), or a
 * cache by https://bford.info/cachedir. Such a folder is no part of the project, empty or not.
 */
const OWN_MARKS: ReadonlySet<string> = new Set(['.gitignore', 'CACHEDIR.TAG', 'pyvenv.cfg']);

export interface KnownContent {
  /** Files that are sent, relative to the top. */
  readonly files: readonly string[];
  /** Folders that are not looked into. */
  readonly skipped: ReadonlySet<string>;
}

/**
 * The folders in which nothing is sent, among untracked folders and those below them: git does not name them, but a
 * command may need them to be there.
 *
 * @param top absolute bytes
 * @param folders relative to the top, which is '', none ignored
 */
export function emptyFoldersBelow(top: string, folders: readonly string[], known: KnownContent): string[] {
  if (folders.length === 0) return [];
  const filled = foldersOf(known.files);
  const empty = new Set<string>();
  let looked = 0;
  const walk = (folder: string, depth: number): void => {
    looked += 1;
    if (looked > FOLDERS_LOOKED_AT_MAX || depth > DEPTH_MAX) return;
    const entries = listFolder(folder === '' ? top : `${top}/${folder}`);
    if (entries === null) return;
    const isFilled = folder === '' || filled.has(folder);
    if (!isFilled && (isDependencyFolder(folder) || entries.some(({ name }) => OWN_MARKS.has(name)))) return;
    const inner = entries.filter(({ name, kind }) => kind === 'folder' && !known.skipped.has(below(folder, name)));
    for (const { name } of inner) walk(below(folder, name), depth + 1);
    if (!isFilled && inner.length === 0) empty.add(folder);
  };
  for (const folder of folders) walk(folder, 0);
  return [...empty];
}

/** All folders that lead to a file. */
export function foldersOf(files: readonly string[]): Set<string> {
  const folders = new Set<string>();
  for (const file of files) {
    for (let slash = file.lastIndexOf('/'); slash > 0; slash = file.lastIndexOf('/', slash - 1)) {
      const folder = file.slice(0, slash);
      if (folders.has(folder)) break;
      folders.add(folder);
    }
  }
  return folders;
}
