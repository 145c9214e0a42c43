import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { MeshError, messageOf, systemCodeOf } from '../base/errors.ts';
import type { SecretDecision } from '../core/workspace/decided-secrets.ts';
import { TREE_PATH_BYTES_MAX } from '../wire/manifest.ts';
import { writeWhole } from './project-book.ts';

const ROOTS_MAX = 1024;
const FILES_MAX = 1024;

const decisionSchema = z.enum(['send', 'skip']);
const fileSchema = z.record(z.string(), z.record(z.string().max(TREE_PATH_BYTES_MAX), decisionSchema));

/**
 * Which untracked secrets go along with their projects: `MESHWORK_HOME/secrets.json`, by root and by path relative to it
 * (byte strings; those of folders end in a slash, see DecidedSecrets). It is read anew each time: it is small, and people may edit it.
 */
export class SecretDecisions {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** @throws MeshError `bad_config` where the file cannot be read: nobody guesses what may be sent */
  of(root: string): Readonly<Record<string, SecretDecision>> {
    return this.#read()[root] ?? {};
  }

  /**
   * @param decision null: it is asked about again
   * @throws MeshError `bad_config`, `limit`, `io`
   */
  decide(root: string, files: readonly string[], decision: SecretDecision | null): void {
    const all = this.#read();
    const decided = { ...all[root] };
    for (const file of files) {
      if (decision === null) delete decided[file];
      else decided[file] = decision;
    }
    if (Object.keys(decided).length > FILES_MAX) {
      throw new MeshError('limit', `more than ${FILES_MAX} files of ${root}: nothing was changed`);
    }
    const next = { ...all, [root]: decided };
    if (Object.keys(decided).length === 0) delete next[root];
    if (Object.keys(next).length > ROOTS_MAX) {
      throw new MeshError('limit', `more than ${ROOTS_MAX} projects in ${this.#path}: nothing was changed`);
    }
    try {
      writeWhole(this.#path, next);
    } catch (error) {
      throw new MeshError('io', `${this.#path} cannot be written (${messageOf(error)}); nothing was changed`, error);
    }
  }

  #read(): z.infer<typeof fileSchema> {
    try {
      return fileSchema.parse(JSON.parse(readFileSync(this.#path, 'utf8')));
    } catch (error) {
      if (systemCodeOf(error) === 'ENOENT') return {};
      throw new MeshError(
        'bad_config',
        `${this.#path} cannot be read (${messageOf(error).slice(0, 200)}): correct or remove it; nothing was sent or run`,
        error,
      );
    }
  }
}
