import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  futimesSync,
  openSync,
  writeSync,
  type Stats,
} from 'node:fs';
import { systemCodeOf } from '../../base/errors.ts';
import type { Chunk, FileEntry, ObjectHash } from '../../wire/manifest.ts';
import { shownPath } from '../../wire/tree-path.ts';
import { secondsOf } from './file-content.ts';
import { PlacingFailed, type ObjectSource } from './placing.ts';
import { at, type Remover, type TreeFolders, type TreeOwner } from './tree-folders.ts';

const CREATE_FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Makes files that aren't there, in a slot's tree or beside it. */
export class FileMaker {
  readonly #objects: ObjectSource;
  readonly #owner: TreeOwner;
  readonly #remover: Remover;
  readonly #folders: TreeFolders;

  constructor(
    parts: { readonly objects: ObjectSource; readonly owner: TreeOwner; readonly remover: Remover },
    folders: TreeFolders,
  ) {
    this.#objects = parts.objects;
    this.#owner = parts.owner;
    this.#remover = parts.remover;
    this.#folders = folders;
  }

  /**
   * @param prefix of the folder, see TreeFolders
   * @param content null: from the objects
   * @returns what lies there then. Where that fails nothing does. @throws PlacingFailed, the system's error
   */
  make(entry: FileEntry, prefix: string, name: string, mtimeMs: number, content: Uint8Array | null): Stats {
    const fd = this.open(entry, prefix, name);
    try {
      if (content === null) this.#writeContent(entry, fd);
      else writeWhole(fd, content);
      return this.finish(entry, fd, mtimeMs);
    } catch (error) {
      this.#remover.remove(prefix, name);
      throw error;
    } finally {
      closeSync(fd);
    }
  }

  /** As `make` from the objects, of a large file. @param pass called after each chunk: others of the thread get on */
  async makeInTurns(
    entry: FileEntry,
    prefix: string,
    name: string,
    mtimeMs: number,
    pass: () => Promise<void>,
  ): Promise<Stats> {
    const fd = this.open(entry, prefix, name);
    try {
      for (const _ of this.#writeChunks(entry, entry.chunks ?? [entry], fd)) await pass();
      return this.finish(entry, fd, mtimeMs);
    } catch (error) {
      this.#remover.remove(prefix, name);
      throw error;
    } finally {
      closeSync(fd);
    }
  }

  /** @returns the descriptor of an empty file, which the caller closes. @throws the system's error, `EEXIST` among them */
  open(entry: FileEntry, prefix: string, name: string): number {
    const where = at(prefix, name);
    return this.unlocked(() => openSync(where, CREATE_FLAGS, entry.mode));
  }

  /** Owner, mode and time of a file whose content is written. */
  finish(entry: FileEntry, fd: number, mtimeMs: number): Stats {
    if (this.#owner !== null) fchownSync(fd, this.#owner.uid, this.#owner.gid);
    futimesSync(fd, secondsOf(mtimeMs), secondsOf(mtimeMs));
    const stat = fstatSync(fd);
    if ((stat.mode & 0o7777) === entry.mode) return stat;
    // The umask took some of it.
    fchmodSync(fd, entry.mode);
    return fstatSync(fd);
  }

  /** Does something in the folder that was entered last, which a job may have forbidden to write into. */
  unlocked<T>(change: () => T): T {
    try {
      return change();
    } catch (error) {
      if (systemCodeOf(error) !== 'EACCES') throw error;
      this.#folders.unlock();
      return change();
    }
  }

  /** @throws PlacingFailed where it isn't there, or of another size */
  object(entry: FileEntry, hash: ObjectHash, size: number): Uint8Array {
    const bytes = this.#objects.read(hash);
    if (bytes === null)
      throw new PlacingFailed(
        'io',
        `${shownPath(entry.path)}: its content is not in the store here; run the command again`,
      );
    if (bytes.byteLength !== size) {
      throw new PlacingFailed(
        'refused',
        `${shownPath(entry.path)}: the manifest says ${size} bytes, its content has ${bytes.byteLength}`,
      );
    }
    return bytes;
  }

  #writeContent(entry: FileEntry, fd: number): void {
    if (entry.chunks === null) {
      if (entry.size > 0) writeWhole(fd, this.object(entry, entry.hash, entry.size));
      return;
    }
    for (const _ of this.#writeChunks(entry, entry.chunks, fd));
  }

  /** One chunk with each step. */
  *#writeChunks(entry: FileEntry, chunks: readonly Chunk[], fd: number): Generator<void> {
    const hash = createHash('sha256');
    for (const chunk of chunks) {
      const bytes = this.object(entry, chunk.hash, chunk.size);
      hash.update(bytes);
      writeWhole(fd, bytes);
      yield;
    }
    if (hash.digest('hex') !== entry.hash) {
      throw new PlacingFailed(
        'refused',
        `${shownPath(entry.path)}: its chunks are not the file that the manifest names`,
      );
    }
  }
}

export function writeWhole(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done);
}
