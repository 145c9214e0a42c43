import type { Manifest, ManifestEntry } from '../../wire/manifest.ts';
import { folderOf } from '../../wire/tree-path.ts';
import type { IgnoreMatcher } from './ignore-matcher.ts';

/** A manifest's entries by path, and the folders that they lie in. */
export class TreeIndex {
  readonly manifest: Manifest;
  readonly #indices = new Map<string, number>();
  /** Those that have entries, and those that are entries. */
  readonly #folders = new Set<string>(['']);

  constructor(manifest: Manifest) {
    this.manifest = manifest;
    let latest = '';
    for (const [index, entry] of manifest.entries.entries()) {
      this.#indices.set(entry.path, index);
      let folder = entry.kind === 'folder' ? entry.path : folderOf(entry.path);
      if (folder === latest) continue;
      latest = folder;
      for (; !this.#folders.has(folder); folder = folderOf(folder)) this.#folders.add(folder);
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
    return this.#folders.has(path);
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
