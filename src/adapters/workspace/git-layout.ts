import { readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { textOfBytes } from '../../base/byte-text.ts';

/** The two folders that stand for `.git` where that is a file (gitrepository-layout(5)); in a submodule both are one. */
export interface GitFolders {
  /** Of this work tree alone. */
  readonly own: string;
  /** Shared by all work trees. */
  readonly common: string;
}

const GIT_FILE = /^gitdir: ([^\n\0]+)\n*$/;
/** What each work tree has for itself: pseudo references and states, its index, and a few more. */
const OWN =
  /^(?:[A-Z]+(?:_[A-Z]+)*|index|config\.worktree|logs\/HEAD|info\/sparse-checkout|refs\/(?:bisect|worktree|rewritten)(?:\/.*)?|(?:rebase-merge|rebase-apply|sequencer)(?:\/.*)?)$/s;

/**
 * @param content of the file `.git`
 * @param folder the one it lies in, absolute
 * @returns null where it leads nowhere
 */
export function gitFoldersOf(content: string, folder: string): GitFolders | null {
  const target = GIT_FILE.exec(content)?.[1];
  if (target === undefined) return null;
  const own = resolve(folder, target);
  if (!isFolder(own)) return null;
  const shared = commonOf(own);
  return isFolder(shared) ? { own, common: shared } : null;
}

/** Splits a path at its first part `.git`; null where it has none. */
export function splitAtGit(path: string): { readonly repository: string; readonly inside: string } | null {
  const at = path.startsWith('.git/') ? 0 : path.indexOf('/.git/') + 1;
  if (at === 0 && !path.startsWith('.git/')) return null;
  return { repository: path.slice(0, Math.max(at - 1, 0)), inside: path.slice(at + '.git/'.length) };
}

export function isOwnOfWorkTree(inside: string): boolean {
  return OWN.test(textOfBytes(inside));
}

function commonOf(own: string): string {
  try {
    return resolve(own, readFileSync(join(own, 'commondir'), 'utf8').replace(/\n+$/, ''));
  } catch {
    // A submodule's has none: it is whole.
    return own;
  }
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
