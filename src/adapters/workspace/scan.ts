import { lstatSync, readlinkSync, type Stats } from 'node:fs';
import { unreachable } from '../../base/assert.ts';
import { systemCodeOf } from '../../base/errors.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { isDependencyFolder } from '../../core/workspace/dependency-files.ts';
import { tooManyBytes, tooManyFiles } from '../../core/workspace/largest-folders.ts';
import type { ScanRefusal } from '../../ports/workspace.ts';
import { isSameEntry } from '../../wire/manifest-difference.ts';
import { MTIME_MS_MAX, type FileEntry, type Manifest, type ManifestEntry, type TreePath } from '../../wire/manifest.ts';
import { folderOf, isPortableLink, shownPath, wrongWithKind } from '../../wire/tree-path.ts';
import { foldersOf } from './empty-folders.ts';
import { FileHasher, TICK_MS, type Hashed } from './file-hasher.ts';
import { splitAtGit } from './git-layout.ts';
import { nativePath } from './native-path.ts';
import type { Selection } from './selection.ts';
import { MemoryCursor, StatColumns, type FileStat, type ScanMemory } from './stat-cache.ts';
import { Turn } from './turn.ts';
import { entryOfBytes } from './virtual-files.ts';

const MODE_MASK = 0o777;
const SECRET_MODE = 0o600;
const NOTICES_MAX = 16;
const OUTWARD_MAX = 16;
/** Asking whether the turn is over costs as much as a look at a file. */
const FILES_PER_LOOK = 32;
/** Takes longer to hash than the wait. */
const SETTLED_BYTES_MIN = 32 * 1024 * 1024;
const GONE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP']);
const LEAVE_OUT = 'or leave it out (.meshworkignore, --exclude)';

export interface ScanLimits {
  readonly filesMax: number;
  readonly bytesMax: number;
}

export interface Scanned {
  readonly manifest: Manifest;
  readonly columns: StatColumns;
  /** The very tree that was known. */
  readonly isSame: boolean;
  /** Files that were read. */
  readonly hashed: number;
  readonly hashedBytes: number;
  readonly files: number;
  readonly bytes: number;
  readonly notices: readonly string[];
  /** Links that are not sent, for people: they lead out of the project. */
  readonly outward: readonly string[];
  /** Selected files in the place of which there are folders now, which one must select anew with. */
  readonly replaced: readonly TreePath[];
}

/**
 * Looks at each selected file, hashes those that changed since `memory`, and makes the manifest. Sizes are known, and
 * judged, before anything is hashed.
 *
 * @returns `too_large`; `unreadable_file` and `unstable` with the file's name. @throws the system's error
 */
export async function scanTree(
  selection: Selection,
  memory: ScanMemory,
  limits: ScanLimits,
): Promise<Result<Scanned, ScanRefusal>> {
  const many = tooManyFiles([...selection.files, ...selection.elsewhere.map(({ path }) => path)], limits.filesMax);
  if (many !== null) return err({ code: 'too_large', message: many });
  const scanner = new TreeScanner(selection, memory);
  const refusal = (await scanner.look()) ?? scanner.tooMuch(limits.bytesMax) ?? (await scanner.hash());
  return refusal === null ? ok(scanner.result()) : err(refusal);
}

/** Files on the disk that were not looked into yet, by number: objects would be many, and larger. */
class SeenFiles {
  readonly #columns: StatColumns;
  readonly #sizes: Float64Array;
  readonly #modes: Uint16Array;

  constructor(rows: number) {
    this.#columns = new StatColumns(rows);
    this.#sizes = new Float64Array(rows);
    this.#modes = new Uint16Array(rows);
  }

  set(row: number, stat: FileStat & Pick<Stats, 'size' | 'mode'>): void {
    this.#columns.set(row, stat, false);
    this.#sizes[row] = stat.size;
    this.#modes[row] = stat.mode & MODE_MASK;
  }

  at(row: number): FileStat & Pick<Stats, 'size' | 'mode'> {
    const { ino, mtimeMs, ctimeMs } = this.#columns;
    return {
      ino: ino[row] ?? 0,
      mtimeMs: mtimeMs[row] ?? 0,
      ctimeMs: ctimeMs[row] ?? 0,
      size: this.#sizes[row] ?? 0,
      mode: this.#modes[row] ?? 0,
    };
  }
}

class TreeScanner {
  readonly #selection: Selection;
  readonly #memory: ScanMemory;
  readonly #cursor: MemoryCursor;
  readonly #turn = new Turn();
  readonly #elsewhere: ReadonlyMap<string, string>;
  /** Of folders: true where neither it nor what lies above it, up to the root, is a link. */
  readonly #real = new Map<string, boolean>([['', true]]);
  #lastFolder = '';
  readonly #notices: string[];
  readonly #outward: string[] = [];
  readonly #replaced: TreePath[] = [];
  /** Paths are files that `#seen` has the numbers of. */
  #found: (TreePath | ManifestEntry)[] = [];
  /** Nearest folders that are there of files that are not. */
  readonly #left = new Set<string>();
  #seen = new SeenFiles(0);
  readonly #entries: ManifestEntry[] = [];
  #columns = new StatColumns(0);
  #bytes = 0;
  #same = 0;
  #hashed = 0;
  #hashedBytes = 0;

  constructor(selection: Selection, memory: ScanMemory) {
    this.#selection = selection;
    this.#memory = memory;
    this.#cursor = new MemoryCursor(memory);
    this.#elsewhere = new Map(selection.elsewhere.map(({ path, absolute }) => [path, absolute]));
    this.#notices = [...selection.notices];
  }

  /** Finds what is there, sorted. */
  async look(): Promise<ScanRefusal | null> {
    const virtual = new Map(this.#selection.virtual.map((file) => [file.path, file]));
    const folders = new Set(this.#selection.folders);
    const paths = [...this.#selection.files, ...this.#elsewhere.keys(), ...virtual.keys(), ...folders] as TreePath[];
    // In order of bytes, which is that of strings of bytes.
    paths.sort();
    this.#seen = new SeenFiles(paths.length);
    let previous = '';
    for (const [index, path] of paths.entries()) {
      if (index % FILES_PER_LOOK === 0 && this.#turn.isOver()) await this.#turn.pass();
      if (path === previous) continue;
      previous = path;
      const content = virtual.size === 0 ? undefined : virtual.get(path);
      if (content !== undefined) this.#take(this.#virtualEntry(entryOfBytes(content, Date.now())));
      else if (folders.size > 0 && folders.has(path)) this.#take({ kind: 'folder', path });
      else {
        const refusal = this.#lookAt(path);
        if (refusal !== null) return refusal;
      }
    }
    this.#addEmptied();
    return null;
  }

  /** Git has no empty folders, but a command may need one to be there whose files were all deleted. */
  #addEmptied(): void {
    if (this.#left.size === 0) return;
    const filled = foldersOf([...this.#found.map(pathOf), ...this.#left]);
    const known = new Set(this.#selection.folders);
    const folders = ([...this.#left] as TreePath[]).filter((path) => !filled.has(path) && !known.has(path)).toSorted();
    if (folders.length === 0) return;
    const [found, seen] = [this.#found, this.#seen];
    this.#found = [];
    this.#seen = new SeenFiles(found.length + folders.length);
    let next = 0;
    for (const [row, one] of found.entries()) {
      for (let path = folders[next]; path !== undefined && path < pathOf(one); path = folders[++next])
        this.#found.push({ kind: 'folder', path });
      if (typeof one === 'string') this.#seen.set(this.#found.length, seen.at(row));
      this.#found.push(one);
    }
    for (const path of folders.slice(next)) this.#found.push({ kind: 'folder', path });
  }

  tooMuch(bytesMax: number): ScanRefusal | null {
    if (this.#bytes <= bytesMax) return null;
    const files = this.#found.map((found, row) =>
      typeof found === 'string'
        ? { path: found, bytes: this.#seen.at(row).size }
        : { path: found.path, bytes: found.kind === 'file' ? found.size : 0 },
    );
    const message = tooManyBytes(files, bytesMax);
    return message === null ? null : { code: 'too_large', message };
  }

  async hash(): Promise<ScanRefusal | null> {
    await this.#settle();
    const hasher = new FileHasher(this.#turn);
    const cursor = new MemoryCursor(this.#memory);
    this.#columns = new StatColumns(this.#found.length);
    for (const [index, found] of this.#found.entries()) {
      if (index % FILES_PER_LOOK === 0 && this.#turn.isOver()) await this.#turn.pass();
      if (typeof found !== 'string') {
        this.#keep(cursor.entryAt(found.path), found);
        continue;
      }
      const seen = this.#seen.at(index);
      const known = cursor.fileAt(found, seen.size, seen);
      if (known !== null) {
        this.#columns.set(this.#entries.length, seen, true);
        this.#keep(known, this.#fileEntry(found, seen, known));
        continue;
      }
      const hashed = await hasher.hash(nativePath(this.#absolute(found)));
      if (hashed.kind === 'gone') continue;
      if (hashed.kind !== 'file') return refusalOf(found, hashed);
      this.#hashed += 1;
      this.#hashedBytes += hashed.stat.size;
      this.#columns.set(this.#entries.length, hashed.stat, hashed.isSettled);
      this.#keep(cursor.entryAt(found), this.#fileEntry(found, hashed.stat, hashed));
    }
    return null;
  }

  /** What was written a moment ago would be hashed again by the next scan: where that is much, the moment is waited for. */
  async #settle(): Promise<void> {
    const nowMs = Date.now();
    let bytes = 0;
    for (const [row, found] of this.#found.entries()) {
      if (typeof found !== 'string') continue;
      const { mtimeMs, ctimeMs, size } = this.#seen.at(row);
      const changedMs = Math.max(mtimeMs, ctimeMs);
      if (changedMs <= nowMs + 1 && changedMs >= nowMs - TICK_MS) bytes += size;
    }
    if (bytes >= SETTLED_BYTES_MIN) await new Promise((resolve) => setTimeout(resolve, TICK_MS + 1));
  }

  result(): Scanned {
    const entries = this.#entries;
    let files = 0;
    let bytes = 0;
    for (const entry of entries) {
      if (entry.kind !== 'file') continue;
      files += 1;
      bytes += entry.size;
    }
    const isSame = this.#same === entries.length && entries.length === this.#memory.manifest.entries.length;
    const manifest = isSame ? this.#memory.manifest : { entries };
    const notices = this.#notices.slice(0, NOTICES_MAX);
    return {
      manifest,
      columns: this.#columns,
      isSame,
      hashed: this.#hashed,
      hashedBytes: this.#hashedBytes,
      files,
      bytes,
      notices,
      outward: this.#outward,
      replaced: this.#replaced,
    };
  }

  #take(found: ManifestEntry): void {
    this.#found.push(found);
    if (found.kind === 'file') this.#bytes += found.size;
  }

  #see(path: TreePath, stat: Stats): void {
    this.#seen.set(this.#found.length, stat);
    this.#found.push(path);
    this.#bytes += stat.size;
  }

  /** The entry that was known, where it is the same: a tree that did not change takes no more memory. */
  #keep(known: ManifestEntry | null, entry: ManifestEntry): void {
    const isSame = known !== null && isSameEntry(known, entry);
    if (isSame) this.#same += 1;
    this.#entries.push(isSame ? known : entry);
  }

  #virtualEntry(entry: FileEntry): FileEntry {
    const known = this.#cursor.entryAt(entry.path);
    return known?.kind === 'file' && known.hash === entry.hash ? { ...entry, mtimeMs: known.mtimeMs } : entry;
  }

  #lookAt(path: TreePath): ScanRefusal | null {
    try {
      if (!this.#elsewhere.has(path) && !this.#isReal(this.#folderOf(path))) return this.#isGone(path);
      const where = nativePath(this.#absolute(path));
      const stat = lstatSync(where, { throwIfNoEntry: false });
      if (stat === undefined) return this.#isGone(path);
      if (stat.isSymbolicLink()) this.#takeLink(path, readlinkSync(where, { encoding: 'latin1' }));
      else if (stat.isFile()) this.#see(path, stat);
      else if (stat.isDirectory()) this.#replaced.push(path);
      return null;
    } catch (error) {
      const code = systemCodeOf(error);
      if (code === '') throw error;
      return GONE.has(code) ? null : refusalOf(path, { kind: 'unreadable', code });
    }
  }

  #isGone(path: TreePath): null {
    if (splitAtGit(path) !== null) return null;
    let folder = this.#folderOf(path);
    while (!this.#isReal(folder)) folder = folderOf(folder);
    if (folder !== '' && !isDependencyFolder(folder)) this.#left.add(folder);
    return null;
  }

  #takeLink(path: TreePath, target: string): void {
    const isPortable = isPortableLink(path, target);
    if (isPortable && wrongWithKind(path, 'link') === null) this.#take({ kind: 'link', path, target });
    else {
      if (!isPortable && this.#outward.length < OUTWARD_MAX) this.#outward.push(shownPath(path));
      const why = isPortable ? 'is within .git' : `leads out of the project, to ${shownPath(target)}`;
      this.#notices.push(`The link ${shownPath(path)} is not sent: it ${why}.`);
    }
  }

  /** As `folderOf`; mostly that of the path before, which is then not made anew. */
  #folderOf(path: string): string {
    const length = path.lastIndexOf('/');
    const isLast = length === this.#lastFolder.length && path.startsWith(this.#lastFolder);
    if (!isLast) this.#lastFolder = folderOf(path);
    return this.#lastFolder;
  }

  /** Git takes what is behind a link for gone, and so do we: it would be written through the link there. */
  #isReal(folder: string): boolean {
    const known = this.#real.get(folder);
    if (known !== undefined) return known;
    let isReal = false;
    if (this.#isReal(folderOf(folder))) {
      const stat = lstatSync(nativePath(this.#absolute(folder)), { throwIfNoEntry: false });
      isReal = stat?.isDirectory() === true;
    }
    this.#real.set(folder, isReal);
    return isReal;
  }

  #absolute(path: string): string {
    const elsewhere = this.#elsewhere.size === 0 ? undefined : this.#elsewhere.get(path);
    return elsewhere ?? `${this.#selection.root}/${path}`;
  }

  #fileEntry(
    path: TreePath,
    stat: Pick<Stats, 'size' | 'mode' | 'mtimeMs'>,
    content: Pick<FileEntry, 'hash' | 'chunks'>,
  ): FileEntry {
    const mode = this.#selection.secrets.has(path) ? SECRET_MODE : stat.mode & MODE_MASK;
    const mtimeMs = Math.min(Math.max(0, Math.floor(stat.mtimeMs)), MTIME_MS_MAX);
    return { kind: 'file', path, size: stat.size, mode, mtimeMs, hash: content.hash, chunks: content.chunks };
  }
}

const pathOf = (found: TreePath | ManifestEntry): TreePath => (typeof found === 'string' ? found : found.path);

function refusalOf(path: TreePath, why: Exclude<Hashed, { kind: 'file' | 'gone' }>): ScanRefusal {
  const name = shownPath(path);
  switch (why.kind) {
    case 'unreadable':
      return {
        code: 'unreadable_file',
        message: `${name} cannot be read here (${why.code}); nothing was sent. Make it readable, ${LEAVE_OUT}.`,
      };
    case 'unstable':
      return {
        code: 'unstable',
        message: `${name} is written to all the time; nothing was sent. Try again later, ${LEAVE_OUT}.`,
      };
    case 'too_many_chunks':
      return {
        code: 'too_large',
        message: `${name} is too large to be sent; nothing was. Leave it out, ${LEAVE_OUT}.`,
      };
    default:
      return unreachable(why);
  }
}
