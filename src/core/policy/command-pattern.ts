import { err, ok, type Result } from '../../base/result.ts';

/** One word of a command as it is looked at: its text, and whether a shell would still change it. */
export interface CommandArg {
  readonly text: string;
  readonly dynamic: boolean;
}

/**
 * A word-prefix pattern such as `git push`, `npm i -g`, `vite`, `git branch $`. The first word names the executable
 * (without its folder); further words must be the command's first operands, in order; a word that begins with `-` is an
 * option that must be among the command's. Options of the command that the pattern does not name are skipped. A last
 * word `$` asks that no operand follows.
 */
export interface CommandPattern {
  readonly source: string;
  readonly name: string;
  readonly operands: readonly string[];
  readonly options: readonly string[];
  readonly ends: boolean;
  /** How specific it is: its words. The more specific pattern wins. */
  readonly weight: number;
}

const PATTERN_WORDS_MAX = 8;
const PATTERN_CHARS_MAX = 256;

/** Reads a pattern, or says why it is none. */
export function parsePattern(source: string): Result<CommandPattern, string> {
  const words = source.split(/\s+/).filter((word) => word !== '');
  const name = words[0];
  if (name === undefined) return err('a pattern is empty: give words such as "git push"');
  if (source.length > PATTERN_CHARS_MAX || words.length > PATTERN_WORDS_MAX) {
    return err(`the pattern "${source.slice(0, 40)}…" is longer than ${PATTERN_WORDS_MAX} words`);
  }
  if (name.startsWith('-') || name === '$') return err(`the pattern "${source}" begins with no command`);
  const ends = words.at(-1) === '$';
  const rest = words.slice(1, ends ? -1 : undefined);
  return ok({
    source: words.join(' '),
    name,
    operands: rest.filter((word) => !word.startsWith('-')),
    options: rest.filter((word) => word.startsWith('-')),
    ends,
    weight: words.length,
  });
}

/** A command in the form that patterns are held against. */
export interface Operands {
  readonly operands: readonly string[];
  readonly options: ReadonlySet<string>;
}

/** A table asked with words of a command line, which may be `constructor` or `__proto__`: an object would answer. */
export function lookup<T>(entries: Readonly<Record<string, T>>): ReadonlyMap<string, T> {
  return new Map(Object.entries(entries));
}

/** Options that stand before a subcommand and take the next word, by tool: without them `git -C dir push` has no `push`. */
const VALUED_OPTIONS: ReadonlyMap<string, string> = lookup({
  git: '-C -c --git-dir --work-tree --namespace --exec-path --config-env',
  make: '-C --directory -f --file --makefile -I -o -W',
  ninja: '-C -f -j -k -l -d -t -w',
  cargo: '--manifest-path --target-dir --config -Z --color -C',
  go: '-C',
  npm: '--prefix -C -w --workspace --userconfig --registry --loglevel --cache',
  yarn: '--cwd',
  pnpm: '-C --dir --filter -F --loglevel',
  bun: '--cwd --config -c --filter',
  mvn: '-f -pl -P -s -T --file --projects',
  gradle: '-p -x -b -c -I -g --project-dir --exclude-task --build-file',
  gradlew: '-p -x -b -c -I -g --project-dir --exclude-task --build-file',
  pip: '--python --log --proxy --cache-dir',
  uv: '--project --directory --config-file --cache-dir -p --python',
  poetry: '-C --directory -P --project',
  bundle: '--gemfile',
  terraform: '-chdir',
  cmake: '--preset',
  just: '-f --justfile -d --working-directory',
  task: '-t --taskfile -d --dir',
  rake: '-f --rakefile',
  php: '-d -c',
  node: '-r --require --import --loader -C --conditions --env-file --max-old-space-size',
  python: '-W -X',
  dotnet: '--project',
});

const OPTION_OFF = /=(?:false|0|no|off)$/;

/** rustup's proxies take a tool chain first: `cargo +nightly test`. */
const RUSTUP_PROXIES = new Set(['cargo', 'rustc', 'rustdoc', 'rustfmt']);

/** Splits a command's arguments (without its name) into operands and options. */
export function operandsOf(name: string, args: readonly CommandArg[]): Operands {
  const valued = new Set((VALUED_OPTIONS.get(name) ?? '').split(' '));
  const operands: string[] = [];
  const options = new Set<string>();
  let literal = false;
  for (let i = 0; i < args.length; i++) {
    const text = args[i]?.text ?? '';
    if (i === 0 && RUSTUP_PROXIES.has(name) && text.startsWith('+')) continue;
    if (literal || !text.startsWith('-') || text === '-') operands.push(text);
    else if (text === '--') literal = true;
    else {
      // `--watch=false` is not `--watch`; a pattern may name either.
      options.add(text);
      if (!OPTION_OFF.test(text)) options.add(text.split('=', 1)[0] ?? text);
      if (valued.has(text)) i += 1;
    }
  }
  return { operands, options };
}

/** True where the pattern (whose name is known to fit) describes the command. */
export function patternMatches(pattern: CommandPattern, command: Operands): boolean {
  if (pattern.ends && command.operands.length > pattern.operands.length) return false;
  return (
    pattern.operands.every((word, i) => command.operands[i] === word) &&
    pattern.options.every((option) => command.options.has(option))
  );
}

const VERSIONED = /^(python|pip|pypy|gcc|g\+\+|clang|clang\+\+|cc|c\+\+|ruby|php|perl|node|lua)-?\d+(?:\.\d+)*$/;
const CROSS_COMPILER = /^[a-z0-9_]+(?:-[a-z0-9_]+){1,3}-(gcc|g\+\+|cc|c\+\+|clang|clang\+\+|ld|ar)(?:-\d+)?$/;
const SAME_AS: ReadonlyMap<string, string> = lookup({
  gmake: 'make',
  bmake: 'make',
  nodejs: 'node',
  pypy: 'python',
  py: 'python',
  gtar: 'tar',
  bsdtar: 'tar',
  'ninja-build': 'ninja',
  gtimeout: 'timeout',
  gfind: 'find',
  gsed: 'sed',
  gawk: 'awk',
  mawk: 'awk',
  'docker-compose-v1': 'docker-compose',
  mvnd: 'mvn',
});

/** The executable's name without its folder: `/usr/bin/git` is `git`. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** The name under which lists know it: `python3.12` is `python`, `aarch64-linux-gnu-gcc` is `gcc`, `git.exe` is `git`. */
export function canonicalName(name: string): string {
  const bare = name.replace(/\.(?:exe|cmd|bat)$/i, '');
  const known = VERSIONED.exec(bare)?.[1] ?? CROSS_COMPILER.exec(bare)?.[1] ?? bare;
  return SAME_AS.get(known) ?? known;
}
