import type { Result } from '../base/result.ts';
import { ByteReader, Malformed } from './byte-reader.ts';
import { ByteWriter } from './byte-writer.ts';
import {
  ENTRY_BYTES_TYPICAL,
  ParentWatch,
  PathBounds,
  readEntries,
  readPaths,
  sharedLength,
  writeEntries,
  writePaths,
} from './entry-codec.ts';
import { readMagic, refusing, writeMagic } from './manifest-codec.ts';
import {
  type Manifest,
  MANIFEST_ENTRIES_MAX,
  type ManifestEntry,
  type ManifestHash,
  type TreePath,
} from './manifest.ts';
import { shownPath } from './tree-path.ts';

/**
 * What makes one manifest out of another: `MWMD`, version, hash of the base, paths that are removed, entries that are put
 * in (new or instead). Whoever applies it encodes the result and compares its hash with the one that was announced.
 */
const MAGIC = 'MWMD';
const VERSION = 1;

export interface ManifestDifference {
  readonly removed: readonly TreePath[];
  readonly put: readonly ManifestEntry[];
}

/** Both sides sorted; one pass. */
export function compareManifests(base: Manifest, next: Manifest): ManifestDifference {
  const removed: TreePath[] = [];
  const put: ManifestEntry[] = [];
  let at = 0;
  for (const entry of next.entries) {
    let old = base.entries[at];
    while (old !== undefined && old.path < entry.path) {
      removed.push(old.path);
      old = base.entries[++at];
    }
    if (old === undefined || old.path !== entry.path) put.push(entry);
    else {
      if (!isSameEntry(old, entry)) put.push(entry);
      at++;
    }
  }
  for (const old of base.entries.slice(at)) removed.push(old.path);
  return { removed, put };
}

/** The same in all that travels, times included. */
export function isSameEntry(one: ManifestEntry, other: ManifestEntry): boolean {
  if (one === other) return true;
  if (one.kind === 'file') return other.kind === 'file' && isSameContent(one, other) && one.mtimeMs === other.mtimeMs;
  return isSameContent(one, other);
}

/** The same kind, content and mode: what a job's changes are judged by. Chunks follow from the content. */
export function isSameContent(one: ManifestEntry, other: ManifestEntry): boolean {
  if (one.kind === 'file') {
    return other.kind === 'file' && one.hash === other.hash && one.mode === other.mode && one.size === other.size;
  }
  if (one.kind === 'link') return other.kind === 'link' && one.target === other.target;
  return other.kind === 'folder';
}

/** @param base the hash of the manifest that it applies to */
export function encodeDifference(base: ManifestHash, difference: ManifestDifference): Uint8Array {
  const writer = new ByteWriter(difference.put.length * ENTRY_BYTES_TYPICAL + 1024);
  writeMagic(writer, MAGIC, VERSION);
  writer.hex(base);
  writePaths(writer, difference.removed);
  writeEntries(writer, difference.put);
  return writer.finish();
}

/** Whether bytes are a difference, not a whole manifest. */
export function isDifference(bytes: Uint8Array): boolean {
  return [...MAGIC].every((character, index) => bytes[index] === character.charCodeAt(0));
}

/**
 * @param baseHash of `base`: a difference from another is refused, as is one that doesn't fit
 * @returns a manifest as checked as one of `decodeManifest`
 */
export function applyDifference(base: Manifest, baseHash: ManifestHash, bytes: Uint8Array): Result<Manifest, string> {
  return refusing('a difference of manifests', () => {
    const reader = new ByteReader(bytes);
    readMagic(reader, MAGIC, VERSION);
    const from: string = reader.hash();
    if (from !== baseHash) throw new Malformed('it is one from another manifest');
    const removed = readPaths(reader, base.entries.length, 'manifest');
    const put = readEntries(reader, MANIFEST_ENTRIES_MAX, 'manifest');
    reader.end();
    const entries = merged(base.entries, removed, put);
    if (entries.length > MANIFEST_ENTRIES_MAX)
      throw new Malformed(`it makes more than ${MANIFEST_ENTRIES_MAX} entries`);
    if (put.some((entry) => isInTheWay(entries, entry.path) || isNew(base.entries, entry.path))) checkTree(entries);
    return { entries };
  });
}

function merged(
  base: readonly ManifestEntry[],
  removed: readonly TreePath[],
  put: readonly ManifestEntry[],
): ManifestEntry[] {
  const rows = removed.length === 0 ? put.map(({ path }) => rowOf(base, path)) : [];
  // As after an edit: nothing but entries instead of others.
  if (removed.length === 0 && put.every(({ path }, index) => base[rows[index] ?? 0]?.path === path)) {
    const replaced = base.slice();
    for (const [index, entry] of put.entries()) replaced[rows[index] ?? 0] = entry;
    return replaced;
  }
  const entries: ManifestEntry[] = [];
  let removedAt = 0;
  let putAt = 0;
  for (const old of base) {
    let next = put[putAt];
    while (next !== undefined && next.path < old.path) {
      entries.push(next);
      next = put[++putAt];
    }
    const isReplaced = next !== undefined && next.path === old.path;
    if (removed[removedAt] === old.path) {
      if (isReplaced) throw new Malformed(`${shownPath(old.path)} is removed and put`);
      removedAt++;
    } else if (!isReplaced) entries.push(old);
  }
  const missing = removed[removedAt];
  if (missing !== undefined) throw new Malformed(`${shownPath(missing)}, which is removed, is not in the base`);
  for (const entry of put.slice(putAt)) entries.push(entry);
  return entries;
}

/**
 * Does the path lie below another entry, or another below it? Where no entry that was put does, nothing does: the base was
 * checked. @param entries sorted
 */
function isInTheWay(entries: readonly ManifestEntry[], path: TreePath): boolean {
  if (entries[rowOf(entries, `${path}/`)]?.path.startsWith(`${path}/`) === true) return true;
  for (let slash = path.indexOf('/'); slash !== -1; slash = path.indexOf('/', slash + 1)) {
    const above = path.slice(0, slash);
    if (entries[rowOf(entries, above)]?.path === above) return true;
  }
  return false;
}

/** @returns the first row that isn't before the path */
function rowOf(entries: readonly ManifestEntry[], path: string): number {
  let low = 0;
  for (let high = entries.length; low < high;) {
    const middle = (low + high) >>> 1;
    if ((entries[middle]?.path ?? '') < path) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Entries instead of others take no more memory for paths. */
function isNew(base: readonly ManifestEntry[], path: TreePath): boolean {
  return base[rowOf(base, path)]?.path !== path;
}

/** What a whole manifest is checked for while it is read: names what lies below another entry. @throws Malformed */
function checkTree(entries: readonly ManifestEntry[]): void {
  const parents = new ParentWatch();
  const bounds = new PathBounds();
  let previous = '';
  for (const entry of entries) {
    const shared = sharedLength(previous, entry.path);
    bounds.count(entry.path, shared);
    if (parents.isBelow(entry.path, shared)) {
      throw new Malformed(`${shownPath(entry.path)} lies below an entry that is no folder of others`);
    }
    previous = entry.path;
  }
}
