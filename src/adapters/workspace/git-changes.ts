import type { ManifestEntry, TreePath } from '../../wire/manifest.ts';
import { gitPartAt } from './tree-index.ts';

/** Git's own traces, below `.git/`: no change to anybody's repository. */
const NOISE = /(?:^|\/)(?:[^/]*\.lock|gc\.(?:log|pid)|tmp_obj_[^/]*|\.tmp-[^/]*)$|^logs(?:\/|$)|^fsmonitor--daemon/;

/** @param path of anything; true for what is not reported wherever it is */
export function isGitNoise(path: string): boolean {
  const inside = gitPartAt(path);
  return inside >= 0 && NOISE.test(path.slice(inside));
}

/** The top of the `.git` folder that a path is an object of; null for other paths. */
function storeOf(path: string): string | null {
  const inside = gitPartAt(path);
  return inside >= 0 && path.startsWith('objects/', inside) ? path.slice(0, inside) : null;
}

/**
 * Leaves out what only tidies a repository up: objects that are packed instead (`git gc`), folders of references that
 * emptied. Objects count where something that may need them changed as well: a commit moves a branch or HEAD.
 */
export function withoutTidying(
  changed: readonly ManifestEntry[],
  deleted: readonly TreePath[],
): { readonly changed: ManifestEntry[]; readonly deleted: TreePath[] } {
  const isInGit = (path: string): boolean => gitPartAt(path) >= 0;
  const news = changed.filter((entry) => !(entry.kind === 'folder' && isInGit(entry.path)));
  const gone = deleted.filter((path) => storeOf(path) === null);
  const touched = new Set(
    [...news.map((entry) => entry.path), ...gone].flatMap((path) => {
      const inside = gitPartAt(path);
      return inside >= 0 && storeOf(path) === null ? [path.slice(0, inside)] : [];
    }),
  );
  return {
    changed: news.filter((entry) => {
      const store = storeOf(entry.path);
      return store === null || touched.has(store);
    }),
    deleted: gone,
  };
}
