import { mkdirSync } from 'node:fs';
import { bytesOfText } from '../../base/byte-text.ts';
import { systemCodeOf } from '../../base/errors.ts';
import type { FileEntry, ManifestEntry, ObjectHash } from '../../wire/manifest.ts';
import { folderOf, shownPath } from '../../wire/tree-path.ts';
import { ArrivingFile } from './arriving-file.ts';
import { FileMaker } from './file-maker.ts';
import { type EarlyPlaced, type Placing, PlacingFailed } from './placing.ts';
import { namesIn, TreeFolders } from './tree-folders.ts';
import { isGitIndex } from './tree-index.ts';
import { TreeState } from './tree-state.ts';
import { Turn } from './turn.ts';

const NONE = -1;
/** How many files between two looks at the clock. */
const FILES_PER_LOOK = 32;

export interface Arrived {
  readonly hash: ObjectHash;
  readonly bytes: Uint8Array;
}

/**
 * Files of an empty tree, made while packs come, from what is in memory anyway: the disk works while the network does.
 * Nothing that is there is changed or removed. Where anything is in the way or fails, it ends, and the placing that
 * follows does the rest, and says what is wrong.
 */
export class EarlyFiles {
  readonly #parts: EarlyParts;
  readonly #folders: TreeFolders;
  readonly #maker: FileMaker;
  readonly #state: TreeState;
  readonly #entries: readonly ManifestEntry[];
  readonly #scratch: string;
  readonly #nowMs: number;
  /** By object: one entry that consists of it, and per entry the next one that does. */
  readonly #first = new Map<ObjectHash, number>();
  readonly #next: Int32Array;
  /** By object: an entry that it is a chunk of. */
  readonly #chunked = new Map<ObjectHash, number>();
  readonly #indexes: string[] = [];
  /** Large files that were not whole when another began, or are not what they should be. */
  readonly #leftOver = new Set<number>();
  #arriving: ArrivingFile | null = null;
  #written = 0;
  #isOver = false;

  private constructor(parts: EarlyParts, folders: TreeFolders) {
    this.#parts = parts;
    this.#folders = folders;
    this.#maker = new FileMaker(parts, folders);
    this.#state = TreeState.of(parts.hash, parts.index);
    this.#entries = parts.index.manifest.entries;
    this.#scratch = bytesOfText(`${parts.scratch}/`);
    this.#nowMs = Date.now() + 1;
    this.#next = new Int32Array(this.#entries.length).fill(NONE);
    for (const [index, entry] of this.#entries.entries()) if (entry.kind === 'file') this.#note(index, entry);
  }

  /** @returns null where something lies in the tree. @throws the system's error */
  static begin(parts: EarlyParts): EarlyFiles | null {
    const folders = new TreeFolders(parts.tree, parts.owner);
    try {
      const root = folders.enter('');
      if (root !== null && namesIn(root).length === 0) {
        mkdirSync(parts.scratch, { recursive: true, mode: 0o700 });
        return new EarlyFiles(parts, folders);
      }
    } catch (error) {
      folders.close();
      throw error;
    }
    folders.close();
    return null;
  }

  /** Makes the files that those objects are the content of. @param arrived verified, and in the store */
  async take(arrived: readonly Arrived[]): Promise<void> {
    const turn = new Turn();
    let looks = 0;
    try {
      for (const object of arrived) {
        for (let index = this.#first.get(object.hash) ?? NONE; index !== NONE; index = this.#next[index] ?? NONE) {
          if (++looks % FILES_PER_LOOK === 0 && turn.isOver()) await turn.pass();
          if (this.#isOver || this.#parts.isUnwanted()) return;
          this.#makeWhole(index, object.bytes);
        }
        const chunked = this.#chunked.get(object.hash);
        if (chunked !== undefined) await this.#takeChunk(chunked, object, turn);
      }
    } catch (error) {
      if (!(error instanceof PlacingFailed) && systemCodeOf(error) === '') throw error;
      this.#isOver = true;
    }
  }

  /** Closes what is open. What was made stays, and need not be looked at again. */
  end(): EarlyPlaced {
    const isAlone = !this.#isOver;
    this.#isOver = true;
    try {
      this.#dropArriving();
    } finally {
      this.#folders.close();
    }
    return { state: this.#state, written: this.#written, indexes: this.#indexes, isAlone };
  }

  #note(index: number, entry: FileEntry): void {
    if (entry.chunks === null) {
      this.#next[index] = this.#first.get(entry.hash) ?? NONE;
      this.#first.set(entry.hash, index);
    } else {
      for (const { hash } of entry.chunks) if (!this.#chunked.has(hash)) this.#chunked.set(hash, index);
    }
  }

  #makeWhole(index: number, bytes: Uint8Array): void {
    const entry = this.#entries[index];
    if (entry?.kind !== 'file' || bytes.byteLength !== entry.size) return;
    const { prefix, name } = this.#placeOf(entry);
    this.#state.files.note(index, this.#maker.make(entry, prefix, name, this.#mtimeOf(entry), bytes));
    this.#wrote(entry);
  }

  /** Chunks come in the order of their files: one that is not whole when another begins is left to the placing. */
  async #takeChunk(index: number, object: Arrived, turn: Turn): Promise<void> {
    const entry = this.#entries[index];
    if (this.#isOver || entry?.kind !== 'file' || this.#leftOver.has(index)) return;
    if (this.#arriving?.index !== index) {
      this.#dropArriving();
      this.#arriving = new ArrivingFile(index, entry, {
        scratch: this.#scratch,
        maker: this.#maker,
        remover: this.#parts.remover,
      });
    }
    const file = this.#arriving;
    let step = file.advance(object, this.#parts.objects);
    while (step === 'written' && !file.isWhole) {
      if (turn.isOver()) await turn.pass();
      if (this.#parts.isUnwanted()) return;
      step = file.advance(object, this.#parts.objects);
    }
    if (step === 'wrong') this.#dropArriving();
    if (!file.isWhole) return;
    const { prefix, name } = this.#placeOf(entry);
    const stat = file.moveTo(prefix, name, this.#mtimeOf(entry));
    this.#dropArriving();
    if (stat === null) return;
    this.#state.files.note(index, stat);
    this.#wrote(entry);
  }

  #placeOf(entry: FileEntry): { readonly prefix: string; readonly name: string } {
    const prefix = this.#folders.make(folderOf(entry.path), () => {
      throw new PlacingFailed('io', `something is in the way of ${shownPath(entry.path)}`);
    });
    return { prefix, name: entry.path.slice(entry.path.lastIndexOf('/') + 1) };
  }

  /** Never of the future. */
  #mtimeOf(entry: FileEntry): number {
    return Math.min(entry.mtimeMs, this.#nowMs);
  }

  #wrote(entry: FileEntry): void {
    this.#written += 1;
    if (isGitIndex(entry.path)) this.#indexes.push(entry.path);
  }

  #dropArriving(): void {
    const file = this.#arriving;
    this.#arriving = null;
    if (file === null) return;
    // Begun anew it would be written again from its beginning, as often as somebody mixes the chunks of two files.
    this.#leftOver.add(file.index);
    file.close();
  }
}

type EarlyParts = Pick<Placing, 'tree' | 'scratch' | 'hash' | 'index' | 'objects' | 'remover' | 'owner' | 'isUnwanted'>;
