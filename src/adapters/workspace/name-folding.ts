import { closeSync, existsSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ManifestEntry } from '../../wire/manifest.ts';
import { folderOf, foldedPath, shownPath } from '../../wire/tree-path.ts';

/** Two spellings that are one file where case is folded, and two that are where names are normalised. */
const SPELLINGS = [
  ['.probe-Case', '.probe-cASE'],
  ['.probe-\u00e9', '.probe-e\u0301'],
] as const;

/** Tries out, in a folder of this process alone, whether names that differ there are one file. */
export function foldsNames(folder: string): boolean {
  return SPELLINGS.some(([made, asked]) => {
    const path = join(folder, made);
    closeSync(openSync(path, 'w', 0o600));
    const folds = existsSync(join(folder, asked));
    rmSync(path, { force: true });
    return folds;
  });
}

/** @returns two names that would be one file where names fold, folders included; null where there are none */
export function collisionIn(entries: readonly ManifestEntry[]): readonly [string, string] | null {
  const names = new Map<string, string>();
  for (const entry of entries) {
    for (let path: string = entry.path; path !== ''; path = folderOf(path)) {
      const folded = foldedPath(path);
      const known = names.get(folded);
      if (known === path) break;
      if (known !== undefined) return [shownPath(known), shownPath(path)];
      names.set(folded, path);
    }
  }
  return null;
}
