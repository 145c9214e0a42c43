import { createHash } from 'node:crypto';
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
import { hashOpen, openRegular } from './file-content.ts';

/** Beyond, a file stays there: nobody sends one, and a sparse one of any size is made at once. */
export const CHANGED_FILE_BYTES_MAX = 16 * 1024 * 1024 * 1024;

/**
 * Hashes a file; a large one in chunks of one size, since a change is sent once.
 *
 * @returns null where it is no regular file (any more)
 * @throws the system's error; EFBIG where it is above CHANGED_FILE_BYTES_MAX
 */
export function fileAt(
  path: TreePath,
  where: Buffer,
  mode: number,
): { readonly entry: FileEntry; readonly stat: Stats } | null {
  const open = openRegular(where);
  if (open === null) return null;
  try {
    if (open.stat.size > CHANGED_FILE_BYTES_MAX) throw Object.assign(new Error('too large'), { code: 'EFBIG' });
    const chunker = open.stat.size > WHOLE_FILE_BYTES_MAX ? new FixedChunks() : null;
    const { hash, size } = hashOpen(open.fd, chunker === null ? undefined : (bytes) => chunker.add(bytes));
    const isLarge = size > WHOLE_FILE_BYTES_MAX;
    const chunks = isLarge && chunker !== null ? chunker.finish() : null;
    const entry = {
      kind: 'file',
      path,
      size,
      mode: mode & 0o777,
      mtimeMs: sentMtimeOf(open.stat),
      hash,
      chunks,
    } as const;
    return { entry, stat: open.stat };
  } finally {
    closeSync(open.fd);
  }
}

/** File systems have times that no Date holds, and some before 1970. */
export const sentMtimeOf = (stat: Stats): number => Math.min(Math.max(0, Math.floor(stat.mtimeMs)), MTIME_MS_MAX);

class FixedChunks {
  readonly #chunks: Chunk[] = [];
  #hash = createHash('sha256');
  #size = 0;

  add(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      const part = bytes.subarray(done, done + CHUNK_BYTES_MAX - this.#size);
      this.#hash.update(part);
      this.#size += part.length;
      done += part.length;
      if (this.#size === CHUNK_BYTES_MAX) this.#end();
    }
  }

  finish(): readonly Chunk[] {
    if (this.#size > 0) this.#end();
    return this.#chunks;
  }

  #end(): void {
    this.#chunks.push({ hash: this.#hash.digest('hex') as ObjectHash, size: this.#size });
    this.#hash = createHash('sha256');
    this.#size = 0;
  }
}

/** As `FileEntry.chunks`, of content that is in memory. */
export function chunksOf(content: Uint8Array): readonly Chunk[] | null {
  if (content.length <= WHOLE_FILE_BYTES_MAX) return null;
  const chunker = new FixedChunks();
  chunker.add(content);
  return chunker.finish();
}
