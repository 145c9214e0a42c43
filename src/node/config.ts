import { hostname } from 'node:os';
import type { z } from 'zod';
import { MeshError } from '../base/errors.ts';
import { isNodeName, NODE_NAME_CHARS_MAX } from '../base/ids.ts';
import { type Config, configSchema, SECTION_NAMES, SETTINGS } from './config-schema.ts';
import { didYouMean, readSettingsFile, shownValue, type Table, tableOf, valueAt } from './settings-file.ts';

/** Variables of this prefix that are no settings: where a node is, what a job is told, what tests say of a node. */
const OTHER_VARIABLES: ReadonlySet<string> = new Set(['MESHWORK_HOME', 'MESHWORK_FACTS_FILE', 'MESHWORK_JOB_ID']);
const PREFIX = 'MESHWORK_';

/** Settings given on the command line; `undefined` where a flag was not given. Text is as it was typed. */
export interface ConfigFlags {
  readonly name?: string | undefined;
  readonly listen?: string | undefined;
  /** Added to the peers of the file and the environment. */
  readonly peers?: readonly string[] | undefined;
  readonly mdns?: boolean | undefined;
  readonly slots?: number | undefined;
  /** Added to the labels of the file and the environment; a flag wins over the same key. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

export interface LoadedConfig {
  readonly config: Config;
  /** Variables that look like settings and are none: worth a line in the log, not worth a refusal. */
  readonly warnings: readonly string[];
}

/**
 * Reads the settings of a node: config.toml (which may be absent) < environment (`MESHWORK_KEY`, `MESHWORK_SECTION_KEY`;
 * lists and tables with commas) < flags.
 *
 * @throws MeshError `bad_config` that names the file or variable, the key, what is wrong and what is accepted
 */
export function loadConfig(
  file: string,
  env: Readonly<Record<string, string | undefined>>,
  flags: ConfigFlags = {},
): LoadedConfig {
  const fromFile = readFile(file);
  // Checked on its own first, so that a message names the place where the fault is.
  check(fromFile, (key) => `${file}: ${key}`);
  const { values: fromEnv, warnings } = readVariables(env);
  check(fromEnv, (key) => variableOf(key));
  const merged = mergeFlags(merge(fromFile, fromEnv), flags);
  return { config: check(merged, (key) => FLAG_NAMES[key] ?? key), warnings };
}

/** The name that a node bears: the setting, else the host name without its domain, made fit. */
export function nodeName(config: Config, host: string = hostname()): string {
  if (config.name !== '') return config.name;
  const fit = (host.split('.')[0] ?? '').replace(/[^A-Za-z0-9._-]+/g, '-').slice(0, NODE_NAME_CHARS_MAX);
  return isNodeName(fit) && /[A-Za-z0-9]/.test(fit) ? fit : 'node';
}

/** Slots for a number of cores, which may be a fraction. */
export function slotCount(config: Config, cores: number): number {
  return config.slots === 'auto' ? Math.max(1, Math.ceil(cores)) : config.slots;
}

const FLAG_NAMES: Readonly<Record<string, string>> = {
  name: '--name',
  listen: '--listen',
  peers: '--peer',
  mdns: '--no-mdns',
  slots: '--slots',
  labels: '--label',
};

function readFile(file: string): Table {
  const read = readSettingsFile(file);
  if (!read.ok) throw bad(read.error);
  return read.value ?? {};
}

function readVariables(env: Readonly<Record<string, string | undefined>>): { values: Table; warnings: string[] } {
  const byVariable = new Map([...SETTINGS].map(([key, setting]) => [variableOf(key), setting]));
  const values: Record<string, unknown> = {};
  const warnings: string[] = [];
  for (const [variable, text] of Object.entries(env)) {
    if (!variable.startsWith(PREFIX) || text === undefined || OTHER_VARIABLES.has(variable)) continue;
    const setting = byVariable.get(variable);
    if (setting === undefined) {
      warnings.push(
        `the variable ${variable} is no setting and is ignored${didYouMean(variable, [...byVariable.keys()])}`,
      );
      continue;
    }
    const [first, second] = setting.path;
    if (second === undefined) values[first] = setting.fromText(text);
    else values[first] = { ...tableOf(values[first]), [second]: setting.fromText(text) };
  }
  return { values, warnings };
}

function variableOf(key: string): string {
  return `${PREFIX}${key.toUpperCase().replaceAll('.', '_')}`;
}

function merge(lower: Table, upper: Table): Table {
  const merged: Record<string, unknown> = { ...lower, ...upper };
  for (const section of SECTION_NAMES) {
    if (section in upper) merged[section] = { ...tableOf(lower[section]), ...tableOf(upper[section]) };
  }
  return merged;
}

function mergeFlags(values: Table, flags: ConfigFlags): Table {
  const merged: Record<string, unknown> = { ...values };
  for (const key of ['name', 'listen', 'mdns', 'slots'] as const) {
    if (flags[key] !== undefined) merged[key] = flags[key];
  }
  if (flags.peers !== undefined && flags.peers.length > 0) {
    merged['peers'] = [...new Set([...(Array.isArray(values['peers']) ? values['peers'] : []), ...flags.peers])];
  }
  if (flags.labels !== undefined) merged['labels'] = { ...tableOf(values['labels']), ...flags.labels };
  return merged;
}

function check(values: Table, placeOf: (key: string) => string): Config {
  const parsed = configSchema.safeParse(values);
  if (parsed.success) return parsed.data;
  // A key that is unknown comes first: it often is why another one is wrong.
  const issues = parsed.error.issues;
  const issue = issues.find((candidate) => candidate.code === 'unrecognized_keys') ?? issues[0];
  throw bad(issue === undefined ? 'the settings are not valid' : describe(issue, values, placeOf));
}

function describe(issue: z.core.$ZodIssue, values: Table, placeOf: (key: string) => string): string {
  if (issue.code === 'unrecognized_keys') {
    const key = [...issue.path.map(String), issue.keys[0] ?? ''].join('.');
    return `${placeOf(key)} is not a setting${didYouMean(key, [...SETTINGS.keys(), ...SECTION_NAMES])}`;
  }
  const path = issue.path.map(String);
  const key = path.slice(0, 2).join('.');
  const setting = SETTINGS.get(key) ?? SETTINGS.get(path[0] ?? '');
  const place = placeOf(setting?.path.join('.') ?? key);
  const given = shownValue(valueAt(values, setting?.path ?? path));
  if (setting === undefined) return `${place} = ${given}: must be a table, written as [${key}]`;
  // Checks of one entry of a list say more than what the list accepts.
  const detail = issue.code === 'custom' && issue.message !== 'Invalid input' ? ` (${issue.message})` : '';
  return `${place} = ${given}: must be ${setting.accepts}${detail}`;
}

function bad(what: string): MeshError {
  return new MeshError(
    'bad_config',
    `${what}${what.endsWith('?') ? '' : '.'} Correct it and try again: config/meshwork.example.toml of the package shows every setting`,
  );
}
