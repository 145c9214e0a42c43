import { bytesOfText, isUtf8, textOfBytes } from '../../base/byte-text.ts';

/** Whether an untracked secret goes along with its project. */
export type SecretDecision = 'send' | 'skip';

/**
 * What somebody decided about a project's untracked secrets, by path relative to its root: bytes, or text where people
 * wrote it. A path that ends in a slash is a folder's: it decides for the secrets in it, also for those to come, unless a
 * folder below it, or the file's own name, decides otherwise.
 */
export class DecidedSecrets {
  readonly #decisions: Readonly<Record<string, SecretDecision>>;
  /** Bytes, with their slash. */
  readonly #folders = new Map<string, SecretDecision>();
  readonly isEmpty: boolean;

  constructor(decisions: Readonly<Record<string, SecretDecision>>) {
    this.#decisions = decisions;
    const paths = Object.entries(decisions);
    this.isEmpty = paths.length === 0;
    for (const [path, decision] of paths) if (path.endsWith('/')) this.#folders.set(asBytes(path), decision);
  }

  /** By the file's own name. @param path bytes */
  ofName(path: string): SecretDecision | null {
    if (this.isEmpty) return null;
    for (const name of [path, textOfBytes(path)]) {
      if (Object.hasOwn(this.#decisions, name)) return this.#decisions[name] ?? null;
    }
    return null;
  }

  /** By the nearest folder that it lies in. @param path bytes */
  ofFolders(path: string): SecretDecision | null {
    if (this.#folders.size === 0) return null;
    for (let slash = path.lastIndexOf('/'); slash > 0; slash = path.lastIndexOf('/', slash - 1)) {
      const decision = this.#folders.get(path.slice(0, slash + 1));
      if (decision !== undefined) return decision;
    }
    return null;
  }

  /** Bytes, without their slash. */
  get sentFolders(): string[] {
    return [...this.#folders].filter(([, decision]) => decision === 'send').map(([path]) => path.slice(0, -1));
  }

  /** Bytes. */
  get sentFiles(): string[] {
    const files = Object.keys(this.#decisions).filter((path) => !path.endsWith('/'));
    return files.filter((path) => this.#decisions[path] === 'send').map(asBytes);
  }
}

const asBytes = (path: string): string => (isUtf8(path) ? path : bytesOfText(path));
