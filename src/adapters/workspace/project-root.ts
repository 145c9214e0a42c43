import { createHash } from 'node:crypto';
import { lstatSync, readFileSync, realpathSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { systemCodeOf } from '../../base/errors.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { Project, ScanRefusal } from '../../ports/workspace.ts';

const LEVELS_UP_MAX = 256;
const KEY_CHARS = 32;
const FIRST_PERSON_UID = 1000;
const NO_LOGIN = /\/(nologin|false|sync)$/;
/** Of `.git` where it is a file: gitrepository-layout(5), "gitdir: PATH". */
const GIT_FILE_BYTES_MAX = 8192;

/**
 * Directories that are never a project, nor is what lies above them: files of a user's settings are often kept in a
 * repository at the home directory.
 *
 * @param more homes that the caller knows of, such as that of the login environment
 */
export function homeFolders(more: readonly string[]): ReadonlySet<string> {
  const homes = new Set<string>(['/']);
  const add = (folder: string | undefined): void => {
    // An account without a home of its own has '/' or something like /nonexistent.
    if (folder === undefined || !folder.startsWith('/')) return;
    const plain = folder.replace(/(?!^)\/+$/, '');
    homes.add(plain);
    const real = realpathOrNull(plain);
    if (real !== null) homes.add(real);
  };
  for (const folder of [...more, process.env['HOME'], homedir()]) add(folder);
  for (const line of readText('/etc/passwd').split('\n')) {
    // passwd(5): name:password:uid:gid:gecos:home:shell; an empty shell means /bin/sh.
    const fields = line.split(':');
    const uid = Number(fields[2]);
    if (fields.length < 7 || !Number.isInteger(uid) || NO_LOGIN.test(fields[6] ?? '')) continue;
    if (uid === 0 || uid >= FIRST_PERSON_UID) add(fields[5]);
  }
  return homes;
}

/**
 * The project that a directory lies in: the nearest folder upwards that is the top of a git work tree or holds
 * `.meshwork.toml`; outside of any git work tree also one with `.meshworkignore`, which inside one is an ignore file only.
 *
 * @param named `--sync`, absolute: that directory is the project
 * @param homes of `homeFolders`
 * @returns null where there is none; a refusal where `named` cannot be one
 */
export function findProject(
  cwd: string,
  named: string | null,
  homes: ReadonlySet<string>,
): Result<Project | null, ScanRefusal> {
  const real = realpathOrNull(named ?? cwd);
  if (named === null) {
    if (real === null) return ok(null);
    const root = rootAbove(real, homes);
    return ok(root === null ? null : projectAt(root, homes));
  }
  if (real === null || !isFolder(real)) return refuse(`--sync ${named} is not a directory here`);
  const reason = forbidden(real, homes);
  if (reason !== null) return refuse(`--sync ${named} can't be a project: it is ${reason}`);
  if (insideGitFolder(real)) return refuse(`--sync ${named} can't be a project: it is part of a .git folder`);
  return ok(projectAt(real, homes));
}

const refuse = (what: string): Result<never, ScanRefusal> =>
  err({ code: 'no_project', message: `${what}. Nothing was sent. Name a project's own directory.` });

/** Why a folder is never a project, null where it may be one. */
function forbidden(folder: string, homes: ReadonlySet<string>): string | null {
  if (folder === '/') return 'the root of the file system';
  if (homes.has(folder)) return 'a home directory';
  for (const home of homes) if (home.startsWith(`${folder}/`)) return `above a home directory (${home})`;
  return null;
}

function rootAbove(start: string, homes: ReadonlySet<string>): string | null {
  if (insideGitFolder(start)) return null;
  let ignoreMark: string | null = null;
  let mark: string | null = null;
  for (const folder of upwards(start, homes)) {
    const isTop = isGitTop(folder);
    mark ??= isTop || isThere(join(folder, '.meshwork.toml')) ? folder : null;
    if (isTop) return mark;
    // Whether that counts depends on what lies above.
    if (mark === null && isThere(join(folder, '.meshworkignore'))) ignoreMark ??= folder;
  }
  return ignoreMark ?? mark;
}

/** The top of the git work tree that a folder lies in, null where it lies in none that may be a project. */
export function gitTopOf(start: string, homes: ReadonlySet<string>): string | null {
  for (const folder of upwards(start, homes)) if (isGitTop(folder)) return folder;
  return null;
}

function* upwards(start: string, homes: ReadonlySet<string>): Generator<string> {
  let folder = start;
  for (let level = 0; level < LEVELS_UP_MAX && forbidden(folder, homes) === null; level += 1) {
    yield folder;
    folder = dirname(folder);
  }
}

function projectAt(root: string, homes: ReadonlySet<string>): Project {
  const key = createHash('sha256').update(root).digest('hex').slice(0, KEY_CHARS);
  return { root, key, kind: gitTopOf(root, homes) === null ? 'plain' : 'git' };
}

const insideGitFolder = (path: string): boolean => path.split('/').includes('.git');

/** `.git` is a folder with a HEAD, or a file that names one: in linked work trees and submodules. */
export function isGitTop(folder: string): boolean {
  const path = join(folder, '.git');
  const kind = kindOf(path);
  if (kind === 'folder') return isThere(join(path, 'HEAD'));
  return kind === 'file' && readText(path).startsWith('gitdir:');
}

const isThere = (path: string): boolean => kindOf(path) !== null;
const isFolder = (path: string): boolean => kindOf(path) === 'folder';

function kindOf(path: string): 'folder' | 'file' | 'other' | null {
  try {
    // A link counts as what it points to, but one that points nowhere is there as well.
    const real = lstatSync(path).isSymbolicLink() ? (realpathOrNull(path) ?? path) : path;
    const stats = lstatSync(real);
    return stats.isDirectory() ? 'folder' : stats.isFile() ? 'file' : 'other';
  } catch (error) {
    return absentOrThrow(error);
  }
}

function realpathOrNull(path: string): string | null {
  try {
    const bytes = realpathSync.native(path, { encoding: 'buffer' });
    const text = bytes.toString('utf8');
    // The root's path is text throughout; what is not UTF-8 would be another path.
    return Buffer.from(text, 'utf8').equals(bytes) ? text : null;
  } catch (error) {
    return absentOrThrow(error);
  }
}

function readText(path: string): string {
  try {
    const text = readFileSync(path, 'utf8');
    return path.endsWith('/.git') ? text.slice(0, GIT_FILE_BYTES_MAX) : text;
  } catch (error) {
    return absentOrThrow(error) ?? '';
  }
}

function absentOrThrow(error: unknown): null {
  if (['ENOENT', 'EACCES', 'ENOTDIR', 'ELOOP', 'EPERM', 'EISDIR'].includes(systemCodeOf(error))) return null;
  throw error;
}
