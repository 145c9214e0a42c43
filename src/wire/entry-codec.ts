import { unreachable } from '../base/assert.ts';
import { type ByteReader, Malformed } from './byte-reader.ts';
import type { ByteWriter } from './byte-writer.ts';
import {
  CHUNKS_PER_FILE_MAX,
  MTIME_MS_MAX,
  type Chunk,
  type FileEntry,
  type ManifestEntry,
  TREE_PATH_BYTES_MAX,
  type TreePath,
  WHOLE_FILE_BYTES_MAX,
} from './manifest.ts';
import { isPortableLink, parseChangedPath, parseTreePath, shownPath, wrongWithKind } from './tree-path.ts';

/**
 * Sorted lists of entries and paths in binary: of manifests, their differences, and change packs. Each path is written
 * as how many bytes it has in common with the one before, and the rest:
 *
 * ```
 * list  := varint count, item*
 * path  := varint shared, varint length, byte*                    shared is the most there is
 * entry := kind, path, (file | link | nothing)                    kind: 0 file, 1 link, 2 folder
 * file  := varint size, varint mode, varint mtimeMs, hash, chunk* chunks where size > WHOLE_FILE_BYTES_MAX, to its end
 * chunk := hash, varint size
 * link  := varint length, byte*
 * ```
 */
const FILE = 0;
const LINK = 1;
const FOLDER = 2;
const MODE_MAX = 0o777;
/** The shortest item has three bytes. */
const ITEM_BYTES_MIN = 3;
/**
 * Of all paths of a list together. What they share is written once, so a few bytes may stand for paths and folders that
 * no memory holds.
 */
const PATHS_BYTES_MAX = 256 * 1024 * 1024;
const FOLDERS_MAX = 1_000_000;
/** Read in one step: some milliseconds. */
const STEP_ENTRIES = 8192;
/** Bytes of a typical entry: what a writer starts with. */
export const ENTRY_BYTES_TYPICAL = 80;

/** `changes`: also what is only allowed to wait for `meshwork apply`: files of .git that don't travel, links that lead out. */
export type EntryRules = 'manifest' | 'changes';

export function writeEntries(writer: ByteWriter, entries: readonly ManifestEntry[]): void {
  writer.varint(entries.length);
  let previous = '';
  for (const entry of entries) {
    writeEntry(writer, entry, previous);
    previous = entry.path;
  }
}

export function writePaths(writer: ByteWriter, paths: readonly TreePath[]): void {
  writer.varint(paths.length);
  let previous = '';
  for (const path of paths) {
    writePath(writer, path, previous);
    previous = path;
  }
}

/** @param previous path of the entry before, '' where there is none */
export function writeEntry(writer: ByteWriter, entry: ManifestEntry, previous: string): void {
  switch (entry.kind) {
    case 'file':
      writer.byte(FILE);
      writePath(writer, entry.path, previous);
      writer.varint(entry.size);
      writer.varint(entry.mode);
      writer.varint(entry.mtimeMs);
      writer.hex(entry.hash);
      for (const chunk of entry.chunks ?? []) {
        writer.hex(chunk.hash);
        writer.varint(chunk.size);
      }
      return;
    case 'link':
      writer.byte(LINK);
      writePath(writer, entry.path, previous);
      writer.varint(entry.target.length);
      writer.byteString(entry.target);
      return;
    case 'folder':
      writer.byte(FOLDER);
      writePath(writer, entry.path, previous);
      return;
    default:
      unreachable(entry);
  }
}

function writePath(writer: ByteWriter, path: string, previous: string): void {
  const shared = sharedLength(previous, path);
  writer.varint(shared);
  writer.varint(path.length - shared);
  writer.byteString(path, shared);
}

/** @throws Malformed; what is read is sorted, unique, within its bounds, and no entry lies below another */
export function readEntries(reader: ByteReader, countMax: number, rules: EntryRules): ManifestEntry[] {
  const steps = readEntriesInSteps(reader, countMax, rules);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** As `readEntries`, some thousands with each step. @throws Malformed */
export function* readEntriesInSteps(
  reader: ByteReader,
  countMax: number,
  rules: EntryRules,
): Generator<void, ManifestEntry[]> {
  const paths = new PathReader(reader, rules);
  const entries: ManifestEntry[] = [];
  for (let left = readCount(reader, countMax); left > 0; left--) {
    entries.push(readNext(reader, paths, rules));
    if (entries.length % STEP_ENTRIES === 0) yield;
  }
  return entries;
}

function readNext(reader: ByteReader, paths: PathReader, rules: EntryRules): ManifestEntry {
  const kind = reader.byte();
  if (kind !== FILE && kind !== LINK && kind !== FOLDER) throw new Malformed(`an entry of kind ${kind}`);
  const path = paths.next();
  paths.checkParent();
  const entry = readEntry(reader, kind, path, rules);
  const wrong = wrongWithKind(path, entry.kind);
  if (wrong !== null) throw new Malformed(`${shownPath(path)} ${wrong}`);
  return entry;
}

/** @throws Malformed; as `readEntries`, but a path may lie below another */
export function readPaths(reader: ByteReader, countMax: number, rules: EntryRules): TreePath[] {
  const paths = new PathReader(reader, rules);
  const list: TreePath[] = [];
  for (let left = readCount(reader, countMax); left > 0; left--) list.push(paths.next());
  return list;
}

function readCount(reader: ByteReader, countMax: number): number {
  const count = reader.varint(countMax);
  // Before anything is made for them.
  if (count * ITEM_BYTES_MIN > reader.left) throw new Malformed(`${count} items in ${reader.left} bytes`);
  return count;
}

function readEntry(
  reader: ByteReader,
  kind: typeof FILE | typeof LINK | typeof FOLDER,
  path: TreePath,
  rules: EntryRules,
): ManifestEntry {
  if (kind === FOLDER) return { kind: 'folder', path };
  if (kind === FILE) return readFile(reader, path);
  const target = reader.byteString(reader.varint(TREE_PATH_BYTES_MAX));
  if (target === '' || target.includes('\0')) throw new Malformed(`the link ${shownPath(path)} leads nowhere`);
  if (rules === 'manifest' && !isPortableLink(path, target)) {
    throw new Malformed(`the link ${shownPath(path)} leads out of the project, to ${shownPath(target)}`);
  }
  return { kind: 'link', path, target };
}

function readFile(reader: ByteReader, path: TreePath): FileEntry {
  const size = reader.varint(Number.MAX_SAFE_INTEGER);
  const mode = reader.varint(MODE_MAX);
  const mtimeMs = reader.varint(MTIME_MS_MAX);
  const hash = reader.hash();
  return {
    kind: 'file',
    path,
    size,
    mode,
    mtimeMs,
    hash,
    chunks: size > WHOLE_FILE_BYTES_MAX ? readChunks(reader, path, size) : null,
  };
}

function readChunks(reader: ByteReader, path: TreePath, size: number): Chunk[] {
  const chunks: Chunk[] = [];
  for (let left = size; left > 0;) {
    if (chunks.length === CHUNKS_PER_FILE_MAX) {
      throw new Malformed(`${shownPath(path)} has more than ${CHUNKS_PER_FILE_MAX} chunks`);
    }
    const hash = reader.hash();
    const chunkSize = reader.varint(WHOLE_FILE_BYTES_MAX);
    if (chunkSize === 0 || chunkSize > left) throw new Malformed(`the chunks of ${shownPath(path)} are not its size`);
    chunks.push({ hash, size: chunkSize });
    left -= chunkSize;
  }
  return chunks;
}

/** Watches a sorted list of paths go by for one that lies below another. */
export class ParentWatch {
  /** Lengths of those paths that the latest one begins with (and itself), ascending. */
  readonly #open: number[] = [];

  /** @param shared bytes that the path has in common with the one before; @returns whether it lies below an earlier one */
  isBelow(path: string, shared: number): boolean {
    while ((this.#open.at(-1) ?? 0) > shared) this.#open.pop();
    // A shorter open path was checked when the bytes that are shared were new.
    const isBelow = this.#open.at(-1) === shared && path.charCodeAt(shared) === SLASH;
    this.#open.push(path.length);
    return isBelow;
  }
}

const SLASH = 0x2f;

/** Counts what a sorted list of paths takes in memory. */
export class PathBounds {
  #bytes = 0;
  #folders = 0;

  /**
   * Since the list is sorted, a folder whose name ends beyond what is shared is a new one.
   *
   * @param shared bytes that the path has in common with the one before @throws Malformed
   */
  count(path: string, shared: number): void {
    this.#bytes += path.length;
    if (this.#bytes > PATHS_BYTES_MAX) throw new Malformed(`paths of more than ${PATHS_BYTES_MAX} bytes`);
    for (let at = path.indexOf('/', shared); at !== -1; at = path.indexOf('/', at + 1)) this.#folders++;
    if (this.#folders > FOLDERS_MAX) throw new Malformed(`more than ${FOLDERS_MAX} folders`);
  }
}

class PathReader {
  readonly #reader: ByteReader;
  readonly #parse: typeof parseTreePath;
  readonly #parents = new ParentWatch();
  readonly #bounds = new PathBounds();
  #previous = '';
  #shared = 0;

  constructor(reader: ByteReader, rules: EntryRules) {
    this.#reader = reader;
    this.#parse = rules === 'manifest' ? parseTreePath : parseChangedPath;
  }

  next(): TreePath {
    const shared = this.#reader.varint(this.#previous.length);
    const rest = this.#reader.byteString(this.#reader.varint(TREE_PATH_BYTES_MAX - shared));
    // NaN at an end, which no comparison holds for. The first path has nothing before it.
    const before = this.#previous.charCodeAt(shared);
    if (rest === '' || before >= rest.charCodeAt(0)) {
      throw new Malformed(`${shownPath(this.#previous.slice(0, shared) + rest)} is out of order or there twice`);
    }
    const parsed = this.#parse(shared === 0 ? rest : this.#previous.slice(0, shared) + rest);
    if (!parsed.ok) throw new Malformed(parsed.error);
    this.#bounds.count(parsed.value, shared);
    this.#shared = shared;
    this.#previous = parsed.value;
    return parsed.value;
  }

  checkParent(): void {
    if (this.#parents.isBelow(this.#previous, this.#shared)) {
      throw new Malformed(`${shownPath(this.#previous)} lies below an entry that is no folder of others`);
    }
  }
}

export function sharedLength(one: string, other: string): number {
  const max = Math.min(one.length, other.length);
  let shared = 0;
  while (shared < max && one.charCodeAt(shared) === other.charCodeAt(shared)) shared++;
  return shared;
}
