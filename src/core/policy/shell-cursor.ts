import { SHELL_DEPTH_MAX, type ShellNode, type ShellWord } from './shell-tree.ts';

/** A here-doc whose text begins after the next newline. */
export interface PendingHereDoc {
  readonly delimiter: ShellWord;
  readonly stripTabs: boolean;
  fill(body: string, substitutions: readonly ShellNode[]): void;
}

/** A position in one text. Nested texts (backticks, here-docs) get a cursor of their own and report to the same `flags`. */
export interface ShellCursor {
  readonly text: string;
  at: number;
  readonly depth: number;
  readonly pending: PendingHereDoc[];
  readonly flags: { incomplete: boolean; unseen: boolean };
  /** Parses the commands of a nested text, up to `closer` where the text goes on after it. Given by the grammar. */
  readonly commands: (cursor: ShellCursor, closer: ')' | null) => readonly ShellNode[];
}

/** The same position one level deeper, or null (and everything left counts as unseen) where that is too deep. */
export function deeper(cursor: ShellCursor): ShellCursor | null {
  if (cursor.depth < SHELL_DEPTH_MAX) return { ...cursor, depth: cursor.depth + 1 };
  giveUp(cursor);
  return null;
}

function giveUp(cursor: ShellCursor): void {
  cursor.flags.incomplete = true;
  cursor.flags.unseen = true;
  cursor.at = cursor.text.length;
}

/** A cursor over another text, one level deeper; null where that is too deep. */
export function nested(cursor: ShellCursor, text: string): ShellCursor | null {
  const inner = deeper(cursor);
  return inner === null ? null : { ...inner, text, at: 0, pending: [] };
}

export const atEnd = (cursor: ShellCursor): boolean => cursor.at >= cursor.text.length;
export const look = (cursor: ShellCursor, ahead = 0): string => cursor.text[cursor.at + ahead] ?? '';
export const lookingAt = (cursor: ShellCursor, text: string): boolean => cursor.text.startsWith(text, cursor.at);

/** Characters that end a word unless quoted: POSIX 2.2, plus blanks. */
export const isMeta = (char: string): boolean => char === '' || ' \t\r\n;&|<>()'.includes(char);

export function skipBlanks(cursor: ShellCursor): void {
  for (;;) {
    const char = look(cursor);
    if (char === ' ' || char === '\t' || char === '\r') cursor.at += 1;
    else if (char === '\\' && look(cursor, 1) === '\n') cursor.at += 2;
    else if (char === '#') skipComment(cursor);
    else return;
  }
}

function skipComment(cursor: ShellCursor): void {
  const end = cursor.text.indexOf('\n', cursor.at);
  cursor.at = end < 0 ? cursor.text.length : end;
}

/**
 * Where the arithmetic that begins at `from` (just after `((`) ends, as the index of its `))`; -1 where the parentheses
 * close apart, which makes it a subshell within a subshell or substitution instead.
 */
export function arithmeticEnd(text: string, from: number): number {
  let open = 0;
  for (let at = from; at < text.length; at++) {
    const char = text[at];
    if (char === '\\') at += 1;
    else if (char === "'" || char === '"') {
      const end = text.indexOf(char, at + 1);
      if (end < 0) return -1;
      at = end;
    } else if (char === '(') open += 1;
    else if (char === ')') {
      if (open === 0) return text[at + 1] === ')' ? at : -1;
      open -= 1;
    }
  }
  return -1;
}

/** Appends without spreading: a line may hold more commands than a call takes arguments. */
export function append<T>(into: T[], items: readonly T[]): void {
  for (const item of items) into.push(item);
}
