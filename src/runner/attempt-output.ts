import type { Logger } from '../base/log.ts';
import type { LogStream } from '../wire/job-query.ts';
import type { RunnerRun } from '../wire/runner.ts';
import { STREAM_CREDIT_BYTES_MAX } from '../wire/stream-mux.ts';
import { LogReader, type ReaderEnd, type ReaderTarget, startReader } from './log-reader.ts';
import type { Offsets } from './log-segment.ts';
import { offsetIn, OutputLog, type OutputStream } from './output-log.ts';

/** How far a foreground command may be ahead of its reader: then its pipe is not read until half of that is taken. */
export const AHEAD_BYTES_MAX = 1024 * 1024;
/** The same where the link of the reader is lost, and it may come back; and on a terminal, which is better not paused. */
export const FAR_AHEAD_BYTES_MAX = 32 * 1024 * 1024;
/** What was sent may be under way on two sockets, and lost with them: as much is kept for a reader that comes back. */
const KEPT_BEHIND_BYTES = 2 * STREAM_CREDIT_BYTES_MAX;

type OutputOrder = Pick<RunnerRun, 'log_bytes_max' | 'durable' | 'terminal'>;

/** Who must not miss a byte. Its place stays when it is lost, until another takes it. */
interface Holder {
  reader: LogReader | null;
  offset: number;
}

export interface OutputHandlers {
  /** A holding reader has taken bytes, or holds no more. */
  readonly onRoom: () => void;
  /** The holding reader of that stream has closed it: the command is told so by SIGPIPE. */
  readonly onReaderGone: (stream: LogStream) => void;
}

/**
 * The output of one attempt: its log, and who reads it. A foreground attempt's holding readers keep what they have not
 * read on the disk, and hold the command back; of a durable one nobody does.
 */
export class AttemptOutput {
  readonly log: OutputLog;
  readonly #holders = new Map<LogStream, Holder>();
  readonly #handlers: OutputHandlers;
  readonly #aheadBytesMax: number;
  #durable: boolean;
  /** Since when holders were let go, bytes may be lost to readers. */
  #lost = false;

  constructor(folder: string, order: OutputOrder, handlers: OutputHandlers, log: Logger) {
    this.#durable = order.durable;
    this.#aheadBytesMax = order.terminal === null ? AHEAD_BYTES_MAX : FAR_AHEAD_BYTES_MAX;
    this.#handlers = handlers;
    this.log = new OutputLog(folder, order.log_bytes_max, (end) => this.#mayDrop(end), log);
  }

  get isDurable(): boolean {
    return this.#durable;
  }

  /** Output was lost: to a full disk, or to the bound of a log that nobody read in time. */
  get isCut(): boolean {
    return this.#lost || this.log.isCut;
  }

  append(stream: OutputStream, chunk: Uint8Array): void {
    if (!this.log.append(stream, chunk)) this.#lost = true;
  }

  /** The command is too far ahead of who must not miss its output. */
  isAhead(stream: OutputStream): boolean {
    return this.#ahead(stream) > 1;
  }

  hasRoom(stream: OutputStream): boolean {
    return this.#ahead(stream) <= 0.5;
  }

  /** Throws where the stream cannot be opened or the log not be read. */
  read(
    target: ReaderTarget,
    options: { readonly stream: LogStream; readonly offset: number; readonly follow: boolean; readonly holds: boolean },
    onEnd: (end: ReaderEnd) => void,
  ): void {
    const { stream, offset } = options;
    if (!options.holds || this.#durable || this.log.isEnded) {
      startReader(this.log, target, options, { onEnd });
      return;
    }
    const holder = this.#holders.get(stream) ?? { reader: null, offset: 0 };
    const earlier = holder.reader;
    holder.reader = null;
    earlier?.abort();
    const reader = new LogReader(this.log, target, options, {
      onProgress: () => {
        holder.offset = reader.sent;
        this.#handlers.onRoom();
      },
      onEnd: (end) => {
        this.#onHolderEnd(stream, holder, reader, end);
        onEnd(end);
      },
    });
    holder.reader = reader;
    holder.offset = offset;
    this.#holders.set(stream, holder);
  }

  /** The link of the readers is lost: their places are kept. */
  park(): void {
    for (const holder of this.#holders.values()) {
      const { reader } = holder;
      holder.reader = null;
      reader?.abort();
    }
    this.#handlers.onRoom();
  }

  detach(): void {
    this.#durable = true;
    this.#holders.clear();
    this.#handlers.onRoom();
  }

  /** Gives up on holding readers that have not taken everything. */
  abandon(): void {
    this.park();
    this.#holders.clear();
  }

  end(result: string): void {
    this.log.end(result);
  }

  #onHolderEnd(stream: LogStream, holder: Holder, reader: LogReader, end: ReaderEnd): void {
    if (holder.reader !== reader) return;
    holder.reader = null;
    if (end.ok && end.aborted === 'link_lost') this.#handlers.onRoom();
    if (this.#durable || !end.ok || end.aborted !== 'by_reader') return;
    this.#holders.delete(stream);
    this.#handlers.onReaderGone(stream);
    this.#handlers.onRoom();
  }

  /** How far ahead of its slowest holder the command is, as a share of what is allowed. */
  #ahead(stream: OutputStream): number {
    let ahead = 0;
    for (const [held, { offset, reader }] of this.#holders) {
      if (held !== stream && held !== 'merged') continue;
      const bytesMax = reader === null ? FAR_AHEAD_BYTES_MAX : this.#aheadBytesMax;
      ahead = Math.max(ahead, (offsetIn(this.log.ends, held) - offset) / bytesMax);
    }
    return ahead;
  }

  #mayDrop(end: Offsets): boolean {
    for (const [stream, { offset }] of this.#holders) {
      if (offsetIn(end, stream) > offset - KEPT_BEHIND_BYTES) return false;
    }
    if (this.#durable) this.#lost = true;
    return true;
  }
}
