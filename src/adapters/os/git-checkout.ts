import { realpath, stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { systemCodeOf } from '../../base/errors.ts';
import { type CommandEnd, runBounded } from './bounded-command.ts';
import { findExecutable } from './tool-scan.ts';

/** Where a directory lies in a git work tree, and whether its files are exactly those of a commit. */
export interface GitCheckout {
  /** The top of the work tree, without symbolic links. */
  readonly top: string;
  /** The directory relative to the top, '' for the top itself. */
  readonly prefix: string;
  /** The commit whose files these are; null where they differ or cannot be proved the same, and `why` says so. */
  readonly commit: string | null;
  readonly why: string;
}

export interface GitCheckouts {
  /** Null where the directory lies in no work tree that counts as a project. Never throws for what git says. */
  look(directory: string): Promise<GitCheckout | null>;
}

export interface GitOptions {
  /** The environment of jobs: git is taken from its PATH. */
  readonly env: Readonly<Record<string, string>>;
  /** A work tree at a home directory or above is no project (files of a user's settings are often kept so). */
  readonly home: string;
  /** Set where jobs run as another user: git obeys what a repository says, and trusts only its owner with it. */
  readonly user?: { readonly uid: number; readonly gid: number } | null;
  readonly timeoutMs?: number;
}

/** What takes longer, also on a machine with much else to do, is not proved clean. */
const GIT_TIMEOUT_MS = 5000;
/** About 100,000 paths; a larger tree is not proved clean. */
const GIT_OUTPUT_BYTES_MAX = 16 * 1024 * 1024;
const TREE_DEPTH_MAX = 256;

/** Nothing is locked, asked, fetched or started by a look. */
const GIT_ENVIRONMENT = { GIT_OPTIONAL_LOCKS: '0', GIT_TERMINAL_PROMPT: '0', GIT_NO_LAZY_FETCH: '1', LC_ALL: 'C' };
const QUIET = ['-c', 'core.fsmonitor=false', '-c', 'core.quotePath=false'];
/** Any of these would make git look at another repository than the directory's own. */
const GIT_REDIRECTIONS = ['GIT_DIR', 'GIT_WORK_TREE', 'GIT_INDEX_FILE', 'GIT_COMMON_DIR', 'GIT_OBJECT_DIRECTORY'];

/**
 * Looks at git work trees. A verdict is never reused, since files change without a trace in `.git`; but calls that come
 * while a look at the same tree is under way share one look that starts after it, so a thousand at once cost two.
 */
export function createGitCheckouts(options: GitOptions): GitCheckouts {
  const running = new Map<string, Promise<TreeState>>();
  const next = new Map<string, Promise<TreeState>>();

  const startLook = (top: string): Promise<TreeState> => {
    const state = lookAtTree(top, options).finally(() => running.delete(top));
    running.set(top, state);
    return state;
  };
  const lookShared = (top: string): Promise<TreeState> => {
    const current = running.get(top);
    if (current === undefined) return startLook(top);
    const waiting = next.get(top);
    if (waiting !== undefined) return waiting;
    // Whether that look failed or not: ours starts after it.
    const queued = current.then(
      () => undefined,
      () => undefined,
    );
    const following = queued.then(() => {
      next.delete(top);
      return startLook(top);
    });
    next.set(top, following);
    return following;
  };

  return {
    async look(directory: string): Promise<GitCheckout | null> {
      const real = await realpath(directory);
      const top = await findTop(real, await realHome(options.home));
      if (top === null) return null;
      const prefix = relative(top, real);
      if (prefix === '.git' || prefix.startsWith('.git/')) return null;
      const state = await lookShared(top);
      if (state.commit === null) return { top, prefix, commit: null, why: state.why };
      if (!state.holdsTracked(prefix)) {
        return { top, prefix, commit: null, why: 'git tracks no file in this directory' };
      }
      return { top, prefix, commit: state.commit, why: '' };
    },
  };
}

type TreeState =
  | { readonly commit: null; readonly why: string }
  | { readonly commit: string; readonly holdsTracked: (prefix: string) => boolean };

async function lookAtTree(top: string, options: GitOptions): Promise<TreeState> {
  const git = await findExecutable('git', options.env['PATH'] ?? '');
  if (git === null) return { commit: null, why: 'git is not on PATH here' };
  const env: Record<string, string> = { ...options.env, ...GIT_ENVIRONMENT };
  for (const name of GIT_REDIRECTIONS) delete env[name];
  const run = (args: readonly string[]): Promise<CommandEnd> =>
    runBounded({
      file: git,
      args: [...QUIET, '-C', top, ...args],
      env,
      cwd: top,
      timeoutMs: options.timeoutMs ?? GIT_TIMEOUT_MS,
      outputBytesMax: GIT_OUTPUT_BYTES_MAX,
      urgent: true,
      user: options.user ?? null,
    });
  const [status, files] = await Promise.all([
    run(['status', '--porcelain=v2', '--branch', '-unormal', '--no-renames', '--ignore-submodules=none', '-z']),
    run(['ls-files', '-v', '-z']),
  ]);
  if (status.kind !== 'exited' || status.code !== 0) return { commit: null, why: `git status ${failure(status)}` };
  if (files.kind !== 'exited' || files.code !== 0) return { commit: null, why: `git ls-files ${failure(files)}` };
  return judge(status.stdout.toString('utf8'), files.stdout.toString('utf8'));
}

function judge(status: string, files: string): TreeState {
  const lines = status.split('\0').filter((line) => line !== '');
  const commit = /^# branch\.oid ([0-9a-f]{40,64})$/.exec(
    lines.find((line) => line.startsWith('# branch.oid ')) ?? '',
  )?.[1];
  if (commit === undefined) return { commit: null, why: 'it has no commit yet' };
  const changed = lines.find((line) => !line.startsWith('# '));
  if (changed !== undefined) return { commit: null, why: `it has uncommitted or new files (${pathOf(changed)})` };
  const tracked = files.split('\0').filter((entry) => entry !== '');
  // git(1) ls-files -v: lower case = assume-unchanged, S = skip-worktree (sparse): status is blind to those.
  const hidden = tracked.find((entry) => !entry.startsWith('H '));
  if (hidden !== undefined) return { commit: null, why: `git does not watch all of its files (${hidden.slice(2)})` };
  const holdsTracked = (prefix: string): boolean =>
    prefix === '' || tracked.some((entry) => entry.startsWith(`${prefix}/`, 2));
  return { commit, holdsTracked };
}

const SHOWN_CHARS_MAX = 100;

/** git-status(1) porcelain v2: `? path`, `1 XY sub mH mI mW hH hI path`, `u XY sub m1 m2 m3 mW h1 h2 h3 path`. */
function pathOf(entry: string): string {
  const fieldsBefore = entry.startsWith('? ') ? 1 : entry.startsWith('u ') ? 10 : 8;
  return entry.split(' ').slice(fieldsBefore).join(' ').slice(0, SHOWN_CHARS_MAX);
}

function failure(end: CommandEnd): string {
  switch (end.kind) {
    case 'timeout':
      return 'took too long';
    case 'too_much_output':
      return 'lists too many files';
    case 'not_started':
      return `could not be started (${end.message})`;
    case 'exited': {
      const said = end.stderr.toString('utf8').trim().split('\n')[0] ?? '';
      return `failed (${said.slice(0, SHOWN_CHARS_MAX)})`;
    }
  }
}

/** Walks up to the nearest `.git` (a folder, or a file in linked work trees and submodules). */
async function findTop(real: string, home: string): Promise<string | null> {
  let directory = real;
  for (let depth = 0; depth < TREE_DEPTH_MAX; depth++) {
    if (directory === '/' || home === directory || home.startsWith(`${directory}/`)) return null;
    if (await exists(join(directory, '.git'))) return directory;
    directory = dirname(directory);
  }
  return null;
}

async function realHome(home: string): Promise<string> {
  try {
    return await realpath(home);
  } catch (error) {
    if (['ENOENT', 'EACCES', 'ENOTDIR', 'ELOOP'].includes(systemCodeOf(error))) return home;
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (['ENOENT', 'EACCES', 'ENOTDIR', 'ELOOP'].includes(systemCodeOf(error))) return false;
    throw error;
  }
}
