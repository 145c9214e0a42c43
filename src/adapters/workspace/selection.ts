import type { TreePath } from '../../wire/manifest.ts';
import type { IgnoreRules } from '../../wire/workspace.ts';
import type { FoundDependency } from '../../ports/workspace.ts';

/** A file whose place on the disk does not follow from its path in the tree: what a linked work tree's `.git` is made of. */
export interface PlacedElsewhere {
  readonly path: TreePath;
  /** Absolute, one character per byte. */
  readonly absolute: string;
}

/** A file that is not on the disk as it is sent: `.git/config` and `.git/index`. */
export interface VirtualFile {
  readonly path: TreePath;
  readonly content: Uint8Array;
  readonly mode: number;
}

/**
 * What a project consists of: paths alone, nothing is known of sizes yet. Each path occurs once in all lists together;
 * they are in no order. Lists instead of an object per file, since there may be 50,000.
 */
export interface Selection {
  readonly kind: 'git' | 'plain';
  /** Absolute, one character per byte. */
  readonly root: string;
  /**
   * Files and links at `root/path`. Whoever reads them drops what is gone (ENOENT, ENOTDIR) or is a folder meanwhile:
   * git lists what its index has, and a sparse checkout has most of it nowhere. Where one of the tracked ones is a
   * folder, what lies in it is only found by selecting again (`replaced` of `selectFiles`).
   */
  readonly files: readonly TreePath[];
  /** The first so many of `files` are in a git index. */
  readonly trackedFiles: number;
  /** Secrets among `files` that someone decided to send: mode 0600 there. */
  readonly secrets: ReadonlySet<TreePath>;
  /** Folders without entries of their own. */
  readonly folders: readonly TreePath[];
  readonly elsewhere: readonly PlacedElsewhere[];
  readonly virtual: readonly VirtualFile[];
  /** Untracked secrets that are not sent, as text for people; `undecided`: those of them that nobody decided about. */
  readonly withheld: readonly string[];
  readonly undecided: readonly string[];
  /** Tracked files among those that somebody decided about, as text for people: no decision withholds them. */
  readonly trackedDecided: readonly string[];
  readonly dependencies: readonly FoundDependency[];
  readonly lockfiles: readonly string[];
  readonly rules: IgnoreRules;
  readonly notices: readonly string[];
  /** See `Scan.standing`. */
  readonly standing: readonly string[];
}
