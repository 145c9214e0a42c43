import { textOfBytes } from '../../base/byte-text.ts';

/** What each work tree has for itself: pseudo references and states, its index, and a few more. */
const OWN =
  /^(?:[A-Z]+(?:_[A-Z]+)*|index|config\.worktree|logs\/HEAD|info\/sparse-checkout|refs\/(?:bisect|worktree|rewritten)(?:\/.*)?|(?:rebase-merge|rebase-apply|sequencer)(?:\/.*)?)$/s;

/** Splits a path at its first part `.git`; null where it has none. */
export function splitAtGit(path: string): { readonly repository: string; readonly inside: string } | null {
  const at = path.startsWith('.git/') ? 0 : path.indexOf('/.git/') + 1;
  if (at === 0 && !path.startsWith('.git/')) return null;
  return { repository: path.slice(0, Math.max(at - 1, 0)), inside: path.slice(at + '.git/'.length) };
}

export function isOwnOfWorkTree(inside: string): boolean {
  return OWN.test(textOfBytes(inside));
}
