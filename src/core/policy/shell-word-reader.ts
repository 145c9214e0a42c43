import {
  append,
  arithmeticEnd,
  atEnd,
  deeper,
  isMeta,
  look,
  lookingAt,
  nested,
  skipBlanks,
  type ShellCursor,
} from './shell-cursor.ts';
import type { ShellNode, ShellWord } from './shell-tree.ts';

/** A word while it is being read. */
interface Draft {
  readonly parts: string[];
  dynamic: boolean;
  quoted: boolean;
  readonly substitutions: ShellNode[];
}

const newDraft = (): Draft => ({ parts: [], dynamic: false, quoted: false, substitutions: [] });

function finish(draft: Draft): ShellWord {
  return {
    text: draft.parts.join(''),
    dynamic: draft.dynamic,
    quoted: draft.quoted,
    substitutions: draft.substitutions,
  };
}

/** Reads one word at the cursor, which must not be at a blank or operator other than `<(` and `>(`. */
export function readWord(cursor: ShellCursor): ShellWord {
  const draft = newDraft();
  while (!atEnd(cursor)) {
    const char = look(cursor);
    if ((char === '<' || char === '>') && look(cursor, 1) === '(') readCommands(cursor, draft, 2);
    else if (isMeta(char)) break;
    else readPart(cursor, draft, char);
  }
  return finish(draft);
}

/** Reads the words of `a=(…)`; the cursor is at its `(`. */
export function readArray(cursor: ShellCursor): ShellWord {
  const draft = newDraft();
  cursor.at += 1;
  for (;;) {
    skipBlanks(cursor);
    if (atEnd(cursor)) {
      cursor.flags.incomplete = true;
      break;
    }
    if (look(cursor) === ')') {
      cursor.at += 1;
      break;
    }
    if (isMeta(look(cursor))) {
      cursor.at += 1;
      continue;
    }
    const word = readWord(cursor);
    draft.parts.push(draft.parts.length === 0 ? word.text : ` ${word.text}`);
    draft.dynamic ||= word.dynamic;
    append(draft.substitutions, word.substitutions);
  }
  return finish(draft);
}

/** Reads text in which only expansions count, as in a here-doc whose delimiter is not quoted, to its end. */
export function readExpansions(cursor: ShellCursor): readonly ShellNode[] {
  const draft = newDraft();
  readExpansionsUntil(cursor, draft, cursor.text.length);
  return draft.substitutions;
}

/** Steps over the arithmetic that ends at `end` (the index of its `))`); the cursor is just after `((`. */
export function readArithmetic(cursor: ShellCursor, end: number): readonly ShellNode[] {
  const draft = newDraft();
  readExpansionsUntil(cursor, draft, end);
  cursor.at = Math.max(cursor.at, end + 2);
  return draft.substitutions;
}

function readExpansionsUntil(cursor: ShellCursor, draft: Draft, end: number): void {
  while (cursor.at < end) {
    const char = look(cursor);
    if (char === '$') readDollar(cursor, draft, true);
    else if (char === '`') readBackticks(cursor, draft);
    else cursor.at += char === '\\' ? 2 : 1;
  }
}

function readPart(cursor: ShellCursor, draft: Draft, char: string): void {
  switch (char) {
    case '\\':
      if (look(cursor, 1) !== '\n') {
        draft.quoted = true;
        draft.parts.push(look(cursor, 1));
      }
      cursor.at += 2;
      return;
    case "'":
      return readSingleQuotes(cursor, draft);
    case '"':
      cursor.at += 1;
      return readDoubleQuotes(cursor, draft);
    case '$':
      return readDollar(cursor, draft, false);
    case '`':
      return readBackticks(cursor, draft);
    default:
      return readPlain(cursor, draft);
  }
}

const PLAIN = /[^\\'"$`\s;&|<>()*?[{]+/y;

function readPlain(cursor: ShellCursor, draft: Draft): void {
  PLAIN.lastIndex = cursor.at;
  const run = PLAIN.exec(cursor.text)?.[0];
  if (run !== undefined) {
    draft.parts.push(run);
    cursor.at += run.length;
    return;
  }
  const char = look(cursor);
  const first = draft.parts.length === 0;
  if (char === '*' || char === '?') draft.dynamic = true;
  // `[` and `[[` are commands, `{` and `{}` are a reserved word and find's placeholder; within a word they are patterns.
  else if (char === '[' && !(first && isMeta(look(cursor, lookingAt(cursor, '[[') ? 2 : 1)))) draft.dynamic = true;
  else if (char === '{' && isBraceList(cursor)) draft.dynamic = true;
  draft.parts.push(char);
  cursor.at += 1;
}

const BRACE_LIST = /\{[^\s;&|<>(){}]{0,256}(?:,|\.\.)/y;

function isBraceList(cursor: ShellCursor): boolean {
  BRACE_LIST.lastIndex = cursor.at;
  return BRACE_LIST.test(cursor.text);
}

function readSingleQuotes(cursor: ShellCursor, draft: Draft): void {
  draft.quoted = true;
  const end = cursor.text.indexOf("'", cursor.at + 1);
  if (end < 0) cursor.flags.incomplete = true;
  const stop = end < 0 ? cursor.text.length : end;
  draft.parts.push(cursor.text.slice(cursor.at + 1, stop));
  cursor.at = stop + 1;
}

const DOUBLE_QUOTED_RUN = /[^\\"$`]+/y;

/** The cursor is just after the opening quote. POSIX 2.2.3. */
function readDoubleQuotes(cursor: ShellCursor, draft: Draft): void {
  draft.quoted = true;
  while (!atEnd(cursor)) {
    const char = look(cursor);
    if (char === '"') {
      cursor.at += 1;
      return;
    }
    if (char === '$') readDollar(cursor, draft, true);
    else if (char === '`') readBackticks(cursor, draft);
    else if (char === '\\') {
      const next = look(cursor, 1);
      if (next !== '\n') draft.parts.push('$`"\\'.includes(next) ? next : `\\${next}`);
      cursor.at += 2;
    } else {
      DOUBLE_QUOTED_RUN.lastIndex = cursor.at;
      const run = DOUBLE_QUOTED_RUN.exec(cursor.text)?.[0] ?? char;
      draft.parts.push(run);
      cursor.at += run.length;
    }
  }
  cursor.flags.incomplete = true;
}

const VARIABLE = /\$(?:[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-])/y;

function readDollar(cursor: ShellCursor, draft: Draft, inQuotes: boolean): void {
  const next = look(cursor, 1);
  if (next === '(') return readParenthesised(cursor, draft);
  if (next === '{') return readBraced(cursor, draft);
  if (!inQuotes && next === "'") return readAnsiC(cursor, draft);
  if (!inQuotes && next === '"') {
    cursor.at += 2;
    return readDoubleQuotes(cursor, draft);
  }
  VARIABLE.lastIndex = cursor.at;
  const variable = VARIABLE.exec(cursor.text)?.[0];
  if (variable !== undefined) draft.dynamic = true;
  draft.parts.push(variable ?? '$');
  cursor.at += variable?.length ?? 1;
}

function readParenthesised(cursor: ShellCursor, draft: Draft): void {
  const start = cursor.at;
  const end = lookingAt(cursor, '$((') ? arithmeticEnd(cursor.text, cursor.at + 3) : -1;
  if (end < 0) return readCommands(cursor, draft, 2);
  draft.dynamic = true;
  const inner = deeper(cursor);
  if (inner === null) return;
  inner.at += 3;
  append(draft.substitutions, readArithmetic(inner, end));
  cursor.at = inner.at;
  draft.parts.push(cursor.text.slice(start, cursor.at));
}

/** `$(…)`, `<(…)` or `>(…)`, whose opening is `opening` characters long. */
function readCommands(cursor: ShellCursor, draft: Draft, opening: number): void {
  draft.dynamic = true;
  draft.parts.push(cursor.text.slice(cursor.at, cursor.at + opening), '…)');
  const inner = deeper(cursor);
  if (inner === null) return;
  inner.at += opening;
  append(draft.substitutions, inner.commands(inner, ')'));
  cursor.at = inner.at;
}

/** `${…}`: a parameter, perhaps with a word that is expanded in turn. The cursor is at the `$`. */
function readBraced(cursor: ShellCursor, draft: Draft): void {
  draft.dynamic = true;
  const start = cursor.at;
  const inner = deeper(cursor);
  if (inner === null) return;
  const ignored: Draft = { ...newDraft(), substitutions: draft.substitutions };
  inner.at += 2;
  for (;;) {
    const char = look(inner);
    if (char === '') {
      cursor.flags.incomplete = true;
      break;
    }
    if (char === '}') {
      inner.at += 1;
      break;
    }
    if (char === '\\') inner.at += 2;
    else if (char === '"') {
      inner.at += 1;
      readDoubleQuotes(inner, ignored);
    } else if (char === "'" && inner.text.includes("'", inner.at + 1)) readSingleQuotes(inner, ignored);
    else if (char === '$') readDollar(inner, ignored, true);
    else if (char === '`') readBackticks(inner, ignored);
    else inner.at += 1;
  }
  cursor.at = inner.at;
  draft.parts.push(cursor.text.slice(start, cursor.at));
}

const BACKTICKED = /`((?:[^`\\]|\\[\s\S])*)(`?)/y;

function readBackticks(cursor: ShellCursor, draft: Draft): void {
  draft.dynamic = true;
  BACKTICKED.lastIndex = cursor.at;
  const match = BACKTICKED.exec(cursor.text);
  const body = match?.[1] ?? '';
  if (match?.[2] !== '`') cursor.flags.incomplete = true;
  draft.parts.push('`…`');
  const inner = nested(cursor, body.replace(/\\([`$\\])/g, '$1'));
  cursor.at += Math.max(1, match?.[0].length ?? 1);
  if (inner !== null) append(draft.substitutions, inner.commands(inner, null));
}

const ANSI_C = /\$'((?:[^'\\]|\\[\s\S])*)('?)/y;
const ANSI_C_ESCAPE = /\\(?:x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|([0-7]{1,3})|([\s\S]))/g;
const ANSI_C_LETTERS: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', a: '\u0007', e: '\u001B' };

/** `$'…'`: escapes of bash(1) QUOTING, decoded, since `$'\x67it'` is git. */
function readAnsiC(cursor: ShellCursor, draft: Draft): void {
  draft.quoted = true;
  ANSI_C.lastIndex = cursor.at;
  const match = ANSI_C.exec(cursor.text);
  if (match?.[2] !== "'") cursor.flags.incomplete = true;
  draft.parts.push(
    (match?.[1] ?? '').replace(ANSI_C_ESCAPE, (_, hex2, hex4, hex8, octal, letter) => {
      const code = hex2 ?? hex4 ?? hex8;
      if (typeof code === 'string') return String.fromCodePoint(Math.min(Number.parseInt(code, 16), 0x10_ffff));
      if (typeof octal === 'string') return String.fromCodePoint(Number.parseInt(octal, 8));
      return typeof letter === 'string' ? (ANSI_C_LETTERS[letter] ?? letter) : '';
    }),
  );
  cursor.at += Math.max(2, match?.[0].length ?? 2);
}
