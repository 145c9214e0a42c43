import type { LeftThere } from '../../wire/changes.ts';
import { baseOf } from './dependency-files.ts';

/** Of tools for themselves, or of the moment: the next command does as well without them. */
const PASSING_FILE = /^\.|~$|\.(?:log|tmp|temp|bak|swp|pid|cache|tsbuildinfo)(?:\.\d+)?$/i;
const PASSING_FOLDERS: ReadonlySet<string> = new Set(['log', 'logs', 'tmp', 'temp', '.nyc_output', '.idea', '.vscode']);

/**
 * Is what a job left on a node worth that automatic routing keeps the project there? A folder that a build made is, and a
 * program beside its source; a log, a hidden file or a tool's cache is named to people, and binds nothing.
 *
 * @param left the highest ignored folder or file; one file is told by its name, several are a folder
 */
export function bindsProject({ path, files }: LeftThere): boolean {
  const name = baseOf(path);
  if (PASSING_FOLDERS.has(name.toLowerCase())) return false;
  return files > 1 || !PASSING_FILE.test(name);
}

/** Is it one of those products, or in one? @param path and `products`, from the root on */
export const isInProduct = (path: string, products: readonly string[]): boolean =>
  products.some((one) => path === one || path.startsWith(`${one}/`));
