import { atEnd, isMeta, look, nested, skipBlanks, type ShellCursor } from './shell-cursor.ts';
import type { ShellRedirection } from './shell-tree.ts';
import { readExpansions, readWord } from './shell-word-reader.ts';

const REDIRECTION = /(?:[0-9]+|\{[A-Za-z_][A-Za-z0-9_]*\})?(<<<|<<-|<<|<>|<&|<(?!\()|>>|>&|>\||>(?!\()|&>>|&>)/y;

/** Reads one redirection where there is one. POSIX 2.7; here-docs 2.7.4. */
export function readRedirection(cursor: ShellCursor, into: ShellRedirection[]): boolean {
  REDIRECTION.lastIndex = cursor.at;
  const match = REDIRECTION.exec(cursor.text);
  if (match === null) return false;
  const operator = match[1] ?? '';
  cursor.at += match[0].length;
  skipBlanks(cursor);
  const start = look(cursor);
  if (isMeta(start) && !((start === '<' || start === '>') && look(cursor, 1) === '(')) {
    cursor.flags.incomplete = true;
    return true;
  }
  const target = readWord(cursor);
  if (operator === '<<' || operator === '<<-') {
    const slot = into.length;
    into.push({ operator, target, body: '', substitutions: [] });
    cursor.pending.push({
      delimiter: target,
      stripTabs: operator === '<<-',
      fill: (body, substitutions) => {
        into[slot] = { operator, target, body, substitutions };
      },
    });
  } else into.push({ operator, target, body: operator === '<<<' ? target.text : null, substitutions: [] });
  return true;
}

/** Steps over blanks, comments and newlines. */
export function skipBreaks(cursor: ShellCursor): void {
  for (;;) {
    skipBlanks(cursor);
    if (look(cursor) !== '\n') return;
    takeNewline(cursor);
  }
}

/** Steps over a newline and over the here-docs that begin after it. */
export function takeNewline(cursor: ShellCursor): void {
  cursor.at += 1;
  for (const doc of cursor.pending.splice(0)) {
    const lines: string[] = [];
    for (;;) {
      if (atEnd(cursor)) {
        cursor.flags.incomplete = true;
        break;
      }
      const newline = cursor.text.indexOf('\n', cursor.at);
      const end = newline < 0 ? cursor.text.length : newline;
      const raw = cursor.text.slice(cursor.at, end);
      cursor.at = end + 1;
      const line = doc.stripTabs ? raw.replace(/^\t+/, '') : raw;
      if (line === doc.delimiter.text) break;
      lines.push(line);
    }
    const body = lines.join('\n');
    const inner = doc.delimiter.quoted ? null : nested(cursor, body);
    doc.fill(body, inner === null ? [] : readExpansions(inner));
  }
}
