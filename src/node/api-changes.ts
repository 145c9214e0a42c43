import { escapeControls } from '../base/escape.ts';
import type { Changes } from '../wire/changes.ts';

/** Of a list that stands in one line for people. */
const NAMES_SHOWN_MAX = 8;
const NAME_CHARS_MAX = 160;

/** How many there are of each, beyond what is listed too. */
export function changeCounts(changes: Changes): {
  readonly returned: number;
  readonly deleted: number;
  readonly conflicts: number;
  readonly heldBack: number;
  readonly leftThere: number;
} {
  const { more } = changes;
  return {
    returned: changes.returned.length + (more?.returned ?? 0),
    deleted: changes.deleted.length + (more?.deleted ?? 0),
    conflicts: changes.conflicts.length + (more?.conflicts ?? 0),
    heldBack: changes.held_back.length + (more?.held_back ?? 0),
    leftThere: changes.left_there.length + (more?.left_there ?? 0),
  };
}

/** `a.c, b.c and 3 more`, with control characters in names shown. */
export function namesOf(names: readonly string[], count = names.length, shownMax = NAMES_SHOWN_MAX): string {
  const shown = names.slice(0, shownMax).map(shownName);
  const rest = count - shown.length;
  return rest > 0 ? `${shown.join(', ')} and ${rest} more` : shown.join(', ');
}

function shownName(name: string): string {
  const text = escapeControls(name);
  if (text.length <= NAME_CHARS_MAX) return text;
  const half = Math.floor(NAME_CHARS_MAX / 2);
  return `${text.slice(0, half)}…${text.slice(-half)}`;
}

/**
 * What of a job's changes could mislead, as notices of its run object: what was kept aside and what waits.
 *
 * @param conflicts the folder MESHWORK_HOME/conflicts/JOB
 */
export function changeNotices(changes: Changes, job: string, conflicts: string): string[] {
  const counts = changeCounts(changes);
  const notices: string[] = [];
  if (counts.conflicts > 0) {
    const one = counts.conflicts === 1;
    const what = one ? '1 file' : `${counts.conflicts} files`;
    const stayed = one ? 'stayed as it is' : 'stayed as they are';
    const named = namesOf(changes.conflicts, counts.conflicts);
    notices.push(
      `${what} changed here while the job ran, or had not been sent to it, and ${stayed}: ${named}; the job's version is in ${conflicts}`,
    );
  }
  if (counts.heldBack > 0) {
    const what = counts.heldBack === 1 ? '1 change is' : `${counts.heldBack} changes are`;
    notices.push(
      `${what} held back and not applied here: ${namesOf(changes.held_back, counts.heldBack)}; \`meshwork apply ${job}\` applies them`,
    );
  }
  return notices;
}
