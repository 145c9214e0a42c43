import { existsSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { systemCodeOf } from '../base/errors.ts';
import type { ProjectPlace } from '../core/history/command-key.ts';

const LEVELS_UP_MAX = 32;
const PLACES_MAX = 512;
const GIT_FILE_BYTES_MAX = 8192;
/** What makes a folder the top of a project, beside `.git`. */
const MARKS = ['.meshwork.toml', '.meshworkignore'];

/** Says which project a directory belongs to, as far as the history of its commands goes. */
export class ProjectPlaces {
  /** In order of use. */
  readonly #known = new Map<string, ProjectPlace>();

  /** @param cwd absolute; outside of a project it is its own place */
  at(cwd: string): ProjectPlace {
    const place = this.#known.get(cwd) ?? placeOf(cwd);
    this.#known.delete(cwd);
    this.#known.set(cwd, place);
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= PLACES_MAX) break;
      this.#known.delete(oldest);
    }
    return place;
  }
}

function placeOf(cwd: string): ProjectPlace {
  const home = homedir();
  let root = cwd;
  for (let level = 0; level < LEVELS_UP_MAX; level += 1) {
    const above = dirname(root);
    // A home directory, or what lies above one, is no project.
    if (root === above || root === home || home.startsWith(`${root}/`)) break;
    const repository = repositoryOf(root);
    if (repository !== null || MARKS.some((mark) => existsSync(join(root, mark)))) {
      return { id: repository ?? root, root, prefix: relative(root, cwd) };
    }
    root = above;
  }
  return { id: cwd, root: cwd, prefix: '' };
}

/** The main work tree's top where `folder` is the top of one of its work trees; null where it is none. */
function repositoryOf(folder: string): string | null {
  const path = join(folder, '.git');
  try {
    const stats = statSync(path);
    if (stats.isDirectory()) return folder;
    // To read a FIFO would hold the daemon up for ever.
    if (!stats.isFile()) return null;
    if (stats.size > GIT_FILE_BYTES_MAX) return folder;
    const linked = /^gitdir: (\/.+)\/\.git\/worktrees\/[^/\n]+\n?$/.exec(readFileSync(path, 'utf8'));
    return linked?.[1] ?? folder;
  } catch (error) {
    // Not there, or not to be read: then it is no project of this user's.
    if (systemCodeOf(error) === '') throw error;
    return null;
  }
}
