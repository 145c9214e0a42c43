import { messageOf } from '../base/errors.ts';
import type { LogStream } from '../wire/job-query.ts';
import type { OutgoingStream, StreamMux } from '../wire/stream-mux.ts';
import { LogCursor } from './log-cursor.ts';
import { type LogFollower, offsetIn, type OutputLog, type OutputStream, type Place } from './output-log.ts';

/** What waits in memory for a reader that is slower than the command; behind that it reads from the disk. */
const QUEUED_BYTES_MAX = 2 * 1024 * 1024;

export interface ReaderTarget {
  readonly mux: StreamMux;
  readonly streamId: number;
  readonly windowBytes: number;
}

export interface ReaderOptions {
  readonly stream: LogStream;
  readonly offset: number;
  /** False: up to what there is now. */
  readonly follow: boolean;
}

export type ReaderEnd =
  | {
      readonly ok: true;
      readonly from: number;
      readonly next: number;
      /** The attempt has ended, and this was all of it. */
      readonly ended: boolean;
      /** Who read closed the stream, or its link is lost. */
      readonly aborted: 'no' | 'by_reader' | 'link_lost';
    }
  | { readonly ok: false; readonly kind: 'past_end' | 'io'; readonly end: number; readonly message: string };

export interface ReaderHandlers {
  /** Bytes went out. */
  readonly onProgress?: () => void;
  /** Exactly once, in a later turn than the construction; the stream has ended or was aborted. */
  readonly onEnd: (end: ReaderEnd) => void;
}

/**
 * Carries one stream of an output log to a stream of a mux, at its reader's pace: from memory while it keeps up with the
 * command, from the disk where it is behind.
 */
export class LogReader implements LogFollower {
  readonly stream: LogStream;
  readonly #log: OutputLog;
  readonly #handlers: ReaderHandlers;
  readonly #cursor: LogCursor;
  readonly #outgoing: OutgoingStream;
  readonly #mux: StreamMux;
  readonly #limit: number;
  #from: number;
  #sentBytes = 0;
  /** Where to read on, once the stream has been ended. */
  #next: number | null = null;
  #atTail = false;
  #isPumping = false;
  #isDone = false;

  constructor(log: OutputLog, target: ReaderTarget, options: ReaderOptions, handlers: ReaderHandlers) {
    const { stream, offset, follow } = options;
    this.stream = stream;
    this.#log = log;
    this.#mux = target.mux;
    this.#handlers = handlers;
    this.#limit = follow ? Number.POSITIVE_INFINITY : offsetIn(log.ends, stream);
    this.#from = offset;
    this.#cursor = new LogCursor(log, stream, offset);
    this.#outgoing = target.mux.openOutgoing(target.streamId, target.windowBytes, {
      onSent: (bytes) => this.#onSent(bytes),
      onEnded: () => this.#onEnded(),
      onAbort: () => this.#onAbort(),
    });
    log.follow(this);
    setImmediate(() => this.#start());
  }

  /** Behind the last byte that was handed to the socket. */
  get sent(): number {
    return this.#from + this.#sentBytes;
  }

  get isDone(): boolean {
    return this.#isDone;
  }

  appended(stream: OutputStream, chunk: Uint8Array, place: Place): void {
    if (!this.#atTail || this.#isDone) return;
    if (this.stream !== 'merged' && this.stream !== stream) return;
    const before = offsetIn(this.#log.ends, this.stream) - chunk.byteLength;
    if (this.#outgoing.queuedBytes >= QUEUED_BYTES_MAX) {
      this.#atTail = false;
      this.#cursor.moveTo(place, before);
      return;
    }
    this.#cursor.passed(before + chunk.byteLength);
    this.#outgoing.write(chunk);
  }

  ended(): void {
    if (this.#atTail) this.#finish(this.#cursor.offset);
    else this.#pump();
  }

  /** Ends the stream here; who reads it is told that it was cut. */
  abort(): void {
    if (this.#isDone) return;
    this.#outgoing.abort();
    this.#done(this.#reached('no'));
  }

  #start(): void {
    const end = offsetIn(this.#log.ends, this.stream);
    if (this.#isDone) return;
    if (this.#from > end) {
      this.#outgoing.abort();
      const message = `the output ends at byte ${end}, before byte ${this.#from}`;
      return this.#done({ ok: false, kind: 'past_end', end, message });
    }
    this.#pump();
  }

  #onSent(bytes: number): void {
    this.#sentBytes += bytes;
    this.#pump();
    this.#handlers.onProgress?.();
  }

  #onEnded(): void {
    this.#done(this.#reached('no'));
  }

  #onAbort(): void {
    this.#done(this.#reached(this.#mux.isDead ? 'link_lost' : 'by_reader'));
  }

  #pump(): void {
    if (this.#isPumping || this.#atTail) return;
    this.#isPumping = true;
    try {
      while (this.#isReading && this.#outgoing.queuedBytes === 0) this.#step();
    } catch (error) {
      this.#outgoing.abort();
      const end = offsetIn(this.#log.ends, this.stream);
      this.#done({ ok: false, kind: 'io', end, message: `the output cannot be read: ${messageOf(error)}` });
    } finally {
      this.#isPumping = false;
    }
  }

  get #isReading(): boolean {
    return !this.#isDone && !this.#atTail && this.#next === null;
  }

  #step(): void {
    const room = this.#limit - this.#cursor.offset;
    if (room <= 0) return this.#finish(this.#cursor.offset);
    const read = this.#cursor.read(room);
    switch (read.kind) {
      case 'bytes':
        this.#outgoing.write(read.bytes);
        return;
      case 'gap':
        // Where nothing came before it, the reader is told of it before it gets what is behind.
        if (this.#sentBytes === 0) this.#from = read.to;
        return this.#finish(read.to);
      case 'tail':
        this.#cursor.close();
        if (this.#log.isEnded || Number.isFinite(this.#limit)) this.#finish(this.#cursor.offset);
        else this.#atTail = true;
    }
  }

  #finish(next: number): void {
    if (this.#isDone || this.#next !== null) return;
    this.#next = next;
    this.#outgoing.end();
  }

  #reached(aborted: 'no' | 'by_reader' | 'link_lost'): ReaderEnd {
    const next = this.#next ?? this.sent;
    const ended = this.#log.isEnded && next >= offsetIn(this.#log.ends, this.stream);
    return { ok: true, from: this.#from, next: aborted === 'no' ? next : this.sent, ended, aborted };
  }

  #done(end: ReaderEnd): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#log.unfollow(this);
    this.#cursor.close();
    this.#handlers.onEnd(end);
  }
}

/** A reader that nobody keeps: it ends by itself, with its log, its stream or its link. */
export function startReader(...args: ConstructorParameters<typeof LogReader>): LogReader {
  return new LogReader(...args);
}
