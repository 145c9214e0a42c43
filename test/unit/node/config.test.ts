import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import { describe, expect, it } from 'vitest';
import {
  configSchema,
  formatHostPort,
  parseHostPort,
  SECTION_NAMES,
  SETTINGS,
} from '../../../src/node/config-schema.ts';
import { type ConfigFlags, loadConfig, nodeName, slotCount } from '../../../src/node/config.ts';
import { nearestOf } from '../../../src/node/settings-file.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();
const DEFAULTS = configSchema.parse({});

function load(toml: string, env: Record<string, string> = {}, flags: ConfigFlags = {}) {
  const file = join(folder(), 'config.toml');
  writeFileSync(file, toml);
  return { file, ...loadConfig(file, env, flags) };
}

function failure(toml: string, env: Record<string, string> = {}, flags: ConfigFlags = {}): string {
  try {
    load(toml, env, flags);
  } catch (error) {
    expect(error).toMatchObject({ name: 'MeshError', code: 'bad_config' });
    return String(error);
  }
  throw new Error('the settings were accepted');
}

describe('config/meshwork.example.toml', () => {
  const text = readFileSync(new URL('../../../config/meshwork.example.toml', import.meta.url), 'utf8');
  const example = parse(text);

  it('names exactly the settings there are', () => {
    const named = Object.entries(example).flatMap(([key, value]) =>
      SECTION_NAMES.includes(key) ? Object.keys(Object(value)).map((inner) => `${key}.${inner}`) : [key],
    );
    expect(named.sort()).toEqual([...SETTINGS.keys()].sort());
  });

  it('has the defaults for values, and is accepted', () => {
    expect(configSchema.parse(example)).toEqual(DEFAULTS);
    expect(load(text)).toMatchObject({ config: DEFAULTS, warnings: [] });
  });

  it('gives default and range of every setting', () => {
    const blocks = text.split(/\n\n+/);
    for (const [name, setting] of SETTINGS) {
      const key = setting.path.at(-1) ?? '';
      const block = blocks.find((candidate) => new RegExp(`^(${key} =|\\[${key}\\])`, 'm').test(candidate)) ?? '';
      expect(block, name).toMatch(/Default/);
      expect(setting.accepts, name).not.toBe('');
    }
  });
});

describe('settings', () => {
  it('are the defaults where there is no file', () => {
    expect(loadConfig('/nowhere/config.toml', {})).toEqual({ config: DEFAULTS, warnings: [] });
    expect(DEFAULTS).toMatchObject({
      listen: { host: '0.0.0.0', port: 47_470 },
      overloaded: { cpu_percent: 40, load_per_core: 1, memory_percent: 80 },
      mcp: { timeout_s: 3600 },
    });
  });

  it('of the environment win over the file, flags over both', () => {
    const toml =
      'name = "file"\nslots = 1\npeers = ["a:1"]\n[labels]\na = "1"\nb = "1"\n[exec]\nmode = "off"\nuser = "ci"';
    const env = {
      MESHWORK_SLOTS: '2',
      MESHWORK_EXEC_MODE: 'commands',
      MESHWORK_EXEC_ALLOW: 'make, cargo test',
      MESHWORK_LABELS: 'a=2,c=x=y',
      MESHWORK_MDNS: 'false',
      MESHWORK_OVERLOADED_CPU_PERCENT: '55.5',
      MESHWORK_HOME: '/h',
      MESHWORK_FACTS_FILE: '/f',
    };
    const flags = {
      slots: 3,
      peers: ['[fe80::1]:2', 'a:1'],
      labels: { c: '3' },
      listen: '127.0.0.1:0',
      name: undefined,
    };
    const { config, warnings } = load(toml, env, flags);
    expect(warnings).toEqual([]);
    expect(config).toMatchObject({
      name: 'file',
      slots: 3,
      mdns: false,
      listen: { host: '127.0.0.1', port: 0 },
      peers: [
        { host: 'a', port: 1 },
        { host: 'fe80::1', port: 2 },
      ],
      labels: { a: '2', c: '3' },
      exec: { mode: 'commands', user: 'ci', allow: ['make', 'cargo test'] },
      overloaded: { cpu_percent: 55.5, memory_percent: 80 },
    });
  });

  it.each([
    ['slotz = 3', 'slotz is not a setting; did you mean slots?'],
    ['[exec]\ntimeout_s_max = 3', 'exec.timeout_s_max is not a setting; did you mean exec.timeout_max_s?'],
    ['cpu_percent = 40', 'cpu_percent is not a setting; did you mean overloaded.cpu_percent?'],
    ['[audits]\nsegments = 2', 'audits is not a setting; did you mean audit?'],
    ['[overloaded]\ncpu_percent = 140', 'overloaded.cpu_percent = 140: must be a number from 1 to 100'],
    ['slots = -1', 'slots = -1: must be "auto"'],
    ['slots = 1.5', 'slots = 1.5: must be'],
    ['mdns = "yes"', 'mdns = "yes": must be true or false'],
    ['name = "a b"', 'name = "a b": must be'],
    ['exec = "shell"', 'exec = "shell": must be a table, written as [exec]'],
    ['[exec]\nmode = "sh"', 'exec.mode = "sh": must be one of "shell", "commands", "off"'],
    ['[exec]\naccept = ["owner"]', 'exec.accept = ["owner"]: must be "members"'],
    ['[exec]\ncwd_root = "rel"', 'exec.cwd_root = "rel": must be'],
    [
      '[exec]\ntimeout_max_s = 9999999',
      'exec.timeout_max_s = 9999999: must be a whole number from 0 to 2147483 (seconds',
    ],
    ['peers = ["a:99999"]', 'is not HOST:PORT'],
    ['listen = "nowhere:port"', 'listen = "nowhere:port": must be HOST:PORT'],
    ['[labels]\n"bad key" = "x"', 'labels = {"bad key":"x"}: must be a table'],
    ['[classes]\nheavy = [""]', 'classes.heavy = [""]: must be a list'],
    ['[workspace]\ncache = 1', 'workspace is not a setting'],
  ])('%j is refused: %s', (toml, message) => {
    expect(failure(toml)).toContain(message);
    expect(failure(toml)).toContain('config.toml');
  });

  it('that are no TOML are refused with the line', () => {
    expect(failure('name = "a"\nslots = = 2')).toMatch(/config\.toml, line 2, column \d+: /);
  });

  it('are checked where they are given, so that the message names the variable or the flag', () => {
    expect(failure('', { MESHWORK_SLOTS: 'many' })).toContain('MESHWORK_SLOTS = "many": must be');
    expect(failure('', { MESHWORK_EXEC_TIMEOUT_MAX_S: '' })).toContain('MESHWORK_EXEC_TIMEOUT_MAX_S = "": must be');
    expect(failure('', {}, { slots: 5000 })).toContain('--slots = 5000: must be');
    expect(failure('', {}, { name: 'a/b' })).toContain('--name = "a/b": must be');
    expect(failure('', {}, { labels: { 'a b': 'x' } })).toContain('--label');
  });

  it('warns of variables that are none', () => {
    expect(load('', { MESHWORK_SLOT: '3' }).warnings).toEqual([
      'the variable MESHWORK_SLOT is no setting and is ignored; did you mean MESHWORK_SLOTS?',
    ]);
  });

  it('cannot be taken from what is no file', () => {
    expect(() => loadConfig(folder(), {})).toThrow(expect.objectContaining({ code: 'bad_config' }));
  });
});

describe('what settings become', () => {
  it.each([
    ['10.0.0.1:80', { host: '10.0.0.1', port: 80 }],
    ['build.example.com', { host: 'build.example.com', port: 47_470 }],
    ['[::]:47470', { host: '::', port: 47_470 }],
    ['[fe80::1%eth0]:1', { host: 'fe80::1%eth0', port: 1 }],
  ])('%s', (text, address) => {
    expect(parseHostPort(text)).toEqual({ ok: true, value: address });
    if (text.includes('0')) expect(formatHostPort(address)).toBe(text);
  });

  it.each(['', ':80', 'a:b', 'a:70000', '::1', 'a b:1', '[::1', 'http://a:1', '[x]:1'])('%j is no address', (text) => {
    expect(parseHostPort(text).ok).toBe(false);
  });

  it('names and slots', () => {
    expect(nodeName({ ...DEFAULTS, name: 'desk' }, 'host')).toBe('desk');
    expect(nodeName(DEFAULTS, 'My Mac.local')).toBe('My-Mac');
    expect(nodeName(DEFAULTS, '日本')).toBe('node');
    expect(nodeName(DEFAULTS, 'x'.repeat(200))).toHaveLength(63);
    expect([0.5, 1.5, 8].map((cores) => slotCount(DEFAULTS, cores))).toEqual([1, 2, 8]);
    expect(slotCount({ ...DEFAULTS, slots: 0 }, 8)).toBe(0);
  });

  it('the nearest name', () => {
    expect(nearestOf('exec.timout', ['mcp.timeout_s', 'exec.timeout_max_s', 'exec.mode'])).toBe('mcp.timeout_s');
    expect(nearestOf('anything', [])).toBeNull();
  });
});
