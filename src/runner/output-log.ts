import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  statfsSync,
  unlinkSync,
  writevSync,
} from 'node:fs';
import path from 'node:path';
import { assert } from '../base/assert.ts';
import { messageOf, systemCodeOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { LogStream } from '../wire/job-query.ts';
import {
  encodeRecordHeader,
  encodeSegmentHeader,
  mendSegment,
  type Offsets,
  readSegmentHeader,
  RECORD_HEADER_BYTES,
  RECORD_RESULT,
  RECORD_STDERR,
  RECORD_STDOUT,
  type Segment,
  SEGMENT_HEADER_BYTES,
  segmentName,
  segmentNumber,
} from './log-segment.ts';

const SEGMENT_BYTES_MIN = 64 * 1024;
/** Of a log with the usual bound; what is read at an offset is looked for in one segment. */
const SEGMENT_BYTES_USUAL = 4 * 1024 * 1024;
/** A full log loses its middle in steps of its bound by this. */
const SEGMENTS_MIN = 16;
const SEGMENTS_MAX = 1024;

/**
 * Of a disk, output leaves so much to journals, locks and results, without which the node could not go on: a sixteenth,
 * 16 MiB at most. The beginning of each log may use it.
 */
const RESERVE_BYTES_MAX = 16 * 1024 * 1024;
const RESERVE_SHARE = 1 / 16;
const UNRESERVED_BYTES = 64 * 1024;
/** Written between two looks at the disk; half of its reserve where that is less. */
const LOOK_BYTES_MAX = 256 * 1024;

export type OutputStream = 'stdout' | 'stderr';

/** Where a record lies. */
export interface Place {
  readonly segment: Segment;
  /** Of the record's header in the segment's file. */
  readonly at: number;
}

/** Reads along with what is written. */
export interface LogFollower {
  /** `chunk` is not changed later. */
  appended(stream: OutputStream, chunk: Uint8Array, place: Place): void;
  /** Nothing will be appended any more. */
  ended(): void;
}

/** True where nobody needs the bytes of that stream before `offset` any more. */
export type MayDrop = (end: Offsets) => boolean;

export const offsetIn = (offsets: Offsets, stream: LogStream): number =>
  stream === 'merged' ? offsets.stdout + offsets.stderr : offsets[stream];

/**
 * What an attempt wrote: an append-only log on disk, in segments, with the result as its last record. Made at the first
 * byte. When it is full, whole segments of its middle are dropped: the first half of the bound and the newest bytes stay.
 *
 * L1 Offsets are those of the command's output: no byte has two, a dropped one's is given to no other.
 * L2 Nothing of the head is dropped, nor what `mayDrop` denies.
 * L3 A write that fails ends the log: what is before it can be read, what follows counts as lost.
 */
export class OutputLog {
  readonly folder: string;
  readonly #bytesMax: number;
  readonly #segmentBytes: number;
  readonly #log: Logger;
  readonly #followers = new Set<LogFollower>();
  readonly #mayDrop: MayDrop;
  #segments: Segment[] = [];
  #ends: Offsets = { stdout: 0, stderr: 0 };
  #bytes = 0;
  #unseenBytes = LOOK_BYTES_MAX;
  #lookBytes = LOOK_BYTES_MAX;
  #fd: number | null = null;
  #state: 'open' | 'cut' | 'ended' = 'open';
  #dropped = false;

  /** @param bytesMax bound of its size on disk, but for what `mayDrop` keeps */
  constructor(folder: string, bytesMax: number, mayDrop: MayDrop, log: Logger) {
    this.folder = folder;
    this.#bytesMax = bytesMax;
    const usual = Math.min(SEGMENT_BYTES_USUAL, Math.floor(bytesMax / SEGMENTS_MIN));
    this.#segmentBytes = Math.max(SEGMENT_BYTES_MIN, usual, Math.floor(bytesMax / SEGMENTS_MAX));
    this.#mayDrop = mayDrop;
    this.#log = log;
  }

  /**
   * Reads back what is on disk, mending a torn tail. Throws what the file system throws.
   *
   * @returns the log with its result, null where it has none; null where there is no such log
   */
  static load(
    folder: string,
    bytesMax: number,
    log: Logger,
  ): { readonly output: OutputLog; readonly result: string | null } | null {
    const numbers = listSegments(folder);
    if (numbers === null) return null;
    const output = new OutputLog(folder, bytesMax, () => true, log);
    return { output, result: output.#load(numbers) };
  }

  get segments(): readonly Segment[] {
    return this.#segments;
  }

  /** Offsets behind the last bytes. */
  get ends(): Offsets {
    return this.#ends;
  }

  get isEnded(): boolean {
    return this.#state === 'ended';
  }

  /** A write failed: what came after is lost. */
  get isCut(): boolean {
    return this.#state === 'cut';
  }

  /** Something of the middle was dropped for good. */
  get hasDropped(): boolean {
    return this.#dropped;
  }

  follow(follower: LogFollower): void {
    this.#followers.add(follower);
  }

  unfollow(follower: LogFollower): void {
    this.#followers.delete(follower);
  }

  /** @returns false where the disk does not take it: the log is cut then */
  append(stream: OutputStream, chunk: Uint8Array): boolean {
    assert(this.#state !== 'ended', 'output after the result');
    if (this.#state === 'cut') return false;
    const place = this.#write(stream === 'stdout' ? RECORD_STDOUT : RECORD_STDERR, chunk);
    if (place === null) return false;
    this.#ends = { ...this.#ends, [stream]: this.#ends[stream] + chunk.byteLength };
    for (const follower of this.#followers) follower.appended(stream, chunk, place);
    return true;
  }

  /** The last record. Where the disk does not take it, it is in this process's memory alone. */
  end(result: string): void {
    if (this.#state === 'ended') return;
    this.#write(RECORD_RESULT, Buffer.from(result, 'utf8'));
    this.#state = 'ended';
    this.#closeFile();
    for (const follower of this.#followers) follower.ended();
  }

  /** Drops what is beyond the bound and needed no more. */
  trim(): void {
    const head = this.#headCount();
    while (this.#bytes > this.#bytesMax) {
      const [next, after] = [this.#segments[head], this.#segments[head + 1]];
      if (next === undefined || after === undefined || !this.#mayDrop(after.base)) return;
      try {
        unlinkSync(next.path);
      } catch (error) {
        if (systemCodeOf(error) !== 'ENOENT') {
          this.#log.warn('cannot drop output', { file: next.path, error: messageOf(error) });
          return;
        }
      }
      this.#segments.splice(head, 1);
      this.#bytes -= next.bytes;
      this.#dropped = true;
    }
  }

  remove(): void {
    this.#closeFile();
    removeLog(this.folder, this.#log);
  }

  /** How many of the first segments make up the head: about half of the bound, one at the least. */
  #headCount(): number {
    let bytes = 0;
    let count = 0;
    for (const segment of this.#segments) {
      // Behind a gap the head ended long ago.
      if (segment.number !== count) break;
      bytes += segment.bytes;
      if (count > 0 && bytes > this.#bytesMax / 2) break;
      count += 1;
    }
    return count;
  }

  #write(kind: number, payload: Uint8Array): Place | null {
    let segment = this.#segments.at(-1);
    let sizeBefore: number | null = null;
    try {
      if (kind !== RECORD_RESULT) this.#checkRoom(payload.byteLength);
      if (segment === undefined || this.#fd === null || segment.bytes >= this.#segmentBytes) {
        segment = this.#startSegment();
      }
      const fd = this.#fd;
      assert(fd !== null, 'a segment without its file');
      sizeBefore = segment.bytes;
      const size = RECORD_HEADER_BYTES + payload.byteLength;
      const written = writevSync(fd, [encodeRecordHeader(kind, payload.byteLength), payload]);
      if (written !== size) throw new Error(`the disk took ${written} of ${size} bytes`);
      segment.bytes += size;
      this.#bytes += size;
      return { segment, at: sizeBefore };
    } catch (error) {
      this.#cut(error, sizeBefore);
      return null;
    }
  }

  /** Throws where the disk has nothing left but its reserve. */
  #checkRoom(bytes: number): void {
    if (this.#bytes + bytes <= UNRESERVED_BYTES) return;
    this.#unseenBytes += bytes;
    if (this.#unseenBytes < this.#lookBytes) return;
    this.#unseenBytes = bytes;
    const { bavail, blocks, bsize } = statfsSync(path.dirname(this.folder));
    const reserveBytes = Math.min(RESERVE_BYTES_MAX, blocks * bsize * RESERVE_SHARE);
    this.#lookBytes = Math.min(LOOK_BYTES_MAX, reserveBytes / 2);
    if (bavail * bsize - bytes < reserveBytes) throw new Error('the disk has only its reserve left');
  }

  #startSegment(): Segment {
    const number = (this.#segments.at(-1)?.number ?? -1) + 1;
    this.#closeFile();
    if (number === 0) mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    const file = path.join(this.folder, segmentName(number));
    const fd = openSync(file, 'ax', 0o600);
    try {
      const written = writevSync(fd, [encodeSegmentHeader(this.#ends)]);
      if (written !== SEGMENT_HEADER_BYTES) throw new Error('the disk took half a header');
    } catch (error) {
      closeSync(fd);
      unlinkSync(file);
      throw error;
    }
    this.#fd = fd;
    const segment = { number, path: file, base: this.#ends, bytes: SEGMENT_HEADER_BYTES };
    this.#segments.push(segment);
    this.#bytes += SEGMENT_HEADER_BYTES;
    this.trim();
    return segment;
  }

  #cut(error: unknown, sizeBefore: number | null): void {
    this.#state = 'cut';
    this.#log.warn('output is cut: the disk does not take it', { folder: this.folder, error: messageOf(error) });
    try {
      if (this.#fd !== null && sizeBefore !== null) ftruncateSync(this.#fd, sizeBefore);
    } catch (second) {
      // What follows the last whole record is cut off when the log is read back.
      this.#log.warn('cannot cut a torn record off', { folder: this.folder, error: messageOf(second) });
    }
  }

  #closeFile(): void {
    if (this.#fd === null) return;
    try {
      closeSync(this.#fd);
    } catch (error) {
      this.#log.warn('cannot close a log', { folder: this.folder, error: messageOf(error) });
    }
    this.#fd = null;
  }

  #load(numbers: readonly number[]): string | null {
    for (const number of numbers) {
      const file = path.join(this.folder, segmentName(number));
      const header = readSegmentHeader(file);
      // Only the newest can be without: its writer died while it began it.
      if (header === null && number === numbers.at(-1)) unlinkSync(file);
      if (header === null) continue;
      this.#segments.push({ number, path: file, ...header });
      this.#bytes += header.bytes;
    }
    const last = this.#segments.at(-1);
    if (last === undefined) return null;
    const tail = mendSegment(last.path, last.base);
    last.bytes = tail.bytes;
    this.#ends = tail.end;
    this.#dropped = this.#segments.length !== last.number + 1;
    // An unfinished one gets its result in a segment of its own: no other writer is left that could be in the way.
    if (tail.result !== null) this.#state = 'ended';
    return tail.result;
  }
}

function listSegments(folder: string): number[] | null {
  try {
    const numbers = readdirSync(folder).map(segmentNumber);
    return numbers.filter((number) => number !== null).sort((a, b) => a - b);
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return null;
    throw error;
  }
}

export function removeLog(folder: string, log: Logger): void {
  try {
    rmSync(folder, { recursive: true, force: true });
  } catch (error) {
    log.warn('cannot remove a log', { folder, error: messageOf(error) });
  }
}
