import { err, ok, type Result } from '../../base/result.ts';

/**
 * The index of a git work tree (gitformat-index(5)) as it travels: without what only holds on one machine (times,
 * device, inode, owner, size) and without extensions (caches), so that it differs only where what is staged does.
 */
export interface GitIndex {
  /** The index as it travels, with its trailer. */
  readonly bytes: Uint8Array;
  /** Paths of files and links, bytes as characters, sorted, each once. */
  readonly files: readonly string[];
  /** Submodules: the folders that are repositories of their own. */
  readonly submodules: readonly string[];
}

/** What a pure function can't do fast itself. */
export interface IndexTools {
  /** SHA-1 or SHA-256, as the repository's object format is. */
  readonly hash: (bytes: Uint8Array) => Uint8Array;
  /** 20 or 32. */
  readonly hashBytes: number;
  /** Bytes as characters. */
  readonly text: (bytes: Uint8Array, start: number, end: number) => string;
}

/** Why an index can't be read here: `form` is one that git has to rewrite first (version 4, split, sparse). */
export type IndexRefusal = 'form' | 'damaged';

const HEADER_BYTES = 12;
const SIGNATURE = 0x44495243; // DIRC
/** ctime, mtime, device, inode; then the mode, which stays; then uid, gid, size. */
const TIMES_BYTES = 24;
const STAT_BYTES = 40;
const MODE_OFFSET = 24;
const OWNER_OFFSET = 28;
const FLAG_EXTENDED = 0x4000;
const TYPE_SUBMODULE = 0o16;
const TYPE_FOLDER = 0o4;

/** @returns the index without stat data and extensions; normalising that again gives the same bytes */
export function normaliseGitIndex(source: Uint8Array, tools: IndexTools): Result<GitIndex, IndexRefusal> {
  const entriesEnd = source.length - tools.hashBytes;
  const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
  if (entriesEnd < HEADER_BYTES || view.getUint32(0) !== SIGNATURE) return err('damaged');
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) return err(version === 4 ? 'form' : 'damaged');
  const count = view.getUint32(8);
  const files: string[] = [];
  const submodules: string[] = [];
  let last = '';
  let at = HEADER_BYTES;
  for (let index = 0; index < count; index++) {
    const entry = entryAt(source, view, at, entriesEnd, tools);
    if (entry === null) return err('damaged');
    if (entry.type === TYPE_FOLDER) return err('form');
    // One that is in conflict is there once for each side.
    if (entry.path !== last || index === 0) (entry.type === TYPE_SUBMODULE ? submodules : files).push(entry.path);
    last = entry.path;
    at = entry.end;
  }
  if (hasRequiredExtension(view, at, entriesEnd)) return err('form');
  return ok({ bytes: withoutStat(source.subarray(0, at), count, view, tools), files, submodules });
}

interface Entry {
  readonly path: string;
  readonly type: number;
  readonly end: number;
}

function entryAt(source: Uint8Array, view: DataView, at: number, limit: number, tools: IndexTools): Entry | null {
  const flagsAt = at + STAT_BYTES + tools.hashBytes;
  if (flagsAt + 2 > limit) return null;
  const isExtended = (view.getUint16(flagsAt) & FLAG_EXTENDED) !== 0;
  const pathAt = flagsAt + (isExtended ? 4 : 2);
  const pathEnd = source.indexOf(0, pathAt);
  if (pathEnd <= pathAt) return null;
  const end = paddedEnd(at, pathEnd);
  if (end > limit) return null;
  return { path: tools.text(source, pathAt, pathEnd), type: view.getUint32(at + MODE_OFFSET) >>> 12, end };
}

/** 1 to 8 NULs follow a path, so that an entry's length is a multiple of eight. */
const paddedEnd = (at: number, pathEnd: number): number => at + ((pathEnd - at + 8) & ~7);

/** An extension whose name begins with a small letter changes what the entries mean: split (`link`), sparse (`sdir`). */
function hasRequiredExtension(view: DataView, start: number, limit: number): boolean {
  for (let at = start; at + 8 <= limit; at += 8 + view.getUint32(at + 4)) {
    const first = view.getUint8(at);
    if (first < 0x41 || first > 0x5a) return true;
  }
  return false;
}

function withoutStat(source: Uint8Array, count: number, view: DataView, tools: IndexTools): Uint8Array {
  const bytes = new Uint8Array(source.length + tools.hashBytes);
  bytes.set(source);
  let at = HEADER_BYTES;
  for (let index = 0; index < count; index++) {
    bytes.fill(0, at, at + TIMES_BYTES);
    bytes.fill(0, at + OWNER_OFFSET, at + STAT_BYTES);
    const flagsAt = at + STAT_BYTES + tools.hashBytes;
    const isExtended = (view.getUint16(flagsAt) & FLAG_EXTENDED) !== 0;
    at = paddedEnd(at, source.indexOf(0, flagsAt + (isExtended ? 4 : 2)));
  }
  bytes.set(tools.hash(bytes.subarray(0, source.length)), source.length);
  return bytes;
}

/**
 * Takes over stat data from another index of the same work tree for entries that stage the same: after a newly sent
 * index took the place of an old one, git need not read every file again.
 *
 * @param sent as `normaliseGitIndex` gives it
 * @param there the old one
 * @returns `sent` with stat data, or as it is where `there` can't be read
 */
export function carryIndexStat(sent: Uint8Array, there: Uint8Array, tools: IndexTools): Uint8Array {
  const known = entriesByKey(there, tools);
  const bytes = Uint8Array.from(sent);
  forEachEntry(bytes, tools, (key, at) => {
    const from = known.get(key);
    if (from === undefined) return;
    bytes.set(there.subarray(from, from + TIMES_BYTES), at);
    bytes.set(there.subarray(from + OWNER_OFFSET, from + STAT_BYTES), at + OWNER_OFFSET);
  });
  const end = bytes.length - tools.hashBytes;
  bytes.set(tools.hash(bytes.subarray(0, end)), end);
  return bytes;
}

function entriesByKey(source: Uint8Array, tools: IndexTools): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  forEachEntry(source, tools, (key, at) => found.set(key, at));
  return found;
}

/** `key` is mode, object, flags and path: all that is staged. Stops at what can't be read. */
function forEachEntry(source: Uint8Array, tools: IndexTools, visit: (key: string, at: number) => void): void {
  const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
  const limit = source.length - tools.hashBytes;
  if (limit < HEADER_BYTES || view.getUint32(0) !== SIGNATURE) return;
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) return;
  let at = HEADER_BYTES;
  for (let index = view.getUint32(8); index > 0; index--) {
    const entry = entryAt(source, view, at, limit, tools);
    if (entry === null) return;
    const mode = tools.text(source, at + MODE_OFFSET, at + OWNER_OFFSET);
    visit(mode + tools.text(source, at + STAT_BYTES, entry.end), at);
    at = entry.end;
  }
}
