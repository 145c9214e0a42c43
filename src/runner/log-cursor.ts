import { closeSync, openSync, readSync } from 'node:fs';
import type { LogStream } from '../wire/job-query.ts';
import {
  RECORD_BYTES_MAX,
  RECORD_HEADER_BYTES,
  RECORD_RESULT,
  RECORD_STDERR,
  RECORD_STDOUT,
  type Segment,
  SEGMENT_HEADER_BYTES,
} from './log-segment.ts';
import { offsetIn, type OutputLog, type Place } from './output-log.ts';

/** Read from a segment at once. */
const BLOCK_BYTES = 128 * 1024;

export type CursorRead =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  /** Nothing more is in the log now. */
  | { readonly kind: 'tail' }
  /** Bytes up to `to` were dropped; the cursor is behind them now. */
  | { readonly kind: 'gap'; readonly to: number };

/**
 * A place in an output log from which one stream is read. Segments without a byte of that stream are passed over unread.
 * Its methods throw what the file system throws, and an error where a segment holds no sound records.
 */
export class LogCursor {
  readonly #log: OutputLog;
  readonly #stream: LogStream;
  /** Of the next byte. */
  #offset: number;
  /** Bytes before it are passed over. */
  #target: number;
  #segment: Segment | null = null;
  /** In the segment's file: of a record's header, or in a payload of which `#left` bytes are to come. */
  #at = 0;
  #left = 0;
  #isWanted = false;
  #file: { readonly fd: number; readonly segment: Segment } | null = null;

  /** @param offset not behind the end of the log */
  constructor(log: OutputLog, stream: LogStream, offset: number) {
    this.#log = log;
    this.#stream = stream;
    this.#target = offset;
    const first = log.segments.findLast((each) => offsetIn(each.base, stream) <= offset) ?? log.segments[0] ?? null;
    this.#offset = first === null ? 0 : offsetIn(first.base, stream);
    if (first !== null) this.#enter(first);
  }

  get offset(): number {
    return Math.max(this.#offset, this.#target);
  }

  /** The cursor was at the tail, and the record there is the next to be read. */
  moveTo(place: Place, offset: number): void {
    this.#segment = place.segment;
    this.#at = place.at;
    this.#left = 0;
    this.#offset = offset;
  }

  /** The cursor is at the tail: everything of its stream up to `offset` has been dealt with otherwise. */
  passed(offset: number): void {
    this.#offset = offset;
  }

  read(bytesMax: number): CursorRead {
    for (;;) {
      const segment = (this.#segment ??= this.#log.segments[0] ?? null);
      if (segment === null) return { kind: 'tail' };
      if (this.#at < SEGMENT_HEADER_BYTES) this.#enter(segment);
      if (this.#at >= segment.bytes || this.#isEmpty(segment) || this.#isGone(segment)) {
        const next = this.#log.segments.find((each) => each.number > segment.number);
        if (next === undefined) {
          if (this.#at < segment.bytes) this.#at = segment.bytes;
          return { kind: 'tail' };
        }
        this.#enter(next);
        const from = this.#offset;
        this.#offset = offsetIn(next.base, this.#stream);
        if (this.#offset !== from && this.#offset > this.#target) return { kind: 'gap', to: this.#offset };
        continue;
      }
      const bytes = this.#readBlock(segment, bytesMax);
      if (bytes.byteLength > 0) return { kind: 'bytes', bytes };
    }
  }

  close(): void {
    if (this.#file !== null) closeSync(this.#file.fd);
    this.#file = null;
  }

  #enter(segment: Segment): void {
    this.#segment = segment;
    this.#at = SEGMENT_HEADER_BYTES;
    this.#left = 0;
  }

  /** At its beginning, and no byte of the stream is in it. */
  #isEmpty(segment: Segment): boolean {
    if (this.#at !== SEGMENT_HEADER_BYTES) return false;
    const next = this.#log.segments.find((each) => each.number === segment.number + 1);
    const end = next?.base ?? (this.#log.segments.at(-1) === segment ? this.#log.ends : null);
    return end !== null && offsetIn(end, this.#stream) === offsetIn(segment.base, this.#stream);
  }

  /** Dropped before it was opened. */
  #isGone(segment: Segment): boolean {
    return this.#file?.segment !== segment && !this.#log.segments.includes(segment);
  }

  /** @returns bytes of the stream out of the next block; none where it holds only others' */
  #readBlock(segment: Segment, bytesMax: number): Uint8Array {
    const block = Buffer.allocUnsafe(Math.min(BLOCK_BYTES, segment.bytes - this.#at));
    const got = readSync(this.#open(segment), block, 0, block.byteLength, this.#at);
    let at = 0;
    let taken = 0;
    while (at < got && taken < bytesMax) {
      if (this.#left === 0) {
        if (got - at < RECORD_HEADER_BYTES) break;
        this.#startRecord(block[at] ?? 0, block.readUInt32BE(at + 1));
        at += RECORD_HEADER_BYTES;
      } else if (!this.#isWanted) {
        at += this.#left;
        this.#left = 0;
      } else {
        const there = Math.min(this.#left, got - at);
        const skip = Math.min(there, Math.max(0, this.#target - this.#offset));
        const take = Math.min(there - skip, bytesMax - taken);
        // Payloads move together over the headers between them.
        if (take > 0 && taken !== at + skip) block.copyWithin(taken, at + skip, at + skip + take);
        taken += take;
        at += skip + take;
        this.#left -= skip + take;
        this.#offset += skip + take;
      }
    }
    if (at === 0) throw new Error(`${segment.path} is damaged at byte ${this.#at}`);
    this.#at += at;
    return block.subarray(0, taken);
  }

  #startRecord(kind: number, length: number): void {
    const isSound = kind >= RECORD_STDOUT && kind <= RECORD_RESULT && length > 0 && length <= RECORD_BYTES_MAX;
    if (!isSound) throw new Error(`${this.#segment?.path ?? 'a log'} is damaged after byte ${this.#at}`);
    this.#left = length;
    this.#isWanted =
      kind === RECORD_STDOUT ? this.#stream !== 'stderr' : kind === RECORD_STDERR && this.#stream !== 'stdout';
  }

  #open(segment: Segment): number {
    if (this.#file?.segment === segment) return this.#file.fd;
    this.close();
    const fd = openSync(segment.path, 'r');
    this.#file = { fd, segment };
    return fd;
  }
}
