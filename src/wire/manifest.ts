import { z } from 'zod';

/** What a project or a workspace may consist of, whatever is settable below that. */
export const MANIFEST_ENTRIES_MAX = 1_000_000;
export const TREE_PATH_BYTES_MAX = 4096;
export const CHUNKS_PER_FILE_MAX = 262_144;
/** Files up to this are one object; larger ones are cut into chunks by their content. */
export const WHOLE_FILE_BYTES_MAX = 2 * 1024 * 1024;
/** No chunk is larger, and only a file's last one may be smaller than a quarter of the average (`chunker.ts`). */
export const CHUNK_BYTES_MAX = 1024 * 1024;

/** The last moment that a Date can hold. */
export const MTIME_MS_MAX = 8.64e15;

declare const brand: unique symbol;
/**
 * A path below a root, or what a link points to: bytes, as file systems have them, one character (U+0000 to U+00FF) per
 * byte; parts are separated by '/', none is empty, '.' or '..'. For people: `textOfBytes`.
 */
export type TreePath = string & { readonly [brand]: 'TreePath' };
/** SHA-256 of an object's bytes, 64 hexadecimal digits. */
export type ObjectHash = string & { readonly [brand]: 'ObjectHash' };
/** SHA-256 of a manifest's canonical encoding, 64 hexadecimal digits. */
export type ManifestHash = string & { readonly [brand]: 'ManifestHash' };

const HASH = /^[0-9a-f]{64}$/;
export const isManifestHash = (text: string): text is ManifestHash => HASH.test(text);
export const manifestHashSchema = z.string().refine(isManifestHash, { message: 'is not a SHA-256 in hexadecimal' });

export interface Chunk {
  readonly hash: ObjectHash;
  readonly size: number;
}

export interface FileEntry {
  readonly kind: 'file';
  readonly path: TreePath;
  readonly size: number;
  /** Permission bits, 0o777 at most. */
  readonly mode: number;
  /** Milliseconds since 1970, rounded down: the submitter's clock. */
  readonly mtimeMs: number;
  /** Of the whole file. */
  readonly hash: ObjectHash;
  /** Of a file above WHOLE_FILE_BYTES_MAX: its parts in order, which together have `size` bytes. Null: one object. */
  readonly chunks: readonly Chunk[] | null;
}

export interface LinkEntry {
  readonly kind: 'link';
  readonly path: TreePath;
  /** Bytes as in TreePath, but as the link has them. */
  readonly target: string;
}

/** A directory without entries of its own in the manifest; all others follow from the paths below them. */
export interface FolderEntry {
  readonly kind: 'folder';
  readonly path: TreePath;
}

export type ManifestEntry = FileEntry | LinkEntry | FolderEntry;

/** A project's tree at one moment. Entries are sorted by path, bytewise, each path once. */
export interface Manifest {
  readonly entries: readonly ManifestEntry[];
}
