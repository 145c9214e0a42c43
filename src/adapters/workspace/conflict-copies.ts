import { mkdirSync } from 'node:fs';
import { systemCodeOf } from '../../base/errors.ts';
import type { ManifestEntry } from '../../wire/manifest.ts';
import type { ChangePackFile } from './change-pack-file.ts';
import type { Turn } from './turn.ts';
import { ChangedMeanwhile, LocalFiles, Obstructed } from './local-files.ts';

const PRIVATE_FOLDER_MODE = 0o700;

/** The job's version of what differs here, in a folder of the job: made at first use. */
export class ConflictCopies {
  readonly #folder: string;
  readonly #pack: ChangePackFile;
  readonly #turn: Turn;
  #files: LocalFiles | null = null;

  constructor(folder: string, pack: ChangePackFile, turn: Turn) {
    this.#turn = turn;
    this.#folder = folder;
    this.#pack = pack;
  }

  /** @returns false where no copy can have that place: two names that are one here, a name that is too long */
  async keep(entry: ManifestEntry): Promise<boolean> {
    const files = this.#open();
    const seen = await files.look(entry.path);
    try {
      if (entry.kind === 'folder') files.makeFolder(entry.path);
      else if (entry.kind === 'link') await files.writeLink(entry.path, entry.target, seen);
      else await files.writeFile(entry.path, { ...entry, parts: this.#pack.partsOf(entry) }, seen);
      return true;
    } catch (error) {
      if (error instanceof ChangedMeanwhile || error instanceof Obstructed) return false;
      if (['ENAMETOOLONG', 'EILSEQ', 'EINVAL', 'EISDIR'].includes(systemCodeOf(error))) return false;
      throw error;
    }
  }

  close(): void {
    this.#files?.close();
  }

  #open(): LocalFiles {
    if (this.#files !== null) return this.#files;
    mkdirSync(this.#folder, { recursive: true, mode: PRIVATE_FOLDER_MODE });
    return (this.#files = new LocalFiles(this.#folder, 'files', this.#folder, this.#turn));
  }
}
