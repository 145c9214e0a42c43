import type { ScanRequest } from '../../ports/workspace.ts';

/** Below that, paths of files that are gone meanwhile cost too little to be forgotten. */
const STALE_MIN = 1000;

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

  /** A selection begins. */
  begin(request: ScanRequest): void {
    const asked = JSON.stringify(request);
    if (asked !== this.#asked) this.forget();
    this.#asked = asked;
    this.#isUsable = true;
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

  has(path: string): boolean {
    return this.#isUsable && this.#paths.has(path);
  }

  add(path: string): void {
    this.#paths.add(path);
  }

  /** @param files that were selected */
  end(files: number): void {
    if (this.#paths.size > 2 * files + STALE_MIN) this.forget();
  }

  forget(): void {
    this.#asked = '';
    this.#paths = new Set();
    this.#rules = new Map();
  }
}
