import { z } from 'zod';

/** Lists for people are cut at this many entries; the counts say how many there were. */
export const CHANGES_SHOWN_MAX = 200;
export const LEFT_THERE_MAX = 50;
/** And at so many characters of each: a message holds all of them, also where each must be escaped. */
export const CHANGES_SHOWN_CHARS_MAX = 16 * 1024;
export const CHANGE_PROBLEM_CHARS_MAX = 1000;
/** Of a change pack, beside it: for people, where the pack itself is not fetched. */
export const CHANGES_NAMED_MAX = 50;
/** Globs of outputs of one job. */
export const OUTPUT_GLOBS_MAX = 64;
export const GLOB_CHARS_MAX = 1024;
const PATH_CHARS_MAX = 8192;
const count = z.int().nonnegative();
const shownPath = z.string().max(PATH_CHARS_MAX);
const paths = z.array(shownPath).max(CHANGES_SHOWN_MAX);

const TOO_LONG = `more than ${CHANGES_SHOWN_CHARS_MAX} characters`;

function isShown(names: readonly string[]): boolean {
  let chars = 0;
  for (const name of names) chars += name.length;
  return chars <= CHANGES_SHOWN_CHARS_MAX;
}

/** Ignored products that a job left in its workspace: the highest folder or file, what is new or changed below it. */
export const leftThereSchema = z.strictObject({ path: shownPath, files: count, bytes: count });
export type LeftThere = z.infer<typeof leftThereSchema>;

/** Executor → origin, in `job.ended`: what a job changed in its workspace, as it lies there in a change pack. */
export const changePackSchema = z.strictObject({
  /** New and changed files, links and folders, without those of earlier jobs that the pack holds, too. */
  changed: count,
  deleted: count,
  /** Of the pack, which is fetched by offset; 0 where nothing changed: then there is no pack. */
  pack_bytes: count,
  /** SHA-256 of the pack, hexadecimal; '' where there is none. */
  pack_sha256: z.string().regex(/^([0-9a-f]{64})?$/),
  /** The first of those, as text. */
  named: z.array(shownPath).max(CHANGES_NAMED_MAX).refine(isShown, TOO_LONG),
  left_there: z
    .array(leftThereSchema)
    .max(LEFT_THERE_MAX)
    .refine((left) => isShown(left.map(({ path }) => path)), TOO_LONG),
  /** How many there are beyond those. */
  left_more: count,
  /** Globs of outputs that no file there matches. */
  unmatched: z.array(z.string().max(GLOB_CHARS_MAX)).max(OUTPUT_GLOBS_MAX),
  /** Where it could not be collected (a full disk): why. */
  problem: z.string().max(CHANGE_PROBLEM_CHARS_MAX).nullable(),
});
export type ChangePack = z.infer<typeof changePackSchema>;

/** Nothing changed, or nothing comes back. */
export const NO_CHANGE_PACK: ChangePack = {
  changed: 0,
  deleted: 0,
  pack_bytes: 0,
  pack_sha256: '',
  named: [],
  left_there: [],
  left_more: 0,
  unmatched: [],
  problem: null,
};

/** The `changes` of the run object. Paths are relative to the project's root, as text (U+FFFD where not UTF-8). */
export const changesSchema = z.strictObject({
  returned: paths,
  deleted: paths,
  /** Local files that changed meanwhile: the job's version is in MESHWORK_HOME/conflicts/JOB/. */
  conflicts: paths,
  /** Applied by `meshwork apply JOB` only. */
  held_back: paths,
  left_there: z.array(leftThereSchema).max(LEFT_THERE_MAX),
  /** How many there are of each beyond what is listed; absent where all are. */
  more: z
    .strictObject({ returned: count, deleted: count, conflicts: count, held_back: count, left_there: count })
    .optional(),
});
export type Changes = z.infer<typeof changesSchema>;

export const NONE_MORE: NonNullable<Changes['more']> = {
  returned: 0,
  deleted: 0,
  conflicts: 0,
  held_back: 0,
  left_there: 0,
};
export const NO_CHANGES: Changes = { returned: [], deleted: [], conflicts: [], held_back: [], left_there: [] };
