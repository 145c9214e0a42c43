import { createHash } from 'node:crypto';
import { closeSync, lstatSync, renameSync, type Stats } from 'node:fs';
import type { Chunk, FileEntry, ObjectHash } from '../../wire/manifest.ts';
import { type FileMaker, writeWhole } from './file-maker.ts';
import type { ObjectSource } from './placing.ts';
import { at, type Remover } from './tree-folders.ts';

const NAME = 'arriving';

/** A large file that is put together in the scratch folder while its chunks come, in their order. */
export class ArrivingFile {
  readonly index: number;
  readonly entry: FileEntry;
  readonly #chunks: readonly Chunk[];
  readonly #scratch: string;
  readonly #maker: FileMaker;
  readonly #remover: Remover;
  readonly #hash = createHash('sha256');
  readonly #fd: number;
  #next = 0;

  /**
   * @param index of the entry in its manifest @param scratch a prefix, see TreeFolders; one file at a time
   * @throws the system's error
   */
  constructor(
    index: number,
    entry: FileEntry,
    parts: { readonly scratch: string; readonly maker: FileMaker; readonly remover: Remover },
  ) {
    this.index = index;
    this.entry = entry;
    this.#chunks = entry.chunks ?? [];
    this.#scratch = parts.scratch;
    this.#maker = parts.maker;
    this.#remover = parts.remover;
    this.#remover.remove(this.#scratch, NAME);
    this.#fd = this.#maker.open(entry, this.#scratch, NAME);
  }

  get isWhole(): boolean {
    return this.#next === this.#chunks.length;
  }

  /**
   * Writes the next chunk, where that is the one that came, or is in the store.
   *
   * @returns `waits` where it is neither, `wrong` where it has another size than the manifest says. @throws the system's error
   */
  advance(came: { readonly hash: ObjectHash; readonly bytes: Uint8Array }, store: ObjectSource): Step {
    const chunk = this.#chunks[this.#next];
    if (chunk === undefined) return 'waits';
    const bytes = chunk.hash === came.hash ? came.bytes : store.read(chunk.hash);
    if (bytes === null) return 'waits';
    if (bytes.byteLength !== chunk.size) return 'wrong';
    this.#hash.update(bytes);
    writeWhole(this.#fd, bytes);
    this.#next += 1;
    return 'written';
  }

  /** @returns null where the chunks are not the file that the manifest names. @throws the system's error */
  moveTo(prefix: string, name: string, mtimeMs: number): Stats | null {
    if (this.#hash.digest('hex') !== this.entry.hash) return null;
    this.#maker.finish(this.entry, this.#fd, mtimeMs);
    this.#maker.unlocked(() => renameSync(at(this.#scratch, NAME), at(prefix, name)));
    return lstatSync(at(prefix, name));
  }

  close(): void {
    closeSync(this.#fd);
    this.#remover.remove(this.#scratch, NAME);
  }
}

export type Step = 'written' | 'waits' | 'wrong';
