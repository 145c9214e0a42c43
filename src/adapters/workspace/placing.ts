import { systemCodeOf } from '../../base/errors.ts';
import type { ManifestEntry, ManifestHash, ObjectHash } from '../../wire/manifest.ts';
import { shownPath } from '../../wire/tree-path.ts';
import type { IgnoreMatcher } from './ignore-matcher.ts';
import type { Remover, TreeOwner } from './tree-folders.ts';
import type { TreeIndex } from './tree-index.ts';
import type { TreeState } from './tree-state.ts';

/** Contents by hash; null: not there. */
export interface ObjectSource {
  read(hash: ObjectHash): Uint8Array | null;
}

/** What was placed in a tree before, and what lay there afterwards. */
export interface PlacedTree {
  readonly index: TreeIndex;
  /** Null where that is not known: contents are compared. */
  readonly state: TreeState | null;
}

/** What was made of a tree before its placing. */
export interface EarlyPlaced {
  /** Files that are noted lie there as they should. */
  readonly state: TreeState;
  readonly written: number;
  /** See Placed. */
  readonly indexes: readonly string[];
  /** The tree was empty before, and nothing was in the way. */
  readonly isAlone: boolean;
}

export interface Placing {
  /** Absolute. */
  readonly tree: string;
  readonly scratch: string;
  readonly hash: ManifestHash;
  readonly index: TreeIndex;
  /** Null: nothing was, so files get their mtimes of the origin. */
  readonly before: PlacedTree | null;
  readonly early: EarlyPlaced | null;
  readonly matcher: IgnoreMatcher;
  /** True: ignored products go as well. */
  readonly clean: boolean;
  readonly objects: ObjectSource;
  readonly remover: Remover;
  readonly owner: TreeOwner;
  /** Asked now and then: true ends the placing. */
  readonly isUnwanted: () => boolean;
  readonly onProgress: (files: number) => void;
}

export interface Placed {
  readonly state: TreeState;
  readonly written: number;
  readonly removed: number;
  /** Indexes of git that were written: they say nothing of the files beside them yet. */
  readonly indexes: readonly string[];
}

/** Says what could not be placed; the tree is partly placed, and the next placing goes on from there. */
export class PlacingFailed extends Error {
  override readonly name = 'PlacingFailed';
  readonly code: 'no_space' | 'io' | 'refused';

  constructor(code: 'no_space' | 'io' | 'refused', message: string) {
    super(message);
    this.code = code;
  }
}

/** A system's error while an entry was placed, with the entry's name; anything else as it is. */
export function placingFailed(error: unknown, entry: ManifestEntry): unknown {
  const code = error instanceof PlacingFailed ? '' : systemCodeOf(error);
  if (code === '') return error;
  const isFull = code === 'ENOSPC' || code === 'EDQUOT';
  return new PlacingFailed(isFull ? 'no_space' : 'io', `${shownPath(entry.path)} cannot be written there: ${code}`);
}
