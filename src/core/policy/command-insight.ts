import type { CommandClass } from './class-lists.ts';
import { canonicalName, lookup, operandsOf, type CommandArg } from './command-pattern.ts';
import { classOfScriptName } from './package-runner.ts';
import { unwrap, wrapperOf } from './command-wrappers.ts';

/** A class that the lists cannot tell, with the reason in people's words. */
export interface Verdict {
  readonly class: CommandClass;
  readonly reason: string;
}

/** What one command makes other commands do. */
export interface Insight {
  /** Commands it runs, as argv. */
  readonly argvs: readonly (readonly CommandArg[])[];
  /** Shell lines it runs. */
  readonly lines: readonly string[];
  /** The words that name it, for reasons: `poetry run`. */
  readonly label: string;
  /** Those commands are not looked for on PATH. */
  readonly privatePath: boolean;
  /** It assigns PATH for them. */
  readonly assignsPath: boolean;
  /** Its own class counts only where it restricts (`sudo`); otherwise the commands within decide (`env`, `timeout`). */
  readonly transparent: boolean;
  readonly verdict: Verdict | null;
}

const NOTHING: Insight = {
  argvs: [],
  lines: [],
  label: '',
  privatePath: false,
  assignsPath: false,
  transparent: false,
  verdict: null,
};

/** What its input looks like to a command. */
export interface Input {
  /** It reads what another command of the line writes. */
  readonly piped: boolean;
  /** The text of its here-doc or here-string. */
  readonly hereDoc: string | null;
}

const SHELLS = new Set(['sh', 'bash', 'zsh', 'dash', 'ksh', 'ash', 'fish', 'mksh', 'rbash']);
const INTERPRETERS = new Set(['python', 'node', 'ruby', 'perl', 'php', 'deno', 'bun']);
const FETCHERS = new Set(['curl', 'wget', 'http', 'https', 'xh', 'httpie']);
const FINDERS: ReadonlyMap<string, ReadonlySet<string>> = lookup({
  find: new Set(['-exec', '-execdir', '-ok', '-okdir']),
  fd: new Set(['-x', '--exec', '-X', '--exec-batch']),
  fdfind: new Set(['-x', '--exec', '-X', '--exec-batch']),
});

/** Looks through a command: at what it wraps, interprets or is asked to run. `args` are the words after its name. */
export function lookThrough(name: string, args: readonly CommandArg[], input: Input): Insight {
  const wrapped = wrapperOf(name, args);
  if (wrapped !== null && !isQuery(name, args)) {
    const inner = unwrap(wrapped.wrapper, args.slice(wrapped.words - 1));
    const argv = name === 'parallel' ? beforeColons(inner.argv) : inner.argv;
    if (argv.length > 0 || inner.lines.length > 0) {
      return {
        ...NOTHING,
        argvs: argv.length === 0 ? [] : [argv],
        lines: inner.lines,
        label: wrapped.key,
        privatePath: wrapped.wrapper.privatePath === true,
        assignsPath: inner.assigned.includes('PATH'),
        transparent: true,
      };
    }
  }
  const canonical = canonicalName(name);
  if (SHELLS.has(canonical)) return lookIntoShell(name, args, input);
  const finder = FINDERS.get(canonical);
  if (finder !== undefined) return { ...NOTHING, argvs: executedBy(finder, args), label: name };
  if (INTERPRETERS.has(canonical) && !isTaskOf(canonical, args)) return lookIntoInterpreter(canonical, args, input);
  return { ...NOTHING, verdict: ownVerdict(canonical, args) };
}

const isTaskOf = (name: string, args: readonly CommandArg[]): boolean => name === 'deno' && args[0]?.text === 'task';

/** `command -v x` and `sudo -l` ask; they run nothing. */
function isQuery(name: string, args: readonly CommandArg[]): boolean {
  return name === 'command' && /^-[pvV]*[vV]/.test(args[0]?.text ?? '');
}

/** GNU parallel: the command ends at `:::`, after which come its inputs; `{}` is no word of it. */
function beforeColons(argv: readonly CommandArg[]): readonly CommandArg[] {
  const end = argv.findIndex((arg) => arg.text.startsWith(':::'));
  return end < 0 ? argv : argv.slice(0, end);
}

function lookIntoShell(name: string, args: readonly CommandArg[], input: Input): Insight {
  for (let i = 0; i < args.length; i++) {
    const text = args[i]?.text ?? '';
    if (/^[-+][A-Za-z]*[oO]$/.test(text) || text === '--rcfile' || text === '--init-file') {
      // `-euo pipefail`: the letter o takes the next word.
      i += 1;
      if (!/^-[A-Za-z]*c/.test(text)) continue;
    }
    if (/^-[A-Za-z]*c[A-Za-z]*$/.test(text)) {
      const line = args.slice(i + 1).find((arg) => !/^[-+]/.test(arg.text));
      if (line === undefined) return NOTHING;
      if (line.dynamic && UNSEEN_PROGRAM.test(line.text)) return { ...NOTHING, verdict: unseenProgram(name) };
      return { ...NOTHING, lines: [line.text], label: `${name} -c`, transparent: !line.dynamic };
    }
    if (/^-[A-Za-z]*s[A-Za-z]*$/.test(text) || text === '-') break;
    if (/^[-+]/.test(text)) continue;
    // A script: the lists may know it by its name (`deploy.sh`), though as a file it is no word of PATH.
    const script = args.slice(i);
    if (text.startsWith('<(')) return { ...NOTHING, verdict: unseenProgram(name) };
    return { ...NOTHING, argvs: [asPath(script)], label: name, transparent: true };
  }
  if (input.hereDoc !== null) return { ...NOTHING, lines: [input.hereDoc], label: name, transparent: true };
  return { ...NOTHING, verdict: programFromPipe(name, input) };
}

/** A line that begins with a substitution: `sh -c "$(curl …)"`. */
const UNSEEN_PROGRAM = /^\s*(?:\$\(…\)|`…`)/;

const unseenProgram = (name: string): Verdict => ({
  class: 'bound',
  reason: `\`${name}\` runs a program that another command writes, unseen: bound`,
});

/** Marks the first word as a file, so that it is not looked for on PATH. */
function asPath(argv: readonly CommandArg[]): readonly CommandArg[] {
  const [first, ...rest] = argv;
  if (first === undefined || first.text.includes('/')) return argv;
  return [{ text: `./${first.text}`, dynamic: first.dynamic }, ...rest];
}

function programFromPipe(name: string, input: Input): Verdict | null {
  return input.piped && input.hereDoc === null ? unseenProgram(name) : null;
}

function executedBy(options: ReadonlySet<string>, args: readonly CommandArg[]): CommandArg[][] {
  const argvs: CommandArg[][] = [];
  let current: CommandArg[] | null = null;
  for (const arg of args) {
    if (current === null) {
      if (options.has(arg.text)) current = [];
    } else if (arg.text === ';' || arg.text === '+') {
      argvs.push(current);
      current = null;
    } else current.push(arg);
  }
  if (current !== null) argvs.push(current);
  return argvs.filter((argv) => argv.length > 0);
}

const INSTALLED = /node_modules\/(?:\.bin|(?:@[^/]+\/)?[^/]+\/(?:dist\/|lib\/)?bin)\/([^/]+?)(?:\.[cm]?js)?$/;

function lookIntoInterpreter(name: string, args: readonly CommandArg[], input: Input): Insight {
  let i = 0;
  for (; i < args.length; i++) {
    const text = args[i]?.text ?? '';
    if (name === 'python' && text === '-m' && i + 1 < args.length) {
      return {
        ...NOTHING,
        argvs: [args.slice(i + 1)],
        label: `python -m ${args[i + 1]?.text ?? ''}`,
        privatePath: true,
        transparent: true,
      };
    }
    if (/^-[ecprR]$|^--(?:eval|print|test|run|watch|check|version|help)\b/.test(text)) return NOTHING;
    if (!text.startsWith('-') || text === '-') break;
    if (/^-[WXI]$|^--(?:require|import|loader)$/.test(text)) i += 1;
  }
  const program = args[i];
  if (program === undefined || program.text === '-') return { ...NOTHING, verdict: programFromPipe(name, input) };
  // Scripts that package managers install are the tools of their name: `node node_modules/.bin/jest`.
  const installed = INSTALLED.exec(program.text)?.[1];
  if (installed !== undefined) {
    const argv = [{ text: installed, dynamic: program.dynamic }, ...args.slice(i + 1)];
    return { ...NOTHING, argvs: [argv], label: name, transparent: true, privatePath: true };
  }
  return NOTHING;
}

/** A job of this shell, its last background process, or itself. */
const OWN_PROCESS = /^(?:%.*|\$[!$]|\$\{[!$]\}|\$BASHPID)$/;

const LOCAL_URL =
  /^(?:[a-z+]+:\/\/)?(?:[^/@\s]*@)?(?:localhost|[\w.-]+\.localhost|127(?:\.\d+){3}|0\.0\.0\.0|\[::1?\])(?::\d+)?(?:[/?#]|$)/i;

/** Commands whose class depends on the form of their operands. */
function ownVerdict(name: string, args: readonly CommandArg[]): Verdict | null {
  if (FETCHERS.has(name)) {
    const local = args.find((arg) => LOCAL_URL.test(arg.text) || /^:\d/.test(arg.text));
    return local === undefined
      ? null
      : { class: 'bound', reason: `\`${name} ${local.text}\` speaks to a server of this machine: bound` };
  }
  if (name === 'cmake') {
    const at = args.findIndex((arg) => arg.text === '--target' || arg.text === '-t');
    return at >= 0 && args[at + 1]?.text === 'install'
      ? { class: 'bound', reason: '`cmake --target install` is bound' }
      : null;
  }
  if (name === 'rsync') {
    const remote = args.find((arg) => /^[^/\s-][^/\s]*:|^rsync:\/\//.test(arg.text));
    return remote === undefined ? null : { class: 'bound', reason: '`rsync` with another machine is bound' };
  }
  if (RUNNERS.has(name)) return runnerVerdict(name, args);
  if (name === 'kill') {
    const targets = args.filter((arg, i) => !arg.text.startsWith('-') && !/^-[sn]$/.test(args[i - 1]?.text ?? ''));
    const own = targets.length > 0 && targets.every((arg) => OWN_PROCESS.test(arg.text));
    return own ? { class: 'light', reason: '`kill` of its own process is light' } : null;
  }
  return null;
}

/** Runners of named goals that stand in a file of the project, with the subcommands that take such names. */
const RUNNERS: ReadonlyMap<string, readonly string[]> = lookup({
  turbo: [],
  nx: [],
  lerna: ['run'],
  moon: ['run'],
  lage: [],
  just: [],
  task: [],
  rake: [],
  mage: [],
  deno: ['task'],
  composer: ['run', 'run-script'],
});

/** Their goals are judged by name, like package scripts of which only the name is known. */
function runnerVerdict(name: string, args: readonly CommandArg[]): Verdict | null {
  const { operands } = operandsOf(name, args);
  const subcommands = RUNNERS.get(name) ?? [];
  if (subcommands.length > 0 && !subcommands.includes(operands[0] ?? '')) return null;
  const goals = subcommands.length > 0 ? operands.slice(1) : operands;
  for (const wanted of ['bound', 'heavy'] as const) {
    const goal = goals.find((operand) => classOfScriptName(operand) === wanted);
    if (goal !== undefined) return { class: wanted, reason: `\`${name} ${goal}\` is ${wanted}, by its name` };
  }
  return null;
}

/** True where all that is asked for is the version or the help text. */
export function asksForHelp(args: readonly CommandArg[]): boolean {
  return args.length === 1 && (args[0]?.text === '--version' || args[0]?.text === '--help');
}
