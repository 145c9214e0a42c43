import { assert } from '../../base/assert.ts';
import { err, ok, type Result } from '../../base/result.ts';
import {
  canonicalName,
  operandsOf,
  parsePattern,
  patternMatches,
  type CommandArg,
  type CommandPattern,
} from './command-pattern.ts';
import { defaultClassPatterns } from './default-class-patterns.ts';

/**
 * What a command does to where it may run (INTERFACE "Where a command runs"): `bound` acts on this machine's state,
 * `heavy` is worth sending away, `light` is not, `other` is everything unknown.
 */
export type CommandClass = 'bound' | 'heavy' | 'other' | 'light';

/** From most to least restrictive: a line counts as its most restrictive part. */
const CLASS_ORDER: readonly CommandClass[] = ['bound', 'heavy', 'other', 'light'];

/** Word-prefix patterns (see CommandPattern) by class: the shape of `[classes]` in config.toml. */
export type ClassPatterns = Readonly<Record<CommandClass, readonly string[]>>;

interface ClassedPattern {
  readonly pattern: CommandPattern;
  readonly class: CommandClass;
}

/** Patterns by the executable's name. */
type PatternTable = ReadonlyMap<string, readonly ClassedPattern[]>;

/** The first layer in which any pattern fits decides, so that a setting always beats what is built in. */
export interface ClassLists {
  readonly settings: PatternTable;
  readonly builtIn: PatternTable;
}

const CLASS_PATTERNS_MAX = 1000;

function compile(patterns: Partial<ClassPatterns>): Result<PatternTable, string> {
  const table = new Map<string, ClassedPattern[]>();
  for (const name of CLASS_ORDER) {
    for (const source of patterns[name] ?? []) {
      const pattern = parsePattern(source);
      if (!pattern.ok) return pattern;
      const entries = table.get(pattern.value.name) ?? [];
      entries.push({ pattern: pattern.value, class: name });
      table.set(pattern.value.name, entries);
    }
  }
  return ok(table);
}

function compileBuiltIn(): ClassLists {
  const table = compile(defaultClassPatterns);
  assert(table.ok, 'a built-in pattern is none');
  return { settings: new Map(), builtIn: table.value };
}

/** The built-in lists alone. */
export const defaultClassLists: ClassLists = compileBuiltIn();

/**
 * The built-in lists under a user's: any pattern of the user's that fits decides, however short.
 *
 * @returns the lists, or which pattern is not one
 */
export function classListsWith(settings: Partial<ClassPatterns>): Result<ClassLists, string> {
  const count = CLASS_ORDER.reduce((sum, name) => sum + (settings[name]?.length ?? 0), 0);
  if (count > CLASS_PATTERNS_MAX) return err(`more than ${CLASS_PATTERNS_MAX} patterns`);
  const table = compile(settings);
  return table.ok ? ok({ settings: table.value, builtIn: defaultClassLists.builtIn }) : table;
}

export interface ClassMatch {
  readonly class: CommandClass;
  /** The pattern's words. */
  readonly pattern: string;
}

/** Tools whose operands are goals of equal rank, so that `make all install` is also `make install`. */
const GOAL_TOOLS = new Set(['make', 'ninja', 'gradle', 'gradlew', 'mvn', 'mvnw', 'rake', 'just', 'task', 'sbt', 'ant']);

/** The class that one layer of lists gives a command, or null where it is silent. */
export function matchClass(table: PatternTable, name: string, args: readonly CommandArg[]): ClassMatch | null {
  const canonical = canonicalName(name);
  const patterns = [...(table.get(name) ?? []), ...(canonical === name ? [] : (table.get(canonical) ?? []))];
  if (patterns.length === 0) return null;
  const command = operandsOf(canonical, args);
  const goals = GOAL_TOOLS.has(canonical) && command.operands.length > 1 ? new Set(command.operands) : [null];
  let best: ClassMatch | null = null;
  for (const goal of goals) {
    const found = bestOf(patterns, goal === null ? command : { operands: [goal], options: command.options });
    if (found !== null && (best === null || isStricter(found.class, best.class))) best = found;
  }
  return best;
}

function bestOf(patterns: readonly ClassedPattern[], command: ReturnType<typeof operandsOf>): ClassMatch | null {
  let best: ClassedPattern | null = null;
  for (const candidate of patterns) {
    if (!patternMatches(candidate.pattern, command)) continue;
    const heavier = best === null ? 1 : candidate.pattern.weight - best.pattern.weight;
    if (heavier > 0 || (heavier === 0 && best !== null && isStricter(candidate.class, best.class))) best = candidate;
  }
  return best === null ? null : { class: best.class, pattern: best.pattern.source.replace(/ \$$/, '') };
}

/** True where `a` restricts more than `b`. */
export function isStricter(a: CommandClass, b: CommandClass): boolean {
  return CLASS_ORDER.indexOf(a) < CLASS_ORDER.indexOf(b);
}
