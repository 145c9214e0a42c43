import { textOfBytes } from '../../base/byte-text.ts';
import type { ChangeList } from '../../wire/change-pack.ts';
import { CHANGES_SHOWN_CHARS_MAX, CHANGES_NAMED_MAX } from '../../wire/changes.ts';

/** Of what the job itself changed: as many as are worth reading in a line or two. */
export function namesOf({ changed, deleted, earlier }: ChangeList): string[] {
  const names: string[] = [];
  let chars = 0;
  const passed = new Set(earlier);
  for (const paths of [changed.map((entry) => entry.path), deleted]) {
    for (const path of paths) {
      if (passed.has(path)) continue;
      const name = textOfBytes(path);
      chars += name.length;
      if (names.length === CHANGES_NAMED_MAX || chars > CHANGES_SHOWN_CHARS_MAX) return names;
      names.push(name);
    }
  }
  return names;
}
