import { hash as digest } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync } from 'node:fs';
import { systemCodeOf } from '../../base/errors.ts';
import {
  WHOLE_FILE_BYTES_MAX,
  type Chunk,
  type FileEntry,
  type ManifestHash,
  type ObjectHash,
  type TreePath,
} from '../../wire/manifest.ts';
import { chunkEnd } from './chunker.ts';
import { replacePrivateFile } from './private-file.ts';
import type { Selection, VirtualFile } from './selection.ts';

/** Needed between a scan and the end of the transfer; beyond these the ones used longest ago go. */
const KEPT_MAX = 512;
const KEPT_BYTES_MAX = 256 * 1024 * 1024;
const PRIVATE_FOLDER_MODE = 0o700;

/** What is sent of a file that is not on the disk as it is sent. It has no time of its own. */
export function entryOfBytes(file: VirtualFile, mtimeMs: number): FileEntry {
  const { path, content, mode } = file;
  const chunks: Chunk[] = [];
  for (let from = 0; content.length > WHOLE_FILE_BYTES_MAX && from < content.length;) {
    const to = chunkEnd(content, from, content.length);
    chunks.push({ hash: hashOf(content.subarray(from, to)), size: to - from });
    from = to;
  }
  return {
    kind: 'file',
    path,
    size: content.length,
    mode,
    mtimeMs,
    hash: hashOf(content),
    chunks: chunks.length > 0 ? chunks : null,
  };
}

/**
 * Where the content of a sent tree lies that isn't at its path below the root: kept from the scan, which is the only one to know,
 * to the end of the transfer, which may be in another life of the thread.
 */
export class ContentPlaces {
  readonly #folder: string;

  /** @param folder made where it is missing. @throws the system's error, as all methods do */
  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true, mode: PRIVATE_FOLDER_MODE });
  }

  note(manifest: ManifestHash, selection: Selection): void {
    let isNew = false;
    for (const { content } of selection.virtual) isNew = this.#keep(hashOf(content), content) || isNew;
    if (selection.elsewhere.length > 0) {
      const places = selection.elsewhere.map(({ path, absolute }) => [path, absolute]);
      isNew = this.#keep(`${manifest}.places`, JSON.stringify(places)) || isNew;
    }
    if (isNew) this.#sweep();
  }

  /** @returns by path, where files of that manifest lie; absolute, one character per byte */
  elsewhere(manifest: ManifestHash): ReadonlyMap<string, string> {
    const text = this.#read(`${manifest}.places`);
    // Written by `note`, in one piece.
    return new Map(text === null ? [] : (JSON.parse(text.toString()) as [TreePath, string][]));
  }

  /** The content of a virtual file, by its hash; null where it is none that is kept. */
  virtual(hash: ObjectHash): Uint8Array | null {
    return this.#read(hash);
  }

  #read(name: string): Buffer | null {
    try {
      return readFileSync(`${this.#folder}/${name}`);
    } catch (error) {
      if (systemCodeOf(error) === 'ENOENT') return null;
      throw error;
    }
  }

  /** @returns true where it was not there yet */
  #keep(name: string, content: Uint8Array | string): boolean {
    const path = `${this.#folder}/${name}`;
    try {
      const now = Date.now() / 1000;
      utimesSync(path, now, now);
      return false;
    } catch (error) {
      if (systemCodeOf(error) !== 'ENOENT') throw error;
      replacePrivateFile(path, content);
      return true;
    }
  }

  #sweep(): void {
    const files = readdirSync(this.#folder).map((name) => {
      const { size, mtimeMs } = statSync(`${this.#folder}/${name}`);
      return { name, size, mtimeMs };
    });
    let count = 0;
    let bytes = 0;
    for (const file of files.toSorted((one, other) => other.mtimeMs - one.mtimeMs)) {
      count += 1;
      bytes += file.size;
      // The newest stays, however large it is.
      if (count > 1 && (count > KEPT_MAX || bytes > KEPT_BYTES_MAX)) {
        rmSync(`${this.#folder}/${file.name}`, { force: true });
      }
    }
  }
}

// 64 such digits.
const hashOf = (bytes: Uint8Array): ObjectHash => digest('sha256', bytes, 'hex') as ObjectHash;
