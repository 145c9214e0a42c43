import { accessSync, closeSync, constants, existsSync, fstatSync, mkdirSync, openSync, statSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import envPaths from 'env-paths';
import { MeshError, messageOf, systemCodeOf } from '../base/errors.ts';
import { currentFolder } from './api-current-folder.ts';

/** MESHWORK_HOME: all that a node owns, as absolute paths. */
export interface Home {
  readonly path: string;
  readonly config: string;
  /** 0700: the key and the certificate. */
  readonly identity: string;
  readonly controlSocket: string;
  readonly runnerSocket: string;
  readonly jobs: string;
  /** What runs and ran here. */
  readonly executorJournal: string;
  /** How long commands took. */
  readonly history: string;
  /** The jobs that were submitted here. */
  readonly originJournal: string;
  /** Projects' files: what this node keeps for other origins (`for/`), and what it knows of its own projects. */
  readonly workspaces: string;
  /** A job's version of files that changed here meanwhile, by job. */
  readonly conflicts: string;
  /** Which untracked secrets go along with this node's projects. */
  readonly secrets: string;
  readonly auditLog: string;
  readonly daemonLog: string;
  readonly runnerLog: string;
  readonly lock: string;
  readonly trust: string;
  readonly members: string;
  readonly state: string;
}

/** Where everything is below a MESHWORK_HOME; touches no disk. @throws MeshError `cwd_missing` where it is relative to nothing */
export function homeAt(path: string): Home {
  const root = isAbsolute(path) ? resolve(path) : resolve(currentFolder(), path);
  const at = (name: string): string => join(root, name);
  return {
    path: root,
    config: at('config.toml'),
    identity: at('identity'),
    controlSocket: at('control.sock'),
    runnerSocket: at('runner.sock'),
    jobs: at('jobs'),
    executorJournal: at('jobs/executor.journal'),
    history: at('jobs/history.json'),
    originJournal: at('jobs/origin.journal'),
    workspaces: at('workspaces'),
    conflicts: at('conflicts'),
    secrets: at('secrets.json'),
    auditLog: at('audit.log'),
    daemonLog: at('daemon.log'),
    runnerLog: at('runner.log'),
    lock: at('daemon.lock'),
    trust: at('trust.json'),
    members: at('members.json'),
    state: at('state.json'),
  };
}

/**
 * `--home`, else MESHWORK_HOME, else the place of the XDG base directory specification (`~/.local/share/meshwork`) or of
 * macOS (`~/Library/Application Support/meshwork`).
 */
export function resolveHome(flag: string | undefined, env: Readonly<Record<string, string | undefined>>): Home {
  if (flag === '') throw new MeshError('bad_argument', '--home is empty: give the folder that the node shall own.');
  const given = flag ?? env['MESHWORK_HOME'];
  return homeAt(given === undefined || given === '' ? envPaths('meshwork', { suffix: '' }).data : given);
}

const WRITABLE_BY_OTHERS = 0o002;

/**
 * Makes the folder (0700) where it does not exist. One that exists keeps its mode: it may be somebody's by mistake.
 *
 * @throws MeshError `home_not_writable` where it cannot be made or written, or where everybody may write in it
 */
export function ensureHome(home: Home): void {
  try {
    makeFolder(home.path);
    const stats = statSync(home.path);
    if (!stats.isDirectory()) throw notWritable(home, 'is not a folder');
    if ((stats.mode & WRITABLE_BY_OTHERS) !== 0) {
      throw notWritable(home, `can be written by everybody (mode ${(stats.mode & 0o7777).toString(8)})`);
    }
    accessSync(home.path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    if (error instanceof MeshError) throw error;
    throw notWritable(home, `cannot be made or written (${systemCodeOf(error) || messageOf(error)})`, error);
  }
}

/** Level by level: Node.js' `recursive` never returns below a folder that says ENOENT to `mkdir`, such as /proc. */
function makeFolder(path: string): void {
  if (existsSync(path)) return;
  const parent = dirname(path);
  if (parent !== path) makeFolder(parent);
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    // EEXIST: another start made it at the same moment; whether it is a folder is looked at afterwards.
    if (systemCodeOf(error) !== 'EEXIST') throw error;
  }
}

function notWritable(home: Home, what: string, cause?: unknown): MeshError {
  const remedy = 'Give a folder of your own with --home or MESHWORK_HOME; nothing was changed.';
  return new MeshError('home_not_writable', `MESHWORK_HOME ${home.path} ${what}. ${remedy}`, cause);
}

/** Bytes of `sun_path` (unix(7)) less the closing NUL. A longer path is cut off silently by some systems. */
export const SOCKET_PATH_BYTES_MAX = process.platform === 'linux' ? 107 : 103;

/** Open folders of long socket paths, by folder: they stay open for as long as their sockets may be used. */
const openFolders = new Map<string, number>();
const OPEN_FOLDERS_MAX = 16;

/**
 * What to listen on or connect to for the Unix socket of that path. Linux reaches one whose path is too long through an
 * open descriptor of its folder; elsewhere it is an error.
 *
 * @throws MeshError `limit` where the path is too long here, `daemon_not_running` where its folder does not exist
 */
export function socketAddress(path: string): string {
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX) return path;
  const remedy = 'Give a shorter folder with --home or MESHWORK_HOME.';
  if (process.platform !== 'linux') {
    throw new MeshError('limit', `The socket path ${path} is longer than ${SOCKET_PATH_BYTES_MAX} bytes. ${remedy}`);
  }
  const address = `/proc/self/fd/${folderDescriptor(dirname(path))}/${basename(path)}`;
  if (Buffer.byteLength(address) > SOCKET_PATH_BYTES_MAX) {
    throw new MeshError('limit', `The socket name ${basename(path)} is too long. ${remedy}`);
  }
  return address;
}

function folderDescriptor(folder: string): number {
  try {
    const now = statSync(folder);
    const open = openFolders.get(folder);
    if (open !== undefined) {
      const then = fstatSync(open);
      if (then.ino === now.ino && then.dev === now.dev) return open;
      // Removed and made again (`leave --purge`): what was opened is not what bears that name now.
      openFolders.delete(folder);
      closeSync(open);
    }
    if (openFolders.size >= OPEN_FOLDERS_MAX) {
      throw new MeshError('limit', `More than ${OPEN_FOLDERS_MAX} folders with long socket paths are in use.`);
    }
    const descriptor = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
    openFolders.set(folder, descriptor);
    return descriptor;
  } catch (error) {
    if (!['ENOENT', 'ENOTDIR'].includes(systemCodeOf(error))) throw error;
    throw new MeshError('daemon_not_running', `The folder ${folder} does not exist: no daemon runs there.`, error);
  }
}
