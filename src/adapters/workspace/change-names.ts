import { textOfBytes } from '../../base/byte-text.ts';
import type { ChangeList } from '../../wire/change-pack.ts';
import { CHANGES_SHOWN_CHARS_MAX, CHANGES_NAMED_MAX } from '../../wire/changes.ts';

/** As many as are worth reading in a line or two. */
export function namesOf({ changed, deleted }: ChangeList): string[] {
  const names: string[] = [];
  let chars = 0;
  const first = changed.slice(0, CHANGES_NAMED_MAX).map((entry) => entry.path);
  for (const path of [...first, ...deleted.slice(0, CHANGES_NAMED_MAX)]) {
    const name = textOfBytes(path);
    chars += name.length;
    if (names.length === CHANGES_NAMED_MAX || chars > CHANGES_SHOWN_CHARS_MAX) break;
    names.push(name);
  }
  return names;
}
