import { formatSize } from '../../base/units.ts';
import { OUTPUT_FILE_BYTES_MAX } from './output-files.ts';
import { KEPT_BYTES_MAX } from './output-capture.ts';
import type { RunReport } from '../../node/api-refusal.ts';
import { briefChanges, leftNotice } from './brief-changes.ts';
import type { JobOutcome } from './job-run.ts';
import { fitText, jsonChars, shown, shownDeep } from './shown-text.ts';
import type { JsonDocument } from './tool.ts';

/** Bound of one result as JSON: clients warn, cut or put aside what is longer (Claude Code: 25,000 tokens). */
export const RESULT_CHARS_MAX = 45_000;
const NOTICES_MAX = 12;
const NOTICE_CHARS_MAX = 800;
const LINE_CHARS_MAX = 2000;
const PATH_CHARS_MAX = 5000;
const ERROR_CHARS_MAX = 8000;
const TOOLS_MAX = 32;
const FITTING_TRIES_MAX = 4;
/** What may stay unused of the room of two outputs, since an escape is not cut: so much does one more try win or lose. */
const UNUSED_CHARS_MAX = 32;
const CUT_MARK = '\n[... cut here, see notices ...]\n';

const STREAMS = ['stdout', 'stderr'] as const;

/** A text as shown, its middle left out beyond `charsMax`. */
export const brief = (text: string, charsMax: number): string => fitText(text, null, ' … ', charsMax).text;

/** At most so many notices; how many more there are is said in the last one. */
export function briefNotices(notices: readonly string[]): string[] {
  const texts = notices.slice(0, NOTICES_MAX).map((notice) => brief(notice, NOTICE_CHARS_MAX));
  return notices.length > texts.length ? [...texts, `${notices.length - texts.length} more notices`] : texts;
}

/** The run object with every text bounded and shown, its outputs still empty. */
export function boundedRun(run: RunReport): RunReport {
  const { error } = run;
  return {
    ...run,
    notices: briefNotices([...run.notices, ...leftNotice(run.changes, run.executed_on)]),
    executed_on: run.executed_on === null ? null : shown(run.executed_on),
    cwd: run.cwd === null ? null : brief(run.cwd, PATH_CHARS_MAX),
    tools: shownDeep(Object.fromEntries(Object.entries(run.tools).slice(0, TOOLS_MAX))) as RunReport['tools'],
    route: brief(run.route, LINE_CHARS_MAX),
    changes: briefChanges(run.changes),
    ...(error === undefined ? {} : { error: { code: error.code, message: brief(error.message, ERROR_CHARS_MAX) } }),
  };
}

/**
 * The document of one job: the run object with as much output as fits, and how to read what is cut.
 *
 * @param waitS what to wait for in the call that goes on with an unfinished job
 */
export function runDocument(
  outcome: JobOutcome,
  options: { readonly charsMax?: number; readonly waitS?: number } = {},
): JsonDocument {
  const charsMax = options.charsMax ?? RESULT_CHARS_MAX;
  const run = boundedRun(outcome.run);
  const next = nextStep(outcome, options.waitS ?? 0);
  const bare = next === null ? run : { ...run, next };
  let room = charsMax - jsonChars(bare);
  for (let tries = 1; ; tries++) {
    const document = withOutputs(bare, outcome, room);
    const excess = jsonChars(document) - charsMax;
    if (excess <= 0) return document;
    // The notices of what was cut take room, too. The last try shows no output at all.
    room = tries < FITTING_TRIES_MAX ? room - excess - UNUSED_CHARS_MAX : 0;
    if (tries > FITTING_TRIES_MAX) return document;
  }
}

function withOutputs(bare: RunReport, outcome: JobOutcome, room: number): JsonDocument {
  const texts = { stdout: outcome.stdout.text(), stderr: outcome.stderr.text() };
  const need = (stream: 'stdout' | 'stderr'): number =>
    texts[stream].tail === null ? outcome[stream].shownChars(RESULT_CHARS_MAX) : KEPT_BYTES_MAX;
  const needs = { stdout: need('stdout'), stderr: need('stderr') };
  // A short stream is shown whole; two long ones share.
  const shares = {
    stdout: Math.max(Math.floor(room / 2), room - needs.stderr),
    stderr: Math.max(Math.floor(room / 2), room - needs.stdout),
  };
  const notices = [...bare.notices];
  const fitted = { stdout: '', stderr: '' };
  let cut = false;
  for (const stream of STREAMS) {
    const { head, tail } = texts[stream];
    const fit = fitText(head, tail, CUT_MARK, shares[stream]);
    fitted[stream] = fit.text;
    if (!fit.cut) continue;
    cut = true;
    notices.push(shown(cutNotice(stream, outcome, fit.headChars)));
  }
  return { ...bare, notices, ...fitted, truncated: bare.truncated || cut };
}

/** What to call for a job that goes on; null for one that has ended. */
export function nextStep(outcome: JobOutcome, waitS: number): string | null {
  const { job_id, state } = outcome.run;
  if (state === 'finished' || job_id === null) return null;
  const [stdout, stderr] = [outcome.stdout.totalBytes, outcome.stderr.totalBytes];
  const from =
    stdout + stderr === 0 ? 'offset 0' : `stream "stdout", offset ${stdout} (stderr goes on at its offset ${stderr})`;
  return `The command goes on in the background; do not start it again. Call job_output with job_id "${job_id}", ${from} and wait_s ${waitS} for what follows and for its end; job_cancel ends it.`;
}

/** Says what was cut, and how to read the rest. */
function cutNotice(stream: 'stdout' | 'stderr', outcome: JobOutcome, headChars: number): string {
  const capture = outcome[stream];
  const { job_id, state } = outcome.run;
  const size = `${stream} is cut here (${capture.totalBytes} bytes in all)`;
  const call =
    job_id === null
      ? ''
      : `; job_output with job_id "${job_id}", stream "${stream}" and offset ${capture.offsetAt(headChars)} reads on`;
  if (state !== 'finished') return `${size}${call}`;
  const whole = capture.keepWhole();
  if (capture.fileError !== null) return `${size}${call}; the whole could not be kept here: ${capture.fileError}`;
  if (whole === null) return `${size}${call}`;
  const what = whole.truncated ? `its first ${formatSize(OUTPUT_FILE_BYTES_MAX)} are` : 'all of it is';
  return `${size}${call}; ${what} also in ${whole.path} on this machine, to read or search`;
}
