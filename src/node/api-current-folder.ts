import { MeshError } from '../base/errors.ts';

/** The directory that the command was given in. @throws MeshError `cwd_missing` where it was removed meanwhile */
export function currentFolder(): string {
  try {
    return process.cwd();
  } catch (error) {
    const text =
      'the current directory does not exist any more; nothing was run or changed. Change to one that does, or give --cwd';
    throw new MeshError('cwd_missing', text, error);
  }
}

/** As `currentFolder`, for reports and hints: how the shell calls it where it is gone. */
export function shownFolder(): string {
  try {
    return process.cwd();
  } catch {
    return process.env['PWD'] ?? '/';
  }
}
