import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import { describe, expect, it } from 'vitest';
import { PROJECT_SETTING_NAMES, readProjectSettings } from '../../../src/node/project-settings.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();
const DEFAULTS = {
  outputs: [],
  prepare: { run: null, inputs: [], makes: [] },
  ship: { ignored: [], include: [], exclude: [], git: true },
};

function read(toml: string) {
  const root = folder();
  writeFileSync(join(root, '.meshwork.toml'), toml);
  return readProjectSettings(root);
}

function failure(toml: string): string {
  try {
    read(toml);
  } catch (error) {
    expect(error).toMatchObject({ name: 'MeshError', code: 'bad_config' });
    expect(String(error)).toMatch(/\.meshwork\.toml.*Nothing was sent or run/s);
    return String(error);
  }
  throw new Error('the settings were accepted');
}

describe('config/meshwork-project.example.toml', () => {
  const text = readFileSync(new URL('../../../config/meshwork-project.example.toml', import.meta.url), 'utf8');

  it('has the defaults for values, and names every setting', () => {
    expect(read(text)).toEqual(DEFAULTS);
    const whole = parse(text.replace(/^# (?=\w+ = )/gm, ''));
    const named = Object.entries(whole).flatMap(([key, value]) =>
      Array.isArray(value) ? [key] : Object.keys(Object(value)).map((inner) => `${key}.${inner}`),
    );
    expect(named.sort()).toEqual([...PROJECT_SETTING_NAMES].sort());
  });

  it('is accepted with what it shows behind a #', () => {
    const shown = read(text.replace(/^# (?=\w+ = )/gm, ''));
    expect(shown.prepare.run).toEqual(['npm ci', 'npm run generate']);
  });
});

describe('.meshwork.toml', () => {
  it.each(['outputs = ["../x"]', '[ship]\nignored = ["a/../../b"]', '[ship]\nexclude = ["!../c"]'])(
    'refuses a glob that leads out of the project: %s',
    (toml) => {
      expect(failure(toml)).toMatch(/(outputs|ship\.\w+) = \[.*\]: must be a list of .*globs.*without "\.\."/);
    },
  );

  it('may be absent', () => {
    expect(readProjectSettings(folder())).toEqual(DEFAULTS);
  });

  it('takes one line, several, or none', () => {
    expect(read('[prepare]\nrun = "make deps"').prepare.run).toEqual(['make deps']);
    expect(read('[prepare]\nrun = ["a", "b"]').prepare.run).toEqual(['a', 'b']);
    expect(read('[prepare]\nrun = false').prepare.run).toBe(false);
    expect(read('outputs = ["dist/**"]').outputs).toEqual(['dist/**']);
  });

  it.each([
    ['[prepare]\nrnu = "x"', /prepare\.rnu is not a setting of a project; did you mean prepare\.run\?/],
    ['ignored = ["x"]', /ignored is not a setting of a project; did you mean ship\.ignored\?/],
    ['[shipp]\ngit = true', /shipp is not a setting of a project; did you mean ship\?/],
    ['ship = 1', /ship = 1: must be a table, written as \[ship\]/],
    ['[ship]\ngit = "no"', /ship\.git = "no": must be true or false/],
    ['[ship]\nignored = "node_modules"', /ship\.ignored = "node_modules": must be a list of at most 64 globs/],
    ['[prepare]\nrun = true', /prepare\.run = true: must be false, a shell line/],
    ['[prepare]\nrun = "  "', /prepare\.run = " {2}": must be/],
    ['[prepare]\nrun = []', /prepare\.run = \[\]: must be/],
    [`[prepare]\nrun = "${'x'.repeat(8001)}"`, /prepare\.run = .*…: must be/],
    ['[prepare]\ninputs = ["/etc/passwd"]', /prepare\.inputs = .*without "\.\."/],
    ['[prepare]\ninputs = ["a/../../b"]', /prepare\.inputs = /],
    ['[prepare]\nmakes = ["x"]', /prepare\.makes = \["x"\] needs prepare\.run/],
    ['outputs = [""]', /outputs = \[""\]: must be/],
    ['[prepare\n', /line \d+, column \d+/],
  ])('refuses %j', (toml, message) => {
    expect(failure(toml)).toMatch(message);
  });

  it('is read only where it is a file: a FIFO holds nobody up', () => {
    const root = folder();
    execFileSync('mkfifo', [join(root, '.meshwork.toml')]);
    expect(() => readProjectSettings(root)).toThrow(/is no file/);
  });
});
