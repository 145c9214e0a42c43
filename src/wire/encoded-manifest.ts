import { ByteWriter } from './byte-writer.ts';
import { ENTRY_BYTES_TYPICAL, writeEntry } from './entry-codec.ts';
import { writeManifestHead } from './manifest-codec.ts';
import type { Manifest, ManifestEntry } from './manifest.ts';

/** A few entries more need no buffer of twice the size. */
const SPARE_BYTES = 16 * 1024;

/** A manifest with its encoding, and where in that each entry begins: most of it serves for the next one. */
export interface EncodedManifest {
  readonly manifest: Manifest;
  readonly bytes: Uint8Array;
  readonly starts: Uint32Array;
}

/**
 * The same bytes as `encodeManifest`. Of entries that follow each other in both manifests, as the very same objects, the
 * bytes are copied: what is written of an entry depends on itself and the path before it.
 *
 * @param base an earlier manifest whose unchanged entries are the same objects; null: nothing is copied
 */
export function encodeAfter(base: EncodedManifest | null, manifest: Manifest): EncodedManifest {
  const { entries } = manifest;
  const expected = base === null ? entries.length * ENTRY_BYTES_TYPICAL : base.bytes.length;
  const writer = new ByteWriter(expected + SPARE_BYTES);
  writeManifestHead(writer, entries.length);
  const starts = new Uint32Array(entries.length);
  const before = base?.manifest.entries ?? [];
  let row = 0;
  for (let index = 0; index < entries.length;) {
    const entry = entries[index];
    if (entry === undefined) break;
    row = rowOf(before, row, entry);
    const previous = entries[index - 1]?.path ?? '';
    const isCopied = before[row] === entry && (before[row - 1]?.path ?? '') === previous;
    if (base === null || !isCopied) {
      starts[index++] = writer.length;
      writeEntry(writer, entry, previous);
      continue;
    }
    const first = row;
    const from = base.starts[first] ?? 0;
    const moved = writer.length - from;
    for (; index < entries.length && before[row] === entries[index]; row++) {
      starts[index++] = (base.starts[row] ?? 0) + moved;
    }
    writer.raw(base.bytes.subarray(from, base.starts[row] ?? base.bytes.length));
  }
  return { manifest, bytes: writer.finish(), starts };
}

/** @returns the first row from `row` on that isn't before the entry */
function rowOf(before: readonly ManifestEntry[], row: number, entry: ManifestEntry): number {
  let at = row;
  for (let old = before[at]; old !== undefined && old !== entry && old.path < entry.path; old = before[at]) at++;
  return at;
}
