import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  futimesSync,
  lchownSync,
  lstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  type Stats,
  statSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { bytesOfText, isUtf8, textOfBytes } from '../../base/byte-text.ts';
import { systemCodeOf } from '../../base/errors.ts';
import type { LocalState } from '../../core/workspace/apply-plan.ts';
import type { ObjectHash } from '../../wire/manifest.ts';
import { folderOf } from '../../wire/tree-path.ts';
import { hashOpenInTurns, openRegular, secondsOf } from './file-content.ts';
import { isOwnOfWorkTree, splitAtGit } from './git-layout.ts';
import { type GitPlaces, gitPlacesOf } from './git-places.ts';
import { normalisedIndex } from './git-content.ts';
import { temporaryName } from './temporary-name.ts';
import type { Turn } from './turn.ts';
import { at, ownerFor, TreeFolders, type TreeOwner } from './tree-folders.ts';

const CREATE_FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const PRIVATE_MODE = 0o600;
const UNSEEN = new Set(['EACCES', 'EPERM', 'ENAMETOOLONG', 'EILSEQ', 'EINVAL']);

/** What was seen at a path, to tell whether it is still so when it is replaced. */
export interface Sighting {
  readonly state: LocalState;
  readonly stamp: string;
  /** Its last change of any kind, since 1970; 0 where nothing is. */
  readonly changedMs: number;
  /** When its content was written, as it says; 0 where nothing is. */
  readonly modifiedMs: number;
}

/** A file or link whose place was taken by something else since it was looked at. */
export class ChangedMeanwhile extends Error {
  override readonly name = 'ChangedMeanwhile';
}

/** What is below `.git`: where git has it, an index in the form in which it travels; or files like all others. */
export type GitFiles = 'repositories' | 'files';

export interface NewFile {
  readonly mode: number;
  readonly mtimeMs: number;
  readonly hash: ObjectHash;
  readonly parts: Iterable<Uint8Array>;
}

/** What is being written, one for each apply under way. */
const unfinished = new Set<Buffer>();

/** The thread ends: nobody goes on with what is half written. */
export function removeUnfinished(): void {
  for (const temporary of unfinished) remove(temporary);
  unfinished.clear();
}

interface Place {
  readonly folders: TreeFolders;
  /** Below those. */
  readonly path: string;
}

/**
 * Reads and changes single paths of a tree of people's files. Folders are opened part by part without following links, so
 * that no path leads out of the tree; a repository's own files are where git has them. Methods throw the system's error.
 */
export class LocalFiles {
  readonly #root: string;
  readonly #folders: TreeFolders;
  readonly #turn: Turn;
  readonly #git: GitFiles;
  readonly #applying: string;
  readonly #outside = new Map<string, TreeFolders>();
  readonly #repositories = new Map<string, GitPlaces | null>();

  /**
   * @param applying see `temporaryName` @param turn passed in the middle of large files; whoever waits for one asks nothing
   * else meanwhile
   */
  constructor(root: string, git: GitFiles, applying: string, turn: Turn) {
    this.#root = root;
    this.#applying = applying;
    this.#turn = turn;
    this.#folders = new TreeFolders(root, null, 'theirs');
    this.#git = git;
  }

  close(): void {
    this.#folders.close();
    for (const folders of this.#outside.values()) folders.close();
  }

  /** What lies there, and its content's hash: reads the whole file. */
  async look(path: string): Promise<Sighting> {
    try {
      return await this.#look(path);
    } catch (error) {
      // What this user can't look at, and names that can't be here: in the way, or nowhere.
      if (!UNSEEN.has(systemCodeOf(error))) throw error;
      return { state: { kind: 'other' }, stamp: '', changedMs: 0, modifiedMs: 0 };
    }
  }

  async #look(path: string): Promise<Sighting> {
    const place = this.#placeOf(path);
    const prefix = place.folders.enter(folderOf(place.path));
    if (prefix === null) {
      return { state: { kind: isObstructed(place) ? 'blocked' : 'absent' }, stamp: '', changedMs: 0, modifiedMs: 0 };
    }
    const where = at(prefix, nameOf(place.path));
    const stat = lstatSync(where, { throwIfNoEntry: false });
    return {
      state: await this.#stateOf(path, where, stat),
      stamp: stampOf(stat),
      changedMs: stat?.ctimeMs ?? 0,
      modifiedMs: stat?.mtimeMs ?? 0,
    };
  }

  /** Whether both paths are one file: a file system that folds case. */
  isSame(one: string, other: string): boolean {
    const [first, second] = [one, other].map((path) => {
      const place = this.#placeOf(path);
      const prefix = place.folders.enter(folderOf(place.path));
      return prefix === null ? undefined : lstatSync(at(prefix, nameOf(place.path)), { throwIfNoEntry: false });
    });
    return first !== undefined && second !== undefined && first.ino === second.ino && first.dev === second.dev;
  }

  /** Old or new, never a part: written beside it, then renamed. @throws ChangedMeanwhile, with nothing changed */
  async writeFile(path: string, file: NewFile, seen: Sighting): Promise<void> {
    await this.#replace(path, seen, async (temporary, owner) => {
      const fd = openSync(temporary, CREATE_FLAGS, PRIVATE_MODE);
      try {
        const hash = createHash('sha256');
        for (const part of file.parts) {
          hash.update(part);
          for (let from = 0; from < part.length;) from += writeSync(fd, part, from);
          if (this.#turn.isOver()) await this.#turn.pass();
        }
        if (hash.digest('hex') !== file.hash) throw new Error('the parts of a file do not make it');
        if (owner !== null) fchownSync(fd, owner.uid, owner.gid);
        fchmodSync(fd, file.mode);
        futimesSync(fd, Date.now() / 1000, secondsOf(file.mtimeMs));
      } finally {
        closeSync(fd);
      }
    });
  }

  /** @throws ChangedMeanwhile, with nothing changed */
  async writeLink(path: string, target: string, seen: Sighting): Promise<void> {
    await this.#replace(path, seen, (temporary, owner) => {
      symlinkSync(Buffer.from(target, 'latin1'), temporary);
      if (owner !== null) lchownSync(temporary, owner.uid, owner.gid);
    });
  }

  makeFolder(path: string): void {
    const place = this.#placeOf(path);
    place.folders.make(place.path, obstructed);
  }

  /** @throws ChangedMeanwhile, with nothing changed */
  deleteFile(path: string, seen: Sighting): void {
    const { prefix, name } = this.#existing(path);
    check(prefix, name, seen);
    unlinkSync(at(prefix, name));
  }

  /** @returns false where something is there still: it isn't empty, isn't to be removed, or is no folder */
  deleteFolder(path: string): boolean {
    const place = this.#placeOf(path);
    const prefix = place.folders.enter(folderOf(place.path));
    if (prefix === null) return true;
    try {
      rmdirSync(at(prefix, nameOf(place.path)));
      return true;
    } catch (error) {
      if (systemCodeOf(error) === 'ENOENT') return true;
      // What other entries are called by, and what can't be removed for another reason: it stays, and that hurts nobody.
      if (['ENOTEMPTY', 'EEXIST', 'EBUSY', 'EACCES', 'EPERM', 'ENOTDIR'].includes(systemCodeOf(error))) return false;
      throw error;
    }
  }

  /** Of a file whose name changes in case alone. */
  rename(from: string, to: string): void {
    const old = this.#existing(from);
    const name = nameOf(this.#placeOf(to).path);
    renameSync(at(old.prefix, old.name), at(old.prefix, name));
  }

  #existing(path: string): { readonly prefix: string; readonly name: string } {
    const place = this.#placeOf(path);
    const prefix = place.folders.enter(folderOf(place.path));
    if (prefix === null) throw new ChangedMeanwhile();
    return { prefix, name: nameOf(place.path) };
  }

  async #replace(
    path: string,
    seen: Sighting,
    write: (temporary: Buffer, owner: TreeOwner) => Promise<void> | void,
  ): Promise<void> {
    const place = this.#placeOf(path);
    const prefix = place.folders.make(folderOf(place.path), obstructed);
    const temporary = at(prefix, temporaryName(this.#applying, path));
    const there = lstatSync(at(prefix, nameOf(place.path)), { throwIfNoEntry: false });
    const owner = ownerFor(there ?? statSync(Buffer.from(prefix, 'latin1')));
    unfinished.add(temporary);
    try {
      try {
        await write(temporary, owner);
      } catch (error) {
        if (systemCodeOf(error) !== 'EEXIST') throw error;
        // Of an applying of the same that was cut off.
        remove(temporary);
        await write(temporary, owner);
      }
      check(prefix, nameOf(place.path), seen);
      renameSync(temporary, at(prefix, nameOf(place.path)));
    } catch (error) {
      remove(temporary);
      throw error;
    } finally {
      unfinished.delete(temporary);
    }
  }

  async #stateOf(path: string, where: Buffer, stat: Stats | undefined): Promise<LocalState> {
    if (stat === undefined) return { kind: 'absent' };
    if (stat.isDirectory()) return { kind: 'folder' };
    if (stat.isSymbolicLink()) {
      return { kind: 'link', target: readlinkSync(where, { encoding: 'buffer' }).toString('latin1') };
    }
    const hash = stat.isFile() ? await this.#hashOf(path, where) : null;
    return hash === null ? { kind: 'other' } : { kind: 'file', hash, mode: stat.mode & 0o777 };
  }

  /** Null where it can't be read. */
  async #hashOf(path: string, where: Buffer): Promise<ObjectHash | null> {
    const open = openOrNull(where);
    if (open === null) return null;
    try {
      if (this.#git === 'files' || splitAtGit(path)?.inside !== 'index')
        return (await hashOpenInTurns(open.fd, this.#turn)).hash;
      const content = readFileSync(open.fd);
      const bytes = normalisedIndex(content) ?? content;
      return createHash('sha256').update(bytes).digest('hex') as ObjectHash;
    } finally {
      closeSync(open.fd);
    }
  }

  #placeOf(path: string): Place {
    const split = this.#git === 'files' ? null : splitAtGit(path);
    const git = split === null ? null : this.#repositoryAt(split.repository);
    if (split === null || git === null) return { folders: this.#folders, path };
    const folder = textOfBytes(isOwnOfWorkTree(split.inside) ? git.own : git.shared);
    let folders = this.#outside.get(folder);
    if (folders === undefined) {
      folders = new TreeFolders(folder, null, 'theirs');
      this.#outside.set(folder, folders);
    }
    return { folders, path: split.inside };
  }

  /** Null where there is none, or one that can't be named: then its files are like others. */
  #repositoryAt(repository: string): GitPlaces | null {
    const known = this.#repositories.get(repository);
    if (known !== undefined) return known;
    // The way there has no links; from there on git's own are followed.
    const isThere = this.#folders.enter(repository) !== null;
    const top = bytesOfText(this.#root);
    const places = isThere ? gitPlacesOf(repository === '' ? top : `${top}/${repository}`) : null;
    const usable = places !== null && isUtf8(places.own) && isUtf8(places.shared) ? places : null;
    this.#repositories.set(repository, usable);
    return usable;
  }
}

/** Not a folder, but something in the place of one. */
export class Obstructed extends Error {
  override readonly name = 'Obstructed';
}

function obstructed(): never {
  throw new Obstructed();
}

/** Whether a file or link is in the place of one of the folders above; else one of them isn't there. */
function isObstructed({ folders, path }: Place): boolean {
  for (let folder = folderOf(path); folder !== ''; folder = folderOf(folder)) {
    const prefix = folders.enter(folderOf(folder));
    if (prefix !== null) return lstatSync(at(prefix, nameOf(folder)), { throwIfNoEntry: false }) !== undefined;
  }
  return true;
}

function check(prefix: string, name: string, seen: Sighting): void {
  if (stampOf(lstatSync(at(prefix, name), { throwIfNoEntry: false })) !== seen.stamp) throw new ChangedMeanwhile();
}

function stampOf(stat: Stats | undefined): string {
  return stat === undefined ? '' : [stat.dev, stat.ino, stat.mode, stat.size, stat.mtimeMs, stat.ctimeMs].join(' ');
}

function openOrNull(where: Buffer): { readonly fd: number; readonly stat: Stats } | null {
  try {
    return openRegular(where);
  } catch (error) {
    if (systemCodeOf(error) === 'EACCES' || systemCodeOf(error) === 'EPERM') return null;
    throw error;
  }
}

function remove(temporary: Buffer): void {
  try {
    unlinkSync(temporary);
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') throw error;
  }
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}
