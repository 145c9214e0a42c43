import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { systemCodeOf } from '../../base/errors.ts';

/** What the control groups of this process allow it: containers and systemd slices set these, and `node:os` is blind to them. */
export interface CgroupLimits {
  /** The tightest CPU quota on the way to the root, in cores (1.5 = one and a half), and what has been used under it. */
  readonly cpu: { readonly quotaCores: number; readonly usedNanoseconds: () => number | null } | null;
  /** The tightest memory limit on that way. Used: without the page cache that the kernel drops on demand. */
  readonly memory: { readonly limitBytes: number; readonly usedBytes: () => number | null } | null;
}

/** Depth to which a chain of groups is followed; the kernel's own nesting is seldom past 10. */
const GROUP_DEPTH_MAX = 64;
/** v1 says "no limit" with the largest page-aligned 63-bit number. */
const V1_UNLIMITED_BYTES = 2 ** 62;

/**
 * Reads the limits of cgroup v1, v2 or both (hybrid systems). Linux only; cheap enough for once a minute.
 *
 * @param root where `/proc` and `/sys` are; only tests give another than `/`
 */
export function findCgroupLimits(root = '/'): CgroupLimits {
  const groups = groupDirectories(root);
  const cpu = tightest([
    ...groups.v2.map((dir) => cpuV2(dir)),
    ...groups.cpu.map((dir, depth) => cpuV1(dir, groups.cpuacct[depth] ?? null)),
  ]);
  const memory = tightest([...groups.v2.map((dir) => memoryV2(dir)), ...groups.memory.map((dir) => memoryV1(dir))]);
  return {
    cpu: cpu === null ? null : { quotaCores: cpu.limit, usedNanoseconds: cpu.used },
    memory: memory === null ? null : { limitBytes: memory.limit, usedBytes: memory.used },
  };
}

interface Limit {
  readonly limit: number;
  readonly used: () => number | null;
}

function tightest(limits: readonly (Limit | null)[]): Limit | null {
  let found: Limit | null = null;
  for (const limit of limits) if (limit !== null && (found === null || limit.limit < found.limit)) found = limit;
  return found;
}

function cpuV2(dir: string): Limit | null {
  const [quota, period] = (readText(join(dir, 'cpu.max')) ?? 'max').split(' ').map(Number);
  if (quota === undefined || period === undefined || !(quota > 0) || !(period > 0)) return null;
  const used = (): number | null => {
    const micros = fieldOf(readText(join(dir, 'cpu.stat')), 'usage_usec');
    return micros === null ? null : micros * 1000;
  };
  return { limit: quota / period, used };
}

function cpuV1(dir: string, accountDir: string | null): Limit | null {
  const quota = readNumber(join(dir, 'cpu.cfs_quota_us'));
  const period = readNumber(join(dir, 'cpu.cfs_period_us'));
  if (quota === null || period === null || !(quota > 0) || !(period > 0)) return null;
  return {
    limit: quota / period,
    used: () => (accountDir === null ? null : readNumber(join(accountDir, 'cpuacct.usage'))),
  };
}

function memoryV2(dir: string): Limit | null {
  const limit = readNumber(join(dir, 'memory.max'));
  if (limit === null || !(limit > 0)) return null;
  return { limit, used: () => usedWithoutCache(dir, 'memory.current', 'inactive_file') };
}

function memoryV1(dir: string): Limit | null {
  const limit = readNumber(join(dir, 'memory.limit_in_bytes'));
  if (limit === null || !(limit > 0) || limit >= V1_UNLIMITED_BYTES) return null;
  return { limit, used: () => usedWithoutCache(dir, 'memory.usage_in_bytes', 'total_inactive_file') };
}

function usedWithoutCache(dir: string, usageFile: string, cacheField: string): number | null {
  const usage = readNumber(join(dir, usageFile));
  if (usage === null) return null;
  return Math.max(0, usage - (fieldOf(readText(join(dir, 'memory.stat')), cacheField) ?? 0));
}

interface GroupDirectories {
  readonly v2: readonly string[];
  readonly cpu: readonly string[];
  readonly cpuacct: readonly string[];
  readonly memory: readonly string[];
}

/** For each hierarchy: this process's own group first, then every one above it up to the mount. */
function groupDirectories(root: string): GroupDirectories {
  const mounts = cgroupMounts(readText(join(root, 'proc/self/mountinfo')) ?? '');
  const paths = new Map<string, string>();
  for (const line of (readText(join(root, 'proc/self/cgroup')) ?? '').split('\n')) {
    const [, controllers, ...path] = line.split(':');
    if (controllers === undefined || path.length === 0) continue;
    for (const controller of controllers.split(',')) paths.set(controller, path.join(':'));
  }
  const chain = (controller: string): string[] => {
    const mount = mounts.get(controller);
    const path = paths.get(controller);
    return mount === undefined || path === undefined ? [] : chainOf(join(root, mount.point), mount.root, path);
  };
  return { v2: chain(''), cpu: chain('cpu'), cpuacct: chain('cpuacct'), memory: chain('memory') };
}

function chainOf(mountPoint: string, mountRoot: string, path: string): string[] {
  const below = relative(mountRoot, path);
  // Outside what is mounted (a container without its own cgroup namespace): the mount itself is the group to look at.
  let rest = below.startsWith('..') ? '' : below;
  const chain: string[] = [];
  for (let depth = 0; depth < GROUP_DEPTH_MAX; depth++) {
    chain.push(join(mountPoint, rest));
    if (rest === '' || rest === '.') break;
    rest = rest.includes('/') ? rest.slice(0, rest.lastIndexOf('/')) : '';
  }
  return chain;
}

/** By controller, '' for v2. Lines of proc(5) mountinfo: id parent dev root point options… - type source superoptions. */
function cgroupMounts(mountinfo: string): Map<string, { readonly point: string; readonly root: string }> {
  const mounts = new Map<string, { point: string; root: string }>();
  for (const line of mountinfo.split('\n')) {
    const [mount, superBlock] = line.split(' - ');
    const [type, , options] = (superBlock ?? '').split(' ');
    if (type !== 'cgroup' && type !== 'cgroup2') continue;
    const [, , , root, point] = (mount ?? '').split(' ');
    if (root === undefined || point === undefined) continue;
    for (const controller of type === 'cgroup2' ? [''] : (options ?? '').split(',')) {
      if (!mounts.has(controller)) mounts.set(controller, { point, root });
    }
  }
  return mounts;
}

function fieldOf(text: string | null, name: string): number | null {
  for (const line of (text ?? '').split('\n')) {
    if (!line.startsWith(`${name} `)) continue;
    const value = Number(line.slice(name.length + 1));
    return Number.isFinite(value) ? value : null;
  }
  return null;
}

function readNumber(path: string): number | null {
  const text = readText(path);
  const value = text === null || text === '' ? Number.NaN : Number(text);
  return Number.isFinite(value) ? value : null;
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    // Absent at the root group, in the other version of cgroups, and where the controller is off.
    if (['ENOENT', 'ENOTDIR', 'EACCES', 'EOPNOTSUPP', 'ENODEV'].includes(systemCodeOf(error))) return null;
    throw error;
  }
}
