import { textOfBytes } from '../../base/byte-text.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { PREPARE_INPUTS_MAX, PREPARE_STEPS_MAX, type PrepareStep } from '../../wire/workspace.ts';
import { walkCommand } from '../policy/command-walk.ts';
import { toolsOf } from '../policy/required-tools.ts';
import { folderOf } from '../../wire/tree-path.ts';
import { baseOf, under } from './dependency-files.ts';
import { type JsManager, JS_LOCKS, jsManagerOf, jsStep, pythonStep, vendorStep } from './package-recipes.ts';

/** What is known of a project's dependencies on this side. Paths are relative to the root, bytes as in TreePath. */
export interface DependencyFacts {
  /** Ignored folders of dependencies that exist here and are not sent. */
  readonly folders: readonly string[];
  /** Files that are sent: those of `isDependencyFile` at least. */
  readonly files: readonly string[];
  /** Who filled the node_modules of a folder, or wrote its yarn.lock, where marks in them tell. */
  readonly managers: ReadonlyMap<string, JsManager>;
}

/** `[prepare]` of .meshwork.toml; paths as bytes. */
export interface PrepareSettings {
  /** Null: what lockfiles tell; false: nothing. */
  readonly run: readonly string[] | false | null;
  readonly inputs: readonly string[];
  readonly makes: readonly string[];
}

export interface PrepareRefusal {
  readonly code: 'needs_prepare';
  readonly message: string;
}

/** A folder of products: the build makes it, so nothing is to be prepared. */
const PRODUCTS: ReadonlySet<string> = new Set(['target']);
const SHOWN_FOLDERS_MAX = 5;

/**
 * What to run at an executor so that the dependencies that are here are there too, outer folders first. Where this side
 * does not have a folder, nothing is prepared.
 *
 * @returns a refusal that names the folders of which no lockfile tells how they are made, and what to write into
 *   .meshwork.toml
 */
export function prepareSteps(
  facts: DependencyFacts,
  settings: PrepareSettings,
): Result<readonly PrepareStep[], PrepareRefusal> {
  if (settings.run === false) return ok([]);
  if (settings.run !== null) return ok([ownStep(settings.run, facts, settings)]);
  const files = new Set(facts.files);
  const steps = new Map<string, PrepareStep>();
  const unknown: string[] = [];
  for (const folder of [...facts.folders].sort(outerFirst)) {
    if (PRODUCTS.has(baseOf(folder))) continue;
    const found = stepFor(folder, files, facts);
    if (found === null) {
      unknown.push(folder);
      continue;
    }
    const key = `${found.folder}\0${found.run}`;
    const known = steps.get(key);
    // A workspace's own node_modules is made by the install of the root.
    if (known === undefined) steps.set(key, withInputs(found, settings.inputs));
    else if (known.makes.length < PREPARE_INPUTS_MAX && !known.makes.includes(folder)) {
      steps.set(key, { ...known, makes: [...known.makes, folder] });
    }
  }
  if (unknown.length > 0) return refuse(unknown);
  if (steps.size > PREPARE_STEPS_MAX) return tooMany(steps.size);
  return ok([...steps.values()]);
}

/**
 * Steps less those that the command is itself: `npm ci` needs no installed packages.
 *
 * @param folder the command's directory, relative to the root
 */
export function withoutOwnInstall(
  steps: readonly PrepareStep[],
  command: Parameters<typeof walkCommand>[0],
  folder: string,
): readonly PrepareStep[] {
  const [first] = walkCommand(command, { scripts: () => null }).invocations;
  if (first === undefined || !first.onPath) return steps;
  const subcommand = first.args.find(({ text }) => !text.startsWith('-'))?.text ?? '';
  if (!INSTALLS.get(first.name)?.includes(subcommand)) return steps;
  return steps.filter((step) => step.folder !== folder || step.tool !== first.name);
}

/** Subcommands that make all of a project's dependencies; '' is the name alone. */
const INSTALLS: ReadonlyMap<string, readonly string[]> = new Map([
  ['npm', ['ci', 'install', 'i', 'clean-install']],
  ['pnpm', ['install', 'i']],
  ['yarn', ['', 'install']],
  ['bun', ['install', 'i']],
  ['uv', ['sync']],
  ['poetry', ['install', 'sync']],
  ['pipenv', ['install', 'sync']],
  ['composer', ['install', 'i']],
  ['bundle', ['', 'install']],
]);

function stepFor(folder: string, files: ReadonlySet<string>, facts: DependencyFacts): PrepareStep | null {
  const name = baseOf(folder);
  switch (name) {
    case 'node_modules':
    case 'cache':
    case 'unplugged': {
      const place = name === 'node_modules' ? folderOf(folder) : folderOf(folderOf(folder));
      const holder = nearestLocked(place, files);
      if (holder === null) return null;
      const [marked, locked] = [facts.managers.get(holder) ?? null, jsManagerOf(holder, files)];
      const step = marked === null ? null : jsStep(marked, holder, folder, files);
      return step ?? (locked === null ? null : jsStep(locked, holder, folder, files));
    }
    case '.venv':
    case 'venv':
      return pythonStep(folder, files);
    case 'vendor':
    case 'bundle':
      return vendorStep(folder, files);
    default:
      return null;
  }
}

/** The nearest folder upwards with a lockfile of a JavaScript package manager. */
function nearestLocked(from: string, files: ReadonlySet<string>): string | null {
  for (let folder = from; ; folder = folderOf(folder)) {
    if (JS_LOCKS.some((lock) => files.has(under(folder, lock)))) return folder;
    if (folder === '') return null;
  }
}

function ownStep(lines: readonly string[], facts: DependencyFacts, settings: PrepareSettings): PrepareStep {
  const run = lines.length === 1 ? (lines[0] ?? '') : ['set -e', ...lines].join('\n');
  const walk = walkCommand({ kind: 'line', line: run }, { scripts: () => null });
  const makes =
    settings.makes.length > 0 ? settings.makes : facts.folders.filter((each) => !PRODUCTS.has(baseOf(each)));
  const inputs = settings.inputs.length > 0 ? settings.inputs : facts.files;
  return {
    folder: '',
    run,
    tool: toolsOf(walk.invocations)[0] ?? '',
    inputs: [...inputs].sort(outerFirst).slice(0, PREPARE_INPUTS_MAX),
    makes: [...makes].sort(outerFirst).slice(0, PREPARE_INPUTS_MAX),
  };
}

/** What the settings name comes first, since the number of inputs is bounded. */
function withInputs(step: PrepareStep, inputs: readonly string[]): PrepareStep {
  return { ...step, inputs: [...new Set([...inputs, ...step.inputs])].slice(0, PREPARE_INPUTS_MAX) };
}

function refuse(folders: readonly string[]): Result<never, PrepareRefusal> {
  const names = folders.map(textOfBytes);
  const shown = names.slice(0, SHOWN_FOLDERS_MAX).join(', ');
  const more = names.length > SHOWN_FOLDERS_MAX ? ` and ${names.length - SHOWN_FOLDERS_MAX} more` : '';
  const [are, them] = names.length === 1 ? ['is', 'it'] : ['are', 'them'];
  const example = JSON.stringify(names.slice(0, SHOWN_FOLDERS_MAX));
  return err({
    code: 'needs_prepare',
    message: `${shown}${more} ${are} ignored, so not sent, and no lockfile beside or above tells how to make ${them} on another node. Say it in .meshwork.toml: [prepare] run = "COMMAND" makes ${them}, run = false does without; [ship] ignored = ${example} sends ${them}`,
  });
}

function tooMany(count: number): Result<never, PrepareRefusal> {
  return err({
    code: 'needs_prepare',
    message: `${count} folders have dependencies of their own; at most ${PREPARE_STEPS_MAX} are prepared. Say in .meshwork.toml what to run for all of them: [prepare] run = "COMMAND"`,
  });
}

/** Parents before what is below them, else by name. */
function outerFirst(a: string, b: string): number {
  const depth = a.split('/').length - b.split('/').length;
  return depth !== 0 ? depth : a < b ? -1 : a > b ? 1 : 0;
}
