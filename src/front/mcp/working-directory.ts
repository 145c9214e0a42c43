import { realpath, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, relative, resolve } from 'node:path';
import { MeshError, systemCodeOf } from '../../base/errors.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { repositoryAround } from './linked-worktrees.ts';

const WORKTREES_SHOWN_MAX = 20;

/**
 * Where commands may run: in the client's project, the work trees of its repository, and the `[mcp] roots` setting. A
 * guard rail against a command in the wrong checkout; a command itself may go wherever its user may.
 */
export class WorkingDirectory {
  readonly #base: string;
  readonly #userHome: string;

  /** @param base CLAUDE_PROJECT_DIR, else the directory that the server was started in; absolute */
  constructor(base: string, userHome: string = homedir()) {
    this.#base = resolve(base);
    this.#userHome = userHome;
  }

  /**
   * @param cwd as given in the call, or undefined for the project itself
   * @param roots further folders that commands may run in; absolute
   * @returns an absolute path, or the refusal: `bad_argument`, `cwd_missing`, `cwd_not_allowed`, `worktree_ambiguous`
   */
  async resolve(cwd: string | undefined, roots: readonly string[]): Promise<Result<string, MeshError>> {
    const base = await folderAt(this.#base);
    if (cwd === undefined) return this.#byDefault(base);
    if (!isAbsolute(cwd)) {
      return refuse('bad_argument', `cwd "${cwd}" is not absolute: give a path such as ${this.#base}`);
    }
    const path = resolve(cwd);
    const real = await folderAt(path);
    if (real === null) return refuse('cwd_missing', `cwd ${path} is not a directory of this machine`);
    if (real === base) return ok(path);
    const allowed = [...(await this.#project(base)), ...(await realFolders(roots))];
    if (allowed.some((folder) => isWithin(folder, real))) return ok(path);
    const where =
      allowed.length === 0 ? `${this.#base} is no project of its own` : `commands run in ${allowed.join(', ')}`;
    return refuse(
      'cwd_not_allowed',
      `cwd ${path} lies outside the project (${where}): add a folder to \`roots\` under [mcp] in config.toml to allow it`,
    );
  }

  async #byDefault(base: string | null): Promise<Result<string, MeshError>> {
    if (base === null) return refuse('cwd_missing', `the project directory ${this.#base} does not exist`);
    const worktrees = (await repositoryAround(base))?.worktrees ?? [];
    if (worktrees.length <= 1) return ok(this.#base);
    const shown = worktrees.slice(0, WORKTREES_SHOWN_MAX).join(', ');
    const more = worktrees.length - WORKTREES_SHOWN_MAX;
    return refuse(
      'worktree_ambiguous',
      `this repository has several work trees: give cwd, in one of ${shown}${more > 0 ? ` and ${more} more` : ''}`,
    );
  }

  /** The folders of the project: never `/`, a home directory or what lies above one. */
  async #project(base: string | null): Promise<string[]> {
    if (base === null) return [];
    const repository = await repositoryAround(base);
    const home = (await folderAt(this.#userHome)) ?? this.#userHome;
    const isProject = (folder: string): boolean => !isWithin(folder, home);
    const worktrees = [...(repository?.worktrees ?? []), ...(repository === null ? [] : [repository.top])];
    return [...new Set([base, ...worktrees])].filter(isProject);
  }
}

const refuse = (code: MeshError['code'], message: string): Result<never, MeshError> =>
  err(new MeshError(code, `${message}; nothing was run`));

async function realFolders(paths: readonly string[]): Promise<string[]> {
  const real = await Promise.all(paths.map(folderAt));
  return real.filter((path) => path !== null);
}

/** The real path of a directory; null where there is none. Symbolic links are followed, so none leads out. */
async function folderAt(path: string): Promise<string | null> {
  try {
    const real = await realpath(path);
    return (await stat(real)).isDirectory() ? real : null;
  } catch (error) {
    if (systemCodeOf(error) === '') throw error;
    return null;
  }
}

function isWithin(folder: string, path: string): boolean {
  const between = relative(folder, path);
  return between === '' || !(between === '..' || between.startsWith('../') || isAbsolute(between));
}
