import { MeshError } from '../../base/errors.ts';
import type { ApiClient } from '../../node/api-client.ts';
import { signalExitCode } from './exit-code.ts';
import { parseHalt, type Halt } from './halt.ts';
import { addChanges, NOTHING_SEEN, printChanges } from './changes-view.ts';
import { jobSpecOf, type JobOptions } from './job-options.ts';
import { Joblog } from './joblog.ts';
import { linesOf } from './map-arguments.ts';
import { Batch } from './map-batch.ts';
import { ProgressBar } from './progress-bar.ts';
import { Spool } from './spool.ts';

export interface MapOptions extends JobOptions {
  readonly jobs?: string;
  readonly tag?: boolean;
  readonly bar?: boolean;
  readonly halt?: string;
  readonly joblog?: string;
  readonly resumeFailed?: boolean;
}

/** Jobs under way at once without `-j`: more than any small mesh has slots; the origin's queue places them late. */
const WIDTH_DEFAULT = 64;
const WIDTH_MAX = 1024;

/**
 * `map`: one job per argument, `{}` replaced; output grouped by job and in the order of the arguments.
 *
 * @param words the command, then `:::` and arguments; without `:::` the arguments are the lines of stdin
 * @returns 0, else the number of failed jobs up to 100, 101 above
 */
export async function mapCommand(
  connect: () => Promise<ApiClient>,
  words: readonly string[],
  options: MapOptions,
  json: boolean,
): Promise<number> {
  const separator = words.indexOf(':::');
  const command = separator < 0 ? words : words.slice(0, separator);
  const width = widthOf(options.jobs);
  const halt = haltOf(options.halt);
  if (options.resumeFailed === true && options.joblog === undefined)
    throw new MeshError('bad_argument', '--resume-failed needs the --joblog of the earlier run; nothing was run');
  // A bad option or an empty command is told before anything is read or run.
  const { target, cwd, sync } = jobSpecOf(command, options, false);
  if (separator < 0 && process.stdin.isTTY)
    throw new MeshError('bad_argument', 'no arguments: give them after `:::` or as lines on stdin; nothing was run');
  const api = await connect();
  let joblog: Joblog | null = null;
  let seen = NOTHING_SEEN;
  try {
    joblog = options.joblog === undefined ? null : Joblog.open(options.joblog, options.resumeFailed === true);
    const batch = new Batch(
      api,
      {
        words: command,
        specOf: (filled) => jobSpecOf(filled, options, false),
        arguments: separator < 0 ? linesOf(process.stdin) : given(words.slice(separator + 1)),
        width,
        halt,
        joblog,
        tailCopies: options.idempotent === true && target.kind === 'any',
        tag: options.tag === true,
        json,
        bar: options.bar === true ? new ProgressBar(process.stderr) : null,
        onResult: ({ changes, executed_on: node }) => {
          seen = addChanges(seen, changes, node);
        },
        cwd,
        estimates: width > 1 || options.bar === true,
      },
      new Spool(),
    );
    endWithSignals(batch);
    const exitCode = await batch.run();
    if (!json) printChanges(seen, cwd, sync?.root ?? null);
    return exitCode;
  } finally {
    joblog?.close();
    api.close();
    // Arguments that nobody takes any more would keep this process.
    if (separator < 0) process.stdin.destroy();
  }
}

async function* given(args: readonly string[]): AsyncGenerator<string, void, undefined> {
  yield* args;
}

function endWithSignals(batch: Batch): void {
  let asked = false;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      // Asked twice: leave now; the daemon ends the jobs when this connection closes.
      if (asked) process.exit(signalExitCode(signal));
      asked = true;
      batch.end(signal);
    });
  }
  // Nobody reads any more, as in `map … | head`: once is enough, and no haste.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => batch.end('SIGPIPE'));
}

function widthOf(text: string | undefined): number {
  if (text === undefined) return WIDTH_DEFAULT;
  const width = Number(text);
  if (Number.isInteger(width) && width >= 1 && width <= WIDTH_MAX) return width;
  throw new MeshError('bad_argument', `-j ${text}: give a whole number from 1 to ${WIDTH_MAX}; nothing was run`);
}

function haltOf(text: string | undefined): Halt | null {
  const halt = parseHalt(text ?? 'never');
  if (!halt.ok) throw new MeshError('bad_argument', `--halt ${halt.error}; nothing was run`);
  return halt.value;
}
