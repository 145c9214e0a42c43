import type { EncodedManifest } from '../../wire/encoded-manifest.ts';
import type { FileEntry, Manifest, ManifestEntry } from '../../wire/manifest.ts';
import { folderOf } from '../../wire/tree-path.ts';
import type { IgnoreMatcher } from './ignore-matcher.ts';

const NONE = -1;

/** Names alone: what manifests have in common that differ in contents. */
class TreeNames {
  readonly folders: readonly string[];
  readonly indices = new Map<string, number>();
  readonly numbers = new Map<string, number>();
  /** Per entry the folder that it lies in; of a folder that is an entry, itself. */
  readonly parents: Int32Array;
  /** Per folder its first file or link, per entry the next one of its folder; the same for folders in folders. */
  readonly firstFile: Int32Array;
  readonly nextFile: Int32Array;
  readonly firstFolder: Int32Array;
  readonly nextFolder: Int32Array;
  /** Places of entries of those names, found when they are asked for. */
  #named: { readonly gitConfigs: readonly number[]; readonly gitignores: readonly number[] } | null = null;

  constructor(entries: readonly ManifestEntry[]) {
    const folders = [''];
    this.numbers.set('', 0);
    this.parents = new Int32Array(entries.length);
    for (const [index, entry] of entries.entries()) {
      this.indices.set(entry.path, index);
      this.parents[index] = this.#number(entry.kind === 'folder' ? entry.path : folderOf(entry.path), folders);
    }
    this.folders = folders;
    this.firstFile = new Int32Array(folders.length).fill(NONE);
    this.nextFile = new Int32Array(entries.length).fill(NONE);
    this.firstFolder = new Int32Array(folders.length).fill(NONE);
    this.nextFolder = new Int32Array(folders.length).fill(NONE);
    for (let index = entries.length - 1; index >= 0; index--) {
      const parent = this.parents[index] ?? 0;
      if (entries[index]?.kind === 'folder') continue;
      this.nextFile[index] = this.firstFile[parent] ?? NONE;
      this.firstFile[parent] = index;
    }
    for (let folder = folders.length - 1; folder > 0; folder--) {
      const parent = this.numbers.get(folderOf(folders[folder] ?? '')) ?? 0;
      this.nextFolder[folder] = this.firstFolder[parent] ?? NONE;
      this.firstFolder[parent] = folder;
    }
  }

  get named(): { readonly gitConfigs: readonly number[]; readonly gitignores: readonly number[] } {
    if (this.#named !== null) return this.#named;
    const [gitConfigs, gitignores]: [number[], number[]] = [[], []];
    for (const [path, index] of this.indices) {
      if (isGitConfig(path)) gitConfigs.push(index);
      else if (isGitignore(path)) gitignores.push(index);
    }
    this.#named = { gitConfigs, gitignores };
    return this.#named;
  }

  #number(path: string, folders: string[]): number {
    const known = this.numbers.get(path);
    if (known !== undefined) return known;
    this.#number(folderOf(path), folders);
    const number = folders.push(path) - 1;
    this.numbers.set(path, number);
    return number;
  }
}

/** A manifest's entries by path, and the folders that they lie in, each with a number. */
export class TreeIndex {
  readonly manifest: Manifest;
  /** Null where nobody needed it. */
  readonly encoded: EncodedManifest | null;
  readonly #names: TreeNames;

  /** @param base one of a manifest that may have the same names, so that they need not be gone through again */
  constructor(manifest: Manifest, base: TreeIndex | null = null, encoded: EncodedManifest | null = null) {
    this.manifest = manifest;
    this.encoded = encoded;
    this.#names =
      base !== null && haveSameNames(base.manifest, manifest) ? base.#names : new TreeNames(manifest.entries);
  }

  /** By number: those that have entries, and those that are entries; the root is 0. */
  get folders(): readonly string[] {
    return this.#names.folders;
  }

  /** Known to have the same folders, and files or links in them: then their places and numbers are the same too. */
  sharesNamesWith(other: TreeIndex): boolean {
    return this.#names === other.#names;
  }

  /** @returns the entry's place in the manifest; undefined where there is none */
  indexOf(path: string): number | undefined {
    return this.#names.indices.get(path);
  }

  entryOf(path: string): ManifestEntry | undefined {
    const index = this.#names.indices.get(path);
    return index === undefined ? undefined : this.manifest.entries[index];
  }

  /** Files of that name, in the order of the manifest. */
  filesNamed(name: 'gitConfigs' | 'gitignores'): FileEntry[] {
    return this.#names.named[name].flatMap((index) => {
      const entry = this.manifest.entries[index];
      return entry?.kind === 'file' ? [entry] : [];
    });
  }

  isFolder(path: string): boolean {
    return this.#names.numbers.has(path);
  }

  numberOf(folder: string): number | undefined {
    return this.#names.numbers.get(folder);
  }

  /** The number of the folder that an entry lies in; of a folder that is an entry, its own. */
  folderAt(index: number): number {
    return this.#names.parents[index] ?? 0;
  }

  /** Places in the manifest of the files and links right in a folder. */
  *filesIn(folder: number): Generator<number> {
    const { firstFile, nextFile } = this.#names;
    for (let index = firstFile[folder] ?? NONE; index !== NONE; index = nextFile[index] ?? NONE) yield index;
  }

  /** Numbers of the folders right in a folder. */
  *foldersIn(folder: number): Generator<number> {
    const { firstFolder, nextFolder } = this.#names;
    for (let below = firstFolder[folder] ?? NONE; below !== NONE; below = nextFolder[below] ?? NONE) yield below;
  }
}

function haveSameNames(one: Manifest, other: Manifest): boolean {
  if (one.entries.length !== other.entries.length) return false;
  for (let index = 0; index < one.entries.length; index++) {
    const [was, now] = [one.entries[index], other.entries[index]];
    if (was === now) continue;
    if (was?.path !== now?.path || (was?.kind === 'folder') !== (now?.kind === 'folder')) return false;
  }
  return true;
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
export const isGitignore = (path: string): boolean => path === '.gitignore' || path.endsWith('/.gitignore');
