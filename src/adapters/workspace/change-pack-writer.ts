import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, lstatSync, mkdirSync, openSync, readSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { encodeChangeList, type ChangeList } from '../../wire/change-pack.ts';
import type { FileEntry, ObjectHash, TreePath } from '../../wire/manifest.ts';
import { folderOf, shownPath } from '../../wire/tree-path.ts';
import { openRegular, withReadable } from './file-content.ts';
import { PackBuilder } from './pack-builder.ts';
import { at, type TreeFolders } from './tree-folders.ts';
import { Turn } from './turn.ts';

const PRIVATE_FILE_MODE = 0o600;

/** A file isn't what was listed any more: nothing was written. */
export class ChangedMeanwhile extends Error {
  override readonly name = 'ChangedMeanwhile';
  readonly path: TreePath;

  constructor(path: TreePath) {
    super(`${shownPath(path)} changed while it was read`);
    this.path = path;
  }
}

export type OnObject = (hash: ObjectHash, bytes: Uint8Array) => void;

/**
 * Writes a change pack (`wire/change-pack.ts`), whole or not at all, and forces it to the disk: the job's end names it.
 *
 * @param contents of files that come otherwise than they lie in the tree, by hash
 * @param onObject told of each object that is written
 * @throws the system's error, ChangedMeanwhile
 */
export async function writeChangePack(
  path: string,
  list: ChangeList,
  folders: TreeFolders,
  contents: ReadonlyMap<ObjectHash, Uint8Array>,
  onObject: OnObject,
): Promise<{ readonly bytes: number; readonly sha256: string }> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.tmp`;
  rmSync(temporary, { force: true });
  const file = new HashedFile(openSync(temporary, 'wx', PRIVATE_FILE_MODE));
  try {
    try {
      file.write(encodeChangeList(list));
      await writeObjects(list, folders, contents, file, onObject);
      file.sync();
    } finally {
      file.close();
    }
    renameSync(temporary, path);
    return file.result();
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

async function writeObjects(
  list: ChangeList,
  folders: TreeFolders,
  contents: ReadonlyMap<ObjectHash, Uint8Array>,
  file: HashedFile,
  onObject: OnObject,
): Promise<void> {
  const packs = new PackBuilder();
  const written = new Set<ObjectHash>();
  const turn = new Turn();
  for (const entry of list.changed) {
    if (entry.kind !== 'file') continue;
    const reader = new EntryReader(entry, folders, contents.get(entry.hash) ?? null);
    try {
      let start = 0;
      for (const part of entry.chunks ?? [entry]) {
        if (turn.isOver()) await turn.pass();
        if (!written.has(part.hash)) {
          written.add(part.hash);
          if (!packs.fits(part.size)) file.write(packs.take(true));
          const bytes = reader.read(start, part.size, part.hash);
          packs.add(part.hash, bytes, true);
          onObject(part.hash, bytes);
          if (packs.isFull) file.write(packs.take(true));
        }
        start += part.size;
      }
    } finally {
      reader.close();
    }
  }
  if (!packs.isEmpty) file.write(packs.take(true));
}

class HashedFile {
  readonly #fd: number;
  readonly #hash = createHash('sha256');
  #bytes = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  write(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) done += writeSync(this.#fd, bytes, done);
    this.#hash.update(bytes);
    this.#bytes += bytes.length;
  }

  sync(): void {
    fsyncSync(this.#fd);
  }

  close(): void {
    closeSync(this.#fd);
  }

  result(): { readonly bytes: number; readonly sha256: string } {
    return { bytes: this.#bytes, sha256: this.#hash.digest('hex') };
  }
}

/** Reads parts of a changed file, each of which must still have the hash that was listed. */
class EntryReader {
  readonly #entry: FileEntry;
  readonly #folders: TreeFolders;
  readonly #content: Uint8Array | null;
  #fd: number | null = null;

  constructor(entry: FileEntry, folders: TreeFolders, content: Uint8Array | null) {
    this.#entry = entry;
    this.#folders = folders;
    this.#content = content;
  }

  read(start: number, size: number, hash: ObjectHash): Uint8Array {
    const bytes = this.#content?.subarray(start, start + size) ?? this.#readFile(start, size);
    if (createHash('sha256').update(bytes).digest('hex') !== hash) throw this.#changed();
    return bytes;
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }

  #readFile(start: number, size: number): Uint8Array {
    this.#fd ??= this.#open();
    const bytes = Buffer.allocUnsafeSlow(size);
    let done = 0;
    for (let got = -1; done < size && got !== 0; done += got)
      got = readSync(this.#fd, bytes, done, size - done, start + done);
    return bytes.subarray(0, done);
  }

  #open(): number {
    const prefix = this.#folders.enter(folderOf(this.#entry.path));
    if (prefix === null) throw this.#changed();
    const where = at(prefix, this.#entry.path.slice(this.#entry.path.lastIndexOf('/') + 1));
    const stat = lstatSync(where, { throwIfNoEntry: false });
    const open = stat === undefined ? null : withReadable(where, stat.mode, () => openRegular(where));
    if (open === null) throw this.#changed();
    return open.fd;
  }

  #changed(): Error {
    return new ChangedMeanwhile(this.#entry.path);
  }
}
