import type { Readable } from 'node:stream';
import { KIB } from '../../base/units.ts';

/** A longer line than any argument that a command line takes: what is beyond is dropped, and that job is refused. */
export const ARGUMENT_CHARS_MAX = 128 * KIB;

/** The lines of a stream as they come; it is read no faster than they are asked for. A carriage return before a newline is dropped. */
export async function* linesOf(stream: Readable): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of stream) {
    const text = rest + (typeof chunk === 'string' ? chunk : decoder.decode(chunk as Uint8Array, { stream: true }));
    let from = 0;
    for (let to = text.indexOf('\n'); to >= 0; to = text.indexOf('\n', from)) {
      yield lineOf(text.slice(from, to));
      from = to + 1;
    }
    rest = text.slice(from, from + ARGUMENT_CHARS_MAX + 1);
  }
  rest += decoder.decode();
  if (rest !== '') yield lineOf(rest);
}

const lineOf = (text: string): string =>
  (text.endsWith('\r') ? text.slice(0, -1) : text).slice(0, ARGUMENT_CHARS_MAX + 1);

/** Replaces `{}`; without one the argument is added at the end. In a shell line it is quoted, in an argv it is not. */
export function substitute(command: readonly string[], arg: string): string[] {
  const [line, ...rest] = command;
  if (line !== undefined && rest.length === 0) {
    const quoted = quote(arg);
    return [line.includes('{}') ? line.replaceAll('{}', () => quoted) : `${line} ${quoted}`];
  }
  return command.some((word) => word.includes('{}'))
    ? command.map((word) => word.replaceAll('{}', () => arg))
    : [...command, arg];
}

/** The words of a job as one line, for the joblog and for history: a shell line as it is, an argv quoted for a shell. */
export function commandText(words: readonly string[]): string {
  const [line, ...rest] = words;
  return line !== undefined && rest.length === 0 ? line : words.map(quote).join(' ');
}

/** One word for a POSIX shell (XCU 2.2.2). */
const quote = (text: string): string =>
  /^[A-Za-z0-9_./:@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
