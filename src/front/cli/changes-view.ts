import { existsSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { escapeControls } from '../../base/escape.ts';
import { formatSize } from '../../base/units.ts';
import { changeCounts } from '../../node/api-changes.ts';
import type { Changes, LeftThere } from '../../node/api-types.ts';
import { stderrColourWanted } from './output.ts';

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
 * What became of the files, for the last lines of a run on a terminal: what is kept aside and what is held back are
 * notices, which name the files.
 *
 * @param folder of the job below the project's root, '' for the root: patterns of `--out` are relative to it
 */
export function changesLines(seen: ChangesSeen, folder: string): string[] {
  const { returned, deleted, conflicts, heldBack } = seen;
  const came = [
    ...(returned > 0 ? [`${files(returned)} came back`] : []),
    ...(deleted > 0 ? [`${returned > 0 ? deleted : files(deleted)} deleted`] : []),
    ...(conflicts > 0 ? [`${conflicts} kept aside, since ${conflicts === 1 ? 'it' : 'they'} changed here too`] : []),
    ...(heldBack > 0 ? [`${heldBack} held back`] : []),
  ];
  const lines = came.length === 0 ? [] : [came.join(', ')];
  for (const left of seen.left) {
    const where = left.node === null ? 'there' : `on ${escapeControls(left.node)}`;
    lines.push(`${leftText(left)} stayed ${where}: fetch with --out ${patternOf(left, folder)}`);
  }
  const rest = seen.leftCount - seen.left.length;
  if (rest > 0) lines.push(`${rest} more stayed there`);
  return lines;
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
  const here = relative(join('/', folder), join('/', path));
  const pattern = isFolder(left) ? `${here}/**` : here;
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
