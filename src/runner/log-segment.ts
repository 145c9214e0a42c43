import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';

/**
 * A file of an output log: a header with the offsets at which it begins, then records
 *
 *     u8 kind | u32 length (big endian) | payload
 *
 * A record is written by one call; only the last one of a log can be torn, by a crash in the middle of that call.
 */
export const SEGMENT_HEADER_BYTES = 32;
export const RECORD_HEADER_BYTES = 5;
/** No pipe gives more at once. */
export const RECORD_BYTES_MAX = 1024 * 1024;

export const RECORD_STDOUT = 1;
export const RECORD_STDERR = 2;
/** JSON; nothing follows it. */
export const RECORD_RESULT = 3;

const MAGIC = Buffer.from('mwlog001', 'latin1');
const SCAN_BYTES = 256 * 1024;

/** Bytes of each stream. */
export interface Offsets {
  readonly stdout: number;
  readonly stderr: number;
}

export interface Segment {
  readonly number: number;
  readonly path: string;
  /** Offsets of the first bytes in it. */
  readonly base: Offsets;
  /** Of the file, as far as it holds whole records. */
  bytes: number;
}

export const segmentName = (number: number): string => `${String(number).padStart(6, '0')}.log`;

/** @returns null of what is no segment's name */
export function segmentNumber(name: string): number | null {
  const digits = /^(\d{6,12})\.log$/.exec(name)?.[1];
  return digits === undefined ? null : Number(digits);
}

export function encodeSegmentHeader(base: Offsets): Buffer {
  const header = Buffer.alloc(SEGMENT_HEADER_BYTES);
  MAGIC.copy(header);
  header.writeBigUInt64BE(BigInt(base.stdout), 8);
  header.writeBigUInt64BE(BigInt(base.stderr), 16);
  return header;
}

export function encodeRecordHeader(kind: number, bytes: number): Buffer {
  const header = Buffer.allocUnsafe(RECORD_HEADER_BYTES);
  header[0] = kind;
  header.writeUInt32BE(bytes, 1);
  return header;
}

/** @returns null of a file that does not begin as a segment does. Throws what the file system throws. */
export function readSegmentHeader(path: string): { readonly base: Offsets; readonly bytes: number } | null {
  const fd = openSync(path, 'r');
  try {
    const header = Buffer.alloc(SEGMENT_HEADER_BYTES);
    if (readSync(fd, header, 0, SEGMENT_HEADER_BYTES, 0) < SEGMENT_HEADER_BYTES) return null;
    if (!header.subarray(0, MAGIC.byteLength).equals(MAGIC)) return null;
    const [stdout, stderr] = [Number(header.readBigUInt64BE(8)), Number(header.readBigUInt64BE(16))];
    if (!Number.isSafeInteger(stdout) || !Number.isSafeInteger(stderr)) return null;
    return { base: { stdout, stderr }, bytes: fstatSync(fd).size };
  } finally {
    closeSync(fd);
  }
}

export interface SegmentTail {
  /** Offsets behind the last byte in it. */
  readonly end: Offsets;
  /** The file up to its last whole record. */
  readonly bytes: number;
  readonly result: string | null;
}

/**
 * Walks over all records, and mends a torn tail: of a record that is cut in its payload what is there is kept, what
 * follows the last sound record is cut off. Throws what the file system throws.
 */
export function mendSegment(path: string, base: Offsets): SegmentTail {
  const fd = openSync(path, 'r+');
  try {
    const size = fstatSync(fd).size;
    const header = Buffer.alloc(RECORD_HEADER_BYTES);
    const ends = { ...base };
    let at = SEGMENT_HEADER_BYTES;
    let result: string | null = null;
    const block = { bytes: Buffer.alloc(0), from: 0 };
    while (at + RECORD_HEADER_BYTES <= size && result === null) {
      const [kind, length] = readRecordHeader(fd, at, size, block);
      const isOutput = kind === RECORD_STDOUT || kind === RECORD_STDERR;
      if ((!isOutput && kind !== RECORD_RESULT) || length === 0 || length > RECORD_BYTES_MAX) break;
      const there = Math.min(length, size - at - RECORD_HEADER_BYTES);
      if (there < length) {
        if (!isOutput || there === 0) break;
        header[0] = kind;
        header.writeUInt32BE(there, 1);
        writeSync(fd, header, 0, RECORD_HEADER_BYTES, at);
      }
      if (kind === RECORD_STDOUT) ends.stdout += there;
      else if (kind === RECORD_STDERR) ends.stderr += there;
      else {
        const text = Buffer.alloc(length);
        readSync(fd, text, 0, length, at + RECORD_HEADER_BYTES);
        result = text.toString('utf8');
      }
      at += RECORD_HEADER_BYTES + there;
    }
    if (at < size) ftruncateSync(fd, at);
    return { end: ends, bytes: at, result };
  } finally {
    closeSync(fd);
  }
}

function readRecordHeader(
  fd: number,
  at: number,
  size: number,
  block: { bytes: Buffer; from: number },
): readonly [number, number] {
  let into = at - block.from;
  if (into < 0 || into + RECORD_HEADER_BYTES > block.bytes.byteLength) {
    const bytes = Buffer.allocUnsafe(Math.min(SCAN_BYTES, size - at));
    block.bytes = bytes.subarray(0, readSync(fd, bytes, 0, bytes.byteLength, at));
    block.from = at;
    into = 0;
  }
  if (block.bytes.byteLength < into + RECORD_HEADER_BYTES) return [0, 0];
  return [block.bytes[into] ?? 0, block.bytes.readUInt32BE(into + 1)];
}
