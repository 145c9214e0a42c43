import { hash as digest } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { systemCodeOf } from '../../base/errors.ts';
import { HASH_BYTES, OBJECT_BYTES_MAX } from '../../wire/object-pack.ts';

/** A new segment is begun above this; a record is never split. */
export const SEGMENT_BYTES_MAX = 64 * 1024 * 1024;
/** `hash 32 bytes | size u32`, then the object as it is. */
export const RECORD_HEAD_BYTES = HASH_BYTES + 4;
/** Of an index: `hash 32 bytes | offset u32 | size u32`. */
const ROW_BYTES = HASH_BYTES + 8;
const CHECK_BYTES = 8;
const PRIVATE_FILE_MODE = 0o600;
const SCAN_BYTES = 256 * 1024;

/** @param offset of the object's bytes @param from where in `bytes` its hash is */
export type OnRecord = (bytes: Uint8Array, from: number, offset: number, size: number) => void;

/**
 * One file of a store: records, one after the other, only ever appended to. Beside a full one lies an index of its
 * records, which saves reading it through; where that is missing or damaged the records tell.
 */
export class StoreSegment {
  readonly number: number;
  /** What was there when it was opened. */
  readonly bytesAtStart: number;
  readonly #path: string;
  #fd: number | null = null;
  #bytes: number;
  #wholeBytes = 0;

  /** @param folder with a slash at its end */
  constructor(folder: string, number: number) {
    this.number = number;
    this.#path = `${folder}${String(number).padStart(8, '0')}`;
    this.bytesAtStart = fstatSync(this.#open()).size;
    this.#bytes = this.bytesAtStart;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** After records were read: where the last whole one ends. */
  get wholeBytes(): number {
    return this.#wholeBytes;
  }

  /** @returns true where the records were read from the index */
  load(onRecord: OnRecord): boolean {
    const index = this.#readIndex();
    if (index === null) {
      this.#scan(onRecord);
      return false;
    }
    const view = new DataView(index.buffer, index.byteOffset);
    for (let at = 0; at + ROW_BYTES <= index.length; at += ROW_BYTES) {
      onRecord(index, at, view.getUint32(at + HASH_BYTES, true), view.getUint32(at + HASH_BYTES + 4, true));
    }
    return true;
  }

  /** Cuts what is behind the last whole record: a write that a crash or a full disk cut short. */
  truncate(bytes: number): void {
    ftruncateSync(this.#open(), bytes);
    this.#bytes = bytes;
  }

  /** @returns where the first byte went. @throws the system's error, with the segment as it was */
  append(bytes: Uint8Array): number {
    const start = this.#bytes;
    const fd = this.#open();
    try {
      for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at, bytes.length - at, start + at);
    } catch (error) {
      ftruncateSync(fd, start);
      throw error;
    }
    this.#bytes += bytes.length;
    return start;
  }

  /** Fewer bytes than asked for where the file ends before. @param into has room for them; what is returned is a view of it */
  read(offset: number, size: number, into = Buffer.allocUnsafeSlow(size)): Uint8Array {
    let at = 0;
    for (let got = -1; at < size && got !== 0; at += got)
      got = readSync(this.#open(), into, at, size - at, offset + at);
    return into.subarray(0, at);
  }

  /** A record whose content does not fit its hash is not found again: its hash becomes zeros. */
  strike(offset: number): void {
    rmSync(`${this.#path}.idx`, { force: true });
    writeSync(this.#open(), new Uint8Array(HASH_BYTES), 0, HASH_BYTES, offset - RECORD_HEAD_BYTES);
  }

  /** Called when nothing more will be appended. Without an index on the disk all works, slower. */
  writeIndex(): void {
    const rows: Uint8Array[] = [];
    this.#scan((bytes, from, offset, size) => {
      const row = new Uint8Array(ROW_BYTES);
      row.set(bytes.subarray(from, from + HASH_BYTES));
      const view = new DataView(row.buffer);
      view.setUint32(HASH_BYTES, offset, true);
      view.setUint32(HASH_BYTES + 4, size, true);
      rows.push(row);
    });
    const body = Buffer.concat(rows);
    writeFileSync(`${this.#path}.tmp`, Buffer.concat([body, this.#checkOf(body)]), { mode: PRIVATE_FILE_MODE });
    renameSync(`${this.#path}.tmp`, `${this.#path}.idx`);
  }

  delete(): void {
    this.close();
    rmSync(`${this.#path}.idx`, { force: true });
    rmSync(`${this.#path}.seg`, { force: true });
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }

  #open(): number {
    this.#fd ??= openOrMake(`${this.#path}.seg`);
    return this.#fd;
  }

  /** Null where there is none, or it is damaged or of another length of the segment. */
  #readIndex(): Uint8Array | null {
    let bytes: Buffer;
    try {
      bytes = readFileSync(`${this.#path}.idx`);
    } catch (error) {
      if (systemCodeOf(error) === 'ENOENT') return null;
      throw error;
    }
    const body = bytes.subarray(0, Math.max(bytes.length - CHECK_BYTES, 0));
    return body.length % ROW_BYTES === 0 && this.#checkOf(body).equals(bytes.subarray(body.length)) ? body : null;
  }

  #checkOf(body: Buffer): Buffer {
    return digest('sha256', Buffer.concat([body, Buffer.from(String(this.#bytes))]), 'buffer').subarray(0, CHECK_BYTES);
  }

  /** Reads the heads, in pieces that hold many records where those are small; stops at the first that is not whole. */
  #scan(onRecord: OnRecord): void {
    let piece: Uint8Array = new Uint8Array();
    let pieceAt = 0;
    let at = 0;
    while (at + RECORD_HEAD_BYTES <= this.#bytes) {
      if (at < pieceAt || at + RECORD_HEAD_BYTES > pieceAt + piece.length) {
        piece = this.read(at, Math.min(SCAN_BYTES, this.#bytes - at));
        pieceAt = at;
      }
      const from = at - pieceAt;
      const size = new DataView(piece.buffer, piece.byteOffset + from).getUint32(HASH_BYTES, true);
      const end = at + RECORD_HEAD_BYTES + size;
      if (size > OBJECT_BYTES_MAX || end > this.#bytes) break;
      if (!isStruck(piece, from)) onRecord(piece, from, at + RECORD_HEAD_BYTES, size);
      at = end;
    }
    this.#wholeBytes = at;
  }
}

function isStruck(bytes: Uint8Array, from: number): boolean {
  for (let at = from; at < from + HASH_BYTES; at++) if (bytes[at] !== 0) return false;
  return true;
}

function openOrMake(path: string): number {
  try {
    return openSync(path, 'r+');
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') throw error;
    return openSync(path, 'wx+', PRIVATE_FILE_MODE);
  }
}
