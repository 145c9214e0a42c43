import { err, ok, type Result } from '../base/result.ts';
import type { ObjectHash } from './manifest.ts';
import { isObjectHash } from './manifest.ts';

/**
 * Objects on their way and in a store: one record after the other, each
 *
 * ```
 * hash 32 bytes | method 1 byte | size u32 | stored u32 | bytes (stored)
 * ```
 * little-endian. `size` is that of the object, which is what `hash` is of; `stored` that of what follows. A pack holds
 * whole records, at most PACK_BYTES_MAX bytes.
 */
export const RECORD_HEAD_BYTES = 41;
/** A whole file, or the largest chunk of one: what one object may have. */
export const OBJECT_BYTES_MAX = 2 * 1024 * 1024;
/** As it is, or raw DEFLATE (RFC 1951). */
export const METHODS = { stored: 0, deflate: 1 } as const;
export type Method = (typeof METHODS)[keyof typeof METHODS];

export interface ObjectRecord {
  readonly hash: ObjectHash;
  readonly method: Method;
  /** Of the object. */
  readonly size: number;
  /** As they travel; a view of the pack. */
  readonly bytes: Uint8Array;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/** Writes the head of a record. @param at where in `into`; there must be room for RECORD_HEAD_BYTES */
export function writeRecordHead(
  into: Uint8Array,
  at: number,
  record: Omit<ObjectRecord, 'bytes'>,
  stored: number,
): void {
  for (let index = 0; index < 32; index++) {
    into[at + index] = nibble(record.hash.charCodeAt(index * 2)) * 16 + nibble(record.hash.charCodeAt(index * 2 + 1));
  }
  into[at + 32] = record.method;
  const view = new DataView(into.buffer, into.byteOffset + at, RECORD_HEAD_BYTES);
  view.setUint32(33, record.size, true);
  view.setUint32(37, stored, true);
}

/** Of a lower case hexadecimal digit. */
const nibble = (code: number): number => (code < 58 ? code - 48 : code - 87);

/** Null where no whole, well-formed record begins at `at`. */
export function readRecord(from: Uint8Array, at: number): ObjectRecord | null {
  if (at + RECORD_HEAD_BYTES > from.length) return null;
  const view = new DataView(from.buffer, from.byteOffset + at, RECORD_HEAD_BYTES);
  const method = view.getUint8(32);
  const size = view.getUint32(33, true);
  const stored = view.getUint32(37, true);
  if (method !== METHODS.stored && method !== METHODS.deflate) return null;
  if (size > OBJECT_BYTES_MAX || stored > size || (method === METHODS.stored && stored !== size)) return null;
  if (at + RECORD_HEAD_BYTES + stored > from.length) return null;
  let hash = '';
  for (let index = 0; index < 32; index++) hash += HEX[from[at + index] ?? 0] ?? '';
  if (!isObjectHash(hash)) return null;
  return { hash, method, size, bytes: from.subarray(at + RECORD_HEAD_BYTES, at + RECORD_HEAD_BYTES + stored) };
}

/** The records of a pack from another node; their contents are not checked against the hashes yet. */
export function parsePack(pack: Uint8Array): Result<readonly ObjectRecord[], string> {
  const records: ObjectRecord[] = [];
  for (let at = 0; at < pack.length;) {
    const record = readRecord(pack, at);
    if (record === null) return err(`a pack is malformed at byte ${at} of ${pack.length}`);
    records.push(record);
    at += RECORD_HEAD_BYTES + record.bytes.length;
  }
  return ok(records);
}
