import { formatSize } from '../../base/units.ts';
import { changeCounts } from '../../node/api-changes.ts';
import type { Changes, LeftThere } from '../../node/api-types.ts';
import { fitText } from './shown-text.ts';

/** Of each list; what is beyond is counted in `more`. */
const LISTED_MAX = 25;
const LEFT_LISTED_MAX = 10;
const PATH_CHARS_MAX = 240;

const path = (text: string): string => fitText(text, null, '…', PATH_CHARS_MAX).text;

/** A job's changes for a model: short lists, control characters shown, and how many more there are of each. */
export function briefChanges(changes: Changes, listedMax = LISTED_MAX): Changes {
  const some = (names: readonly string[]): string[] => names.slice(0, listedMax).map(path);
  const left = changes.left_there
    .slice(0, Math.min(listedMax, LEFT_LISTED_MAX))
    .map((one): LeftThere => ({ ...one, path: path(one.path) }));
  const listed = {
    returned: some(changes.returned),
    deleted: some(changes.deleted),
    conflicts: some(changes.conflicts),
    held_back: some(changes.held_back),
    left_there: left,
  };
  const counts = changeCounts(changes);
  const more = {
    returned: counts.returned - listed.returned.length,
    deleted: counts.deleted - listed.deleted.length,
    conflicts: counts.conflicts - listed.conflicts.length,
    held_back: counts.heldBack - listed.held_back.length,
    left_there: counts.leftThere - left.length,
  };
  return Object.values(more).some((count) => count > 0) ? { ...listed, more } : listed;
}

export const isNoChange = (changes: Changes): boolean =>
  Object.values(changeCounts(changes)).every((count) => count === 0);

const LEFT_NAMED_MAX = 3;

/** A model that runs a product next looks for it here. @returns a notice, or none where nothing stayed there */
export function leftNotice(changes: Changes, node: string | null): string[] {
  const count = changeCounts(changes).leftThere;
  if (count === 0) return [];
  const named = changes.left_there
    .slice(0, LEFT_NAMED_MAX)
    .map(
      (left) => `${path(left.path)} (${left.files} ${left.files === 1 ? 'file' : 'files'}, ${formatSize(left.bytes)})`,
    );
  const more = count > named.length ? ` and ${count - named.length} more` : '';
  return [`git-ignored products stayed on ${node ?? 'that machine'}: ${named.join(', ')}${more}; outputs brings them`];
}
