import { hash as digest } from 'node:crypto';
import { closeSync, type Stats } from 'node:fs';
import {
  type Chunk,
  CHUNK_BYTES_MAX,
  type FileEntry,
  MTIME_MS_MAX,
  type ObjectHash,
  type TreePath,
  WHOLE_FILE_BYTES_MAX,
} from '../../wire/manifest.ts';
import { chunkEnd } from './chunker.ts';
import { hashOpen, hashOpenInTurns, openRegular, readRegular, withReadable } from './file-content.ts';
import { GIT_INDEX_BYTES_MAX } from './git-index-file.ts';
import { normalisedIndex } from './git-content.ts';
import type { Turn } from './turn.ts';

/** Beyond, a file stays there: nobody sends one, and a sparse one of any size is made at once. */
export const CHANGED_FILE_BYTES_MAX = 16 * 1024 * 1024 * 1024;

export interface ChangedFile {
  readonly entry: FileEntry;
  readonly stat: Stats;
}

/**
 * Hashes a file, and the chunks of a large one.
 *
 * @returns null where it is no regular file (any more)
 * @throws the system's error; EFBIG where it is above CHANGED_FILE_BYTES_MAX
 */
export function fileAt(path: TreePath, where: Buffer, mode: number): ChangedFile | null {
  const open = openRegular(where);
  if (open === null) return null;
  try {
    const chunker = chunkerOf(open.stat);
    return changedFile(path, mode, open.stat, hashOpen(open.fd, chunker?.add), chunker);
  } finally {
    closeSync(open.fd);
  }
}

/** As `fileAt`, of a file that may be large: others of the thread get on meanwhile. */
export async function fileInTurns(
  path: TreePath,
  where: Buffer,
  mode: number,
  turn: Turn,
): Promise<ChangedFile | null> {
  const open = withReadable(where, mode, () => openRegular(where));
  if (open === null) return null;
  try {
    const chunker = chunkerOf(open.stat);
    return changedFile(path, mode, open.stat, await hashOpenInTurns(open.fd, turn, chunker?.add), chunker);
  } finally {
    closeSync(open.fd);
  }
}

function chunkerOf({ size }: Stats): ContentChunks | undefined {
  if (size > CHANGED_FILE_BYTES_MAX) throw Object.assign(new Error('too large'), { code: 'EFBIG' });
  return size > WHOLE_FILE_BYTES_MAX ? new ContentChunks() : undefined;
}

function changedFile(
  path: TreePath,
  mode: number,
  stat: Stats,
  { hash, size }: { readonly hash: ObjectHash; readonly size: number },
  chunker: ContentChunks | undefined,
): ChangedFile {
  const isLarge = size > WHOLE_FILE_BYTES_MAX;
  const chunks = isLarge && chunker !== undefined ? chunker.finish() : null;
  const entry = { kind: 'file', path, size, mode: mode & 0o777, mtimeMs: sentMtimeOf(stat), hash, chunks } as const;
  return { entry, stat };
}

/** File systems have times that no Date holds, and some before 1970. */
export const sentMtimeOf = (stat: Stats): number => Math.min(Math.max(0, Math.floor(stat.mtimeMs)), MTIME_MS_MAX);

/** The same cuts as where a project is scanned: what came back needn't be sent there again. */
class ContentChunks {
  readonly #chunks: Chunk[] = [];
  readonly #buffer = Buffer.allocUnsafeSlow(2 * CHUNK_BYTES_MAX);
  #size = 0;

  readonly add = (bytes: Uint8Array): void => {
    for (let done = 0; done < bytes.length;) {
      const part = bytes.subarray(done, done + this.#buffer.length - this.#size);
      this.#buffer.set(part, this.#size);
      this.#size += part.length;
      done += part.length;
      this.#cut(CHUNK_BYTES_MAX);
    }
  };

  finish(): readonly Chunk[] {
    this.#cut(1);
    return this.#chunks;
  }

  /** What may be the beginning of a longer chunk waits for more. */
  #cut(needed: number): void {
    let from = 0;
    while (this.#size - from >= needed) {
      const to = chunkEnd(this.#buffer, from, this.#size);
      this.#chunks.push({
        hash: digest('sha256', this.#buffer.subarray(from, to), 'hex') as ObjectHash,
        size: to - from,
      });
      from = to;
    }
    this.#buffer.copyWithin(0, from, this.#size);
    this.#size -= from;
  }
}

/** As `FileEntry.chunks`, of content that is in memory. */
function chunksOf(content: Uint8Array): readonly Chunk[] | null {
  if (content.length <= WHOLE_FILE_BYTES_MAX) return null;
  const chunker = new ContentChunks();
  chunker.add(content);
  return chunker.finish();
}

/** An index without what git notes of files there. Null where it isn't one that is understood: it comes as it is. */
export function gitIndexAt(
  path: TreePath,
  where: Buffer,
  stat: Stats,
): { readonly entry: FileEntry; readonly content: Uint8Array } | null {
  const bytes = withReadable(where, stat.mode, () => readRegular(where, GIT_INDEX_BYTES_MAX));
  const content = bytes === null ? null : normalisedIndex(bytes);
  if (content === null) return null;
  const hash = digest('sha256', content, 'hex') as ObjectHash;
  const mtimeMs = sentMtimeOf(stat);
  const size = content.length;
  const entry = {
    kind: 'file',
    path,
    size,
    mode: stat.mode & 0o777,
    mtimeMs,
    hash,
    chunks: chunksOf(content),
  } as const;
  return { entry, content };
}
