import { closeSync, constants, mkdirSync, openSync, readdirSync, rmSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { systemCodeOf } from '../../base/errors.ts';
import { MIB } from '../../base/units.ts';

/** Bound of one file; what a command prints beyond it is only in the end that the result shows. */
export const OUTPUT_FILE_BYTES_MAX = 64 * MIB;
/** Bounds of the folder: the oldest files are removed before a new one is made. */
export const OUTPUT_FILES_MAX = 100;
export const OUTPUT_FOLDER_BYTES_MAX = 512 * MIB;

/** One file that grows up to its bound. */
export class OutputFile {
  readonly path: string;
  readonly #descriptor: number;
  #bytes = 0;
  #truncated = false;

  constructor(path: string) {
    this.path = path;
    this.#descriptor = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
  }

  /** True where not everything that was written is in it. */
  get truncated(): boolean {
    return this.#truncated;
  }

  /** @throws system errors such as ENOSPC */
  write(bytes: Uint8Array): void {
    let rest = bytes.subarray(0, OUTPUT_FILE_BYTES_MAX - this.#bytes);
    this.#truncated ||= rest.byteLength < bytes.byteLength;
    while (rest.byteLength > 0) {
      const written = writeSync(this.#descriptor, rest);
      this.#bytes += written;
      rest = rest.subarray(written);
    }
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  /** Closes it, too. */
  remove(): void {
    this.close();
    rmSync(this.path, { force: true });
  }
}

/** Keeps whole outputs at the origin, for results that show only a part of them. Several servers may share the folder. */
export class OutputFiles {
  readonly #folder: string;

  /** @param folder a folder of its own below MESHWORK_HOME/jobs; made when the first file is */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * @param name unique, such as `JOB.stdout`
   * @throws system errors where it cannot be made
   */
  create(name: string): OutputFile {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    this.#makeRoom();
    return new OutputFile(join(this.#folder, name));
  }

  #makeRoom(): void {
    const files = readdirSync(this.#folder)
      .map((name) => this.#look(name))
      .filter((file) => file !== null)
      .sort((a, b) => a.changedMs - b.changedMs);
    let bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    let count = files.length;
    for (const file of files) {
      if (count < OUTPUT_FILES_MAX && bytes <= OUTPUT_FOLDER_BYTES_MAX - OUTPUT_FILE_BYTES_MAX) return;
      rmSync(file.path, { force: true });
      count -= 1;
      bytes -= file.bytes;
    }
  }

  #look(name: string): { readonly path: string; readonly bytes: number; readonly changedMs: number } | null {
    const path = join(this.#folder, name);
    try {
      const stats = statSync(path);
      return { path, bytes: stats.size, changedMs: stats.mtimeMs };
    } catch (error) {
      // Another server removed it at the same moment.
      if (systemCodeOf(error) === 'ENOENT') return null;
      throw error;
    }
  }
}
