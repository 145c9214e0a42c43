import { statSync } from 'node:fs';
import path from 'node:path';
import { messageOf, systemCodeOf } from '../../base/errors.ts';

/** Where execvp(3) looks when PATH is not set. */
const DEFAULT_PATH = '/usr/local/bin:/usr/bin:/bin';
const ANY_EXECUTE_BIT = 0o111;

export type Lookup =
  | { readonly kind: 'found'; readonly file: string }
  /** As a shell says it: 127 where no such command exists, 126 where it is there but cannot be executed. */
  | { readonly kind: 'missing'; readonly code: 126 | 127; readonly message: string };

/**
 * Finds a command as a shell does: a name with a slash is a path below `cwd`, any other is looked up in PATH, whose
 * empty entries mean `cwd`. Symbolic links are followed, and a file that cannot be executed does not end the search.
 *
 * @param searchPath PATH of the job, not of this process; undefined where the job has none
 */
export function findExecutable(name: string, searchPath: string | undefined, cwd: string): Lookup {
  if (name === '') return { kind: 'missing', code: 127, message: `${name}: command not found` };
  if (name.includes('/')) {
    const file = path.resolve(cwd, name);
    const state = inspect(file);
    if (state === 'executable') return { kind: 'found', file };
    return state === 'missing'
      ? { kind: 'missing', code: 127, message: `${name}: No such file or directory` }
      : { kind: 'missing', code: 126, message: `${name}: ${state}` };
  }
  let denied: string | null = null;
  for (const folder of (searchPath ?? DEFAULT_PATH).split(':')) {
    const file = path.resolve(cwd, folder, name);
    const state = inspect(file);
    if (state === 'executable') return { kind: 'found', file };
    if (state === 'Permission denied') denied ??= state;
  }
  return denied === null
    ? { kind: 'missing', code: 127, message: `${name}: command not found` }
    : { kind: 'missing', code: 126, message: `${name}: ${denied}` };
}

function inspect(file: string): string {
  try {
    const stat = statSync(file);
    if (stat.isDirectory()) return 'Is a directory';
    return (stat.mode & ANY_EXECUTE_BIT) === 0 ? 'Permission denied' : 'executable';
  } catch (error) {
    switch (systemCodeOf(error)) {
      case 'ENOENT':
        return 'missing';
      case 'ENOTDIR':
        return 'Not a directory';
      case 'EACCES':
        return 'Permission denied';
      case 'ENAMETOOLONG':
        return 'File name too long';
      default:
        return messageOf(error);
    }
  }
}
