import { describe, expect, it } from 'vitest';
import { isDependencyFile, isDependencyFolder } from '../../../../src/core/workspace/dependency-files.ts';
import type { JsManager } from '../../../../src/core/workspace/package-recipes.ts';
import {
  prepareSteps,
  type PrepareSettings,
  withoutOwnInstall,
} from '../../../../src/core/workspace/prepare-recipes.ts';
import { PREPARE_STEPS_MAX, prepareStepSchema } from '../../../../src/wire/workspace.ts';

const NO_SETTINGS: PrepareSettings = { run: null, inputs: [], makes: [] };

function plan(
  folders: readonly string[],
  files: readonly string[],
  settings: Partial<PrepareSettings> = {},
  managers: Readonly<Record<string, JsManager>> = {},
) {
  // What the scan tells is what these rules ask for.
  expect(folders.filter((folder) => !isDependencyFolder(folder))).toEqual([]);
  expect(files.filter((file) => !isDependencyFile(file))).toEqual([]);
  const facts = { folders, files, managers: new Map(Object.entries(managers)) };
  return prepareSteps(facts, { ...NO_SETTINGS, ...settings });
}

function steps(...args: Parameters<typeof plan>) {
  const planned = plan(...args);
  if (!planned.ok) throw new Error(planned.error.message);
  for (const step of planned.value) prepareStepSchema.parse(step);
  return planned.value;
}

function refusal(...args: Parameters<typeof plan>): string {
  const planned = plan(...args);
  if (planned.ok) throw new Error(`it was planned: ${JSON.stringify(planned.value)}`);
  expect(planned.error.code).toBe('needs_prepare');
  return planned.error.message;
}

describe('recipes', () => {
  it.each<[string, string, readonly string[], string, string]>([
    ['npm', 'node_modules', ['package.json', 'package-lock.json'], 'npm', 'npm ci'],
    ['npm with a shrinkwrap', 'node_modules', ['npm-shrinkwrap.json'], 'npm', 'npm ci'],
    ['pnpm', 'node_modules', ['pnpm-lock.yaml', 'pnpm-workspace.yaml'], 'pnpm', 'pnpm install --frozen-lockfile'],
    ['yarn 1', 'node_modules', ['yarn.lock'], 'yarn', 'yarn install --frozen-lockfile'],
    ['yarn berry', 'node_modules', ['yarn.lock', '.yarnrc.yml'], 'yarn', 'yarn install --immutable'],
    ['yarn berry, its cache', '.yarn/cache', ['yarn.lock', '.yarnrc.yml'], 'yarn', 'yarn install --immutable'],
    ['bun', 'node_modules', ['bun.lock'], 'bun', 'bun install --frozen-lockfile'],
    ['bun before 1.2', 'node_modules', ['bun.lockb'], 'bun', 'bun install --frozen-lockfile'],
    ['uv', '.venv', ['uv.lock', 'pyproject.toml'], 'uv', 'uv sync --frozen'],
    ['uv, another folder', 'venv', ['uv.lock'], 'uv', 'UV_PROJECT_ENVIRONMENT=venv uv sync --frozen'],
    [
      'poetry',
      '.venv',
      ['poetry.lock', 'requirements.txt'],
      'poetry',
      'POETRY_VIRTUALENVS_IN_PROJECT=true poetry install --no-interaction',
    ],
    ['Pipenv', '.venv', ['Pipfile.lock'], 'pipenv', 'PIPENV_VENV_IN_PROJECT=1 pipenv sync --dev'],
    [
      'pip',
      'venv',
      ['requirements.txt', 'requirements-dev.txt', 'constraints.txt', 'docs-requirements.txt'],
      'python3',
      'python3 -m venv --clear venv && venv/bin/python -m pip install --disable-pip-version-check -r requirements-dev.txt -r requirements.txt',
    ],
    ['Composer', 'vendor', ['composer.lock', 'composer.json'], 'composer', 'composer install --no-interaction'],
    ['Go', 'vendor', ['go.mod', 'go.sum'], 'go', 'go mod vendor'],
    [
      'Bundler',
      'vendor/bundle',
      ['Gemfile', 'Gemfile.lock'],
      'bundle',
      'bundle config set --local path vendor/bundle && BUNDLE_FROZEN=true bundle install',
    ],
  ])('%s', (_, folder, files, tool, run) => {
    expect(steps([folder], files)).toEqual([{ folder: '', run, tool, inputs: expect.any(Array), makes: [folder] }]);
    const below = steps(
      [`a/b/${folder}`],
      files.map((file) => `a/b/${file}`),
    );
    expect(below).toMatchObject([{ folder: 'a/b', run, tool, makes: [`a/b/${folder}`] }]);
  });

  it('takes as inputs what decides, as far as it is sent', () => {
    const files = ['package.json', 'package-lock.json', '.npmrc', 'sub/package.json', 'uv.lock'];
    expect(steps(['node_modules'], files)[0]?.inputs).toEqual(['package.json', 'package-lock.json', '.npmrc']);
    expect(steps(['venv'], ['requirements.txt', 'constraints.txt', 'pyproject.toml'])[0]?.inputs).toEqual([
      'constraints.txt',
      'requirements.txt',
      'pyproject.toml',
    ]);
  });

  it('prepares nothing where this side has nothing', () => {
    expect(steps([], ['package.json', 'package-lock.json', 'uv.lock', 'requirements.txt'])).toEqual([]);
  });

  it('leaves products to the build', () => {
    expect(steps(['target', 'crates/x/target'], ['Cargo.toml', 'Cargo.lock'])).toEqual([]);
  });
});

describe('a monorepo', () => {
  it('makes nested node_modules by the install of the root, once', () => {
    const folders = ['packages/a/node_modules', 'packages/b/node_modules', 'node_modules'];
    expect(steps(folders, ['package.json', 'pnpm-lock.yaml', 'packages/a/package.json'])).toEqual([
      {
        folder: '',
        run: 'pnpm install --frozen-lockfile',
        tool: 'pnpm',
        inputs: ['package.json', 'pnpm-lock.yaml'],
        makes: ['node_modules', 'packages/a/node_modules', 'packages/b/node_modules'],
      },
    ]);
  });

  it('has a step for each lockfile, outer folders first', () => {
    const files = ['z/yarn.lock', 'package-lock.json', 'a/b/package-lock.json', 'py/uv.lock'];
    const planned = steps(['a/b/node_modules', 'z/node_modules', 'node_modules', 'py/.venv'], files);
    expect(planned.map(({ folder, tool }) => [folder, tool])).toEqual([
      ['', 'npm'],
      ['py', 'uv'],
      ['z', 'yarn'],
      ['a/b', 'npm'],
    ]);
  });

  it('refuses more steps than can be told', () => {
    const names = Array.from({ length: PREPARE_STEPS_MAX + 1 }, (_, at) => `p${at}`);
    const message = refusal(
      names.map((name) => `${name}/node_modules`),
      names.map((name) => `${name}/yarn.lock`),
    );
    expect(message).toMatch(/33 folders .* at most 32 .*\.meshwork\.toml/);
  });
});

describe('which package manager', () => {
  const both = ['package-lock.json', 'yarn.lock'];

  it('is told by its marks where there are several lockfiles', () => {
    expect(steps(['node_modules'], both, {}, { '': 'npm' })[0]?.run).toBe('npm ci');
    expect(steps(['node_modules'], both, {}, { '': 'yarn' })[0]?.run).toBe('yarn install --frozen-lockfile');
    expect(steps(['node_modules'], both, {}, { '': 'berry' })[0]?.run).toBe('yarn install --immutable');
  });

  it('is the one of the lockfile where the marks are of another', () => {
    expect(steps(['node_modules'], ['pnpm-lock.yaml'], {}, { '': 'npm' })[0]?.tool).toBe('pnpm');
  });

  it('is not guessed', () => {
    expect(refusal(['node_modules'], both)).toMatch(/^node_modules is ignored/);
  });
});

describe('a refusal', () => {
  it('names the folder and how to say it', () => {
    const message = refusal(['examples/x/node_modules', 'node_modules'], ['examples/package-lock.json']);
    expect(message).toMatch(/^node_modules is ignored, so not sent.*\.meshwork\.toml: \[prepare\] run = /);
    expect(message).toContain('[ship] ignored = ["node_modules"]');
  });

  it('shows a few of many, as text', () => {
    const folders = Array.from({ length: 9 }, (_, at) => `p${at}/venv`);
    expect(refusal(folders, [])).toMatch(/^p0\/venv, .*p4\/venv and 4 more are ignored/);
    expect(refusal(['\u00c3\u00a4/venv'], [])).toMatch(/^ä\/venv is/);
  });

  it.each([['bower_components'], ['vendor'], ['vendor/bundle'], ['.venv']])('is given for %s alone', (folder) => {
    expect(refusal([folder], ['package-lock.json'])).toContain(folder);
  });
});

describe('[prepare]', () => {
  const files = ['package.json', 'package-lock.json'];

  it('run = false turns it off', () => {
    expect(steps(['node_modules', 'vendor'], files, { run: false })).toEqual([]);
  });

  it('run is what is run instead, with the first tool of its words', () => {
    expect(steps(['node_modules', 'target'], files, { run: ['CI=1 pnpm i && make gen'] })).toEqual([
      { folder: '', run: 'CI=1 pnpm i && make gen', tool: 'pnpm', inputs: [...files].sort(), makes: ['node_modules'] },
    ]);
    expect(steps([], files, { run: ['./prepare.sh'], makes: ['gen'] })).toMatchObject([{ tool: '', makes: ['gen'] }]);
  });

  it('several lines are one step, up to the first that fails', () => {
    expect(steps([], [], { run: ['a', 'b'] })[0]?.run).toBe('set -e\na\nb');
  });

  it('inputs are the ones of run, or are added to those of recipes', () => {
    expect(steps([], files, { run: ['a'], inputs: ['x'] })[0]?.inputs).toEqual(['x']);
    expect(steps(['node_modules'], files, { inputs: ['patches/a.patch'] })[0]?.inputs).toEqual([
      'patches/a.patch',
      ...files,
    ]);
  });
});

describe('a command that installs', () => {
  const planned = steps(['node_modules', 'a/node_modules'], ['package-lock.json', 'a/package-lock.json']);
  const line = (text: string, folder = '') =>
    withoutOwnInstall(planned, { kind: 'line', line: text }, folder).map((step) => step.folder);

  it('needs no preparation of its own folder', () => {
    expect(line('npm ci')).toEqual(['a']);
    expect(line('NODE_ENV=x npm install --no-audit && npm test')).toEqual(['a']);
    expect(line('npm ci', 'a')).toEqual(['']);
    expect(withoutOwnInstall(planned, { kind: 'argv', argv: ['npm', 'i'] }, '')).toHaveLength(1);
  });

  it.each(['npm test', 'npm run install', 'echo npm ci', 'yarn', 'cd a && npm ci'])('%s needs it', (text) => {
    expect(line(text)).toEqual(['', 'a']);
  });
});
