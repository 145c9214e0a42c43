import { constants } from 'node:fs';
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import { systemCodeOf } from '../../base/errors.ts';

const LEVELS_UP_MAX = 64;
const WORKTREES_MAX = 256;
/** O_NONBLOCK: a FIFO of that name would hold its reader for ever. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK;

/** The git repository around a folder, read from its files: no git is run (gitrepository-layout(5), git-worktree(1)). */
export interface Repository {
  /** Top of the work tree that the folder is in; a real path. */
  readonly top: string;
  /** Every work tree of the repository that exists on disk, the main one first; real paths. */
  readonly worktrees: readonly string[];
}

/** @returns null where the folder is in no git work tree */
export async function repositoryAround(folder: string): Promise<Repository | null> {
  let top = folder;
  for (let level = 0; level < LEVELS_UP_MAX; level++) {
    const gitFolder = await gitFolderOf(top);
    if (gitFolder !== null) return { top, worktrees: await worktreesOf(top, gitFolder) };
    const above = dirname(top);
    if (above === top) return null;
    top = above;
  }
  return null;
}

/** The git folder of a work tree: `.git` itself, or what the file `.git` of a linked work tree or submodule names. */
async function gitFolderOf(top: string): Promise<string | null> {
  const path = join(top, '.git');
  const text = await readText(path);
  if (text === 'a folder') return (await exists(join(path, 'HEAD'))) ? path : null;
  const named = text === null ? null : /^gitdir: (.+?)\r?\n?$/.exec(text);
  return named?.[1] === undefined ? null : absoluteFrom(top, named[1]);
}

async function worktreesOf(top: string, gitFolder: string): Promise<string[]> {
  const commonText = await readText(join(gitFolder, 'commondir'));
  const isLinked = commonText !== null && commonText !== 'a folder';
  const common = isLinked ? absoluteFrom(gitFolder, commonText.trim()) : gitFolder;
  // A bare repository has linked work trees and no main one; a submodule's git folder lies elsewhere.
  const main = isLinked ? (basename(common) === '.git' ? dirname(common) : null) : top;
  const names = await namesIn(join(common, 'worktrees'));
  const found = main === null ? [] : [main];
  for (const name of names.slice(0, WORKTREES_MAX)) {
    const entry = join(common, 'worktrees', name);
    const gitFile = await readText(join(entry, 'gitdir'));
    if (gitFile !== null && gitFile !== 'a folder') found.push(dirname(absoluteFrom(entry, gitFile.trim())));
  }
  const real = await Promise.all(found.map(realOrNull));
  return [...new Set(real.filter((path) => path !== null))];
}

const absoluteFrom = (folder: string, path: string): string => (isAbsolute(path) ? path : resolve(folder, path));

/** Work trees whose folder was removed are still listed until `git worktree prune`. */
async function realOrNull(path: string): Promise<string | null> {
  try {
    return await realpath(path);
  } catch (error) {
    if (systemCodeOf(error) === '') throw error;
    return null;
  }
}

async function readText(path: string): Promise<string | null> {
  try {
    return await readFile(path, { encoding: 'utf8', flag: READ_FLAGS });
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === '') throw error;
    return code === 'EISDIR' ? 'a folder' : null;
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    if (systemCodeOf(error) === '') throw error;
    return [];
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (systemCodeOf(error) === '') throw error;
    return false;
  }
}
