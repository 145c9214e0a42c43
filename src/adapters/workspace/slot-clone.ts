import {
  closeSync,
  constants,
  copyFileSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  futimesSync,
  lchownSync,
  lstatSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  type Stats,
} from 'node:fs';
import { bytesOfText } from '../../base/byte-text.ts';
import { systemCodeOf } from '../../base/errors.ts';
import { GIB } from '../../base/units.ts';
import { isDependencyFolder } from '../../core/workspace/dependency-files.ts';
import { TREE_PATH_BYTES_MAX } from '../../wire/manifest.ts';
import { folderOf } from '../../wire/tree-path.ts';
import { openRegular, secondsOf } from './file-content.ts';
import type { IgnoreMatcher } from './ignore-matcher.ts';
import { at, namesIn, type Remover, TreeFolders, type TreeOwner } from './tree-folders.ts';
import { isProduct, type TreeIndex } from './tree-index.ts';
import { RACY_MS, TreeState } from './tree-state.ts';
import { Turn } from './turn.ts';

/** Beyond this a second slot starts cold: copying would take longer than what it saves. */
export const CLONE_BYTES_MAX = 2 * GIB;
export const CLONE_FILES_MAX = 200_000;
/** Files that may name the folder which they were made in are smaller. */
const LOOKED_INTO_BYTES_MAX = 1024 * 1024;
/** Where a virtual environment or CMake keeps where it is: none of it works elsewhere. */
const TIED_FILES = new Set(['pyvenv.cfg', 'CMakeCache.txt']);
/** Caches of tools within dependencies that running tools write to. */
const SKIPPED = new Set(['.cache', '.vite', '.vite-temp', '.vitest', '__pycache__']);

export interface CloneSource {
  /** Absolute. */
  readonly tree: string;
  readonly index: TreeIndex;
  readonly state: TreeState;
  readonly matcher: IgnoreMatcher;
}

export interface CloneTarget {
  readonly tree: string;
  readonly remover: Remover;
  readonly owner: TreeOwner;
}

/** A product that can't be taken along. */
class NotTaken extends Error {
  override readonly name = 'NotTaken';
}

/**
 * Copies a slot's tree into a new one: files that no job changed, with the times that its products were made by, and
 * those products that hold still. What the source's job made or changes just now is left out, since half of it may be
 * written, and so is what names the folder that it lies in.
 *
 * @returns what lies in the new tree, for the source's manifest
 */
export async function cloneTree(source: CloneSource, target: CloneTarget): Promise<TreeState> {
  const from = new TreeFolders(source.tree, null);
  try {
    const into = new TreeFolders(target.tree, target.owner);
    try {
      const cloner = new Cloner(source, target, from, into);
      await cloner.copyTracked();
      await cloner.copyProducts();
      return cloner.state;
    } finally {
      into.close();
    }
  } finally {
    from.close();
  }
}

class Cloner {
  readonly state: TreeState;
  readonly #source: CloneSource;
  readonly #target: CloneTarget;
  readonly #from: TreeFolders;
  readonly #into: TreeFolders;
  readonly #turn = new Turn();
  readonly #sourceText: Buffer;
  #bytes = 0;
  #files = 0;

  constructor(source: CloneSource, target: CloneTarget, from: TreeFolders, into: TreeFolders) {
    this.#source = source;
    this.#target = target;
    this.#from = from;
    this.#into = into;
    this.#sourceText = Buffer.from(source.tree);
    this.state = TreeState.of(source.state.manifest, source.index);
  }

  async copyTracked(): Promise<void> {
    for (const [index, entry] of this.#source.index.manifest.entries.entries()) {
      if (entry.kind !== 'file') continue;
      if (this.#turn.isOver()) await this.#turn.pass();
      const from = this.#from.enter(folderOf(entry.path));
      if (from === null) continue;
      const name = entry.path.slice(entry.path.lastIndexOf('/') + 1);
      const stat = lstatSync(at(from, name), { throwIfNoEntry: false });
      if (stat === undefined || !this.#source.state.isUntouched(index, stat)) continue;
      const into = this.#make(folderOf(entry.path));
      if (this.#copyFile(at(from, name), at(into, name), null)) this.state.files.note(index, lstatSync(at(into, name)));
    }
  }

  async copyProducts(): Promise<void> {
    const waiting = [''];
    for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
      const prefix = this.#from.enter(folder);
      if (prefix === null) continue;
      for (const entry of namesIn(prefix)) {
        const path = under(folder, entry.name.toString('latin1'));
        const isFolder = entry.isDirectory();
        if (!this.#source.index.isFolder(path) && isProduct(this.#source.matcher, path, isFolder))
          await this.#copyProduct(path);
        else if (isFolder && this.#source.index.isFolder(path)) waiting.push(path);
      }
    }
  }

  /** All of it or nothing: half a folder of products would pass for a whole one. */
  async #copyProduct(path: string): Promise<void> {
    // Their stamps tell whether they were complete; a build's products are only what an ended job left.
    const isDependencies = isDependencyFolder(path) && !/(?:^|\/)target$/.test(path);
    const rules: ProductRules = {
      stillSinceMs: isDependencies ? Number.POSITIVE_INFINITY : this.#source.state.notedMs - RACY_MS,
      mayNameSource: isDependencyFolder(path),
    };
    const copied: { readonly path: string; readonly stat: Stats }[] = [];
    try {
      await this.#copyTree(path, rules, copied);
      await this.#checkStill(copied);
    } catch (error) {
      if (!(error instanceof NotTaken) && systemCodeOf(error) === '') throw error;
      const prefix = this.#into.enter(folderOf(path));
      if (prefix !== null) this.#target.remover.remove(prefix, nameOf(path));
    }
  }

  async #copyTree(
    top: string,
    rules: ProductRules,
    copied: { readonly path: string; readonly stat: Stats }[],
  ): Promise<void> {
    const waiting = [top];
    const folders: { readonly path: string; readonly stat: Stats }[] = [];
    for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
      if (this.#turn.isOver()) await this.#turn.pass();
      if (path.length > TREE_PATH_BYTES_MAX) throw new NotTaken('it is too deep');
      const stat = this.#statOf(path);
      if (stat.ctimeMs >= rules.stillSinceMs) throw new NotTaken('a job writes to it');
      copied.push({ path, stat });
      if (!stat.isDirectory()) {
        this.#copyLeaf(path, stat, rules);
        continue;
      }
      folders.push({ path, stat });
      this.#make(path);
      const prefix = this.#from.enter(path);
      if (prefix === null) throw new NotTaken('it changes');
      for (const entry of namesIn(prefix)) {
        const name = entry.name.toString('latin1');
        if (TIED_FILES.has(name)) throw new NotTaken('it only works where it is');
        if (!(SKIPPED.has(name) && path !== top)) waiting.push(`${path}/${name}`);
      }
    }
    for (const { path, stat } of folders.toReversed()) this.#setTimes(path, stat);
  }

  #copyLeaf(path: string, stat: Stats, rules: ProductRules): void {
    this.#files++;
    this.#bytes += stat.size;
    if (this.#files > CLONE_FILES_MAX || this.#bytes > CLONE_BYTES_MAX) throw new NotTaken('it is too large');
    const from = this.#from.enter(folderOf(path));
    if (from === null) throw new NotTaken('it changes');
    const into = this.#make(folderOf(path));
    const name = nameOf(path);
    if (stat.isSymbolicLink()) this.#copyLink(at(from, name), at(into, name));
    else if (stat.isFile() && !this.#copyFile(at(from, name), at(into, name), rules)) throw new NotTaken('it changes');
  }

  #copyLink(from: Buffer, into: Buffer): void {
    const target = readlinkSync(from, 'buffer').toString('latin1');
    const source = bytesOfText(this.#source.tree);
    const isOwn = target === source || target.startsWith(`${source}/`);
    symlinkSync(
      Buffer.from(isOwn ? bytesOfText(this.#target.tree) + target.slice(source.length) : target, 'latin1'),
      into,
    );
    if (this.#target.owner !== null) lchownSync(into, this.#target.owner.uid, this.#target.owner.gid);
  }

  /** By reflink where the file system can. @returns false where it is no regular file any more */
  #copyFile(from: Buffer, into: Buffer, rules: ProductRules | null): boolean {
    const open = openRegular(from);
    if (open === null) return false;
    try {
      if (rules !== null && !rules.mayNameSource && this.#namesSource(open.fd, open.stat))
        throw new NotTaken('it names its folder');
      copyFileSync(pathOf(open.fd, from), into, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
      if (!this.#finish(into, open.stat)) return false;
      const after = fstatSync(open.fd);
      return after.ctimeMs === open.stat.ctimeMs && after.size === open.stat.size;
    } finally {
      closeSync(open.fd);
    }
  }

  /** As its source, by what is open: a job beside it may put a link in its place. @returns false where one did */
  #finish(into: Buffer, source: Stats): boolean {
    const open = openRegular(into);
    if (open === null) return false;
    try {
      if (open.stat.nlink > 1) return false;
      if (this.#target.owner !== null) fchownSync(open.fd, this.#target.owner.uid, this.#target.owner.gid);
      fchmodSync(open.fd, source.mode & 0o777);
      futimesSync(open.fd, secondsOf(source.atimeMs), secondsOf(source.mtimeMs));
      return true;
    } finally {
      closeSync(open.fd);
    }
  }

  #namesSource(fd: number, stat: Stats): boolean {
    return (
      stat.size > this.#sourceText.length &&
      stat.size <= LOOKED_INTO_BYTES_MAX &&
      readFileSync(fd).includes(this.#sourceText)
    );
  }

  async #checkStill(copied: readonly { readonly path: string; readonly stat: Stats }[]): Promise<void> {
    for (const { path, stat } of copied) {
      if (this.#turn.isOver()) await this.#turn.pass();
      const now = this.#statOf(path);
      if (now.ctimeMs !== stat.ctimeMs || now.mtimeMs !== stat.mtimeMs || now.ino !== stat.ino)
        throw new NotTaken('it changes');
    }
  }

  #statOf(path: string): Stats {
    const prefix = this.#from.enter(folderOf(path));
    const stat = prefix === null ? undefined : lstatSync(at(prefix, nameOf(path)), { throwIfNoEntry: false });
    if (stat === undefined) throw new NotTaken('it changes');
    return stat;
  }

  #setTimes(path: string, stat: Stats): void {
    this.#make(path);
    this.#into.stamp((stat.mode & 0o777) | 0o700, stat);
  }

  #make(folder: string): string {
    return this.#into.make(folder, (prefix, name) => this.#target.remover.remove(prefix, name));
  }
}

interface ProductRules {
  /** What changed later isn't taken. */
  readonly stillSinceMs: number;
  /** Whether files may say where they lie: known to work elsewhere nonetheless. */
  readonly mayNameSource: boolean;
}

/** What is open can't be swapped for a link; where there is no /proc, the name must do. */
function pathOf(fd: number, name: Buffer): Buffer {
  return process.platform === 'linux' ? Buffer.from(`/proc/self/fd/${fd}`) : name;
}

const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
const under = (folder: string, name: string): string => (folder === '' ? name : `${folder}/${name}`);
