import { err, ok, type Result } from '../base/result.ts';
import { ByteReader, Malformed } from './byte-reader.ts';
import { ByteWriter } from './byte-writer.ts';
import { ENTRY_BYTES_TYPICAL, readEntries, readEntriesInSteps, writeEntries } from './entry-codec.ts';
import { type Chunk, type Manifest, MANIFEST_ENTRIES_MAX, type ManifestEntry, type ObjectHash } from './manifest.ts';

/**
 * A manifest in binary: `MWMF`, version, entries (`entry-codec.ts`). There is one encoding of each manifest, and its
 * SHA-256 names the manifest (ManifestHash); whoever has the bytes computes it, since this layer has no digests.
 */
const MAGIC = 'MWMF';
const VERSION = 1;

/** @param manifest sorted by path, bytewise, each path once, as `sortEntries` makes it */
export function encodeManifest(manifest: Manifest): Uint8Array {
  const writer = new ByteWriter(manifest.entries.length * ENTRY_BYTES_TYPICAL);
  writeMagic(writer, MAGIC, VERSION);
  writeEntries(writer, manifest.entries);
  return writer.finish();
}

/** What stands before the first entry. */
export function writeManifestHead(writer: ByteWriter, entries: number): void {
  writeMagic(writer, MAGIC, VERSION);
  writer.varint(entries);
}

/**
 * Checks everything that can be checked without the objects: order, paths, kinds, bounds, nothing below a file or link.
 * What it gives is safe to place, but for names that fold together (`foldedPath`).
 *
 * @returns the refusal says what is wrong, and with which path
 */
export function decodeManifest(bytes: Uint8Array): Result<Manifest, string> {
  return refusing('a manifest', () => {
    const reader = new ByteReader(bytes);
    readMagic(reader, MAGIC, VERSION);
    const entries = readEntries(reader, MANIFEST_ENTRIES_MAX, 'manifest');
    reader.end();
    return { entries };
  });
}

/** As `decodeManifest`, some thousand entries with each step: whoever has others to serve does so in between. */
export function* decodeManifestInSteps(bytes: Uint8Array): Generator<void, Result<Manifest, string>> {
  try {
    const reader = new ByteReader(bytes);
    readMagic(reader, MAGIC, VERSION);
    const entries = yield* readEntriesInSteps(reader, MANIFEST_ENTRIES_MAX, 'manifest');
    reader.end();
    return ok({ entries });
  } catch (error) {
    return refusal('a manifest', error);
  }
}

/** In place. Order of bytes, which is that of strings of bytes. */
export function sortEntries(entries: ManifestEntry[]): ManifestEntry[] {
  return entries.sort((one, other) => (one.path < other.path ? -1 : one.path > other.path ? 1 : 0));
}

/**
 * The distinct objects that files are made of, in order of first appearance: the order of the bits of `ws.want`. Where
 * a manifest gives one hash two sizes, the first counts: who reads an object compares its size with the entry's.
 */
export function objectsOf(entries: readonly ManifestEntry[]): Chunk[] {
  const seen = new Set<ObjectHash>();
  const objects: Chunk[] = [];
  for (const entry of entries) {
    if (entry.kind !== 'file') continue;
    if (entry.chunks === null) {
      if (!seen.has(entry.hash)) objects.push({ hash: entry.hash, size: entry.size });
      seen.add(entry.hash);
      continue;
    }
    for (const chunk of entry.chunks) {
      if (!seen.has(chunk.hash)) objects.push(chunk);
      seen.add(chunk.hash);
    }
  }
  return objects;
}

export function writeMagic(writer: ByteWriter, magic: string, version: number): void {
  writer.byteString(magic);
  writer.byte(version);
}

/** @throws Malformed */
export function readMagic(reader: ByteReader, magic: string, version: number): void {
  if (reader.byteString(magic.length) !== magic) throw new Malformed(`it doesn't begin with ${magic}`);
  const found = reader.byte();
  if (found !== version) throw new Malformed(`it has version ${found}, this node knows ${version}`);
}

/** What is malformed becomes a refusal; anything else that is thrown is a bug. */
export function refusing<T>(what: string, decode: () => T): Result<T, string> {
  try {
    return ok(decode());
  } catch (error) {
    return refusal(what, error);
  }
}

function refusal(what: string, error: unknown): Result<never, string> {
  if (error instanceof Malformed) return err(`${what} is malformed: ${error.message}`);
  throw error;
}
