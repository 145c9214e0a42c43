import type { Command } from '../../wire/job-spec.ts';
import { isStricter, matchClass, type ClassLists, type CommandClass } from './class-lists.ts';
import { asksForHelp, type Verdict } from './command-insight.ts';
import { operandsOf, type CommandArg } from './command-pattern.ts';
import { walkCommand, type Invocation, type WalkContext } from './command-walk.ts';
import { toolsOf } from './required-tools.ts';

export const CLASS_REASON_CHARS_MAX = 200;

export interface ClassContext extends Pick<WalkContext, 'scripts' | 'scriptsAt'> {
  readonly lists: ClassLists;
}

export interface Classification {
  readonly class: CommandClass;
  /** One short line for people, such as "`cargo test` is heavy". */
  readonly reason: string;
  /** The executables that PATH must have; builtins and files named by path are none. At most REQUIRED_TOOLS_MAX. */
  readonly tools: readonly string[];
}

/**
 * Says what a command does to where it may run: the class of its most restrictive part (bound, heavy, other, light),
 * looking through `cd`, assignments, wrappers, subshells, substitutions, `bash -c` and package scripts.
 *
 * A line that a shell would refuse is classed by what could be found, other at least. One too deep to be looked at
 * whole is bound, since anything may be in it.
 */
export function classify(command: Command, context: ClassContext): Classification {
  const { lists } = context;
  const walk = walkCommand(command, {
    ...context,
    settled: (name, args) => matchClass(lists.settings, name, args) !== null,
  });
  let verdict: Verdict | null = null;
  for (const invocation of walk.invocations) {
    const next = judge(invocation, lists);
    if (next !== null && (verdict === null || isStricter(next.class, verdict.class))) verdict = next;
    if (verdict?.class === 'bound') break;
  }
  verdict = withFlags(verdict ?? { class: 'light', reason: 'it runs no command' }, walk);
  return { class: verdict.class, reason: shorten(verdict.reason), tools: toolsOf(walk.invocations) };
}

function withFlags(verdict: Verdict, walk: { readonly incomplete: boolean; readonly unseen: boolean }): Verdict {
  if (walk.unseen && verdict.class !== 'bound') {
    return { class: 'bound', reason: 'it runs more commands, or deeper ones, than are looked at: bound' };
  }
  if (walk.incomplete && verdict.class === 'light') {
    return { class: 'other', reason: 'a shell would refuse the line as it is: other' };
  }
  return verdict;
}

function judge(invocation: Invocation, lists: ClassLists): Verdict | null {
  const { name, args, via } = invocation;
  const setting = matchClass(lists.settings, name, args);
  if (setting !== null)
    return { class: setting.class, reason: `\`${setting.pattern}\` is ${setting.class} by settings` };
  if (invocation.verdict !== null) return invocation.verdict;
  if (asksForHelp(args)) return { class: 'light', reason: `\`${name} ${args[0]?.text ?? ''}\` is light` };
  const match = matchClass(lists.builtIn, name, args);
  if (invocation.transparent && (match === null || !isStricter(match.class, 'other'))) return null;
  if (match?.class === 'heavy' && watches(name, args)) {
    return { class: 'bound', reason: `\`${match.pattern} --watch\` is bound` };
  }
  const found = match?.class ?? 'other';
  const what = match === null ? `\`${name}\` is in no list: other` : `\`${match.pattern}\` is ${found}`;
  return { class: found, reason: via === null ? what : `\`${via}\` runs it: ${what}` };
}

/** A build or test that is told to watch ends only when someone ends it. */
function watches(name: string, args: readonly CommandArg[]): boolean {
  return operandsOf(name, args).options.has('--watch');
}

/** Keeps what came from the command line to one short line that no terminal obeys. */
function shorten(text: string): string {
  const plain = text.replace(/\s+/g, ' ').replace(/[\p{C}]/gu, '?');
  return plain.length <= CLASS_REASON_CHARS_MAX ? plain : `${plain.slice(0, CLASS_REASON_CHARS_MAX - 1)}…`;
}
