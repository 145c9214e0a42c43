import { HeadTail } from '../../base/head-tail.ts';
import { KIB } from '../../base/units.ts';
import { messageOf } from '../../base/errors.ts';
import { shown, textCharsUpTo } from './shown-text.ts';
import { bytesOfText } from './utf8-slice.ts';
import type { OutputFile } from './output-files.ts';

/** What one result can show at most, and a little more. */
export const KEPT_BYTES_MAX = 64 * KIB;
const LAST_LINE_BYTES_MAX = 512;

/**
 * Takes one stream of a command: its beginning and its end in bounded memory, and the whole of it in a file once that is
 * more than is kept.
 */
export class OutputCapture {
  readonly #kept: HeadTail;
  readonly #keptBytesMax: number;
  readonly #openFile: () => OutputFile | null;
  #file: OutputFile | null = null;
  #fileTried = false;
  #fileError: string | null = null;
  #measured: { readonly bytes: number; readonly enough: number; readonly chars: number } | null = null;
  #last: Uint8Array = new Uint8Array(0);

  /**
   * @param keptBytesMax kept in memory
   * @param openFile makes the file; null where this stream gets none
   */
  constructor(keptBytesMax: number, openFile: () => OutputFile | null) {
    this.#keptBytesMax = keptBytesMax;
    this.#kept = new HeadTail(Math.floor(keptBytesMax / 2), Math.ceil(keptBytesMax / 2));
    this.#openFile = openFile;
  }

  get totalBytes(): number {
    return this.#kept.totalBytes;
  }

  /** Why the file is missing or short: an error of the disk. */
  get fileError(): string | null {
    return this.#fileError;
  }

  push(bytes: Uint8Array): void {
    if (bytes.byteLength === 0) return;
    if (this.#kept.totalBytes + bytes.byteLength > this.#keptBytesMax) {
      this.#ensureFile();
      this.#write(bytes);
    }
    this.#kept.push(bytes);
    this.#last = bytes.slice(-LAST_LINE_BYTES_MAX);
  }

  /** What is kept, as text; `tail` is null where nothing is missing between. */
  text(): { readonly head: string; readonly tail: string | null } {
    const { head, tail } = this.#kept.parts();
    const decoder = () => new TextDecoder('utf-8', { ignoreBOM: true });
    if (this.#kept.droppedBytes === 0) return { head: decoder().decode(head), tail: null };
    // The cut may go through a character: its halves belong to what was left out.
    return { head: decoder().decode(head, { stream: true }), tail: decoder().decode(withoutPartialStart(tail)) };
  }

  /** Where the text after the first `chars` UTF-16 units of `text().head` begins, in bytes. */
  offsetAt(chars: number): number {
    return bytesOfText(this.#kept.parts().head, chars);
  }

  /** Room that `text` takes within JSON; above `enough` only a lower bound. */
  shownChars(enough: number): number {
    if (this.#measured?.bytes === this.totalBytes && this.#measured.enough >= enough) return this.#measured.chars;
    const { head, tail } = this.text();
    const chars = textCharsUpTo(head, enough) + (tail === null ? 0 : textCharsUpTo(tail, enough));
    this.#measured = { bytes: this.totalBytes, enough, chars };
    return chars;
  }

  /** The last line that says anything, for progress. */
  lastLine(): string {
    const lines = new TextDecoder().decode(withoutPartialStart(this.#last)).split(/[\r\n]+/);
    return shown(lines.findLast((line) => line.trim() !== '')?.trim() ?? '');
  }

  /**
   * Makes sure that the whole output is in a file.
   *
   * @returns its path and whether its end is missing; null where there is none, see `fileError`
   */
  keepWhole(): { readonly path: string; readonly truncated: boolean } | null {
    this.#ensureFile();
    return this.#file === null ? null : { path: this.#file.path, truncated: this.#file.truncated };
  }

  close(): void {
    this.#fileTried = true;
    this.#file?.close();
    this.#file = null;
  }

  /** The file would hold a part of the output that nobody can tell from the whole: it goes. */
  discardFile(): void {
    this.#fileTried = true;
    this.#file?.remove();
    this.#file = null;
  }

  #ensureFile(): void {
    if (this.#fileTried) return;
    this.#fileTried = true;
    try {
      this.#file = this.#openFile();
    } catch (error) {
      this.#fileError = messageOf(error);
    }
    this.#write(this.#kept.parts().head);
  }

  #write(bytes: Uint8Array): void {
    if (this.#fileError !== null) return;
    try {
      this.#file?.write(bytes);
    } catch (error) {
      // The command goes on: its result says that the file is not whole.
      this.#fileError = messageOf(error);
    }
  }
}

const CONTINUATION_BYTES_MAX = 3;

/** Skips the continuation bytes (10xxxxxx, RFC 3629) of a character whose start is missing. */
function withoutPartialStart(bytes: Uint8Array): Uint8Array {
  let from = 0;
  while (from < CONTINUATION_BYTES_MAX && ((bytes[from] ?? 0) & 0xc0) === 0x80) from += 1;
  return bytes.subarray(from);
}
