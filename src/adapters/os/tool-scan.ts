import { constants } from 'node:fs';
import { access, opendir, realpath, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { systemCodeOf } from '../../base/errors.ts';
import { TOOLS_MAX } from '../../wire/facts.ts';
import { KNOWN_TOOLS } from './tool-list.ts';

const PATH_DIRECTORIES_MAX = 64;
const PATH_ENTRIES_MAX = 20_000;

/** The directories of a PATH in order, without duplicates and without relative ones, which mean another place in every cwd. */
export function pathDirectories(path: string): readonly string[] {
  return [...new Set(path.split(':').filter((dir) => isAbsolute(dir)))].slice(0, PATH_DIRECTORIES_MAX);
}

/**
 * Finds an executable as a shell would.
 *
 * @param name a bare name; with a slash in it, the path of the file itself
 * @returns its path, or null where there is none that this process may see as executable
 */
export async function findExecutable(name: string, path: string): Promise<string | null> {
  if (name === '' || name.includes('\0')) return null;
  if (name.includes('/')) return isAbsolute(name) && (await isExecutable(name)) ? name : null;
  for (const dir of pathDirectories(path)) {
    const file = join(dir, name);
    if (await isExecutable(file)) return file;
  }
  return null;
}

/** The known tools on a PATH: name → path of the first executable of that name. Bounded in directories and entries. */
export async function scanTools(path: string): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  const seen = new Set<string>();
  let entriesLeft = PATH_ENTRIES_MAX;
  for (const dir of pathDirectories(path)) {
    // /bin is often a link to /usr/bin: look at each directory once.
    const real = await orNull(realpath(dir));
    if (real === null || seen.has(real)) continue;
    seen.add(real);
    const names: string[] = [];
    entriesLeft -= await readNames(dir, entriesLeft, (name) => {
      if (KNOWN_TOOLS.has(name) && !found.has(name)) names.push(name);
    });
    for (const name of names) {
      if (found.size < TOOLS_MAX && (await isExecutable(join(dir, name)))) found.set(name, join(dir, name));
    }
    if (entriesLeft <= 0) break;
  }
  return found;
}

/** What changes when something is installed or removed: the directories' modification times. */
export async function pathStamp(path: string): Promise<string> {
  const stamps: string[] = [];
  for (const dir of pathDirectories(path)) {
    const stats = await orNull(stat(dir, { bigint: true }));
    stamps.push(stats === null ? '-' : `${stats.dev}.${stats.ino}.${stats.mtimeNs}`);
  }
  return stamps.join(' ');
}

async function readNames(dir: string, entriesMax: number, each: (name: string) => void): Promise<number> {
  const handle = await orNull(opendir(dir, { bufferSize: 512 }));
  if (handle === null) return 0;
  let entries = 0;
  // Leaving the loop closes the directory.
  for await (const entry of handle) {
    if (entries >= entriesMax) break;
    entries += 1;
    each(entry.name);
  }
  return entries;
}

async function isExecutable(path: string): Promise<boolean> {
  const stats = await orNull(stat(path));
  // root passes access(2) wherever any execute bit is set, a job's user may not: ask for the bit too.
  if (stats === null || !stats.isFile() || (stats.mode & 0o111) === 0) return false;
  return (await orNull(access(path, constants.X_OK).then(() => true))) ?? false;
}

const ABSENT = ['ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP', 'ENAMETOOLONG', 'EPERM', 'ESTALE', 'EIO'];

/** A PATH may name what is not there, not readable or on a dead mount: such an entry holds no tool. */
async function orNull<T>(reading: Promise<T>): Promise<T | null> {
  try {
    return await reading;
  } catch (error) {
    if (ABSENT.includes(systemCodeOf(error))) return null;
    throw error;
  }
}
