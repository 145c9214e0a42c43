import { textOfBytes } from '../../base/byte-text.ts';
import { escapeControls } from '../../base/escape.ts';
import { formatSize } from '../../base/units.ts';

export const LARGEST_SHOWN_MAX = 10;

export interface Weight {
  readonly path: string;
  readonly files: number;
  readonly bytes: number;
}

interface Folder {
  readonly path: string;
  files: number;
  bytes: number;
  readonly below: Map<string, Folder>;
}

/**
 * The folders that a project's size comes from, none within another, the largest first: the largest is taken apart into
 * what lies in it until there are enough.
 *
 * @param by what counts
 */
export function largestFolders(files: Iterable<Pick<Weight, 'path' | 'bytes'>>, by: 'files' | 'bytes'): Weight[] {
  const root: Folder = { path: '', files: 0, bytes: 0, below: new Map() };
  for (const file of files) addFile(root, file.path, file.bytes);
  let shown: Folder[] = [root];
  for (;;) {
    const largest = shown
      .filter((folder) => folder.below.size > 0)
      .reduce<Folder | null>((best, folder) => (best === null || folder[by] > best[by] ? folder : best), null);
    if (largest === null) break;
    const parts = [...largest.below.values()];
    const own: Folder = {
      path: largest.path,
      files: largest.files - sum(parts, 'files'),
      bytes: largest.bytes - sum(parts, 'bytes'),
      below: new Map(),
    };
    const next = [...shown.filter((folder) => folder !== largest), ...parts, ...(own.files > 0 ? [own] : [])];
    // Taking apart what has many small parts says less than naming it.
    if (largest !== root && (next.length > 2 * LARGEST_SHOWN_MAX || shown.length >= LARGEST_SHOWN_MAX)) break;
    shown = next;
  }
  return shown
    .toSorted((a, b) => b[by] - a[by] || (a.path < b.path ? -1 : 1))
    .slice(0, LARGEST_SHOWN_MAX)
    .map(({ path, files: count, bytes }) => ({ path, files: count, bytes }));
}

function addFile(root: Folder, path: string, bytes: number): void {
  let folder = root;
  for (let slash = path.indexOf('/'); ; slash = path.indexOf('/', slash + 1)) {
    folder.files += 1;
    folder.bytes += bytes;
    if (slash === -1) return;
    const below = path.slice(0, slash);
    let next = folder.below.get(below);
    if (next === undefined) folder.below.set(below, (next = { path: below, files: 0, bytes: 0, below: new Map() }));
    folder = next;
  }
}

const sum = (folders: readonly Folder[], by: 'files' | 'bytes'): number =>
  folders.reduce((total, folder) => total + folder[by], 0);

const grouped = (count: number): string => String(count).replaceAll(/\B(?=(?:\d{3})+$)/g, ',');
const mib = (bytes: number): string => `${grouped(Math.ceil(bytes / (1024 * 1024)))} MiB`;

/** What to say of a project with too many files, null where there are not. */
export function tooManyFiles(paths: readonly string[], filesMax: number): string | null {
  if (paths.length <= filesMax) return null;
  const largest = largestFolders(
    paths.map((path) => ({ path, bytes: 0 })),
    'files',
  );
  return tooLarge(
    `${grouped(paths.length)} files, more than the ${grouped(filesMax)} of workspaces.files_max`,
    largest.map((folder) => `${shown(folder.path)} (${grouped(folder.files)})`),
  );
}

/** What to say of a project with too many bytes, null where there are not. */
export function tooManyBytes(files: readonly Pick<Weight, 'path' | 'bytes'>[], bytesMax: number): string | null {
  const total = files.reduce((bytes, file) => bytes + file.bytes, 0);
  if (total <= bytesMax) return null;
  return tooLarge(
    `${mib(total)}, more than the ${mib(bytesMax)} of workspaces.project_bytes_max`,
    largestFolders(files, 'bytes').map((folder) => `${shown(folder.path)} (${formatSize(folder.bytes)})`),
  );
}

const shown = (path: string): string => (path === '' ? 'the root itself' : escapeControls(textOfBytes(path)));

const tooLarge = (what: string, largest: readonly string[]): string =>
  `the project has ${what}; nothing was sent. Its largest folders: ${largest.join(', ')}. Leave some out (.meshworkignore, --exclude), or raise that setting.`;
