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

/**
 * Does a word of a command name one of those products, or a file in one?
 *
 * @param words as they were written: a path, or an option with one behind `=`
 * @param folder the command's directory, and `products`, from the root on; '' is the root
 * @param root absolute
 */
export function namesProduct(
  words: readonly string[],
  at: { readonly root: string; readonly folder: string },
  products: readonly string[],
): boolean {
  const isProduct = (path: string): boolean => products.some((one) => path === one || path.startsWith(`${one}/`));
  if (isProduct(at.folder)) return true;
  const base = `${at.root}/${at.folder}`;
  return words.some((word) =>
    [word, word.slice(word.indexOf('=') + 1)].some((path) => {
      const whole = plainPath(path.startsWith('/') ? path : `${base}/${path}`);
      return whole.startsWith(`${at.root}/`) && isProduct(whole.slice(at.root.length + 1));
    }),
  );
}

/** Without `.`, `..` and doubled slashes. @param path absolute */
function plainPath(path: string): string {
  const names: string[] = [];
  for (const name of path.split('/')) {
    if (name === '..') names.pop();
    else if (name !== '' && name !== '.') names.push(name);
  }
  return `/${names.join('/')}`;
}
