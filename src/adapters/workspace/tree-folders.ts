import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  futimesSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  unlinkSync,
  type Dirent,
  type Stats,
} from 'node:fs';
import { bytesOfText } from '../../base/byte-text.ts';
import { systemCodeOf } from '../../base/errors.ts';
import { secondsOf } from './file-content.ts';
import { nativePath } from './native-path.ts';
import type { Turn } from './turn.ts';

/** Whom trees belong to, where that is not this process's user. */
export type TreeOwner = { readonly uid: number; readonly gid: number } | null;

const FOLDER_FLAGS = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const OWNER_ALL = 0o700;
const NEW_FOLDER_MODE = 0o755;
/** Files that are removed between two looks at the clock. */
const STEP_FILES = 64;
/** With what stands before it, a system call takes so long a path; longer ones are walked. */
const LOOK_PATH_BYTES_MAX = 2048;

/**
 * Node.js has no openat(2). Where there is /proc, `/proc/self/fd/N/name` is one: what N is open on can't be swapped for
 * a link meanwhile. Elsewhere folders are named by their path, each part of which was looked at just before.
 */
const HAS_PROC = existsSync('/proc/self/fd');

/** A path for calls of node:fs: bytes as characters become bytes. */
export function at(prefix: string, name: string): Buffer {
  return Buffer.from(prefix + name, 'latin1');
}

interface OpenFolder {
  readonly path: string;
  readonly fd: number;
  /** What the names of its entries are put behind; bytes as characters. */
  readonly prefix: string;
}

/**
 * Folders below a root, opened one part after the other without following links, which a job may have put in the place
 * of any of them. The way to the last one stays open: whoever asks in the order of paths opens each folder once.
 */
export class TreeFolders {
  readonly #stack: OpenFolder[] = [];
  /** Bytes as characters. */
  readonly #root: string;
  readonly #owner: TreeOwner;
  readonly #isOurs: boolean;

  /**
   * @param whose `theirs`: the permissions of folders stay as they are, and what they forbid fails
   * @throws the system's error where `root` isn't a folder that can be opened
   */
  constructor(root: string, owner: TreeOwner, whose: 'ours' | 'theirs' = 'ours') {
    this.#root = bytesOfText(root);
    this.#owner = owner;
    this.#isOurs = whose === 'ours';
    try {
      this.#push('', Buffer.from(root));
    } catch (error) {
      // A job may have forbidden that, too.
      if (systemCodeOf(error) !== 'EACCES' || !this.#isOurs) throw error;
      chmodSync(root, OWNER_ALL);
      this.#push('', Buffer.from(root));
    }
  }

  /** @returns the prefix of the folder's entries; null where there is no folder (nothing, a file, a link) */
  enter(folder: string): string | null {
    return this.#walk(folder, null);
  }

  /**
   * As `enter`, and makes what is missing.
   *
   * @param discard what to do with a file or a link in the place of a folder: afterwards it must be gone
   */
  make(folder: string, discard: (prefix: string, name: string) => void): string {
    const prefix = this.#walk(folder, discard);
    if (prefix === null) throw new Error('a folder that was made is none');
    return prefix;
  }

  /**
   * What lies at a path, to be compared with what lay there: undefined where there is nothing. Links above it are followed,
   * so that it tells nothing about what isn't known yet. By the root's name: what is open on it is no help against that, and
   * takes three times as long.
   */
  look(path: string): Stats | undefined {
    if (path.length > LOOK_PATH_BYTES_MAX) return undefined;
    return lstatSync(nativePath(path === '' ? this.#root : `${this.#root}/${path}`), { throwIfNoEntry: false });
  }

  /** Lets this user write into the folder entered last, which a job may have forbidden. */
  unlock(): void {
    const top = this.#stack.at(-1);
    if (top === undefined) return;
    fchmodSync(top.fd, (fstatSync(top.fd).mode & 0o777) | OWNER_ALL);
  }

  /** Gives the folder that was entered last a mode, and the times of another. */
  stamp(mode: number, { atimeMs, mtimeMs }: Pick<Stats, 'atimeMs' | 'mtimeMs'>): void {
    const { fd } = this.#top();
    fchmodSync(fd, mode);
    futimesSync(fd, secondsOf(atimeMs), secondsOf(mtimeMs));
  }

  close(): void {
    for (let top = this.#stack.pop(); top !== undefined; top = this.#stack.pop()) closeSync(top.fd);
  }

  #walk(folder: string, discard: ((prefix: string, name: string) => void) | null): string | null {
    let top = this.#top();
    while (top.path !== '' && top.path !== folder && !folder.startsWith(`${top.path}/`)) {
      closeSync(top.fd);
      this.#stack.pop();
      top = this.#top();
    }
    while (top.path !== folder) {
      const start = top.path === '' ? 0 : top.path.length + 1;
      const slash = folder.indexOf('/', start);
      const end = slash === -1 ? folder.length : slash;
      if (!this.#step(top, folder.slice(start, end), folder.slice(0, end), discard)) return null;
      top = this.#top();
    }
    return top.prefix;
  }

  #step(
    above: OpenFolder,
    name: string,
    path: string,
    discard: ((prefix: string, name: string) => void) | null,
  ): boolean {
    const where = at(above.prefix, name);
    for (let attempt = 0; ; attempt++) {
      try {
        this.#push(path, where);
        return true;
      } catch (error) {
        const code = systemCodeOf(error);
        if (code === 'EACCES' && attempt === 0 && this.#isOurs) {
          chmodSync(where, NEW_FOLDER_MODE);
          continue;
        }
        const isOther = code === 'ELOOP' || code === 'ENOTDIR' || code === 'EMLINK';
        if (!isOther && code !== 'ENOENT') throw error;
        if (discard === null) return false;
        if (attempt > 1) throw error;
        if (isOther) discard(above.prefix, name);
        this.#create(where, above);
      }
    }
  }

  #create(where: Buffer, above: OpenFolder): void {
    try {
      mkdirSync(where, NEW_FOLDER_MODE);
    } catch (error) {
      if (systemCodeOf(error) !== 'EACCES' || !this.#isOurs) throw error;
      this.unlock();
      mkdirSync(where, NEW_FOLDER_MODE);
    }
    const owner = this.#isOurs ? this.#owner : ownerFor(fstatSync(above.fd));
    if (owner === null) return;
    const fd = openSync(where, FOLDER_FLAGS);
    try {
      fchownSync(fd, owner.uid, owner.gid);
    } finally {
      closeSync(fd);
    }
  }

  #push(path: string, where: Buffer): void {
    const fd = openSync(where, FOLDER_FLAGS);
    this.#stack.push({ path, fd, prefix: prefixOf(fd, where) });
  }

  #top(): OpenFolder {
    const top = this.#stack.at(-1);
    if (top === undefined) throw new Error('the folders of a tree are closed');
    return top;
  }
}

/** Whom something new belongs to, by what is there: a daemon of root works on the files of others. */
export function ownerFor(there: { readonly uid: number; readonly gid: number }): TreeOwner {
  return process.geteuid?.() === 0 ? { uid: there.uid, gid: there.gid } : null;
}

function prefixOf(fd: number, where: Buffer): string {
  return HAS_PROC ? `/proc/self/fd/${fd}/` : `${where.toString('latin1')}/`;
}

export function namesIn(prefix: string): Dirent<Buffer>[] {
  // The types of Node.js know names as bytes with `encoding: 'buffer'` alone.
  return readdirSync(Buffer.from(prefix, 'latin1'), {
    encoding: 'buffer',
    withFileTypes: true,
  }) as unknown as Dirent<Buffer>[];
}

/**
 * Removes files and whole folders, of any depth and whatever their permissions, without following links. Folders are
 * moved to the trash first, so that a tree is never half of something, and so that deep ones need no deep recursion.
 */
export class Remover {
  readonly #trash: string;
  #next = 0;

  /**
   * @param trash a folder of this process alone, on the file system of what is removed
   * @param leftovers what an earlier process left in it: `kept` for `emptyInTurns`
   */
  constructor(trash: string, leftovers: 'removed' | 'kept' = 'removed') {
    mkdirSync(trash, { recursive: true, mode: OWNER_ALL });
    this.#trash = bytesOfText(`${trash}/`);
    if (leftovers === 'removed') for (const name of this.#leftovers()) this.remove(this.#trash, name);
  }

  async emptyInTurns(turn: Turn): Promise<void> {
    await this.removeInTurns(this.#trash, this.#leftovers(), turn);
  }

  #leftovers(): string[] {
    return namesIn(this.#trash).map((entry) => entry.name.toString('latin1'));
  }

  /** @returns how many files, links and folders that were */
  remove(prefix: string, name: string): number {
    let removed = 0;
    for (const count of this.#steps(prefix, name)) removed += count;
    return removed;
  }

  /** Moves what may be large out of the way at once, and removes it while others of the thread get on. */
  removeInTurns(prefix: string, names: readonly string[], turn: Turn): Promise<number> {
    return this.removeMoved(this.moveAway(prefix, names), turn);
  }

  /** The first half of `removeInTurns`. @returns what that is called in the trash, for `removeMoved` */
  moveAway(prefix: string, names: readonly string[]): readonly string[] {
    return names.flatMap((name) =>
      lstatSync(at(prefix, name), { throwIfNoEntry: false }) === undefined ? [] : [this.#move(prefix, name)],
    );
  }

  /** @returns how many files, links and folders that were */
  async removeMoved(moved: readonly string[], turn: Turn): Promise<number> {
    let removed = 0;
    for (const name of moved) {
      for (const count of this.#steps(this.#trash, name)) {
        removed += count;
        if (turn.isOver()) await turn.pass();
      }
    }
    return removed;
  }

  *#steps(prefix: string, name: string): Generator<number> {
    const stat = lstatSync(at(prefix, name), { throwIfNoEntry: false });
    if (stat === undefined) return;
    if (!stat.isDirectory()) {
      unlinkSync(at(prefix, name));
      yield 1;
      return;
    }
    const waiting = [this.#move(prefix, name)];
    for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
      let removed = 0;
      for (const entry of this.#entriesOf(folder)) {
        const child = entry.name.toString('latin1');
        try {
          if (entry.isDirectory()) waiting.push(this.#move(`${this.#trash}${folder}/`, child));
          else {
            unlinkSync(at(`${this.#trash}${folder}/`, child));
            removed++;
          }
        } catch (error) {
          // What outlived its job, and works on in there, was quicker.
          if (systemCodeOf(error) !== 'ENOENT') throw error;
        }
        if (removed < STEP_FILES) continue;
        yield removed;
        removed = 0;
      }
      yield removed + this.#removeEmptied(folder);
    }
  }

  /** @returns 0 where something went on writing to it: it is out of the way, and whoever has that trash next removes it */
  #removeEmptied(folder: string): number {
    try {
      rmdirSync(at(this.#trash, folder));
      return 1;
    } catch (error) {
      if (systemCodeOf(error) !== 'ENOTEMPTY' && systemCodeOf(error) !== 'EEXIST') throw error;
      return 0;
    }
  }

  #entriesOf(folder: string): Dirent<Buffer>[] {
    const where = at(this.#trash, folder);
    // In the trash, which is this process's alone, nothing is swapped for a link any more.
    chmodSync(where, OWNER_ALL);
    return namesIn(`${this.#trash}${folder}`);
  }

  #move(prefix: string, name: string): string {
    let target = String(this.#next++);
    while (existsSync(at(this.#trash, target))) target = String(this.#next++);
    try {
      renameSync(at(prefix, name), at(this.#trash, target));
    } catch (error) {
      if (systemCodeOf(error) !== 'EACCES') throw error;
      // rename(2) asks for write permission on a folder that gets another parent.
      chmodSync(at(prefix, name), OWNER_ALL);
      renameSync(at(prefix, name), at(this.#trash, target));
    }
    return target;
  }
}
