import { lookup, operandsOf, type CommandArg } from './command-pattern.ts';
import type { CommandClass } from './class-lists.ts';

/** A script of package.json that a command runs. */
export interface ScriptCall {
  /** As typed, for people: `npm run build`. */
  readonly label: string;
  readonly name: string;
  /** Appended to the script's line. */
  readonly args: readonly CommandArg[];
  /** It belongs to another package than that of the current directory. */
  readonly elsewhere: boolean;
  /** Not one of the manager's own words: where no such script exists it is an executable of node_modules instead. */
  readonly orExecutable: boolean;
}

const NPM_TEST = new Set(['test', 't', 'tst']);
const NPM_RUN = new Set(['run', 'run-script', 'rum', 'urn']);
const LIFECYCLE = new Set(['test', 'start', 'stop', 'restart']);

/** The words of each manager that are never a script's name. */
const OWN_WORDS: ReadonlyMap<string, ReadonlySet<string>> = lookup({
  yarn: new Set(
    `add audit autoclean bin cache check config constraints create dedupe dlx exec explain generate-lock-entry global help
    import info init install licenses link list login logout node npm outdated owner pack patch plugin policies publish
    rebuild remove search set stage tag team unlink unplug up upgrade upgrade-interactive version versions why
    workspace workspaces`.split(/\s+/),
  ),
  pnpm: new Set(
    `add audit bin catalog cat-file cat-index config create dedupe deploy dlx doctor env exec fetch find-hash help i import
    init install install-test it licenses link list ll ln login logout ls outdated pack patch patch-commit patch-remove
    prune publish rb rebuild recursive remove rm root self-update server setup store un uninstall unlink up update
    upgrade why`.split(/\s+/),
  ),
  bun: new Set(
    `a add audit build c create exec help i info init install link outdated patch pm publish remove repl rm test unlink
    update upgrade why x`.split(/\s+/),
  ),
});

const ELSEWHERE_OPTIONS: ReadonlyMap<string, readonly string[]> = lookup({
  npm: ['--prefix', '-C', '-w', '--workspace', '--workspaces', '-ws'],
  yarn: ['--cwd'],
  pnpm: ['-C', '--dir', '--filter', '-F', '-r', '--recursive', '-w', '--workspace-root'],
  bun: ['--cwd', '--filter', '-F'],
});

/** The script that `npm run X`, `npm test`, `yarn X`, `pnpm X`, `bun run X` or `node --run X` runs, or null. */
export function scriptCallOf(name: string, args: readonly CommandArg[]): ScriptCall | null {
  if (name === 'node') return nodeRun(args);
  const own = OWN_WORDS.get(name);
  if (name !== 'npm' && own === undefined) return null;
  const { operands, options } = operandsOf(name, args);
  const elsewhere = (ELSEWHERE_OPTIONS.get(name) ?? []).some((option) => options.has(option));
  const call = (script: string, typed: string, orExecutable = false, moved = elsewhere): ScriptCall => ({
    label: typed,
    name: script,
    args: argsAfter(script, args),
    elsewhere: moved,
    orExecutable,
  });
  const word = operands[0] ?? '';
  const second = operands[1] ?? '';
  if (NPM_RUN.has(word)) {
    if (second === '' || (name === 'bun' && /[./]/.test(second))) return null;
    return call(second, `${name} run ${second}`, name === 'bun' || name === 'yarn');
  }
  if (name === 'npm') {
    if (NPM_TEST.has(word)) return { ...call(word, `npm ${word}`), name: 'test' };
    return LIFECYCLE.has(word) ? call(word, `npm ${word}`) : null;
  }
  if (name === 'pnpm' && NPM_TEST.has(word)) return { ...call(word, `pnpm ${word}`), name: 'test' };
  if (name === 'pnpm' && (word === 'recursive' || word === 'm') && second !== '') {
    const script = NPM_RUN.has(second) ? (operands[2] ?? '') : second;
    return call(script, `pnpm -r ${script}`, false, true);
  }
  if (name === 'yarn' && word === 'workspace') {
    const script = operands[2] === 'run' ? (operands[3] ?? '') : (operands[2] ?? '');
    return own?.has(script) === true ? null : call(script, `yarn ${script}`, true, true);
  }
  if (name === 'yarn' && word === 'workspaces') {
    const script = operands[operands.indexOf('run') + 1] ?? '';
    return operands.includes('run') ? call(script, `yarn workspaces run ${script}`, true, true) : null;
  }
  if (word === '' || own?.has(word) === true || (name === 'bun' && /[./]/.test(word))) return null;
  return call(word, `${name} ${word}`, true);
}

function nodeRun(args: readonly CommandArg[]): ScriptCall | null {
  const at = args.findIndex((arg) => arg.text === '--run' || arg.text.startsWith('--run='));
  if (at < 0) return null;
  const inline = args[at]?.text.split('=')[1];
  const name = inline ?? args[at + 1]?.text ?? '';
  return { label: `node --run ${name}`, name, args: argsAfter(name, args), elsewhere: false, orExecutable: false };
}

/** The words after the script's name, without the first `--`. */
function argsAfter(script: string, args: readonly CommandArg[]): readonly CommandArg[] {
  const at = args.findIndex((arg) => arg.text === script);
  const rest = at < 0 ? [] : args.slice(at + 1);
  const dashes = rest.findIndex((arg) => arg.text === '--');
  return dashes < 0 ? rest : [...rest.slice(0, dashes), ...rest.slice(dashes + 1)];
}

const NAMES: readonly (readonly [CommandClass, ReadonlySet<string>])[] = [
  [
    'bound',
    new Set(
      `dev develop start serve server watch preview storybook deploy publish release up down stop restart install migrate
      seed prepare postinstall preinstall e2e:open open studio ios android electron docker`.split(/\s+/),
    ),
  ],
  [
    'heavy',
    new Set(
      `build test tests lint typecheck type-check types check compile bench benchmark coverage cover cov format fmt ci
      unit integration e2e bundle spec verify validate all build-all test-all dist`.split(/\s+/),
    ),
  ],
];

/**
 * The class of a script of which only the name is known (no package.json at hand, or no such script in it): `dev`,
 * `start`, `test:watch` and the like are bound, `build`, `test`, `lint` and the like heavy, anything else other.
 */
export function classOfScriptName(name: string): CommandClass {
  const parts = name.split(/[:.]/);
  for (const [known, names] of NAMES) {
    if (parts.some((part) => names.has(part))) return known;
  }
  return 'other';
}

/** A word as a shell would have to be told it. */
export function quoteWord(text: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
