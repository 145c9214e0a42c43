import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SHELL_DEPTH_MAX, type ShellNode, type ShellWord } from '../../../../src/core/policy/shell-tree.ts';
import { parseShellLine, plainWords } from '../../../../src/core/policy/shell-words.ts';

/** Far above what linear work takes on a busy machine (tens of ms), far below quadratic (minutes). */
const LINEAR_MS_MAX = 15_000;

/** A tree as short text: `[a b]` a command, `~` a dynamic word, `(form …)` a group, `{…}` substitutions. */
function show(nodes: readonly ShellNode[]): string {
  return nodes.map(showNode).join(' ');
}

function showNode(node: ShellNode): string {
  switch (node.kind) {
    case 'simple': {
      const assignments = node.assignments.map(({ name, value }) => `${name}=${showWord(value)}`);
      const redirections = node.redirections.map(
        ({ operator, target, body, substitutions }) =>
          `${operator}${showWord(target)}${body === null ? '' : `<${body}>`}${showSubstitutions(substitutions)}`,
      );
      return `${node.piped ? '|' : ''}[${[...assignments, ...node.words.map(showWord), ...redirections].join(' ')}]`;
    }
    case 'group':
      return `${node.piped ? '|' : ''}(${[node.form, ...node.words.map(showWord), show(node.body)].join(' ').trim()})`;
    case 'function':
      return `${node.name}() ${show(node.body)}`;
  }
}

const showSubstitutions = (nodes: readonly ShellNode[]): string => (nodes.length === 0 ? '' : `{${show(nodes)}}`);
const showWord = (word: ShellWord): string =>
  `${word.text}${word.dynamic ? '~' : ''}${showSubstitutions(word.substitutions)}`;

describe('a shell line', () => {
  it.each([
    ['git commit -m "fix build"', '[git commit -m fix build]'],
    ['cd x && FOO=1 make -j8 | tee log 2>&1', '[cd x] [FOO=1 make -j8] |[tee log >&1]'],
    ['a;b&c\nd||e', '[a] [b] [c] [d] [e]'],
    ['a "b\\"c" \'d"e\' f\\ g', '[a b"c d"e f g]'],
    ['a\\\nb c', '[ab c]'],
    ['echo "a\\$b" "\\n"', '[echo a$b \\n]'],
    ["$'\\x67it' $'a\\tb\\''", "[git a\tb']"],
    ["$'\\147\\u0069t'", '[git]'],
    ['echo $x ${y:-$(ls)} "$@"', '[echo $x~ ${y:-$(ls)}~{[ls]} $@~]'],
    ['echo $(a; b) `c \\`d\\``', '[echo $(…)~{[a] [b]} `…`~{[c `…`~{[d]}]}]'],
    ['diff <(a) >(b)', '[diff <(…)~{[a]} >(…)~{[b]}]'],
    ['echo $((1+(2*3))) $((x = $(ls)))', '[echo $((1+(2*3)))~ $((x = $(ls)))~{[ls]}]'],
    ['echo $((ls); (pwd))', '[echo $(…)~{(subshell [ls]) (subshell [pwd])}]'],
    ['((i++))', '(arithmetic)'],
    ['(a; b) > c', '(subshell [a] [b])'],
    ['{ a; b; } | c', '(brace [a] [b]) |[c]'],
    ['if a; then b; elif c; then d; else e; fi', '(if [a] [b] [c] [d] [e])'],
    ['while a; do b; done < c', '(loop [a] [b])'],
    ['until a\ndo\nb\ndone', '(loop [a] [b])'],
    ['for f in a b; do c "$f"; done', '(loop f in a b [c $f~])'],
    ['for f do a; done', '(loop f [a])'],
    ['for ((i=0; i<3; i++)); do a; done', '(loop [a])'],
    ['case $x in a|b) c;; (d) e ;& *) f; esac', '(case $x~ a b d *~ [c] [e] [f])'],
    ['case x in esac', '(case x)'],
    ['f() { a; }', 'f() (brace [a])'],
    ['function f { a; }; f', 'f() (brace [a]) [f]'],
    ['f()\n(\na\n)', 'f() (subshell [a])'],
    ['[[ -f a && ( $b == c ) ]] && d', '(test -f a $b~ == c) [d]'],
    ['! a', '[a]'],
    ['time -p a; time { b; }; time -v c', '[a] (brace [b]) [time -v c]'],
    ['a # b', '[a]'],
    ['a#b "#" c', '[a#b # c]'],
    ['# a\nb', '[b]'],
    ['a=1 b="x y" c', '[a=1 b=x y c]'],
    ['a=(1 $(ls) "2 3")', '[a=1 $(…) 2 3~{[ls]}]'],
    ['a[1]=2 b+=c', '[a=2 b=c]'],
    ['"a"=1', '[a=1]'],
    ['a >b 2>>c <d &>e >|f 3<>g {fd}>h', '[a >b >>c <d &>e >|f <>g >h]'],
    ['>a b', '[b >a]'],
    ['cat <<E\na $(b)\nE\nc', '[cat <<E<a $(b)>{[b]}] [c]'],
    ["cat <<'E' | d\n$(b)\nE\nc", '[cat <<E<$(b)>] |[d] [c]'],
    ['cat <<-E\n\ta\n\tE\nb', '[cat <<-E<a>] [b]'],
    ['cat <<A <<B\n1\nA\n2\nB\nc', '[cat <<A<1> <<B<2>] [c]'],
    ['cat <<< "a b"', '[cat <<<a b<a b>]'],
    ['x=$(cat <<E\na\nE\n) b', '[x=$(…)~{[cat <<E<a>]} b]'],
    ['ls *.c [ab] {a,b} {} [', '[ls *.c~ [ab]~ {a,b}~ {} []'],
    ['echo if then fi', '[echo if then fi]'],
    ['"if" a', '[if a]'],
    ['', ''],
    [' \t\n', ''],
    ['a\r\nb', '[a] [b]'],
  ])('%j', (line, expected) => {
    const parsed = parseShellLine(line);
    expect(show(parsed.nodes)).toBe(expected);
    expect([parsed.incomplete, parsed.unseen]).toEqual([false, false]);
  });

  it.each([
    ['a "b', '[a b]'],
    ["a 'b", '[a b]'],
    ['a $(b', '[a $(…)~{[b]}]'],
    ['a `b', '[a `…`~{[b]}]'],
    ['a ${b', '[a ${b~]'],
    ['a )b', '[a] [b]'],
    ['(a', '(subshell [a])'],
    ['if a; then b', '(if [a] [b])'],
    ['done a', '[a]'],
    ['a;;b', '[a] [b]'],
    ['for', '(loop)'],
    ['case', '(case)'],
    ['case x in a', '(case x a)'],
    ['a <<E\nb', '[a <<E<b>]'],
    ['a <<E', '[a <<E<>]'],
    ['a >', '[a]'],
    ['a (b)', '[a] (subshell [b])'],
    ['f()', 'f()'],
    ['[[ a', '(test a)'],
    ['a=(b', '[a=b]'],
  ])('%j is incomplete and yields what could be found', (line, expected) => {
    const parsed = parseShellLine(line);
    expect([show(parsed.nodes).trim(), parsed.incomplete, parsed.unseen]).toEqual([expected, true, false]);
  });

  it.each(['$(', '(', '{ ', '"$(', '<(', 'if ', '${a:-', '! ', '((', '$((', 'f() ', 'a=$('])(
    'is looked at down to a depth, here of %j',
    (opening) => {
      const shallow = parseShellLine(opening.repeat(SHELL_DEPTH_MAX / 4));
      expect(shallow.unseen).toBe(false);
      const deep = parseShellLine(opening.repeat(SHELL_DEPTH_MAX * 4));
      expect([deep.incomplete, deep.unseen]).toEqual([true, true]);
    },
  );
});

describe('plain words', () => {
  it.each([
    ['make -j8', ['make', '-j8']],
    [' a  "b c" d\\ e \'f\' ', ['a', 'b c', 'd e', 'f']],
    ['a "b;c" \'$(d)\'', ['a', 'b;c', '$(d)']],
  ])('%j', (line, words) => {
    expect(plainWords(line)?.map((word) => word.text)).toEqual(words);
  });

  it.each([
    'a;',
    'a &',
    'a|b',
    'a&&b',
    'a\nb',
    '(a)',
    '{ a; }',
    'a >b',
    'a <b',
    'a <<<b',
    'a $b',
    'a "$b"',
    'a $(b)',
    'a `b`',
    'a *',
    'a {b,c}',
    'a ~',
    'a=1 b',
    'a=1',
    '! a',
    'time a',
    'if a',
    'a # b',
    'a "b',
    'a <(b)',
    '',
    ' ',
  ])('not %j', (line) => {
    expect(plainWords(line)).toBeNull();
  });
});

const PIECES = [
  '$(',
  ')',
  '((',
  '))',
  '$((',
  '${',
  '}',
  '{',
  '`',
  '"',
  "'",
  '\\',
  '\n',
  ' ',
  '\t',
  ';',
  ';;',
  '&',
  '&&',
  '|',
  '||',
  '<',
  '>',
  '<<',
  '<<-',
  '<<<',
  '<(',
  '>(',
  '#',
  '!',
  '[[',
  ']]',
  '[',
  ']',
  '$',
  "$'",
  '=',
  'a=',
  'a=(',
  '*',
  '?',

  'if',
  'then',
  'elif',
  'else',
  'fi',
  'for',
  'in',
  'do',
  'done',
  'while',
  'case',
  'esac',
  'function',
  'time',
  'f()',
  'git',
  'push',
  'EOF',
  'make',
  '-c',
  'bash',
  'eval',
  '\0',
  '\r',
  'é',
  '\u{1F600}',
  '\uD800',
  '1',
  '2>',
  'coproc',
];

describe('any text at all', () => {
  it('is parsed without an exception', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 400 }), (text) => void parseShellLine(text)));
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...PIECES), { maxLength: 80 }),
        fc.constantFrom('', ' '),
        (pieces, between) => {
          parseShellLine(pieces.join(between));
        },
      ),
      { numRuns: 500 },
    );
  });

  it('that is quoted is one word, and that word', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        const line = `a '${text.replaceAll("'", "'\\''")}'`;
        const node = parseShellLine(line).nodes[0];
        expect(node?.kind === 'simple' ? node.words.map((word) => word.text) : null).toEqual(['a', text]);
      }),
    );
  });

  it('of 100 KB takes time that grows with its length alone', () => {
    const charsMax = 100_000;
    for (const piece of [
      ...PIECES,
      '$((1)) ',
      '((x) ',
      'a[',
      'case x in ',
      '<<x\n',
      '<<x ',
      '${a',
      '{a',
      'a;',
      '$(a) ',
      '`a`',
    ]) {
      const text = piece.repeat(Math.floor(charsMax / piece.length));
      const startedMs = performance.now();
      parseShellLine(text);
      expect([piece, performance.now() - startedMs < LINEAR_MS_MAX]).toEqual([piece, true]);
    }
  });
});
