import { isIPv6 } from 'node:net';
import { z } from 'zod';
import { isNodeId, isNodeName, NODE_NAME_CHARS_MAX } from '../base/ids.ts';
import { err, ok, type Result } from '../base/result.ts';
import { DURATION_MS_MAX, GIB, KIB, MIB, MS_PER_SECOND } from '../base/units.ts';
import { invalidPatterns } from '../core/policy/exec-policy.ts';
import type { Address } from '../ports/links.ts';
import { LABEL_KEY, LABELS_MAX, SLOTS_MAX } from '../wire/facts.ts';

const DEFAULT_PORT = 47_470;
const PEERS_MAX = 64;
const CONFIG_LIST_MAX = 1000;
const PATTERN_CHARS_MAX = 200;
const SECONDS_MAX = Math.floor(DURATION_MS_MAX / MS_PER_SECOND);

/** What people are told of a setting, and how the text of an environment variable becomes its value. */
export interface SettingNote {
  /** Completes "must be …": type, unit, range. */
  readonly accepts: string;
  readonly fromText: (text: string) => unknown;
}
const notes = z.registry<SettingNote>();

const asText = (text: string): unknown => text;
const asNumber = (text: string): unknown => {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  return Number.isNaN(value) ? text : value;
};
const asFlag = (text: string): unknown => {
  if (['true', '1', 'yes', 'on'].includes(text.toLowerCase())) return true;
  return ['false', '0', 'no', 'off'].includes(text.toLowerCase()) ? false : text;
};
const asList = (text: string): unknown =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
const asTable = (text: string): unknown =>
  Object.fromEntries(
    text
      .split(',')
      .filter((item) => item.trim() !== '')
      .map((item) => [item.split('=')[0]?.trim() ?? '', item.split('=').slice(1).join('=').trim()]),
  );

/** A whole number; `what` names the unit. */
function whole(min: number, max: number, preset: number, what: string) {
  const accepts = `a whole number from ${min} to ${max} (${what})`;
  return z.int().min(min).max(max).default(preset).register(notes, { accepts, fromText: asNumber });
}

function decimal(min: number, max: number, preset: number, what: string) {
  const accepts = `a number from ${min} to ${max} (${what})`;
  return z.number().min(min).max(max).default(preset).register(notes, { accepts, fromText: asNumber });
}

function list(item: z.ZodType<string, string>, max: number, preset: readonly string[], what: string) {
  const accepts = `a list of at most ${max} ${what}`;
  return z
    .array(item)
    .max(max)
    .default([...preset])
    .register(notes, { accepts, fromText: asList });
}

function choice<const T extends readonly [string, ...string[]]>(values: T, preset: T[number]) {
  const accepts = `one of ${values.map((value) => `"${value}"`).join(', ')}`;
  const schema = z.enum(values);
  return schema
    .default(schema.parse(preset) as NoInfer<z.output<typeof schema>>)
    .register(notes, { accepts, fromText: asText });
}

function absoluteOrNone(what: string) {
  return z
    .string()
    .max(4096)
    .refine((text) => text === '' || (text.startsWith('/') && !text.includes('\0')))
    .default('')
    .register(notes, { accepts: `"" or ${what}, an absolute path`, fromText: asText });
}

const address = z.string().transform((text, context): Address => {
  const parsed = parseHostPort(text);
  if (parsed.ok) return parsed.value;
  context.addIssue({ code: 'custom', message: parsed.error });
  return z.NEVER;
});
const pattern = z
  .string()
  .max(PATTERN_CHARS_MAX)
  .superRefine((text, context) => {
    for (const message of invalidPatterns([text])) context.addIssue({ code: 'custom', message });
  });
const patterns = (what: string) => list(pattern, CONFIG_LIST_MAX, [], what);
const ROLES = ['submit', 'run', 'admin'];

const topLevel = {
  name: z
    .string()
    .refine((text) => text === '' || isNodeName(text))
    .default('')
    .register(notes, {
      accepts: `"" (the host name) or 1 to ${NODE_NAME_CHARS_MAX} of A-Z, a-z, 0-9, ".", "_" and "-"`,
      fromText: asText,
    }),
  listen: address.prefault(`0.0.0.0:${DEFAULT_PORT}`).register(notes, {
    accepts: 'HOST:PORT or [IPV6]:PORT with a port from 0 to 65535 (0 = any free one)',
    fromText: asText,
  }),
  peers: z
    .array(address)
    .max(PEERS_MAX)
    .default([])
    .register(notes, { accepts: `a list of at most ${PEERS_MAX} HOST:PORT`, fromText: asList }),
  mdns: z.boolean().default(true).register(notes, { accepts: 'true or false', fromText: asFlag }),
  slots: z
    .union([z.literal('auto'), z.int().min(0).max(SLOTS_MAX)])
    .default('auto')
    .register(notes, {
      accepts: `"auto" (the cores, rounded up) or a whole number from 0 to ${SLOTS_MAX} (commands at once)`,
      fromText: (text) => (text === 'auto' ? text : asNumber(text)),
    }),
  labels: z
    .record(z.string().regex(LABEL_KEY), z.string().max(128))
    .refine((labels) => Object.keys(labels).length <= LABELS_MAX)
    .default({})
    .register(notes, {
      accepts: `a table of at most ${LABELS_MAX} KEY = "VALUE", keys of A-Z, a-z, 0-9, ".", "_", "/" and "-", values up to 128 characters`,
      fromText: asTable,
    }),
};

const sections = {
  overloaded: {
    cpu_percent: decimal(1, 100, 40, 'percent of all cores'),
    load_per_core: decimal(0.01, 1000, 1, 'one-minute load average per core'),
    memory_percent: decimal(1, 100, 80, 'percent of the memory'),
  },
  exec: {
    mode: choice(['shell', 'commands', 'off'], 'shell'),
    allow: patterns('words that a command may begin with'),
    deny: patterns('words that no command may begin with'),
    accept: z
      .union([
        z.enum(['members', 'none']),
        z.array(z.string().refine((text) => ROLES.includes(text) || isNodeId(text))).max(CONFIG_LIST_MAX),
      ])
      .default('members')
      .register(notes, {
        accepts: `"members", "none", or a list of roles (${ROLES.join(', ')}) and whole node ids`,
        fromText: (text) => (text === 'members' || text === 'none' ? text : asList(text)),
      }),
    user: z
      .string()
      .max(256)
      .default('')
      .register(notes, { accepts: '"" (the user of the daemon) or the name of an account', fromText: asText }),
    cwd_root: absoluteOrNone('the folder that commands must run in or below'),
    env_allow: list(
      z.string().regex(/^(\*|[A-Za-z_][A-Za-z0-9_]*\*?)$/),
      CONFIG_LIST_MAX,
      ['*'],
      'names of variables, each possibly with a * at its end',
    ),
    timeout_max_s: whole(0, SECONDS_MAX, 0, 'seconds, 0 = no limit'),
    output_max_bytes: whole(0, 1024 * GIB, 0, 'bytes of stdout and of stderr, 0 = no limit'),
    contain: choice(['auto', 'off'], 'auto'),
  },
  classes: {
    bound: patterns('words that a command begins with'),
    heavy: patterns('words that a command begins with'),
    other: patterns('words that a command begins with'),
    light: patterns('words that a command begins with'),
  },
  mcp: {
    roots: list(
      z
        .string()
        .max(4096)
        .refine((text) => text.startsWith('/') && !text.includes('\0')),
      PEERS_MAX,
      [],
      'absolute paths of folders',
    ),
    timeout_s: whole(1, SECONDS_MAX, 3600, 'seconds of execution'),
    wait_s: whole(0, SECONDS_MAX, 0, 'seconds, 0 = 110 for Claude Code, 45 for other clients'),
  },
  queue: { jobs_max: whole(1, 4096, 4096, 'jobs') },
  jobs: {
    output_max_bytes: whole(MIB, 1024 * GIB, 512 * MIB, 'bytes of output kept of one job'),
    keep_max_bytes: whole(MIB, 1024 * GIB, 4 * GIB, 'bytes of output kept of all jobs that have ended'),
    keep_days: whole(1, 3650, 7, 'days'),
    keep_max: whole(10, 100_000, 10_000, 'jobs that have ended'),
  },
  workspaces: {
    files_max: whole(1, 1_000_000, 200_000, 'files of a project'),
    project_bytes_max: whole(MIB, 1024 * GIB, 2 * GIB, 'bytes of a project'),
    quota_bytes: whole(MIB, 1024 * GIB, 20 * GIB, 'bytes kept for one origin'),
    keep_days: whole(1, 3650, 14, 'days'),
  },
  share: {
    on_battery: z.boolean().default(false).register(notes, { accepts: 'true or false', fromText: asFlag }),
    yield_to_owner: z.boolean().default(true).register(notes, { accepts: 'true or false', fromText: asFlag }),
  },
  log: {
    level: choice(['debug', 'info', 'warn', 'error'], 'info'),
    bytes_max: whole(64 * KIB, GIB, 10 * MIB, 'bytes'),
  },
  audit: {
    bytes_max: whole(64 * KIB, GIB, 8 * MIB, 'bytes'),
    segments: whole(1, 1000, 8, 'files'),
  },
};

/** The settings of a node, as they are in config.toml, with every default filled in. */
export const configSchema = z.strictObject({
  ...topLevel,
  overloaded: z.strictObject(sections.overloaded).prefault({}),
  exec: z.strictObject(sections.exec).prefault({}),
  classes: z.strictObject(sections.classes).prefault({}),
  mcp: z.strictObject(sections.mcp).prefault({}),
  queue: z.strictObject(sections.queue).prefault({}),
  jobs: z.strictObject(sections.jobs).prefault({}),
  workspaces: z.strictObject(sections.workspaces).prefault({}),
  share: z.strictObject(sections.share).prefault({}),
  log: z.strictObject(sections.log).prefault({}),
  audit: z.strictObject(sections.audit).prefault({}),
});
/** Keys are named as in config.toml, so that a message and the code say the same. */
export type Config = z.infer<typeof configSchema>;

/** One setting: its path in config.toml and what is said of it. */
export interface Setting extends SettingNote {
  readonly path: readonly [string] | readonly [string, string];
}

/** Every setting by its dotted name, such as `exec.mode`. */
export const SETTINGS: ReadonlyMap<string, Setting> = new Map(
  [
    ...Object.entries(topLevel).map(([key, schema]) => settingOf([key], schema)),
    ...Object.entries(sections).flatMap(([section, keys]) =>
      Object.entries(keys).map(([key, schema]) => settingOf([section, key], schema)),
    ),
  ].map((setting) => [setting.path.join('.'), setting]),
);

export const SECTION_NAMES: readonly string[] = Object.keys(sections);

function settingOf(path: Setting['path'], schema: z.ZodType): Setting {
  const note = notes.get(schema);
  return { path, accepts: note?.accepts ?? '', fromText: note?.fromText ?? asText };
}

/**
 * Reads `HOST:PORT`, `[IPV6]:PORT` or a host alone, which gets the default port.
 *
 * @returns the address (IPv6 without brackets), or a message that says what is accepted
 */
export function parseHostPort(text: string): Result<Address, string> {
  const match = /^(?:\[([^[\]]+)\]|([^\s:[\]/]{1,253}))(?::(\d{1,5}))?$/.exec(text.trim());
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? DEFAULT_PORT : Number(match[3]);
  const isBad = host === undefined || (match?.[1] !== undefined && !isIPv6(host)) || port > 65_535;
  if (isBad) return err(`"${text}" is not HOST:PORT or [IPV6]:PORT with a port up to 65535`);
  return ok({ host, port });
}

/** The other way round: brackets around IPv6. */
export function formatHostPort(value: Address): string {
  return value.host.includes(':') ? `[${value.host}]:${value.port}` : `${value.host}:${value.port}`;
}
