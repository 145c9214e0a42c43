import { join } from 'node:path';
import { z } from 'zod';
import { MeshError } from '../base/errors.ts';
import { SYNC_GLOBS_MAX } from '../wire/job-spec.ts';
import { TREE_PATH_BYTES_MAX } from '../wire/manifest.ts';
import { GLOB_CHARS_MAX, OUTPUT_GLOBS_MAX } from '../wire/changes.ts';
import { PREPARE_INPUTS_MAX } from '../wire/workspace.ts';
import { didYouMean, readSettingsFile, shownValue, type Table, valueAt } from './settings-file.ts';

/** The file in a project's root; it goes along with the project, and is never changed by what comes back. */
export const PROJECT_SETTINGS_NAME = '.meshwork.toml';
/** All lines of `prepare.run` together: they are one step. */
const RUN_CHARS_MAX = 8000;
const RUN_LINES_MAX = 32;

/** Nothing that is named from the project's root on can fit such a glob. */
export const leadsUp = (glob: string): boolean => glob.replace(/^!/, '').split('/').includes('..');

/** Completes "must be …". */
const accepts = z.registry<{ readonly text: string }>();

const line = z
  .string()
  .max(RUN_CHARS_MAX)
  .refine((text) => text.trim() !== '' && !text.includes('\0'));
const inside = z
  .string()
  .min(1)
  .max(TREE_PATH_BYTES_MAX)
  .refine((text) => !text.includes('\0') && !text.startsWith('/') && !text.split('/').includes('..'));
const glob = z
  .string()
  .min(1)
  .max(GLOB_CHARS_MAX)
  .refine((text) => !text.includes('\0') && !leadsUp(text));

const paths = z
  .array(inside)
  .max(PREPARE_INPUTS_MAX)
  .default([])
  .register(accepts, { text: `a list of at most ${PREPARE_INPUTS_MAX} paths relative to this file, without ".."` });
const globs = (max: number) =>
  z
    .array(glob)
    .max(max)
    .default([])
    .register(accepts, { text: `a list of at most ${max} globs relative to this file, without ".."` });

const run = z
  .union([
    z.literal(false),
    line.transform((text) => [text]),
    z
      .array(line)
      .min(1)
      .max(RUN_LINES_MAX)
      .refine((lines) => lines.join('\n').length <= RUN_CHARS_MAX),
  ])
  .nullable()
  .default(null)
  .register(accepts, {
    text: `false, a shell line, or a list of at most ${RUN_LINES_MAX} (${RUN_CHARS_MAX} characters together)`,
  });

const sections = {
  prepare: { run, inputs: paths, makes: paths },
  ship: {
    ignored: globs(SYNC_GLOBS_MAX),
    include: globs(SYNC_GLOBS_MAX),
    exclude: globs(SYNC_GLOBS_MAX),
    git: z.boolean().default(true).register(accepts, { text: 'true or false' }),
  },
};
const topLevel = { outputs: globs(OUTPUT_GLOBS_MAX) };

const projectSettingsSchema = z.strictObject({
  ...topLevel,
  prepare: z.strictObject(sections.prepare).prefault({}),
  ship: z.strictObject(sections.ship).prefault({}),
});

/** Of a project, as `.meshwork.toml` of its root has them, with every default filled in; text is Unicode, not bytes. */
export type ProjectSettings = z.infer<typeof projectSettingsSchema>;

const SETTINGS: ReadonlyMap<string, z.ZodType> = new Map<string, z.ZodType>([
  ...Object.entries(topLevel),
  ...Object.entries(sections).flatMap(([section, keys]) =>
    Object.entries(keys).map(([key, schema]): [string, z.ZodType] => [`${section}.${key}`, schema]),
  ),
]);
/** Every key by its dotted name, such as `ship.ignored`. */
export const PROJECT_SETTING_NAMES: readonly string[] = [...SETTINGS.keys()];

/**
 * Reads `.meshwork.toml` of a project's root; it may be absent.
 *
 * @throws MeshError `bad_config` that names file, key, what is wrong and what is accepted; nothing was sent or run
 */
export function readProjectSettings(root: string): ProjectSettings {
  const file = join(root, PROJECT_SETTINGS_NAME);
  const read = readSettingsFile(file);
  if (!read.ok) throw bad(read.error);
  const values = read.value ?? {};
  const parsed = projectSettingsSchema.safeParse(values);
  if (!parsed.success) throw bad(`${file}: ${describe(parsed.error.issues, values)}`);
  const { prepare } = parsed.data;
  if (prepare.run === null && prepare.makes.length > 0) {
    throw bad(`${file}: prepare.makes = ${shownValue(prepare.makes)} needs prepare.run: what makes it?`);
  }
  return parsed.data;
}

function describe(issues: readonly z.core.$ZodIssue[], values: Table): string {
  // A key that is unknown comes first: it often is why another one is wrong.
  const issue = issues.find((candidate) => candidate.code === 'unrecognized_keys') ?? issues[0];
  if (issue?.code === 'unrecognized_keys') {
    const key = [...issue.path.map(String), issue.keys[0] ?? ''].join('.');
    return `${key} is not a setting of a project${didYouMean(key, [...PROJECT_SETTING_NAMES, ...Object.keys(sections)])}`;
  }
  const path = issue?.path.map(String) ?? [];
  const name = [path.slice(0, 2).join('.'), path[0] ?? ''].find((candidate) => SETTINGS.has(candidate));
  if (name === undefined) {
    return `${path[0] ?? ''} = ${shownValue(valueAt(values, path))}: must be a table, written as [${path[0] ?? ''}]`;
  }
  const setting = SETTINGS.get(name);
  const text = setting === undefined ? '' : (accepts.get(setting)?.text ?? '');
  return `${name} = ${shownValue(valueAt(values, name.split('.')))}: must be ${text}`;
}

function bad(what: string): MeshError {
  return new MeshError(
    'bad_config',
    `${what}${/[.?]$/.test(what) ? '' : '.'} Nothing was sent or run. Correct it and try again: config/meshwork-project.example.toml of the package shows every setting`,
  );
}
