import { unreachable } from '../../base/assert.ts';
import type { Command } from '../../wire/job-spec.ts';
import { classOfScriptName, quoteWord, scriptCallOf, type ScriptCall } from './package-runner.ts';
import { baseName, canonicalName, type CommandArg } from './command-pattern.ts';
import { lookThrough, type Input, type Insight, type Verdict } from './command-insight.ts';
import type { ShellNode, ShellRedirection } from './shell-tree.ts';
import { parseShellLine } from './shell-words.ts';

/** Commands within commands: `bash -c`, `eval`, package scripts, wrappers. What lies deeper is unseen. */
const LOOK_THROUGH_DEPTH_MAX = 24;
/** Commands looked at in one line, scripts included. A line of COMMAND_CHARS_MAX holds at most half as many. */
const INVOCATIONS_MAX = 65_536;
/** Package scripts followed in one line, pre and post scripts included. */
const SCRIPTS_MAX = 64;
/** The longest text parsed as a line; only a package script can be longer than a command. */
const LINE_CHARS_MAX = 131_072;
/** Variables remembered, and the length of their values: enough for `CC=gcc; $CC x.c`, and cheap to copy. */
const VARIABLES_MAX = 64;
const VARIABLE_CHARS_MAX = 256;

/** One command that a line runs, directly or within another. */
export interface Invocation {
  /** Without its folder. */
  readonly name: string;
  /** As written, path included. */
  readonly argv: readonly CommandArg[];
  readonly args: readonly CommandArg[];
  /** Looked for on PATH, by `name`. */
  readonly onPath: boolean;
  /** It is found in node_modules, a virtualenv or the like, or not by a line's own words (a package script). */
  readonly privatePath: boolean;
  /** Other commands follow that decide in its place; its own class counts only where it restricts. */
  readonly transparent: boolean;
  readonly verdict: Verdict | null;
  /** The package script or the like that runs it, for reasons. */
  readonly via: string | null;
}

export interface Walk {
  readonly invocations: readonly Invocation[];
  /** The shell would refuse it; what could be found is there. */
  readonly incomplete: boolean;
  /** A bound was met, so there may be commands that were not looked at. */
  readonly unseen: boolean;
}

export interface WalkContext {
  /** The script of that name in package.json of the working directory, or null. */
  readonly scripts: (name: string) => string | null;
  /**
   * The same for another directory, as `cd` names it: absolute, relative to the working directory, or with a `~` in
   * front. Without it scripts there are judged by name.
   */
  readonly scriptsAt?: (directory: string, name: string) => string | null;
  /** True where a setting decides about the command, so that its package script is not looked into. */
  readonly settled?: (name: string, args: readonly CommandArg[]) => boolean;
}

/** All words of all commands that it runs, as they are written; scripts of a package are not looked into. */
export const wordsOf = (command: Command): readonly string[] =>
  walkCommand(command, { scripts: () => null }).invocations.flatMap(({ argv }) => argv.map(({ text }) => text));

/** What a command finds around it. Subshells get a copy. */
interface Scope {
  readonly depth: number;
  readonly via: string | null;
  /** Where `cd` went; null is the working directory of the line. */
  directory: string | null;
  /** PATH was assigned, or a file sourced that may have: what is on it cannot be told. */
  pathUnknown: boolean;
  readonly privatePath: boolean;
  readonly variables: Map<string, string>;
  readonly functions: Set<string>;
  /** Scripts being followed, innermost last. */
  readonly active: readonly string[];
  readonly piped: boolean;
}

/** Lists every command that a command line or argv runs, as far as its words tell. Pure; bounded by the limits above. */
export function walkCommand(command: Command, context: WalkContext): Walk {
  const walker = new Walker(context);
  const scope: Scope = {
    depth: 0,
    via: null,
    directory: null,
    pathUnknown: false,
    privatePath: false,
    variables: new Map(),
    functions: new Set(),
    active: [],
    piped: false,
  };
  switch (command.kind) {
    case 'line':
      walker.line(command.line, scope);
      break;
    case 'argv':
      walker.argv(
        command.argv.map((text) => ({ text, dynamic: false })),
        scope,
        { piped: false, hereDoc: null },
      );
      break;
    default:
      unreachable(command);
  }
  return walker;
}

/** Keeps what a subshell changes from its surroundings. */
const fork = (scope: Scope): Scope => ({ ...scope, variables: new Map(scope.variables) });

class Walker implements Walk {
  readonly invocations: Invocation[] = [];
  incomplete = false;
  unseen = false;
  private scriptsLeft = SCRIPTS_MAX;
  private readonly context: WalkContext;

  constructor(context: WalkContext) {
    this.context = context;
  }

  line(text: string, scope: Scope): void {
    if (text.length > LINE_CHARS_MAX) {
      this.unseen = true;
      return;
    }
    const line = parseShellLine(text);
    this.incomplete ||= line.incomplete;
    this.unseen ||= line.unseen;
    this.nodes(line.nodes, scope);
  }

  private nodes(nodes: readonly ShellNode[], scope: Scope): void {
    for (const node of nodes) this.node(node, scope);
  }

  private node(node: ShellNode, scope: Scope): void {
    switch (node.kind) {
      case 'function':
        scope.functions.add(node.name);
        this.nodes(node.body, fork(scope));
        return;
      case 'group': {
        for (const word of node.words) this.substituted(word.substitutions, scope);
        this.redirected(node.redirections, scope);
        const inner = node.form === 'subshell' ? fork(scope) : scope;
        const piped = node.piped || scope.piped;
        this.nodes(node.body, piped === inner.piped ? inner : { ...inner, piped });
        return;
      }
      case 'simple':
        this.simple(node, scope);
        return;
      default:
        unreachable(node);
    }
  }

  private substituted(nodes: readonly ShellNode[], scope: Scope): void {
    if (nodes.length > 0) this.nodes(nodes, { ...fork(scope), piped: false });
  }

  private redirected(redirections: readonly ShellRedirection[], scope: Scope): void {
    for (const redirection of redirections) {
      this.substituted(redirection.target.substitutions, scope);
      this.substituted(redirection.substitutions, scope);
    }
  }

  private simple(node: Extract<ShellNode, { kind: 'simple' }>, scope: Scope): void {
    for (const { value } of node.assignments) this.substituted(value.substitutions, scope);
    for (const word of node.words) this.substituted(word.substitutions, scope);
    this.redirected(node.redirections, scope);
    const assignsPath = node.assignments.some((assignment) => assignment.name === 'PATH');
    if (node.words.length === 0) {
      if (assignsPath) scope.pathUnknown = true;
      for (const { name, value } of node.assignments) {
        remember(scope, name, value);
      }
      return;
    }
    const input: Input = {
      piped: node.piped || scope.piped,
      hereDoc: node.redirections.findLast((redirection) => redirection.body !== null)?.body ?? null,
    };
    if (assignsPath && !scope.pathUnknown) this.argv(node.words, { ...scope, pathUnknown: true }, input);
    else this.argv(node.words, scope, input);
  }

  /** One command with its words. */
  argv(words: readonly CommandArg[], scope: Scope, input: Input): void {
    const argv = expandFirst(words, scope);
    const first = argv[0];
    if (first === undefined || first.text === '') return;
    if (this.isTooDeep(scope)) return;
    const name = baseName(first.text);
    const args = name === 'kill' ? argv.slice(1).map((arg) => ownProcess(arg, scope)) : argv.slice(1);
    if (scope.functions.has(first.text)) return;
    if (first.dynamic) return this.unknown(argv, scope);
    const canonical = canonicalName(name);
    const call = scriptCallOf(canonical, args);
    if (call !== null) return this.script(call, argv, scope);
    const insight = lookThrough(name, args, input);
    this.add(argv, scope, insight);
    this.follow(insight, scope);
    changeScope(name, args, scope);
    if (name === 'run-s' || name === 'run-p' || name === 'npm-run-all') this.scriptNames(args, scope);
  }

  private isTooDeep(scope: Scope): boolean {
    if (scope.depth <= LOOK_THROUGH_DEPTH_MAX && this.invocations.length < INVOCATIONS_MAX) return false;
    this.unseen = true;
    return true;
  }

  private add(argv: readonly CommandArg[], scope: Scope, insight: Insight, via = scope.via): void {
    const path = argv[0]?.text ?? '';
    const name = baseName(path);
    this.invocations.push({
      name,
      argv,
      args: argv.slice(1),
      onPath: !path.includes('/') && !scope.pathUnknown && !scope.privatePath,
      privatePath: scope.privatePath && !path.includes('/') && !scope.pathUnknown,
      transparent: insight.transparent,
      verdict: insight.verdict,
      via,
    });
  }

  private unknown(argv: readonly CommandArg[], scope: Scope): void {
    const reason = `\`${argv[0]?.text ?? ''}\` is known only when it runs: other`;
    this.add([{ text: './unknown', dynamic: true }, ...argv.slice(1)], scope, plain({ class: 'other', reason }));
  }

  private follow(insight: Insight, scope: Scope): void {
    if (insight.argvs.length === 0 && insight.lines.length === 0) return;
    const inner: Scope = {
      ...fork(scope),
      depth: scope.depth + 1,
      via: insight.privatePath ? (scope.via ?? insight.label) : scope.via,
      privatePath: scope.privatePath || insight.privatePath,
      pathUnknown: scope.pathUnknown || insight.assignsPath,
      piped: false,
    };
    for (const argv of insight.argvs) {
      this.argv(insight.privatePath ? unversioned(argv) : argv, inner, { piped: false, hereDoc: null });
    }
    for (const line of insight.lines) {
      if (this.isTooDeep(inner)) return;
      this.line(line, inner);
    }
  }

  /** A package script: its pre script, itself, its post script; judged by its name where its text is not known. */
  private script(call: ScriptCall, argv: readonly CommandArg[], scope: Scope): void {
    const settled = this.context.settled?.(baseName(argv[0]?.text ?? ''), argv.slice(1)) === true;
    if (settled) return this.add(argv, scope, plain(null));
    const text = this.scriptText(call, scope);
    const byName = classOfScriptName(call.name);
    if (text === null && byName === 'other') {
      // No such script is known: a name like `jest` then speaks for itself, as an executable of node_modules.
      this.add(argv, scope, { ...plain(null), transparent: call.orExecutable });
      const inner = { ...fork(scope), depth: scope.depth + 1, privatePath: true, via: scope.via ?? call.label };
      this.argv([{ text: call.name, dynamic: false }, ...call.args], inner, { piped: false, hereDoc: null });
      return;
    }
    if (text === null) {
      const reason = `\`${call.label}\` is ${byName}, by the script's name`;
      return this.add(argv, scope, plain({ class: byName, reason }));
    }
    this.add(argv, scope, { ...plain(null), transparent: true });
    if (scope.active.includes(call.name)) return;
    const inner: Scope = {
      ...fork(scope),
      depth: scope.depth + 1,
      via: call.label,
      privatePath: true,
      active: [...scope.active, call.name],
      functions: new Set(),
      piped: false,
    };
    const lines = [this.scriptText({ ...call, name: `pre${call.name}` }, scope)];
    lines.push([text, ...call.args.map((arg) => quoteWord(arg.text))].join(' '));
    lines.push(this.scriptText({ ...call, name: `post${call.name}` }, scope));
    for (const line of lines) {
      if (line === null) continue;
      if (this.scriptsLeft <= 0 || this.isTooDeep(inner)) {
        this.unseen = true;
        return;
      }
      this.scriptsLeft -= 1;
      this.line(line, fork(inner));
    }
  }

  private scriptText(call: ScriptCall, scope: Scope): string | null {
    if (call.elsewhere) return null;
    if (scope.directory === null) return this.context.scripts(call.name);
    if (scope.directory.startsWith(UNKNOWN_DIRECTORY)) return null;
    return this.context.scriptsAt?.(scope.directory, call.name) ?? null;
  }

  /** npm-run-all and its short forms take names of scripts, with `*` for several. */
  private scriptNames(args: readonly CommandArg[], scope: Scope): void {
    const inner: Scope = { ...fork(scope), depth: scope.depth + 1 };
    for (const { text } of args) {
      if (text.startsWith('-')) continue;
      const name = text.split(' ', 1)[0] ?? text;
      this.argv(
        ['npm', 'run', name].map((word) => ({ text: word, dynamic: false })),
        inner,
        { piped: false, hereDoc: null },
      );
    }
  }
}

const plain = (verdict: Verdict | null): Insight => ({
  argvs: [],
  lines: [],
  label: '',
  privatePath: false,
  assignsPath: false,
  transparent: false,
  verdict,
});

const LAST_BACKGROUND = '$!';

/** `x & pid=$!; kill $pid` ends what the line itself began. */
function ownProcess(arg: CommandArg, scope: Scope): CommandArg {
  return variableValue(arg, scope) === LAST_BACKGROUND ? { text: LAST_BACKGROUND, dynamic: true } : arg;
}

function variableValue(arg: CommandArg, scope: Scope): string | undefined {
  const match = arg.dynamic ? WHOLE_VARIABLE.exec(arg.text) : null;
  return match === null ? undefined : scope.variables.get(match[1] ?? match[2] ?? '');
}

function remember(scope: Scope, name: string, value: CommandArg): void {
  scope.variables.delete(name);
  const plainValue = !value.dynamic || value.text === LAST_BACKGROUND;
  if (!plainValue || value.text.length > VARIABLE_CHARS_MAX || scope.variables.size >= VARIABLES_MAX) return;
  scope.variables.set(name, value.text);
}

const WHOLE_VARIABLE = /^\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})$/;

/** `CC=gcc; $CC x.c`: a variable that the line itself gives a plain value is that value, split into words. */
function expandFirst(words: readonly CommandArg[], scope: Scope): readonly CommandArg[] {
  const [first, ...rest] = words;
  const value = first === undefined ? undefined : variableValue(first, scope);
  if (value === undefined || value === LAST_BACKGROUND) return words;
  const split = value.split(/\s+/).filter((word) => word !== '');
  return [...split.map((text) => ({ text, dynamic: false })), ...rest];
}

/** `npx vitest@3 run` is vitest, `npx @biomejs/biome` is biome. */
function unversioned(argv: readonly CommandArg[]): readonly CommandArg[] {
  const [first, ...rest] = argv;
  const match = /^(?:@[^/@]+\/)?([^/@]+)(?:@[^/]*)?$/.exec(first?.text ?? '');
  if (first === undefined || match === null) return argv;
  return [{ text: match[1] ?? first.text, dynamic: first.dynamic }, ...rest];
}

/** What a builtin changes for the commands after it. */
function changeScope(name: string, args: readonly CommandArg[], scope: Scope): void {
  if (name === 'cd' || name === 'pushd' || name === 'popd') {
    const to = args.find((arg) => !/^-./.test(arg.text)) ?? { text: '~', dynamic: name !== 'cd' };
    if (to.dynamic || to.text === '-') scope.directory = UNKNOWN_DIRECTORY;
    else if (to.text !== '.') scope.directory = joined(scope.directory, to.text);
  } else if (name === 'source' || name === '.') scope.pathUnknown = true;
  else if (name === 'export' || name === 'declare' || name === 'typeset') {
    if (args.some((arg) => arg.text.startsWith('PATH='))) scope.pathUnknown = true;
  }
}

const DIRECTORY_CHARS_MAX = 4096;
/** No path, since none holds a NUL: its scripts are not known. */
const UNKNOWN_DIRECTORY = '\0';

function joined(from: string | null, to: string): string {
  const path = from === null || to.startsWith('/') || to.startsWith('~') ? to : `${from}/${to}`;
  return path.length <= DIRECTORY_CHARS_MAX ? path : UNKNOWN_DIRECTORY;
}
