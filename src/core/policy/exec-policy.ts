import { err, ok, type Result } from '../../base/result.ts';
import { unreachable } from '../../base/assert.ts';
import type { Command } from '../../wire/job-spec.ts';
import type { Reason } from '../../wire/jobs.ts';
import {
  canonicalName,
  operandsOf,
  parsePattern,
  patternMatches,
  type CommandArg,
  type CommandPattern,
} from './command-pattern.ts';
import { walkCommand, type Invocation, type Walk } from './command-walk.ts';
import { plainWords } from './shell-words.ts';

/**
 * What an executor lets others run (`exec.mode`, `exec.allow`, `exec.deny`).
 *
 * `shell`: anything, but for `deny`. `commands`: one plain command without any shell feature, whose every executable is
 * in `allow`. `off`: nothing.
 *
 * `deny` is a guard rail against accidents, not a boundary: text can be rewritten in endless ways (`"$X"`, a script
 * file, `python -c`) that no list of words sees. What a submitter may reach is set by the account that jobs run as
 * (`exec.user`) and by who may submit.
 */
export interface ExecPolicy {
  readonly mode: 'shell' | 'commands' | 'off';
  /**
   * Word-prefix patterns; used in mode `commands` alone. The words must be the command's first, options included: `git
   * status` allows `git status -s`, not `git -c x=y status`. A name without `/` allows only what PATH finds.
   */
  readonly allow: readonly string[];
  /** Word-prefix patterns, as in the class lists; used in every mode. */
  readonly deny: readonly string[];
}

const REASON_TEXT_CHARS_MAX = 300;

/** Judges a command at its executor. Pure: what is refused here has had no effect. */
export function judge(command: Command, policy: ExecPolicy): Result<null, Reason> {
  if (policy.mode === 'off') return refuse('exec_off', 'this node runs no commands of others (exec.mode is off)');
  const walk = walkCommand(command, { scripts: () => null });
  const denied = deniedBy(walk, policy.deny);
  if (denied !== null) return denied;
  switch (policy.mode) {
    case 'shell':
      return ok(null);
    case 'commands':
      return judgePlain(command, walk, policy.allow);
    default:
      return unreachable(policy.mode);
  }
}

const refuse = (code: Reason['code'], text: string): Result<never, Reason> =>
  err({ code, text: text.replace(/[\p{C}]/gu, '?').slice(0, REASON_TEXT_CHARS_MAX) });

/** Which of the patterns are none, for whoever reads the settings. */
export function invalidPatterns(patterns: readonly string[]): string[] {
  return patterns.flatMap((source) => {
    const pattern = parsePattern(source);
    return pattern.ok ? [] : [pattern.error];
  });
}

function deniedBy(walk: Walk, deny: readonly string[]): Result<never, Reason> | null {
  if (deny.length === 0) return null;
  if (walk.unseen) return refuse('denied', 'it is nested too deeply to hold against exec.deny');
  const byName = new Map<string, CommandPattern[]>();
  for (const source of deny) {
    const pattern = parsePattern(source);
    if (!pattern.ok) return refuse('denied', `exec.deny of this node holds no pattern: ${pattern.error}`);
    byName.set(pattern.value.name, [...(byName.get(pattern.value.name) ?? []), pattern.value]);
  }
  for (const { name, args } of walk.invocations) {
    const canonical = canonicalName(name);
    const patterns = [...(byName.get(name) ?? []), ...(canonical === name ? [] : (byName.get(canonical) ?? []))];
    if (patterns.length === 0) continue;
    const operands = operandsOf(canonical, args);
    const found = patterns.find((pattern) => patternMatches(pattern, operands));
    if (found !== undefined) return refuse('denied', `\`${found.source}\` is on exec.deny of this node`);
  }
  return null;
}

/** Mode `commands`. */
function judgePlain(command: Command, walk: Walk, allow: readonly string[]): Result<null, Reason> {
  if (command.kind === 'line' && plainWords(command.line) === null) {
    return refuse('denied', 'this node runs plain commands only (exec.mode is commands): words, with no shell feature');
  }
  if (walk.unseen || walk.invocations.length === 0) {
    return refuse('denied', 'this node runs plain commands only, and this is none');
  }
  const allowed = allow.map((source) => source.split(/\s+/).filter((word) => word !== ''));
  const missing = walk.invocations.find((invocation) => !allowed.some((words) => startsWith(invocation, words)));
  if (missing === undefined) return ok(null);
  return refuse('denied', `\`${missing.argv[0]?.text ?? ''}\` is not on exec.allow of this node`);
}

function startsWith(invocation: Invocation, words: readonly string[]): boolean {
  const argv: readonly CommandArg[] = invocation.argv;
  return words.length > 0 && words.every((word, i) => argv[i]?.text === word);
}
