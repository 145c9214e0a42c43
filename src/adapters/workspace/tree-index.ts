import type { Manifest, ManifestEntry } from '../../wire/manifest.ts';
import { folderOf } from '../../wire/tree-path.ts';
import type { IgnoreMatcher } from './ignore-matcher.ts';

const NONE = -1;

/** A manifest's entries by path, and the folders that they lie in, each with a number. */
export class TreeIndex {
  readonly manifest: Manifest;
  /** By number: those that have entries, and those that are entries; the root is 0. */
  readonly folders: readonly string[];
  readonly #indices = new Map<string, number>();
  readonly #numbers = new Map<string, number>();
  /** Per folder its first file or link, per entry the next one of its folder; the same for folders in folders. */
  readonly #firstFile: Int32Array;
  readonly #nextFile: Int32Array;
  readonly #firstFolder: Int32Array;
  readonly #nextFolder: Int32Array;

  constructor(manifest: Manifest) {
    this.manifest = manifest;
    const folders = [''];
    this.#numbers.set('', 0);
    const parents = new Int32Array(manifest.entries.length);
    for (const [index, entry] of manifest.entries.entries()) {
      this.#indices.set(entry.path, index);
      parents[index] = this.#number(entry.kind === 'folder' ? entry.path : folderOf(entry.path), folders);
    }
    this.folders = folders;
    this.#firstFile = new Int32Array(folders.length).fill(NONE);
    this.#nextFile = new Int32Array(manifest.entries.length).fill(NONE);
    this.#firstFolder = new Int32Array(folders.length).fill(NONE);
    this.#nextFolder = new Int32Array(folders.length).fill(NONE);
    for (let index = manifest.entries.length - 1; index >= 0; index--) {
      const parent = parents[index] ?? 0;
      if (manifest.entries[index]?.kind === 'folder') continue;
      this.#nextFile[index] = this.#firstFile[parent] ?? NONE;
      this.#firstFile[parent] = index;
    }
    for (let folder = folders.length - 1; folder > 0; folder--) {
      const parent = this.#numbers.get(folderOf(folders[folder] ?? '')) ?? 0;
      this.#nextFolder[folder] = this.#firstFolder[parent] ?? NONE;
      this.#firstFolder[parent] = folder;
    }
  }

  /** @returns the entry's place in the manifest; undefined where there is none */
  indexOf(path: string): number | undefined {
    return this.#indices.get(path);
  }

  entryOf(path: string): ManifestEntry | undefined {
    const index = this.#indices.get(path);
    return index === undefined ? undefined : this.manifest.entries[index];
  }

  isFolder(path: string): boolean {
    return this.#numbers.has(path);
  }

  numberOf(folder: string): number | undefined {
    return this.#numbers.get(folder);
  }

  /** Places in the manifest of the files and links right in a folder. */
  *filesIn(folder: number): Generator<number> {
    for (let index = this.#firstFile[folder] ?? NONE; index !== NONE; index = this.#nextFile[index] ?? NONE)
      yield index;
  }

  /** Numbers of the folders right in a folder. */
  *foldersIn(folder: number): Generator<number> {
    for (let below = this.#firstFolder[folder] ?? NONE; below !== NONE; below = this.#nextFolder[below] ?? NONE)
      yield below;
  }

  #number(path: string, folders: string[]): number {
    const known = this.#numbers.get(path);
    if (known !== undefined) return known;
    this.#number(folderOf(path), folders);
    const number = folders.push(path) - 1;
    this.#numbers.set(path, number);
    return number;
  }
}

/** Below a `.git` folder nothing is ignored, whatever patterns say: git itself never asks them there. */
export function isProduct(matcher: IgnoreMatcher, path: string, isFolder: boolean): boolean {
  return gitPartAt(path) < 0 && matcher.isIgnored(path, isFolder);
}

/** @returns where what follows `.git/` begins (the path's length for `.git` itself), -1 outside of `.git` folders */
export function gitPartAt(path: string): number {
  if (path === '.git' || path.endsWith('/.git')) return path.length;
  if (path.startsWith('.git/')) return 5;
  const inside = path.indexOf('/.git/');
  return inside < 0 ? -1 : inside + 6;
}

export const isGitIndex = (path: string): boolean => gitPartAt(path) === path.length - 5 && path.endsWith('/index');
export const isGitConfig = (path: string): boolean => gitPartAt(path) === path.length - 6 && path.endsWith('/config');
