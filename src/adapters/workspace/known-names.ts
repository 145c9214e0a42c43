import type { Stats } from 'node:fs';
import type { ScanRequest } from '../../ports/workspace.ts';
import { isSettled } from './file-hasher.ts';

/** Below that, paths of files that are gone meanwhile cost too little to be forgotten. */
const STALE_MIN = 1000;

/** What a folder was when its names were read. */
type FolderStat = Pick<Stats, 'dev' | 'ino' | 'mtimeMs' | 'ctimeMs'>;

/** Names of a folder in which nothing needs to be judged. */
export interface KnownFolder {
  /** Paths that go along whatever is in them. */
  readonly files: readonly string[];
  /** Paths that are looked into. */
  readonly folders: readonly string[];
}

/**
 * Paths of which the last selection of a project found that they go along whatever is in them, so that the next one need
 * not judge them again. What is said of a path follows from the request and from the rules of the folders above it: those
 * of each folder are compared with what they were before anything below it is asked about.
 */
export class KnownNames {
  #asked = '';
  #paths = new Set<string>();
  #rules = new Map<string, string>();
  #isUsable = false;
  #folders = new Map<string, KnownFolder & { readonly stat: FolderStat }>();
  #foldersBefore = this.#folders;

  /** A selection begins. */
  begin(request: ScanRequest): void {
    const asked = JSON.stringify(request);
    if (asked !== this.#asked) this.forget();
    this.#asked = asked;
    this.#isUsable = true;
    this.#foldersBefore = this.#folders;
    this.#folders = new Map();
  }

  /** @param rules that were found in that folder, '' for none; the folders above it came before */
  enter(folder: string, rules: string): void {
    if ((this.#rules.get(folder) ?? '') === rules) return;
    if (this.#isUsable) this.#paths.clear();
    // What was noted of folders that come later is no use either: they are judged by this one's rules too.
    this.#isUsable = false;
    if (rules === '') this.#rules.delete(folder);
    else this.#rules.set(folder, rules);
  }

  get isUsable(): boolean {
    return this.#isUsable;
  }

  has(path: string): boolean {
    return this.#isUsable && this.#paths.has(path);
  }

  add(path: string): void {
    this.#paths.add(path);
  }

  /**
   * What was kept of a folder, where it is as it was then: a name that is put in or taken away changes a folder's times.
   * Null also where the rules above it changed.
   */
  folder(path: string, stat: FolderStat): KnownFolder | null {
    const known = this.#isUsable ? this.#foldersBefore.get(path) : undefined;
    if (known === undefined) return null;
    const { dev, ino, mtimeMs, ctimeMs } = known.stat;
    const isSame = dev === stat.dev && ino === stat.ino && mtimeMs === stat.mtimeMs && ctimeMs === stat.ctimeMs;
    if (!isSame) return null;
    this.#folders.set(path, known);
    return known;
  }

  /**
   * @param stat of before its names were read
   * @param readMs this machine's clock then
   */
  keepFolder(path: string, found: KnownFolder, stat: FolderStat, readMs: number): void {
    const { dev, ino, mtimeMs, ctimeMs } = stat;
    // One that changed just before may change again and look the same.
    if (isSettled(stat, readMs)) this.#folders.set(path, { ...found, stat: { dev, ino, mtimeMs, ctimeMs } });
  }

  /** @param files that were selected */
  end(files: number): void {
    if (this.#paths.size > 2 * files + STALE_MIN) this.forget();
  }

  forget(): void {
    this.#asked = '';
    this.#paths = new Set();
    this.#rules = new Map();
    this.#folders = new Map();
  }
}
