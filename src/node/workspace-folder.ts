import { chown, lstat, mkdir } from 'node:fs/promises';
import { messageOf, systemCodeOf } from '../base/errors.ts';
import { err, ok, type Result } from '../base/result.ts';
import { parseTreePath } from '../wire/tree-path.ts';

const FOLDER_MODE = 0o755;

/**
 * The folder of a workspace that a job's directory is. Directories without files don't travel, so it is made where it
 * is missing; never through a link.
 *
 * @param tree absolute
 * @param folder below it, one character per byte; '' is the tree itself
 * @returns the absolute path, or what is wrong with it
 */
export async function folderWithin(
  tree: string,
  folder: string,
  user: { readonly uid: number; readonly gid: number } | null,
): Promise<Result<string, string>> {
  if (folder === '') return ok(tree);
  const parsed = parseTreePath(folder);
  if (!parsed.ok) return parsed;
  let bytes = Buffer.from(tree);
  for (const part of parsed.value.split('/')) {
    bytes = Buffer.concat([bytes, Buffer.from(`/${part}`, 'latin1')]);
    const wrong = await folderAt(bytes, user);
    if (wrong !== null) return err(`${bytes.toString()} ${wrong}`);
  }
  return ok(bytes.toString());
}

async function folderAt(
  path: Buffer,
  user: { readonly uid: number; readonly gid: number } | null,
): Promise<string | null> {
  try {
    const stats = await lstat(path);
    return stats.isDirectory() ? null : 'is not a folder';
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') return `cannot be looked at: ${messageOf(error)}`;
  }
  try {
    await mkdir(path, { mode: FOLDER_MODE });
    if (user !== null) await chown(path, user.uid, user.gid);
    return null;
  } catch (error) {
    return `cannot be made: ${messageOf(error)}`;
  }
}
