import { escapeControls } from '../../base/escape.ts';
import { textOfBytes } from '../../base/byte-text.ts';
import { below, listFolder, lookAt } from './byte-files.ts';

/** Looked through for what git may be waiting for: more folders than that make it slow by themselves. */
const FOLDERS_MAX = 50_000;
/** Nothing else of the thread gets on meanwhile. */
const LOOK_MS_MAX = 1000;

const IGNORE_FILE = '.gitignore';

/** A FIFO or a device as `.gitignore`: git opens it, and waits for as long as nobody writes there. */
export function blocksGit(folder: string): boolean {
  const stats = lookAt(below(folder, IGNORE_FILE));
  return stats !== null && !stats.isFile() && !stats.isDirectory() && !stats.isSymbolicLink();
}

/** What git waits for in a work tree: looked for once, however many calls are slow. */
export class WhyGitWaits {
  readonly #top: string;
  #reason: string | null | undefined;

  /** @param top absolute bytes */
  constructor(top: string) {
    this.#top = top;
  }

  /** For people; null where nothing is seen. */
  get reason(): string | null {
    if (this.#reason === undefined) this.#reason = reasonIn(this.#top);
    return this.#reason;
  }
}

function reasonIn(top: string): string | null {
  const folders = [''];
  const untilMs = performance.now() + LOOK_MS_MAX;
  for (let at = 0; at < folders.length && at < FOLDERS_MAX && performance.now() < untilMs; at++) {
    const folder = folders[at] ?? '';
    const absolute = folder === '' ? top : `${top}/${folder}`;
    if (blocksGit(absolute)) {
      const file = escapeControls(textOfBytes(below(folder, IGNORE_FILE)));
      return `${file} is no regular file, and git would wait for it: remove it`;
    }
    for (const { name, kind } of listFolder(absolute) ?? []) {
      if (kind === 'folder' && name !== '.git') folders.push(below(folder, name));
    }
  }
  return null;
}
