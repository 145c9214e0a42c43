import type { PrepareStep } from '../../wire/workspace.ts';
import { quoteWord } from '../policy/package-runner.ts';
import { folderOf } from '../../wire/tree-path.ts';
import { baseOf, under } from './dependency-files.ts';

/** Package managers of JavaScript; of yarn the first major version and all later ones ("berry") differ in everything. */
export type JsManager = 'npm' | 'pnpm' | 'yarn' | 'berry' | 'bun';

interface JsRecipe {
  readonly tool: string;
  readonly run: string;
  readonly locks: readonly string[];
  /** What else decides, in the folder of the lockfile. */
  readonly also: readonly string[];
}

const JS_RECIPES: Readonly<Record<JsManager, JsRecipe>> = {
  npm: { tool: 'npm', run: 'npm ci', locks: ['npm-shrinkwrap.json', 'package-lock.json'], also: ['.npmrc'] },
  pnpm: {
    tool: 'pnpm',
    run: 'pnpm install --frozen-lockfile',
    locks: ['pnpm-lock.yaml'],
    also: ['pnpm-workspace.yaml', '.npmrc', '.pnpmfile.cjs'],
  },
  yarn: { tool: 'yarn', run: 'yarn install --frozen-lockfile', locks: ['yarn.lock'], also: ['.yarnrc', '.npmrc'] },
  berry: { tool: 'yarn', run: 'yarn install --immutable', locks: ['yarn.lock'], also: ['.yarnrc.yml'] },
  bun: { tool: 'bun', run: 'bun install --frozen-lockfile', locks: ['bun.lock', 'bun.lockb'], also: ['bunfig.toml'] },
};
const JS_MANAGERS: readonly JsManager[] = ['npm', 'pnpm', 'yarn', 'berry', 'bun'];

export const JS_LOCKS: readonly string[] = [...new Set(JS_MANAGERS.flatMap((manager) => JS_RECIPES[manager].locks))];

/** Whose lockfile a folder has; null where it has those of several, so that they do not tell. */
export function jsManagerOf(folder: string, files: ReadonlySet<string>): JsManager | null {
  const locked = JS_MANAGERS.filter((manager) =>
    JS_RECIPES[manager].locks.some((lock) => files.has(under(folder, lock))),
  );
  const fit = locked.filter((manager) => manager !== (files.has(under(folder, '.yarnrc.yml')) ? 'yarn' : 'berry'));
  return fit.length === 1 ? (fit[0] ?? null) : null;
}

/**
 * @param holder the folder of the lockfile
 * @param makes the folder of dependencies that is wanted
 * @returns null where that manager has no lockfile there
 */
export function jsStep(
  manager: JsManager,
  holder: string,
  makes: string,
  files: ReadonlySet<string>,
): PrepareStep | null {
  const { tool, run, locks, also } = JS_RECIPES[manager];
  if (!locks.some((lock) => files.has(under(holder, lock)))) return null;
  const inputs = ['package.json', ...locks, ...also];
  return { folder: holder, run, tool, inputs: inPlace(holder, inputs, files), makes: [makes] };
}

const REQUIREMENTS =
  /^(?:requirements|(?:(?:dev|test|tests)[-_])requirements|requirements[-_](?:dev|test|tests))\.txt$/;
const PYTHON_PINS = ['pyproject.toml', '.python-version'];

/** A virtual environment, by the lockfile beside it. */
export function pythonStep(venv: string, files: ReadonlySet<string>): PrepareStep | null {
  const folder = folderOf(venv);
  const name = baseOf(venv);
  const has = (file: string): boolean => files.has(under(folder, file));
  const step = (tool: string, run: string, inputs: readonly string[]): PrepareStep => {
    return { folder, run, tool, inputs: inPlace(folder, [...inputs, ...PYTHON_PINS], files), makes: [venv] };
  };
  const isUsual = name === '.venv';
  if (has('uv.lock')) {
    return step('uv', `${isUsual ? '' : `UV_PROJECT_ENVIRONMENT=${name} `}uv sync --frozen`, ['uv.lock', 'uv.toml']);
  }
  if (has('poetry.lock') && isUsual) {
    const run = 'POETRY_VIRTUALENVS_IN_PROJECT=true poetry install --no-interaction';
    return step('poetry', run, ['poetry.lock', 'poetry.toml']);
  }
  if (has('Pipfile.lock') && isUsual) {
    return step('pipenv', 'PIPENV_VENV_IN_PROJECT=1 pipenv sync --dev', ['Pipfile.lock', 'Pipfile']);
  }
  if (!has('requirements.txt')) return null;
  const beside = [...files].filter((file) => folderOf(file) === folder).map(baseOf);
  const lists = beside.filter((file) => REQUIREMENTS.test(file)).sort();
  // --clear: of an environment that was copied from another folder, its programs would still be those there.
  const run = `python3 -m venv --clear ${name} && ${name}/bin/python -m pip install --disable-pip-version-check ${lists.map((list) => `-r ${quoteWord(list)}`).join(' ')}`;
  const inputs = beside.filter((file) => /(?:requirements|constraints).*\.(?:txt|in)$/.test(file)).sort();
  return step('python3', run, [...inputs, 'setup.py', 'setup.cfg']);
}

/** `vendor` of Composer and of Go modules, `vendor/bundle` of Bundler. */
export function vendorStep(vendor: string, files: ReadonlySet<string>): PrepareStep | null {
  const isBundle = baseOf(vendor) === 'bundle';
  const folder = isBundle ? folderOf(folderOf(vendor)) : folderOf(vendor);
  const has = (file: string): boolean => files.has(under(folder, file));
  const step = (tool: string, run: string, inputs: readonly string[]): PrepareStep => {
    return { folder, run, tool, inputs: inPlace(folder, inputs, files), makes: [vendor] };
  };
  if (!isBundle && has('composer.lock')) {
    return step('composer', 'composer install --no-interaction', ['composer.json', 'composer.lock']);
  }
  if (!isBundle && has('go.mod')) return step('go', 'go mod vendor', ['go.mod', 'go.sum']);
  if (!has('Gemfile.lock')) return null;
  // The setting stays in .bundle, where `bundle exec` finds it.
  const run = 'bundle config set --local path vendor/bundle && BUNDLE_FROZEN=true bundle install';
  return step('bundle', run, ['Gemfile', 'Gemfile.lock', '.ruby-version']);
}

/** A lockfile that a tool looks for and that is not sent would be told as absent for ever: it is left out. */
function inPlace(folder: string, names: readonly string[], files: ReadonlySet<string>): string[] {
  return [...new Set(names)].map((name) => under(folder, name)).filter((path) => files.has(path));
}

/** What a tool runs on: its version decides what is made (modules with native code, environments of Python). */
const RUNTIMES: ReadonlyMap<string, string> = new Map([
  ['npm', 'node'],
  ['pnpm', 'node'],
  ['yarn', 'node'],
  ['bun', 'node'],
  ['uv', 'python3'],
  ['poetry', 'python3'],
  ['pipenv', 'python3'],
  ['composer', 'php'],
  ['bundle', 'ruby'],
]);

/** @returns null where the tool is its own */
export const runtimeOf = (tool: string): string | null => RUNTIMES.get(tool) ?? null;

const MOVABLE: ReadonlySet<string> = new Set(['npm', 'pnpm', 'yarn', 'bun', 'composer', 'go']);

/** Does what it makes work in a copy of the folder elsewhere? Environments of Python hold their own absolute path. */
export const isMovable = (tool: string): boolean => MOVABLE.has(tool);
