import type { Command, Option } from 'commander';

/** Commands of ours that take one of the user's. */
const TAKES_COMMAND: ReadonlySet<string> = new Set(['run', 'map', 'explain']);
/** What `--need` may be followed by more than once: everything else behind its value begins the command. */
const CAPABILITY = /^(?:gpu$|tool:|label:)/;

/** A command line of ours, parted from the user's command. */
export interface SplitCommand {
  /** Ours; undefined: none was named, or one that there is not. */
  readonly command: Command | undefined;
  /** For the parser of options. */
  readonly own: readonly string[];
  /** The user's command: none of it is an option of ours, however it looks. */
  readonly words: readonly string[];
}

/**
 * Parts the user's command from our options: it begins behind the first `--`, or, as with ssh(1) and docker run, at the
 * first word of `run`, `map` and `explain` that is no option. So `run git checkout -- file` keeps its `--`, and
 * `run npm test --json` its option.
 *
 * @param program knows which options take values
 * @param argv without node and the script
 */
export function splitAtCommand(program: Command, argv: readonly string[]): SplitCommand {
  const own: string[] = [];
  let command: Command | undefined;
  let isNamed = false;
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at] ?? '';
    const isOthers = command !== undefined && !TAKES_COMMAND.has(command.name());
    // Of ours what is behind it is an argument, such as a file whose name begins with a dash.
    if (word === '--' && isOthers) return { command, own: [...own, ...argv.slice(at)], words: [] };
    if (word === '--') return { command, own, words: argv.slice(at + 1) };
    if (!isOption(word)) {
      if (command !== undefined && !isOthers) return { command, own, words: argv.slice(at) };
      if (!isNamed) command = program.commands.find((one) => one.name() === word);
      isNamed = true;
    }
    own.push(word);
    const option = isOption(word) ? optionOf(program, command, word) : undefined;
    const values = option === undefined ? [] : valuesOf(option, argv.slice(at + 1));
    for (const [index, value] of values.entries()) {
      if (index > 0 && option?.variadic !== true) own.push(word);
      own.push(value);
    }
    at += values.length;
  }
  return { command, own, words: [] };
}

const isOption = (word: string): boolean => word.startsWith('-') && word !== '-';

/** Undefined where it has its value in itself, takes none, or is unknown. */
function optionOf(program: Command, command: Command | undefined, word: string): Option | undefined {
  const known = [...(command?.options ?? []), ...program.options];
  return known.find(({ long, short, required }) => required && (word === long || word === short));
}

function valuesOf(option: Option, rest: readonly string[]): readonly string[] {
  const [first] = rest;
  // `run --on -- make`: the value was forgotten, which the parser tells.
  if (first === undefined || first === '--') return [];
  const isMore = option.variadic
    ? (word: string) => !isOption(word)
    : (word: string) => option.long === '--need' && CAPABILITY.test(word);
  const end = rest.findIndex((word, index) => index > 0 && !isMore(word));
  return rest.slice(0, end < 0 ? rest.length : end);
}
