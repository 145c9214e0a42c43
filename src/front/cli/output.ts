import { writeSync } from 'node:fs';
import { escapeControls } from '../../base/escape.ts';
import { HeadTail } from '../../base/head-tail.ts';
import { MIB } from '../../base/units.ts';
import type { RunObject } from '../../node/api-types.ts';

/** How much of each stream `--json` holds; beyond it head and tail are kept and `truncated` is set. */
const JSON_HEAD_BYTES_MAX = 12 * MIB;
const JSON_TAIL_BYTES_MAX = 4 * MIB;

/** Writes with the stream's own backpressure. Rejects where the reader is gone (EPIPE). */
export function writeTo(stream: NodeJS.WriteStream, bytes: Uint8Array): void | Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(bytes, (error) => (error === null || error === undefined ? resolve() : reject(error)));
  });
}

/** Prints a person's text. @returns false where nobody reads it any more */
export function printLine(text: string): boolean {
  return writeWhole(1, `${text}\n`);
}

/** Prints as it is, such as a help text. */
export function printText(text: string): void {
  writeWhole(1, text);
}

/** Prints the one JSON document of `--json`, or a line of JSON Lines with an indent of 0. */
export function printJson(document: unknown, indent = 2): boolean {
  return printLine(jsonText(document, indent));
}

/** What JSON need not escape and a terminal may obey: DEL, C1 (U+009B is CSI), separators, bidirectional controls. */
const TERMINAL_CONTROLS = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** JSON of the same meaning that does nothing to the terminal it may be shown on: parts come from other nodes. */
export function jsonText(document: unknown, indent: number): string {
  const escaped = (char: string): string => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(document, null, indent).replaceAll(TERMINAL_CONTROLS, escaped);
}

export function printError(text: string): void {
  // Parts of it may come from another node.
  writeWhole(2, `meshwork: ${escapeControls(text, '\n\t')}\n`);
}

/** Synchronous, so that nothing is lost when the process ends right after; a pipe that is full is waited for. @returns false where its reader is gone */
function writeWhole(fd: number, text: string): boolean {
  let rest: Uint8Array = Buffer.from(text, 'utf8');
  while (rest.byteLength > 0) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : '';
      if (code === 'EAGAIN') {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
        continue;
      }
      if (code === 'EPIPE') return false;
      throw error;
    }
  }
  return true;
}

/** Collects one stream for `--json`, in bounded memory. */
export class JsonOutput {
  readonly #kept = new HeadTail(JSON_HEAD_BYTES_MAX, JSON_TAIL_BYTES_MAX);

  push(bytes: Uint8Array): void {
    this.#kept.push(bytes);
  }

  get droppedBytes(): number {
    return this.#kept.droppedBytes;
  }

  /** UTF-8, with U+FFFD for what is not, and a line that says what was left out. */
  text(): string {
    const { head, tail } = this.#kept.parts();
    const decoder = new TextDecoder();
    if (this.#kept.droppedBytes === 0) return decoder.decode(head);
    return `${decoder.decode(head)}\n[... ${this.#kept.droppedBytes} bytes left out ...]\n${decoder.decode(tail)}`;
  }
}

/** Puts the collected output into the run object; the key order of the contract is kept. */
export function withOutput(result: RunObject, stdout: JsonOutput, stderr: JsonOutput): RunObject {
  const dropped = stdout.droppedBytes + stderr.droppedBytes > 0;
  return { ...result, stdout: stdout.text(), stderr: stderr.text(), truncated: result.truncated || dropped };
}

/** The width of the terminal that stdout is; null where it is none, so that programs get all of every line, or says 0: unknown. */
export const terminalColumns = (): number | null => (process.stdout.isTTY && process.stdout.columns) || null;

export const colourWanted = (): boolean => process.stdout.isTTY && (process.env['NO_COLOR'] ?? '') === '';
export const stderrColourWanted = (): boolean => process.stderr.isTTY && (process.env['NO_COLOR'] ?? '') === '';
