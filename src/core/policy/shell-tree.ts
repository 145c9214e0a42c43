/**
 * What a shell line is made of, as far as it takes to say which commands it runs. The grammar is that of POSIX.1-2017
 * "Shell Command Language" with the extensions of bash(1) that people use.
 */

/** Nested substitutions, subshells and compound commands; what lies deeper is not looked at and is flagged `unseen`. */
export const SHELL_DEPTH_MAX = 64;

/** One word after quote removal. Expansions stay in `text` as they were written. */
export interface ShellWord {
  readonly text: string;
  /** True where the value is known only when it runs: a variable, substitution, glob or brace list is part of it. */
  readonly dynamic: boolean;
  /** Any part was quoted or escaped, so it is no reserved word and, as a here-doc delimiter, stops expansion. */
  readonly quoted: boolean;
  /** The commands of the `$(…)`, backticks, `<(…)` and `>(…)` within. */
  readonly substitutions: readonly ShellNode[];
}

export interface ShellAssignment {
  readonly name: string;
  /** The value; for `a=(x y)` the words joined with spaces. */
  readonly value: ShellWord;
}

export interface ShellRedirection {
  readonly operator: string;
  readonly target: ShellWord;
  /** The text of a here-doc or here-string, null for anything else. */
  readonly body: string | null;
  /** The commands substituted in a here-doc's text. */
  readonly substitutions: readonly ShellNode[];
}

export type ShellGroupForm = 'subshell' | 'brace' | 'if' | 'loop' | 'case' | 'test' | 'arithmetic';

export type ShellNode =
  | {
      readonly kind: 'simple';
      readonly assignments: readonly ShellAssignment[];
      readonly words: readonly ShellWord[];
      readonly redirections: readonly ShellRedirection[];
      /** It reads what another command of the line writes. */
      readonly piped: boolean;
    }
  | {
      readonly kind: 'group';
      readonly form: ShellGroupForm;
      /** Words that are data here: the list of a `for`, the subject and patterns of a `case`, the operands of `[[ ]]`. */
      readonly words: readonly ShellWord[];
      readonly body: readonly ShellNode[];
      readonly redirections: readonly ShellRedirection[];
      readonly piped: boolean;
    }
  | { readonly kind: 'function'; readonly name: string; readonly body: readonly ShellNode[] };

export interface ShellLine {
  readonly nodes: readonly ShellNode[];
  /** A shell would refuse it, or this parser does not know the construct; `nodes` is what could be found. */
  readonly incomplete: boolean;
  /** Part of it was not looked at (see SHELL_DEPTH_MAX), so nothing may be concluded from what was not found. */
  readonly unseen: boolean;
}
