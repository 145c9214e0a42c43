import { resolve } from 'node:path';
import type { Command as Program } from 'commander';
import { MeshError } from '../../base/errors.ts';
import type { SyncSpec } from '../../node/api-types.ts';

/** What commander collects of how a project's files travel. */
export interface SyncOptions {
  /** `--sync DIR`; false: `--no-sync`. */
  readonly sync?: string | boolean;
  readonly out?: readonly string[];
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  /** False: `--no-return`. */
  readonly return?: boolean;
  readonly clean?: boolean;
}

const GLOBS_MAX = 64;
const GLOB_CHARS_MAX = 1024;

const badArgument = (message: string): MeshError => new MeshError('bad_argument', `${message}; nothing was run`);

/** Adds the options of a project's files, which `run`, `map` and `explain` share. */
export function addSyncOptions(program: Program): void {
  program
    .option('--sync <dir>', 'send the files of this folder; default: of the project that the directory lies in')
    .option('--no-sync', 'send no files: run only where the same ones are already')
    // Several at once, so that a pattern that the shell has filled in gives what was meant and no command.
    .option('--out <glob...>', 'bring these ignored products back, too, such as "build/**"; may be repeated')
    .option('--include <glob...>', 'send these files although a rule leaves them out; may be repeated')
    .option('--exclude <glob...>', 'send all but these files; may be repeated')
    .option('--no-return', 'leave what the command changes there')
    .option('--clean', 'without the ignored products that earlier jobs left there');
  // Both write the same value, and the one that comes last would win.
  const given = new Set<string>();
  for (const name of ['sync', 'no-sync']) {
    program.on(`option:${name}`, () => {
      given.add(name);
      if (given.size > 1) throw badArgument('--sync and --no-sync exclude each other');
    });
  }
}

/**
 * How a project's files travel with a job, or null where they don't.
 *
 * @param cwd absolute: what `--sync` is relative to
 * @param local true with `--local`: the files are changed in place
 * @throws MeshError `bad_argument`
 */
export function syncSpecOf(options: SyncOptions, cwd: string, local: boolean): SyncSpec | null {
  const given = givenOptions(options);
  if (options.sync === false) {
    const [other] = given;
    if (other !== undefined) throw badArgument(`--no-sync and ${other} exclude each other`);
    return null;
  }
  const inVain = given.find((flag) => flag === '--no-return' || flag === '--clean');
  if (local && inVain !== undefined)
    throw badArgument(`--local and ${inVain} exclude each other: here the command works on your files themselves`);
  if (options.return === false && options.out !== undefined)
    throw badArgument('--no-return and --out exclude each other');
  if (options.sync === '') throw badArgument('--sync is empty: give a folder');
  return {
    root: typeof options.sync === 'string' ? resolve(cwd, options.sync) : null,
    include: rootGlobsOf('--include', options.include),
    exclude: rootGlobsOf('--exclude', options.exclude),
    outputs: globsOf('--out', options.out),
    returns: options.return !== false,
    clean: options.clean === true,
  };
}

/** Of those that say something of files that travel. */
function givenOptions(options: SyncOptions): string[] {
  return [
    ...(typeof options.sync === 'string' ? ['--sync'] : []),
    ...(options.out === undefined ? [] : ['--out']),
    ...(options.include === undefined ? [] : ['--include']),
    ...(options.exclude === undefined ? [] : ['--exclude']),
    ...(options.return === false ? ['--no-return'] : []),
    ...(options.clean === true ? ['--clean'] : []),
  ];
}

function globsOf(flag: string, globs: readonly string[] = []): string[] {
  if (globs.length > GLOBS_MAX) throw badArgument(`${flag} is given ${globs.length} times: at most ${GLOBS_MAX}`);
  for (const glob of globs) {
    if (glob === '') throw badArgument(`${flag} is empty: give a pattern, such as 'build/**'`);
    if (glob.length > GLOB_CHARS_MAX)
      throw badArgument(`${flag}: a pattern has at most ${GLOB_CHARS_MAX} characters, this one ${glob.length}`);
  }
  return [...globs];
}

/** Relative to the project's root, wherever the command runs: nothing outside of it can be meant. */
function rootGlobsOf(flag: string, globs: readonly string[] | undefined): string[] {
  const checked = globsOf(flag, globs);
  const outside = checked.find((glob) => glob.split('/').includes('..'));
  if (outside === undefined) return checked;
  throw badArgument(`${flag} ${outside}: a pattern is relative to the project's root and leads nowhere above it`);
}
