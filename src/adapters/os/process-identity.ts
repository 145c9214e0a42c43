import { execFileSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { systemCodeOf } from '../../base/errors.ts';

const SYSTEM_COMMAND_TIMEOUT_MS = 2000;

/**
 * Names this boot of this kernel; null where it cannot be known, and then nothing may be concluded from it. Containers
 * of one host share it, and so do their device numbers.
 */
export function readBootId(): string | null {
  if (process.platform === 'linux') return readOrNull('/proc/sys/kernel/random/boot_id');
  if (process.platform === 'darwin') return outputOrNull('/usr/sbin/sysctl', ['-n', 'kern.bootsessionuuid']);
  return null;
}

/** The process-id namespace that this process sees, '' where there are none: pids of another one mean nothing here. */
export function readPidNamespace(): string {
  if (process.platform !== 'linux') return '';
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch (error) {
    return unknownUnless(error, ['ENOENT', 'EACCES']) ?? '';
  }
}

/**
 * When a process started, in the kernel's own words (Linux: clock ticks since boot, proc(5) field 22): with the pid it
 * names one process of a boot for good. Null where no such process exists.
 */
export function readProcessStart(pid: number): string | null {
  if (process.platform !== 'linux') return outputOrNull('/bin/ps', ['-o', 'lstart=', '-p', String(pid)]);
  const stat = readOrNull(`/proc/${pid}/stat`);
  if (stat === null) return null;
  // The name, in parentheses, may hold spaces and parentheses of its own.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = fields[0] ?? '';
  // A zombie holds nothing any more; it only waits for its parent to look.
  return state === 'Z' || state === 'X' ? null : (fields[19] ?? null);
}

function readOrNull(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    return unknownUnless(error, ['ENOENT', 'EACCES', 'ESRCH']);
  }
}

function outputOrNull(file: string, args: readonly string[]): string | null {
  try {
    const output = execFileSync(file, args, {
      encoding: 'utf8',
      timeout: SYSTEM_COMMAND_TIMEOUT_MS,
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { LC_ALL: 'C', PATH: '/usr/bin:/bin:/usr/sbin:/sbin' },
    }).trim();
    return output === '' ? null : output;
  } catch (error) {
    // A non-zero exit carries `status`: ps has no such process, sysctl no such name.
    if (typeof error === 'object' && error !== null && 'status' in error) return null;
    return unknownUnless(error, ['ENOENT', 'EACCES', 'ETIMEDOUT']);
  }
}

function unknownUnless(error: unknown, expected: readonly string[]): null {
  if (!expected.includes(systemCodeOf(error))) throw error;
  return null;
}
