import {
  append,
  arithmeticEnd,
  atEnd,
  deeper,
  isMeta,
  look,
  lookingAt,
  skipBlanks,
  type ShellCursor,
} from './shell-cursor.ts';
import type {
  ShellAssignment,
  ShellGroupForm,
  ShellLine,
  ShellNode,
  ShellRedirection,
  ShellWord,
} from './shell-tree.ts';
import { readRedirection, skipBreaks, takeNewline } from './shell-redirection.ts';
import { readArithmetic, readArray, readWord } from './shell-word-reader.ts';

/**
 * Parses a shell line (several lines, too) into the commands it holds. Never throws and takes time linear in the text:
 * each level of nesting reads its part at most once more, and SHELL_DEPTH_MAX bounds the levels.
 *
 * Grammar: POSIX.1-2017 2.10 and bash(1), read leniently: what a shell would refuse gives what could be found and the
 * flag `incomplete`. Aliases and `extglob` are not known.
 */
export function parseShellLine(text: string): ShellLine {
  const flags = { incomplete: false, unseen: false };
  const commands: ShellCursor['commands'] = (cursor, closer) => readList(cursor, NO_STOPS, closer);
  const cursor: ShellCursor = { text, at: 0, depth: 0, pending: [], flags, commands };
  const nodes = readList(cursor, NO_STOPS, null);
  if (cursor.pending.length > 0) flags.incomplete = true;
  return { nodes, ...flags };
}

/**
 * The words of a line that is one command and nothing more: no operator, redirection, comment, reserved word,
 * assignment, newline, nor any expansion. Null for every other line.
 */
export function plainWords(text: string): readonly ShellWord[] | null {
  const flags = { incomplete: false, unseen: false };
  const cursor: ShellCursor = { text, at: 0, depth: 0, pending: [], flags, commands: () => [] };
  const words: ShellWord[] = [];
  for (;;) {
    while (look(cursor) === ' ' || look(cursor) === '\t') cursor.at += 1;
    if (atEnd(cursor)) break;
    const first = look(cursor);
    ASSIGNMENT.lastIndex = cursor.at;
    if (isMeta(first) || first === '#' || first === '~') return null;
    if (words.length === 0 && (peekReserved(cursor) !== '' || ASSIGNMENT.test(text))) return null;
    const word = readWord(cursor);
    if (word.dynamic || word.substitutions.length > 0) return null;
    words.push(word);
  }
  return flags.incomplete || words.length === 0 ? null : words;
}

type Stops = ReadonlySet<string>;
const NO_STOPS: Stops = new Set();
const stops = (...words: string[]): Stops => new Set(words);

/** Reserved words count only where a command may begin. */
const RESERVED =
  /(?:if|then|elif|else|fi|for|select|while|until|do|done|case|esac|function|coproc|time|\{|\}|!|\[\[)(?=[\s;&|<>()]|$)/y;

function peekReserved(cursor: ShellCursor): string {
  RESERVED.lastIndex = cursor.at;
  return RESERVED.exec(cursor.text)?.[0] ?? '';
}

function takeReserved(cursor: ShellCursor, word: string): boolean {
  skipBreaks(cursor);
  if (peekReserved(cursor) !== word) return false;
  cursor.at += word.length;
  return true;
}

const SEPARATOR = /&&|\|\||\|&|\||;|&(?!>)/y;

/** Reads commands up to a stop word (left unread), the closer (taken), `;;` within a case (left unread) or the end. */
function readList(cursor: ShellCursor, stopWords: Stops, closer: ')' | null): ShellNode[] {
  const nodes: ShellNode[] = [];
  let piped = false;
  for (;;) {
    skipBlanks(cursor);
    if (atEnd(cursor)) {
      if (closer !== null) cursor.flags.incomplete = true;
      return nodes;
    }
    if (look(cursor) === '\n') {
      takeNewline(cursor);
      continue;
    }
    if (look(cursor) === ')') {
      cursor.at += 1;
      if (closer !== null) return nodes;
      cursor.flags.incomplete = true;
      continue;
    }
    if (lookingAt(cursor, ';;') || lookingAt(cursor, ';&')) {
      if (stopWords.has('esac')) return nodes;
      cursor.flags.incomplete = true;
      cursor.at += 2;
      continue;
    }
    SEPARATOR.lastIndex = cursor.at;
    const separator = SEPARATOR.exec(cursor.text)?.[0];
    if (separator !== undefined) {
      cursor.at += separator.length;
      piped = separator === '|' || separator === '|&';
      continue;
    }
    const reserved = peekReserved(cursor);
    if (stopWords.has(reserved)) return nodes;
    readCommand(cursor, reserved, piped, nodes);
    piped = false;
  }
}

const CLOSING_WORDS = stops('then', 'elif', 'else', 'fi', 'do', 'done', 'esac', '}');

/** Reads one command into `into`. It always moves the cursor on, so that the list cannot stand still. */
function readCommand(cursor: ShellCursor, reserved: string, piped: boolean, into: ShellNode[]): void {
  if (CLOSING_WORDS.has(reserved)) {
    cursor.flags.incomplete = true;
    cursor.at += reserved.length;
    return;
  }
  if (reserved === '!' || reserved === 'coproc' || (reserved === 'time' && isTimeKeyword(cursor))) {
    cursor.at += reserved.length;
    TIME_OPTION.lastIndex = cursor.at;
    if (reserved === 'time') cursor.at += TIME_OPTION.exec(cursor.text)?.[0].length ?? 0;
    skipBlanks(cursor);
    const next = peekReserved(cursor);
    if (!CLOSING_WORDS.has(next) && (look(cursor) === '(' || !isMeta(look(cursor)))) {
      readPrefixed(cursor, next, piped, into);
    }
    return;
  }
  if (reserved === 'function') return readFunctionKeyword(cursor, into);
  if (look(cursor) === '(' || (reserved !== '' && reserved !== 'time')) {
    const outer = cursor;
    const inner = deeper(outer);
    if (inner === null) return;
    into.push(readGroup(inner, reserved, piped));
    outer.at = inner.at;
    return;
  }
  readSimple(cursor, piped, into);
}

/** `! ! ! …` nests: counted like any other nesting. */
function readPrefixed(cursor: ShellCursor, reserved: string, piped: boolean, into: ShellNode[]): void {
  const inner = deeper(cursor);
  if (inner === null) return;
  readCommand(inner, reserved, piped, into);
  cursor.at = inner.at;
}

const TIME_OPTION = /[ \t]+(?:-p|--)(?=\s)/y;
const TIME_PROGRAM = /time[ \t]+-(?!(?:p|-)\s)/y;

/** bash: `time` followed by an option other than -p is the program, not the keyword. */
function isTimeKeyword(cursor: ShellCursor): boolean {
  TIME_PROGRAM.lastIndex = cursor.at;
  return !TIME_PROGRAM.test(cursor.text);
}

function readGroup(cursor: ShellCursor, reserved: string, piped: boolean): ShellNode {
  const words: ShellWord[] = [];
  const body: ShellNode[] = [];
  const form = readGroupBody(cursor, reserved, words, body);
  const redirections: ShellRedirection[] = [];
  skipBlanks(cursor);
  while (readRedirection(cursor, redirections)) skipBlanks(cursor);
  return { kind: 'group', form, words, body, redirections, piped };
}

function readGroupBody(cursor: ShellCursor, reserved: string, words: ShellWord[], body: ShellNode[]): ShellGroupForm {
  switch (reserved) {
    case 'if':
      readBetween(cursor, 'if', ['then', 'elif', 'else'], 'fi', body);
      return 'if';
    case 'while':
    case 'until':
      readBetween(cursor, reserved, ['do'], 'done', body);
      return 'loop';
    case 'for':
    case 'select':
      readFor(cursor, reserved, words, body);
      return 'loop';
    case 'case':
      readCase(cursor, words, body);
      return 'case';
    case '{':
      readBetween(cursor, '{', [], '}', body);
      return 'brace';
    case '[[':
      readTest(cursor, words);
      return 'test';
    default:
      return readParentheses(cursor, body);
  }
}

function readParentheses(cursor: ShellCursor, body: ShellNode[]): ShellGroupForm {
  const end = lookingAt(cursor, '((') ? arithmeticEnd(cursor.text, cursor.at + 2) : -1;
  if (end < 0) {
    cursor.at += 1;
    append(body, readList(cursor, NO_STOPS, ')'));
    return 'subshell';
  }
  cursor.at += 2;
  append(body, readArithmetic(cursor, end));
  return 'arithmetic';
}

/** Reads lists separated by the words `between` up to the word `last`. */
function readBetween(
  cursor: ShellCursor,
  first: string,
  between: readonly string[],
  last: string,
  body: ShellNode[],
): void {
  cursor.at += first.length;
  const stopWords = stops(...between, last);
  for (;;) {
    append(body, readList(cursor, stopWords, null));
    if (takeReserved(cursor, last)) return;
    if (!between.some((word) => takeReserved(cursor, word))) {
      cursor.flags.incomplete = true;
      return;
    }
  }
}

function readFor(cursor: ShellCursor, keyword: string, words: ShellWord[], body: ShellNode[]): void {
  cursor.at += keyword.length;
  skipBlanks(cursor);
  const end = lookingAt(cursor, '((') ? arithmeticEnd(cursor.text, cursor.at + 2) : -1;
  if (end >= 0) {
    cursor.at += 2;
    append(body, readArithmetic(cursor, end));
  } else {
    // The name, then `in` and the list: all of them are data.
    while (!isMeta(look(cursor)) && !LOOP_START.has(peekReserved(cursor))) {
      words.push(readWord(cursor));
      skipBlanks(cursor);
    }
  }
  skipBlanks(cursor);
  if (look(cursor) === ';') cursor.at += 1;
  if (takeReserved(cursor, 'do')) readBetween(cursor, '', [], 'done', body);
  else if (takeReserved(cursor, '{')) readBetween(cursor, '', [], '}', body);
  else if (words.length > 0 && !atEnd(cursor) && takeInList(cursor, words)) readLoopBody(cursor, body);
  else cursor.flags.incomplete = true;
}

const LOOP_START = stops('do', '{');

/** `for x` newline `in a b`: the list may begin on a later line. */
function takeInList(cursor: ShellCursor, words: ShellWord[]): boolean {
  if (!/^in\s/.test(cursor.text.slice(cursor.at, cursor.at + 3))) return false;
  while (!isMeta(look(cursor))) {
    words.push(readWord(cursor));
    skipBlanks(cursor);
  }
  if (look(cursor) === ';') cursor.at += 1;
  return true;
}

function readLoopBody(cursor: ShellCursor, body: ShellNode[]): void {
  if (takeReserved(cursor, 'do')) readBetween(cursor, '', [], 'done', body);
  else cursor.flags.incomplete = true;
}

function readCase(cursor: ShellCursor, words: ShellWord[], body: ShellNode[]): void {
  cursor.at += 'case'.length;
  skipBreaks(cursor);
  if (!isMeta(look(cursor))) words.push(readWord(cursor));
  skipBreaks(cursor);
  if (/^in\s/.test(`${cursor.text.slice(cursor.at, cursor.at + 3)} `)) cursor.at += 2;
  else cursor.flags.incomplete = true;
  for (;;) {
    if (takeReserved(cursor, 'esac')) return;
    if (atEnd(cursor)) {
      cursor.flags.incomplete = true;
      return;
    }
    readCasePattern(cursor, words);
    append(body, readList(cursor, stops('esac'), null));
    CASE_BREAK.lastIndex = cursor.at;
    cursor.at += CASE_BREAK.exec(cursor.text)?.[0].length ?? 0;
  }
}

const CASE_BREAK = /;;&|;;|;&/y;

function readCasePattern(cursor: ShellCursor, words: ShellWord[]): void {
  if (look(cursor) === '(') cursor.at += 1;
  for (;;) {
    skipBlanks(cursor);
    const char = look(cursor);
    if (char === ')' || char === '' || char === '\n') break;
    if (isMeta(char)) cursor.at += 1;
    else words.push(readWord(cursor));
  }
  if (look(cursor) === ')') cursor.at += 1;
  else cursor.flags.incomplete = true;
}

/** `[[ … ]]`: `<`, `>`, `(`, `)`, `&&` and `||` are operators of the test. */
function readTest(cursor: ShellCursor, words: ShellWord[]): void {
  cursor.at += '[['.length;
  for (;;) {
    skipBreaks(cursor);
    if (atEnd(cursor)) {
      cursor.flags.incomplete = true;
      return;
    }
    if (isMeta(look(cursor)) && look(cursor, 1) !== '(') cursor.at += 1;
    else {
      const before = cursor.at;
      const word = readWord(cursor);
      if (cursor.at === before) cursor.at += 1;
      else if (word.text === ']]' && !word.quoted) return;
      else words.push(word);
    }
  }
}

function readFunctionKeyword(cursor: ShellCursor, into: ShellNode[]): void {
  cursor.at += 'function'.length;
  skipBlanks(cursor);
  const name = isMeta(look(cursor)) ? '' : readWord(cursor).text;
  skipBlanks(cursor);
  EMPTY_PARENTHESES.lastIndex = cursor.at;
  cursor.at += EMPTY_PARENTHESES.exec(cursor.text)?.[0].length ?? 0;
  readFunctionBody(cursor, name, into);
}

const EMPTY_PARENTHESES = /\([ \t]*\)/y;

function readFunctionBody(cursor: ShellCursor, name: string, into: ShellNode[]): void {
  skipBreaks(cursor);
  const body: ShellNode[] = [];
  const inner = deeper(cursor);
  if (inner === null) return;
  if (look(inner) === '(' || !isMeta(look(inner))) readCommand(inner, peekReserved(inner), false, body);
  else inner.flags.incomplete = true;
  cursor.at = inner.at;
  into.push({ kind: 'function', name, body });
}

const ASSIGNMENT = /([A-Za-z_][A-Za-z0-9_]*)(?:\[[^\]\s]{0,256}\])?\+?=/y;

function readSimple(cursor: ShellCursor, piped: boolean, into: ShellNode[]): void {
  const assignments: ShellAssignment[] = [];
  const words: ShellWord[] = [];
  const redirections: ShellRedirection[] = [];
  for (;;) {
    skipBlanks(cursor);
    if (readRedirection(cursor, redirections)) continue;
    const char = look(cursor);
    if (char === '(' && words.length === 1 && assignments.length === 0) {
      EMPTY_PARENTHESES.lastIndex = cursor.at;
      const empty = EMPTY_PARENTHESES.exec(cursor.text)?.[0];
      if (empty !== undefined) {
        cursor.at += empty.length;
        return readFunctionBody(cursor, words[0]?.text ?? '', into);
      }
    }
    if (isMeta(char) && !((char === '<' || char === '>') && look(cursor, 1) === '(')) break;
    ASSIGNMENT.lastIndex = cursor.at;
    const assigned = ASSIGNMENT.exec(cursor.text);
    if (assigned !== null && cursor.text[ASSIGNMENT.lastIndex] === '(') {
      cursor.at += assigned[0].length;
      assignments.push({ name: assigned[1] ?? '', value: readArray(cursor) });
    } else if (assigned !== null && words.length === 0) {
      cursor.at += assigned[0].length;
      assignments.push({ name: assigned[1] ?? '', value: readWord(cursor) });
    } else words.push(readWord(cursor));
  }
  if (look(cursor) === '(') {
    // `echo (x)` is an error in every shell; what is within is read as a list of its own.
    cursor.flags.incomplete = true;
  }
  into.push({ kind: 'simple', assignments, words, redirections, piped });
}
