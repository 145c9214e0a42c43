import type { LogStream } from '../../node/api-types.ts';
import type { DaemonApi } from './daemon-connection.ts';
import { prefixWithin } from './shown-text.ts';
import { bytesOfText, CHARACTER_BYTES_MAX, textSlice } from './utf8-slice.ts';

/** After the first new bytes a little more is waited for: a call for each line of a build would be many. */
const GATHER_MS = 1000;
/** A job that waits for a slot has no output to follow: it is looked at again after so long. */
const LOOK_AGAIN_MS = 1000;

export interface ReadWish {
  /** An id, or the beginning of one. */
  readonly job: string;
  readonly stream: LogStream;
  readonly offset: number;
  readonly bytesMax: number;
  /** For new bytes or the end, where there are none. */
  readonly waitMs: number;
  /** Aborted where nobody wants the answer any more. */
  readonly signal: AbortSignal;
}

/** Bytes from `from` up to `to` are not kept. */
export interface Gap {
  readonly from: number;
  readonly to: number;
}

/** Bytes without a gap between them. */
export interface Piece {
  /** Of the first byte; behind what was asked for where that was dropped. */
  readonly offset: number;
  readonly text: string;
  readonly bytes: number;
  /** Read on here; behind the last byte where what follows was dropped. */
  readonly nextOffset: number;
  /** The job's output has ended, and nothing follows `nextOffset`. */
  readonly isEnd: boolean;
  /** Bytes that were dropped to keep the log within its bound: before this piece, and behind it. */
  readonly gaps: readonly Gap[];
  /** The attempt that it is output of. */
  readonly attempt: number;
  /** The job was run again: read on in that attempt's output, from offset 0. */
  readonly runAgain: number | null;
}

/**
 * Reads output of a job, waiting for it where there is none yet.
 *
 * @throws MeshError as ApiClient.logs does
 */
export async function readOutput(api: DaemonApi, wish: ReadWish): Promise<Reading> {
  const deadlineMs = performance.now() + wish.waitMs;
  const leftMs = (): number => Math.max(0, deadlineMs - performance.now());
  let reading = await readOnce(api, wish, null);
  // What was asked for is dropped, and the read has ended there: what is behind comes with it.
  if (reading.isAtGap) reading = await readOnce(api, { ...wish, offset: reading.offset }, null, reading.gaps);
  while (!reading.saysAnything && !wish.signal.aborted && leftMs() > 0) {
    reading = await readOnce(api, wish, leftMs());
    if (reading.saysAnything || leftMs() === 0) break;
    // It has no output that could be followed: it waits for a slot, or for its node.
    await api.call('wait', { job: reading.job, wait_ms: Math.ceil(Math.min(LOOK_AGAIN_MS, leftMs())) });
  }
  return reading;
}

/** @param followMs how long to wait for the first bytes; null: what there is now */
async function readOnce(
  api: DaemonApi,
  wish: ReadWish,
  followMs: number | null,
  before: readonly Gap[] = [],
): Promise<Reading> {
  const reading = new Reading(wish.offset, before);
  const stop = new AbortController();
  const timers = new Set<NodeJS.Timeout>();
  const stopIn = (ms: number): void => void timers.add(setTimeout(() => stop.abort(), ms));
  if (followMs !== null) stopIn(followMs);
  const { job, stream, offset } = wish;
  try {
    const answer = await api.logs(
      { job, stream, offset, follow: followMs !== null },
      {
        onBytes: (bytes) => {
          if (followMs !== null && reading.isEmpty) stopIn(Math.min(GATHER_MS, followMs));
          reading.take(bytes);
          // One character more tells where the last one that is shown ends.
          if (reading.takenBytes >= wish.bytesMax + CHARACTER_BYTES_MAX) stop.abort();
        },
        onGap: (from, to) => reading.skip(from, to),
        onAttempt: (attempt) => {
          reading.runAgain = attempt;
          stop.abort();
        },
        signal: AbortSignal.any([stop.signal, wish.signal]),
      },
    );
    reading.finish(answer);
    return reading;
  } finally {
    for (const timer of timers) clearTimeout(timer);
  }
}

/** What came so far: the bytes up to the first gap behind them. */
export class Reading {
  runAgain: number | null = null;
  readonly #gaps: Gap[];
  readonly #chunks: Uint8Array[] = [];
  #offset: number;
  #takenBytes = 0;
  /** Where bytes come from that are not taken any more: there is a gap before them. */
  #behindGap: number | null = null;
  #ended = false;
  #attempt = 1;
  #job = '';

  constructor(offset: number, before: readonly Gap[]) {
    this.#offset = offset;
    this.#gaps = [...before];
  }

  /** Of the first byte. */
  get offset(): number {
    return this.#offset;
  }

  get gaps(): readonly Gap[] {
    return this.#gaps;
  }

  /** True where nothing came but that there is a gap. */
  get isAtGap(): boolean {
    return this.isEmpty && this.#gaps.length > 0 && !this.#ended && this.runAgain === null;
  }

  get isEmpty(): boolean {
    return this.#takenBytes === 0;
  }

  get takenBytes(): number {
    return this.#takenBytes;
  }

  get hasEnded(): boolean {
    return this.#ended;
  }

  get saysAnything(): boolean {
    return !this.isEmpty || this.#ended || this.#gaps.length > 0 || this.runAgain !== null;
  }

  take(bytes: Uint8Array): void {
    if (this.#behindGap !== null || this.runAgain !== null) return;
    this.#chunks.push(bytes.slice());
    this.#takenBytes += bytes.byteLength;
  }

  /** A gap before the bytes of one read is told only behind them. */
  skip(from: number, to: number): void {
    if (this.#behindGap !== null || this.runAgain !== null) return;
    this.#gaps.push({ from, to });
    if (from === this.#offset) this.#offset = to;
    else this.#behindGap = to;
  }

  /** The whole id, once the read is over. */
  get job(): string {
    return this.#job;
  }

  finish(answer: { readonly job: string; readonly ended: boolean; readonly attempt: number }): void {
    this.#job = answer.job;
    this.#ended = answer.ended && this.runAgain === null;
    this.#attempt = answer.attempt;
  }

  /**
   * @param bytesMax as it was wished; one whole character is taken also where it is longer
   * @param charsMax of the text within JSON
   */
  piece(bytesMax: number, charsMax: number): Piece {
    const all = Buffer.concat(this.#chunks);
    const nothingFollows = this.#behindGap !== null || this.runAgain !== null || this.#ended;
    const slice = textSlice(all, bytesMax, nothingFollows);
    const text = prefixWithin(slice.text, charsMax);
    const bytes = text.length === slice.text.length ? slice.bytes : bytesOfText(all, text.length);
    const isWhole = bytes === all.byteLength;
    return {
      offset: this.#offset,
      text,
      bytes,
      nextOffset: isWhole && this.#behindGap !== null ? this.#behindGap : this.#offset + bytes,
      isEnd: isWhole && this.#behindGap === null && this.#ended,
      gaps: this.#gaps,
      attempt: this.#attempt,
      runAgain: isWhole ? this.runAgain : null,
    };
  }
}
