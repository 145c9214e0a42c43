import { err, type Result } from '../base/result.ts';
import { ByteReader, Malformed } from './byte-reader.ts';
import { ByteWriter } from './byte-writer.ts';
import { ENTRY_BYTES_TYPICAL, readEntries, readPaths, writeEntries, writePaths } from './entry-codec.ts';
import { readMagic, refusing, writeMagic } from './manifest-codec.ts';
import { MANIFEST_ENTRIES_MAX, type ManifestEntry, type TreePath } from './manifest.ts';
import { shownPath } from './tree-path.ts';
import { MANIFEST_BYTES_MAX } from './workspace.ts';

/**
 * What a job changed in its workspace, as one file:
 *
 * ```
 * head:    MWCP | version u8 | bytes of the list u32, big endian
 * list:    entries that are new or other than what was sent, paths that are gone, and which of the entries are earlier ones (`entry-codec.ts`)
 * objects: blocks of `object-pack.ts`, to the end of the file (`pack-builder.ts`, `pack-reader.ts`): each of `objectsOf(changed)` once, in any order
 * ```
 * Paths may be any of `parseChangedPath`; a path below a deleted one is a file that became a folder.
 */
const MAGIC = 'MWCP';
const VERSION = 1;
export const CHANGE_HEAD_BYTES = 9;

export interface ChangeList {
  /** Sorted by path, bytewise. */
  readonly changed: readonly ManifestEntry[];
  readonly deleted: readonly TreePath[];
  /** Of `changed`, the products that were asked for and that earlier jobs had made: this one left them as they were. */
  readonly earlier: readonly TreePath[];
}

/** Head and list, which the objects follow. */
export function encodeChangeList(list: ChangeList): Uint8Array {
  const body = new ByteWriter(list.changed.length * ENTRY_BYTES_TYPICAL + list.deleted.length * 16);
  writeEntries(body, list.changed);
  writePaths(body, list.deleted);
  writePaths(body, list.earlier);
  const writer = new ByteWriter(CHANGE_HEAD_BYTES + body.length);
  writeMagic(writer, MAGIC, VERSION);
  writer.u32(body.length);
  writer.raw(body.finish());
  return writer.finish();
}

/** @param head the first CHANGE_HEAD_BYTES; @returns how many bytes the list has, which follows */
export function decodeChangeHead(head: Uint8Array): Result<number, string> {
  return refusing('a change pack', () => {
    const reader = new ByteReader(head);
    readMagic(reader, MAGIC, VERSION);
    const bytes = reader.u32();
    if (bytes > MANIFEST_BYTES_MAX) throw new Malformed(`a list of ${bytes} bytes`);
    return bytes;
  });
}

/** @param bytes the list alone; @returns the refusal names the path */
export function decodeChangeList(bytes: Uint8Array): Result<ChangeList, string> {
  const list = refusing('a change pack', () => {
    const reader = new ByteReader(bytes);
    const changed = readEntries(reader, MANIFEST_ENTRIES_MAX, 'changes');
    const deleted = readPaths(reader, MANIFEST_ENTRIES_MAX, 'changes');
    const earlier = readPaths(reader, MANIFEST_ENTRIES_MAX, 'changes');
    reader.end();
    return { changed, deleted, earlier };
  });
  if (!list.ok) return list;
  const gone = new Set<string>(list.value.deleted);
  const changed = new Set<string>();
  for (const { path } of list.value.changed) {
    if (gone.has(path)) return err(`a change pack is malformed: ${shownPath(path)} is changed and deleted`);
    changed.add(path);
  }
  const stray = list.value.earlier.find((path) => !changed.has(path));
  return stray === undefined ? list : err(`a change pack is malformed: it does not hold ${shownPath(stray)}`);
}
