import { createHash } from 'node:crypto';
import { lstatSync, readlinkSync } from 'node:fs';
import { systemCodeOf } from '../../base/errors.ts';
import { folderOf } from '../../wire/tree-path.ts';
import { hashFileInTurns } from './file-content.ts';
import { at, TreeFolders } from './tree-folders.ts';
import { Turn } from './turn.ts';

/** What is said of a folder, whose content isn't looked at. */
export const FOLDER_DIGEST = 'folder';

/**
 * @param paths relative to the root, bytes as characters
 * @returns per path: SHA-256 of the file's content or of the link's target, FOLDER_DIGEST, null where there is nothing
 */
export async function digestsOf(tree: string, paths: readonly string[]): Promise<(string | null)[]> {
  const folders = new TreeFolders(tree, null);
  const turn = new Turn();
  try {
    const digests: (string | null)[] = [];
    for (const path of paths) digests.push(await digestOf(folders, path, turn));
    return digests;
  } finally {
    folders.close();
  }
}

async function digestOf(folders: TreeFolders, path: string, turn: Turn): Promise<string | null> {
  if (path === '') return FOLDER_DIGEST;
  const prefix = folders.enter(folderOf(path));
  if (prefix === null) return null;
  const where = at(prefix, path.slice(path.lastIndexOf('/') + 1));
  const stat = lstatSync(where, { throwIfNoEntry: false });
  if (stat === undefined) return null;
  if (stat.isDirectory()) return FOLDER_DIGEST;
  if (stat.isSymbolicLink()) return createHash('sha256').update(readlinkSync(where, 'buffer')).digest('hex');
  try {
    return await hashFileInTurns(where, stat.mode, turn);
  } catch (error) {
    if (systemCodeOf(error) !== 'EACCES') throw error;
    return null;
  }
}
