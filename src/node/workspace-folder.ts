import { constants, existsSync } from 'node:fs';
import { mkdir, open, type FileHandle } from 'node:fs/promises';
import { messageOf, systemCodeOf } from '../base/errors.ts';
import { err, ok, type Result } from '../base/result.ts';
import { parseTreePath, shownPath } from '../wire/tree-path.ts';

const FOLDER_MODE = 0o755;
const FOLDER_FLAGS = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** As in TreeFolders: what is open can't be swapped for a link meanwhile. */
const HAS_PROC = existsSync('/proc/self/fd');

/**
 * The folder of a workspace that a job's directory is. Directories without files don't travel, so it is made where it
 * is missing; never through a link, also where a process that an earlier job left swaps folders for links meanwhile.
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
  const handles: FileHandle[] = [];
  try {
    let above = await open(bytes, FOLDER_FLAGS);
    handles.push(above);
    for (const part of parsed.value.split('/')) {
      const name = Buffer.from(`/${part}`, 'latin1');
      const where = Buffer.concat([HAS_PROC ? Buffer.from(`/proc/self/fd/${above.fd}`) : bytes, name]);
      bytes = Buffer.concat([bytes, name]);
      const isNew = await isMade(where);
      above = await open(where, FOLDER_FLAGS);
      handles.push(above);
      if (isNew && user !== null) await above.chown(user.uid, user.gid);
    }
    return ok(bytes.toString());
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === '') throw error;
    const isOther = code === 'ENOTDIR' || code === 'ELOOP';
    return err(`${bytes.toString()} ${isOther ? 'is not a folder' : `cannot be used: ${messageOf(error)}`}`);
  } finally {
    for (const handle of handles) await handle.close();
  }
}

/** @returns false where something is there already */
async function isMade(path: Buffer): Promise<boolean> {
  try {
    await mkdir(path, { mode: FOLDER_MODE });
    return true;
  } catch (error) {
    if (systemCodeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/** What a preparation names: its folder, what it reads and makes. @returns what is wrong with one, null where nothing is */
export function wrongStepPath(step: {
  readonly folder: string;
  readonly inputs: readonly string[];
  readonly makes: readonly string[];
}): string | null {
  for (const path of [step.folder, ...step.inputs, ...step.makes]) {
    if (path.startsWith('/') || path.includes('\0') || path.split('/').includes('..')) {
      return `${shownPath(path)} is not in the project`;
    }
  }
  return null;
}
