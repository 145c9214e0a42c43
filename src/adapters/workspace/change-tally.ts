import { textOfBytes } from '../../base/byte-text.ts';
import { escapeControls } from '../../base/escape.ts';
import type { Applied } from '../../ports/workspace.ts';
import { CHANGES_SHOWN_CHARS_MAX, CHANGES_SHOWN_MAX, NONE_MORE } from '../../wire/changes.ts';
import type { TreePath } from '../../wire/manifest.ts';

const NOTICES_MAX = 20;
/** Names in a message about what was applied before the disk failed. */
const NAMES_MAX = 10;

/** Lists for people, cut at CHANGES_SHOWN_MAX and CHANGES_SHOWN_CHARS_MAX, and how many there were. */
class PathList {
  readonly paths: string[] = [];
  count = 0;
  #chars = 0;

  add(path: TreePath): void {
    this.count++;
    if (this.paths.length >= CHANGES_SHOWN_MAX) return;
    const name = textOfBytes(path);
    if (this.#chars + name.length > CHANGES_SHOWN_CHARS_MAX) return;
    this.#chars += name.length;
    this.paths.push(name);
  }

  /** What is not listed. */
  get beyond(): number {
    return this.count - this.paths.length;
  }
}

/** What became of the changes so far. */
export class ChangeTally {
  readonly #returned = new PathList();
  readonly #deleted = new PathList();
  readonly #conflicts = new PathList();
  readonly #held = new PathList();
  /** Of before this applying. */
  readonly #before = new PathList();
  readonly #notices: string[] = [];

  returned(path: TreePath): void {
    this.#returned.add(path);
  }

  deleted(path: TreePath): void {
    this.#deleted.add(path);
  }

  conflict(path: TreePath): void {
    this.#conflicts.add(path);
  }

  held(path: TreePath): void {
    this.#held.add(path);
  }

  /** It was as the job made it already. */
  before(path: TreePath): void {
    this.#before.add(path);
  }

  notice(text: string): void {
    if (this.#notices.length < NOTICES_MAX) this.#notices.push(text);
  }

  /** For people. */
  summary(): string {
    const { count, paths } = this.#returned;
    const names = paths.slice(0, NAMES_MAX).join(', ');
    const shown = count === 0 ? '' : ` (${names}${count > NAMES_MAX ? ', …' : ''})`;
    return `${count} files were applied before that${shown}, ${this.#deleted.count} were deleted`;
  }

  applied(): Applied {
    const more = {
      ...NONE_MORE,
      returned: this.#returned.beyond,
      deleted: this.#deleted.beyond,
      conflicts: this.#conflicts.beyond,
      held_back: this.#held.beyond,
    };
    const isCut = Object.values(more).some((count) => count > 0);
    return {
      changes: {
        returned: this.#returned.paths,
        deleted: this.#deleted.paths,
        conflicts: this.#conflicts.paths,
        held_back: this.#held.paths,
        left_there: [],
        ...(isCut ? { more } : {}),
      },
      counts: {
        returned: this.#returned.count,
        deleted: this.#deleted.count,
        conflicts: this.#conflicts.count,
        heldBack: this.#held.count,
      },
      notices: [...this.#notices, ...this.#beforeNotice()],
    };
  }

  #beforeNotice(): string[] {
    const { count, paths } = this.#before;
    if (count === 0) return [];
    const names = paths
      .slice(0, NAMES_MAX)
      .map((name) => escapeControls(name))
      .join(', ');
    const more = count > NAMES_MAX ? ` and ${count - NAMES_MAX} more` : '';
    return [`${count === 1 ? '1 change was' : `${count} changes were`} here already: ${names}${more}`];
  }
}
