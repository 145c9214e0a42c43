import { systemCodeOf } from '../../base/errors.ts';
import { readRegular } from './file-content.ts';
import type { IgnoreMatcher } from './ignore-matcher.ts';
import { at } from './tree-folders.ts';
import { isProduct, type TreeIndex } from './tree-index.ts';

const IGNORE_FILE_BYTES_MAX = 64 * 1024;

/**
 * Is that a folder that a tool made for itself and told git to ignore as a whole, by a `.gitignore` in it (virtual
 * environments, caches of linters and test runners)? Only asked of folders that weren't sent.
 *
 * @param prefix of the folder above, see TreeFolders
 */
function isToolFolder(prefix: string, name: string): boolean {
  try {
    const text = readRegular(at(prefix, `${name}/.gitignore`), IGNORE_FILE_BYTES_MAX)?.toString('latin1') ?? '';
    return text.split('\n').some((line) => line.trim() === '*');
  } catch (error) {
    // Not there, or not to be read: then nothing says so.
    if (systemCodeOf(error) === '') throw error;
    return false;
  }
}

/** Is a folder that wasn't sent, or a file, ignored, be it by itself? */
export function isLeftThere(
  matcher: IgnoreMatcher,
  path: string,
  found: { readonly prefix: string; readonly name: string; readonly isFolder: boolean },
): boolean {
  return isProduct(matcher, path, found.isFolder) || (found.isFolder && isToolFolder(found.prefix, found.name));
}

/**
 * What stays when a tree is placed anew: products of earlier jobs. What was sent and is not any more is none, ignored or
 * not: a secret that stays at home from now on.
 */
export function staysThere(
  placing: {
    readonly clean: boolean;
    readonly before: { readonly index: TreeIndex } | null;
    readonly matcher: IgnoreMatcher;
  },
  path: string,
  entry: Parameters<typeof isLeftThere>[2],
): boolean {
  const sent = placing.before?.index;
  const wasSent = sent !== undefined && (entry.isFolder ? sent.isFolder(path) : sent.indexOf(path) !== undefined);
  return !placing.clean && !wasSent && isLeftThere(placing.matcher, path, entry);
}
