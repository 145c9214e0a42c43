import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { systemCodeOf } from '../../base/errors.ts';

const HASH_CHARS = 12;
const OF_A_JOB = /^(.*?)\/meshwork-[0-9a-f]{12}\/[^/]+(?:\/|$)/;
const OWN = '0::';

/** The name of the group that holds those of one MESHWORK_HOME: two nodes of one machine have two. */
export const baseName = (home: string): string =>
  `meshwork-${createHash('sha256').update(home).digest('hex').slice(0, HASH_CHARS)}`;

/** The folder of this process's own cgroup-v2 group; null where there is none to be seen. */
export function ownGroup(): string | null {
  try {
    return groupFolder(readFileSync('/proc/self/mountinfo', 'utf8'), readFileSync('/proc/self/cgroup', 'utf8'));
  } catch (error) {
    if (['ENOENT', 'EACCES', 'EPERM'].includes(systemCodeOf(error))) return null;
    throw error;
  }
}

/**
 * @param mountinfo of /proc/self/mountinfo, see proc(5)
 * @param groups of /proc/self/cgroup, see cgroups(7)
 */
export function groupFolder(mountinfo: string, groups: string): string | null {
  const own = groups
    .split('\n')
    .find((line) => line.startsWith(OWN))
    ?.slice(OWN.length);
  // Outside of our cgroup namespace it begins with `/..`.
  if (own === undefined || own.split('/').includes('..')) return null;
  for (const line of mountinfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , root = '', mount = ''] = before.split(' ').map(unescaped);
    if (!after.startsWith('cgroup2 ') || mount === '') continue;
    // A container that shares the namespace of its host sees a part of the tree.
    const prefix = root === '/' ? '' : root;
    if (own === prefix || own.startsWith(`${prefix}/`)) return path.join(mount, own.slice(prefix.length));
  }
  return null;
}

/** The group from which the outermost job was started that `folder` belongs to; null where it belongs to none. */
export const outsideJobs = (folder: string): string | null => OF_A_JOB.exec(folder)?.[1] ?? null;

const unescaped = (field: string): string =>
  field.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCodePoint(Number.parseInt(octal, 8)));
