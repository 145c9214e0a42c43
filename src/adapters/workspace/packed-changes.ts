import { messageOf } from '../../base/errors.ts';
import type { ChangeList } from '../../wire/change-pack.ts';
import { type ChangePack, NO_CHANGE_PACK } from '../../wire/changes.ts';
import { MANIFEST_ENTRIES_MAX, type ObjectHash } from '../../wire/manifest.ts';
import { namesOf } from './change-names.ts';
import { ChangedMeanwhile, type OnObject, writeChangePack } from './change-pack-writer.ts';
import type { CollectProblems } from './collect-problems.ts';
import type { TreeFolders } from './tree-folders.ts';

/** Files that change while they are written down: for each the pack is begun anew. */
const UNSTABLE_MAX = 8;

export interface Packing {
  /** The file to write. */
  readonly pack: string;
  readonly folders: TreeFolders;
  readonly contents: ReadonlyMap<ObjectHash, Uint8Array>;
  readonly problems: CollectProblems;
  readonly onObject: OnObject;
}

/** Writes what changed into a change pack. What can't be written is told in `problems`; nothing is thrown for it. */
export async function packChanges(
  list: ChangeList,
  packing: Packing,
  unstableLeft: number = UNSTABLE_MAX,
): Promise<ChangePack> {
  const { pack: path, folders, contents, problems, onObject } = packing;
  const counts = { changed: list.changed.length - list.earlier.length, deleted: list.deleted.length };
  if (list.changed.length + list.deleted.length === 0) return NO_CHANGE_PACK;
  if (list.changed.length > MANIFEST_ENTRIES_MAX) {
    problems.say(`more than ${MANIFEST_ENTRIES_MAX} files changed there: none comes back`);
    return NO_CHANGE_PACK;
  }
  try {
    const pack = await writeChangePack(path, list, folders, contents, onObject);
    return { ...NO_CHANGE_PACK, ...counts, pack_bytes: pack.bytes, pack_sha256: pack.sha256, named: namesOf(list) };
  } catch (error) {
    if (!(error instanceof ChangedMeanwhile) || unstableLeft === 0) {
      problems.say(`the changes could not be written down there (${messageOf(error)}): none of them comes back`);
      return NO_CHANGE_PACK;
    }
    // What outlived the job writes to it: that is no reason to leave all else there.
    problems.say(`${error.message}: it stays there`);
    const changed = list.changed.filter((entry) => entry.path !== error.path);
    const earlier = list.earlier.filter((one) => one !== error.path);
    return packChanges({ ...list, changed, earlier }, packing, unstableLeft - 1);
  }
}
