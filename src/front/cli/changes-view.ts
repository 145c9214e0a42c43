import { existsSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { escapeControls } from '../../base/escape.ts';
import { literalGlob } from '../../base/literal-glob.ts';
import { formatSize } from '../../base/units.ts';
import { changeCounts } from '../../node/api-changes.ts';
import type { Changes, LeftThere } from '../../node/api-types.ts';
import { printError, stderrColourWanted } from './output.ts';

const LEFT_SHOWN_MAX = 3;
const FOLDERS_UP_MAX = 256;
const ROOT_MARKS = ['.git', '.meshwork.toml', '.meshworkignore'] as const;

/** Of one job or of several. */
export interface ChangesSeen {
  readonly returned: number;
  readonly deleted: number;
  readonly conflicts: number;
  readonly heldBack: number;
  /** The same folder of several jobs is one. */
  readonly left: readonly (LeftThere & { readonly node: string | null })[];
  readonly leftCount: number;
}

export const NOTHING_SEEN: ChangesSeen = {
  returned: 0,
  deleted: 0,
  conflicts: 0,
  heldBack: 0,
  left: [],
  leftCount: 0,
};

export function addChanges(seen: ChangesSeen, changes: Changes, node: string | null): ChangesSeen {
  const counts = changeCounts(changes);
  const known = (left: LeftThere): boolean => seen.left.some((one) => one.path === left.path && one.node === node);
  const news = changes.left_there.filter((left) => !known(left));
  return {
    returned: seen.returned + counts.returned,
    deleted: seen.deleted + counts.deleted,
    conflicts: seen.conflicts + counts.conflicts,
    heldBack: seen.heldBack + counts.heldBack,
    left: [...seen.left, ...news.slice(0, LEFT_SHOWN_MAX).map((left) => ({ ...left, node }))].slice(0, LEFT_SHOWN_MAX),
    leftCount: seen.leftCount + news.length + counts.leftThere - changes.left_there.length,
  };
}

/**
 * What came back, for the last line of a run on a terminal; null where nothing did. What is kept aside and what is held
 * back are notices, too, which name the files.
 */
export function returnedLine({ returned, deleted, conflicts, heldBack }: ChangesSeen): string | null {
  const came = [
    ...(returned > 0 ? [`${files(returned)} came back`] : []),
    ...(deleted > 0 ? [`${returned > 0 ? deleted : files(deleted)} deleted`] : []),
    ...(conflicts > 0 ? [`${conflicts} kept aside, since ${conflicts === 1 ? 'it' : 'they'} changed here too`] : []),
    ...(heldBack > 0 ? [`${heldBack} held back`] : []),
  ];
  return came.length === 0 ? null : came.join(', ');
}

/**
 * What stayed there, and how to fetch it.
 *
 * @param folder of the job below the project's root, '' for the root: patterns of `--out` are relative to it
 */
export function leftLines({ left, leftCount }: ChangesSeen, folder: string): string[] {
  const lines = left.map((one) => {
    const where = one.node === null ? 'there' : `on ${escapeControls(one.node)}`;
    return `${leftText(one)} stayed ${where}: fetch with --out ${patternOf(one, folder)}`;
  });
  const rest = leftCount - left.length;
  return rest > 0 ? [...lines, `${rest} more stayed there`] : lines;
}

/**
 * Says what became of the files, on stderr: what came back on a terminal alone, and what stayed there always, since a
 * script that wants it would find nothing.
 */
export function printChanges(seen: ChangesSeen, cwd: string, named: string | null): void {
  const { isTTY } = process.stderr;
  const returned = returnedLine(seen);
  if (isTTY && returned !== null) printDim([returned]);
  if (seen.left.length === 0) return;
  const lines = leftLines(seen, folderInProject(cwd, named));
  if (isTTY) printDim(lines);
  else for (const line of lines) printError(line);
}

const files = (count: number): string => (count === 1 ? '1 file' : `${count} files`);

const isFolder = ({ path, files: count }: LeftThere): boolean => path.endsWith('/') || count > 1;

/** `build/ (12 files, 3.4 MiB)` */
export function leftText(left: LeftThere): string {
  const name = escapeControls(left.path);
  const slash = isFolder(left) && !name.endsWith('/') ? '/' : '';
  return `${name}${slash} (${files(left.files)}, ${formatSize(left.bytes)})`;
}

/** Quoted for a shell. */
function patternOf(left: LeftThere, folder: string): string {
  const { path } = left;
  const here = literalGlob(relative(join('/', folder), join('/', path)));
  // What stayed may be the directory itself.
  const pattern = here === '' ? '**' : isFolder(left) ? `${here}/**` : here;
  return `'${escapeControls(pattern).replaceAll("'", String.raw`'\''`)}'`;
}

/** Where the project of a directory begins, as far as it matters for a hint: the nearest folder with a mark of one. */
export function folderInProject(cwd: string, named: string | null): string {
  if (named !== null) return relative(named, cwd);
  let folder = cwd;
  for (let up = 0; up < FOLDERS_UP_MAX; up++) {
    if (ROOT_MARKS.some((mark) => existsSync(join(folder, mark)))) return relative(folder, cwd);
    const parent = dirname(folder);
    if (parent === folder) break;
    folder = parent;
  }
  return '';
}

/** Writes lines to stderr, dim where colours are wanted. */
export function printDim(lines: readonly string[]): void {
  for (const line of lines) process.stderr.write(stderrColourWanted() ? `\u001B[2m${line}\u001B[0m\n` : `${line}\n`);
}
