import { createHash } from 'node:crypto';
import {
  closeSync,
  fchmodSync,
  fstatSync,
  futimesSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  type Stats,
} from 'node:fs';
import { bytesOfText } from '../../base/byte-text.ts';
import { unreachable } from '../../base/assert.ts';
import { systemCodeOf } from '../../base/errors.ts';
import { type FileEntry, type LinkEntry, type ManifestEntry, TREE_PATH_BYTES_MAX } from '../../wire/manifest.ts';
import { folderOf } from '../../wire/tree-path.ts';
import { hashFile, hashFileInTurns, openRegular, readRegular, secondsOf, withReadable } from './file-content.ts';
import { FileMaker } from './file-maker.ts';
import { GIT_INDEX_BYTES_MAX } from './git-index-file.ts';
import { normalisedIndex, withStatOf } from './git-content.ts';
import { staysThere } from './tool-folder.ts';
import { at, namesIn, TreeFolders } from './tree-folders.ts';
import { isGitIndex } from './tree-index.ts';
import { placingFailed, PlacingFailed, type Placed, type Placing } from './placing.ts';
import { Turn } from './turn.ts';
import { TreeState } from './tree-state.ts';
import { UnchangedFolders } from './unchanged-folders.ts';

const PROGRESS_EVERY_MS = 250;
/** Larger files are compared and written in turns. */
const LARGE_FILE_BYTES = 8 * 1024 * 1024;
/** How many entries between two looks at the clock. */
const ENTRIES_PER_LOOK = 32;

/**
 * Makes a tree what a manifest says. What is there already and right stays as it is, with its mtime; ignored products
 * stay; all else that the manifest doesn't name is removed.
 *
 * @throws PlacingFailed
 */
export async function placeTree(placing: Placing): Promise<Placed> {
  mkdirSync(placing.scratch, { recursive: true, mode: 0o700 });
  for (const entry of namesIn(placing.scratch))
    placing.remover.remove(bytesOfText(`${placing.scratch}/`), entry.name.toString('latin1'));
  const folders = new TreeFolders(placing.tree, placing.owner);
  try {
    const placer = new Placer(placing, folders);
    if (placing.early?.isAlone !== true) await placer.removeExtras();
    await placer.placeAll();
    return placer.result();
  } finally {
    folders.close();
  }
}

/** Not an index of git, however large: what git added to it is no other content. */
const isPlacedInTurns = (entry: ManifestEntry): entry is FileEntry =>
  entry.kind === 'file' && entry.size > LARGE_FILE_BYTES && !isGitIndex(entry.path);

class Placer {
  readonly #placing: Placing;
  readonly #folders: TreeFolders;
  readonly #maker: FileMaker;
  readonly #state: TreeState;
  readonly #unchanged: UnchangedFolders;
  /** Folders with names that are not the manifest's. */
  readonly #withExtras = new Set<string>();
  /** Folders in which names may have been made or removed, and those above them. */
  readonly #touched = new Set<string>();
  readonly #scratch: string;
  readonly #nowMs: number;
  readonly #turn = new Turn();
  readonly #indexes: string[];
  #written: number;
  #removed = 0;

  constructor(placing: Placing, folders: TreeFolders) {
    this.#placing = placing;
    this.#folders = folders;
    this.#maker = new FileMaker(placing, folders);
    this.#state = placing.early?.state ?? TreeState.of(placing.hash, placing.index);
    this.#written = placing.early?.written ?? 0;
    this.#indexes = [...(placing.early?.indexes ?? [])];
    this.#unchanged = new UnchangedFolders(placing, folders);
    this.#scratch = bytesOfText(`${placing.scratch}/`);
    // Rounded up: what is written now is newer than what was made before, also within one millisecond.
    this.#nowMs = Date.now() + 1;
  }

  result(): Placed {
    return { state: this.#state, written: this.#written, removed: this.#removed, indexes: this.#indexes };
  }

  async removeExtras(): Promise<void> {
    const { index } = this.#placing;
    const waiting = [''];
    const extraFolders: string[] = [];
    for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
      if (this.#turn.isOver()) await this.#passTurn();
      const number = index.numberOf(folder);
      if (number !== undefined && this.#unchanged.hasNamesAlone(folder)) {
        for (const below of index.foldersIn(number)) waiting.push(index.folders[below] ?? '');
        continue;
      }
      const prefix = this.#folders.enter(folder);
      if (prefix === null) continue;
      this.#touch(folder);
      for (const [looked, entry] of namesIn(prefix).entries()) {
        if (looked % ENTRIES_PER_LOOK === 0 && this.#turn.isOver()) await this.#passTurn();
        const name = entry.name.toString('latin1');
        const path = folder === '' ? name : `${folder}/${name}`;
        const isFolder = entry.isDirectory();
        if (isFolder && index.isFolder(path)) waiting.push(path);
        else if (index.indexOf(path) !== undefined) continue;
        // Nothing that is looked at lies so deep; a job that nests folders without end costs no memory here.
        else if (path.length > TREE_PATH_BYTES_MAX) await this.#discardInTurns(prefix, name);
        else if (staysThere(this.#placing, path, { prefix, name, isFolder })) this.#withExtras.add(folder);
        // Within it there may be ignored products, which stay.
        else if (isFolder && !this.#placing.clean) {
          this.#withExtras.add(folder);
          waiting.push(path);
          extraFolders.push(path);
        } else if (isFolder) await this.#discardInTurns(prefix, name);
        else this.#discard(prefix, name);
      }
    }
    for (const path of extraFolders.toReversed()) this.#removeEmpty(path);
  }

  async placeAll(): Promise<void> {
    const { entries } = this.#placing.index.manifest;
    let folder: string | null = null;
    let prefix = '';
    let saidMs = performance.now();
    for (const [index, entry] of entries.entries()) {
      if (index % ENTRIES_PER_LOOK === 0 && this.#turn.isOver()) {
        if (performance.now() - saidMs > PROGRESS_EVERY_MS) {
          saidMs = performance.now();
          this.#placing.onProgress(index);
        }
        await this.#passTurn();
      }
      if (this.#state.files.isKnown(index) || this.#unchanged.carryOver(index, entry, this.#state)) continue;
      const parent = entry.kind === 'folder' ? entry.path : folderOf(entry.path);
      try {
        if (parent !== folder) {
          this.#touch(parent);
          prefix = this.#folders.make(parent, (above, name) => this.#discard(above, name));
          folder = parent;
        }
        if (isPlacedInTurns(entry)) await this.#placeLarge(index, entry, prefix);
        else this.#placeEntry(index, entry, prefix);
      } catch (error) {
        throw placingFailed(error, entry);
      }
    }
    this.#placing.onProgress(entries.length);
    this.#noteFolders();
  }

  #noteFolders(): void {
    const isUntouched = this.#written + this.#removed === 0;
    for (const [number, folder] of this.#placing.index.folders.entries()) {
      if ((isUntouched || !this.#touched.has(folder)) && this.#unchanged.carryOverFolder(number, this.#state)) continue;
      const stat = this.#folders.look(folder);
      if (stat?.isDirectory() === true)
        this.#state.folders.note(number, stat, this.#unchanged.hasExtras(folder) || this.#withExtras.has(folder));
    }
  }

  #touch(folder: string): void {
    for (let name = folder; !this.#touched.has(name); name = folderOf(name)) this.#touched.add(name);
  }

  async #passTurn(): Promise<void> {
    await this.#turn.pass();
    if (this.#placing.isUnwanted()) throw new PlacingFailed('io', 'the workspace was closed meanwhile');
  }

  #placeEntry(index: number, entry: ManifestEntry, prefix: string): void {
    if (entry.kind === 'folder') return;
    const name = entry.path.slice(entry.path.lastIndexOf('/') + 1);
    const stat = lstatSync(at(prefix, name), { throwIfNoEntry: false });
    switch (entry.kind) {
      case 'file':
        this.#placeFile(index, entry, prefix, name, stat);
        return;
      case 'link':
        this.#placeLink(index, entry, prefix, name, stat);
        return;
      default:
        unreachable(entry);
    }
  }

  /** In turns: what has another content is written beside the tree first. */
  async #placeLarge(index: number, entry: FileEntry, prefix: string): Promise<void> {
    const name = entry.path.slice(entry.path.lastIndexOf('/') + 1);
    const where = at(prefix, name);
    const stat = lstatSync(where, { throwIfNoEntry: false });
    const isFile = stat?.isFile() === true;
    if (isFile && (this.#isUntouched(entry, stat) || (await this.#hasLargeContent(entry, where, stat)))) {
      this.#placeFile(index, entry, prefix, name, stat, true);
      return;
    }
    const mtimeMs = isFile || this.#placing.before !== null ? this.#nowMs : Math.min(entry.mtimeMs, this.#nowMs);
    this.#placing.remover.remove(this.#scratch, 'file');
    await this.#maker.makeInTurns(entry, this.#scratch, 'file', mtimeMs, async () => {
      if (this.#turn.isOver()) await this.#passTurn();
    });
    if (!isFile) this.#discard(prefix, name);
    this.#moveIn('file', prefix, name);
    this.#written++;
    this.#state.files.note(index, lstatSync(where));
  }

  async #hasLargeContent(entry: FileEntry, where: Buffer, stat: Stats): Promise<boolean> {
    return stat.size === entry.size && (await hashFileInTurns(where, stat.mode, this.#turn)) === entry.hash;
  }

  /** @param isKnown to have that content already */
  #placeFile(
    index: number,
    entry: FileEntry,
    prefix: string,
    name: string,
    stat: Stats | undefined,
    isKnown = false,
  ): void {
    if (stat?.isFile() !== true) {
      if (stat !== undefined) this.#discard(prefix, name);
      const isFirst = this.#placing.before === null;
      this.#state.files.note(
        index,
        this.#create(entry, prefix, name, isFirst ? Math.min(entry.mtimeMs, this.#nowMs) : this.#nowMs),
      );
      return;
    }
    const sent = this.#sentBefore(entry);
    const where = at(prefix, name);
    const isSame = isKnown || this.#isUntouched(entry, stat) || this.#hasContent(entry, where, stat);
    const staysAsSent = sent !== null && sent.hash === entry.hash && sent.mtimeMs === entry.mtimeMs;
    const mtimeStays = staysAsSent || Math.floor(stat.mtimeMs) === entry.mtimeMs || isGitIndex(entry.path);
    const modeStays = (stat.mode & 0o7777) === entry.mode;
    if (isSame && mtimeStays && modeStays) {
      this.#state.files.note(index, stat);
      return;
    }
    const fd = isSame ? openSame(where, stat) : null;
    if (fd === null) {
      const content = isSame ? null : this.#indexWithStat(entry, where, stat);
      this.#create(entry, this.#scratch, 'file', this.#nowMs, content);
      this.#moveIn('file', prefix, name);
      this.#state.files.note(index, lstatSync(where));
      return;
    }
    try {
      if (!modeStays) fchmodSync(fd, entry.mode);
      if (!mtimeStays) futimesSync(fd, secondsOf(this.#nowMs), secondsOf(this.#nowMs));
      this.#written++;
      this.#state.files.note(index, fstatSync(fd));
    } finally {
      closeSync(fd);
    }
  }

  #sentBefore(entry: FileEntry): FileEntry | null {
    const before = this.#placing.before?.index.entryOf(entry.path);
    return before?.kind === 'file' ? before : null;
  }

  #isUntouched(entry: FileEntry | LinkEntry, stat: Stats): boolean {
    const before = this.#placing.before;
    if (before === null || before.state === null) return false;
    const index = before.index.indexOf(entry.path);
    if (index === undefined || !before.state.isUntouched(index, stat)) return false;
    const was = before.index.manifest.entries[index];
    return entry.kind === 'file'
      ? was?.kind === 'file' && was.hash === entry.hash
      : was?.kind === 'link' && was.target === entry.target;
  }

  #hasContent(entry: FileEntry, where: Buffer, stat: Stats): boolean {
    if (isGitIndex(entry.path)) return this.#isSameIndex(entry, where, stat);
    if (stat.size !== entry.size) return false;
    return withReadable(where, stat.mode, () => hashFile(where))?.hash === entry.hash;
  }

  /** Git keeps what it learnt about files in its index: that is worth more than a fresh one that says the same. */
  #isSameIndex(entry: FileEntry, where: Buffer, stat: Stats): boolean {
    const content = withReadable(where, stat.mode, () => readRegular(where, GIT_INDEX_BYTES_MAX));
    if (content === null) return false;
    const normalised = normalisedIndex(content) ?? content;
    return createHash('sha256').update(normalised).digest('hex') === entry.hash;
  }

  /** A new index with what git learnt of files that are staged as before; null for all other files. */
  #indexWithStat(entry: FileEntry, where: Buffer, stat: Stats): Uint8Array | null {
    if (!isGitIndex(entry.path) || entry.chunks !== null) return null;
    const there = withReadable(where, stat.mode, () => readRegular(where, GIT_INDEX_BYTES_MAX));
    return there === null ? null : withStatOf(this.#maker.object(entry, entry.hash, entry.size), there);
  }

  #placeLink(index: number, entry: LinkEntry, prefix: string, name: string, stat: Stats | undefined): void {
    const where = at(prefix, name);
    if (stat?.isSymbolicLink() === true) {
      if (this.#isUntouched(entry, stat) || readlinkSync(where, 'buffer').toString('latin1') === entry.target) {
        this.#state.files.note(index, stat);
        return;
      }
    } else if (stat !== undefined) this.#discard(prefix, name);
    this.#placing.remover.remove(this.#scratch, 'link');
    symlinkSync(Buffer.from(entry.target, 'latin1'), at(this.#scratch, 'link'));
    if (this.#placing.owner !== null) {
      lchownSync(at(this.#scratch, 'link'), this.#placing.owner.uid, this.#placing.owner.gid);
    }
    this.#moveIn('link', prefix, name);
    this.#written++;
    this.#state.files.note(index, lstatSync(where));
  }

  #moveIn(scratchName: string, prefix: string, name: string): void {
    this.#maker.unlocked(() => renameSync(at(this.#scratch, scratchName), at(prefix, name)));
  }

  /** Makes a file that isn't there. */
  #create(entry: FileEntry, prefix: string, name: string, mtimeMs: number, content: Uint8Array | null = null): Stats {
    if (isGitIndex(entry.path)) this.#indexes.push(entry.path);
    if (prefix === this.#scratch) this.#placing.remover.remove(prefix, name);
    const stat = this.#maker.make(entry, prefix, name, mtimeMs, content);
    this.#written++;
    return stat;
  }

  #discard(prefix: string, name: string): void {
    this.#removed += this.#maker.unlocked(() => this.#placing.remover.remove(prefix, name));
  }

  /** What a job may have filled without end: it is out of the way at once, and removed while others of the thread get on. */
  async #discardInTurns(prefix: string, name: string): Promise<void> {
    const { remover } = this.#placing;
    const moved = this.#maker.unlocked(() => remover.moveAway(prefix, [name]));
    this.#removed += await remover.removeMoved(moved, this.#turn);
  }

  #removeEmpty(path: string): void {
    const prefix = this.#folders.enter(folderOf(path));
    if (prefix === null) return;
    try {
      this.#maker.unlocked(() => rmdirSync(at(prefix, path.slice(path.lastIndexOf('/') + 1))));
      this.#removed++;
    } catch (error) {
      // Products are in it.
      if (!['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes(systemCodeOf(error))) throw error;
    }
  }
}

/**
 * Another name of one file may be anywhere, and what outlived its job may put a link in its place: what has several names,
 * or is not what was looked at, is not changed but replaced.
 *
 * @returns null then
 */
function openSame(where: Buffer, { mode, dev, ino }: Stats): number | null {
  const open = withReadable(where, mode, () => openRegular(where));
  if (open === null) return null;
  if (open.stat.nlink === 1 && open.stat.dev === dev && open.stat.ino === ino) return open.fd;
  closeSync(open.fd);
  return null;
}
