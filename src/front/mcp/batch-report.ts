import { messageOf } from '../../base/errors.ts';
import { BATCH_FORMS, bareEntry, outputNeed, withEntryOutputs, type BatchEntry, type BatchForm } from './batch-form.ts';
import type { OutputFile } from './output-files.ts';
import { RESULT_CHARS_MAX } from './run-report.ts';
import { fitText, jsonChars, shown } from './shown-text.ts';
import type { JsonDocument } from './tool.ts';

/** The part of a result that entries may take without their outputs, for the form to be taken. */
const BARE_SHARE_MAX: Readonly<Record<BatchForm, number>> = { full: 0.5, compact: 0.7, minimal: 0.95 };
/** An output is shown whole, or with at least so much of it. */
const SHARE_CHARS_MIN = 120;
const NODES_COUNTED_MAX = 32;
const FITTING_TRIES_MAX = 12;
const CUT_MARK = '\n[... cut ...]\n';

export interface BatchOptions {
  readonly wallMs: number;
  /** Makes the file for the results that are not wholly shown. */
  readonly openFile: () => OutputFile;
  readonly notices?: readonly string[];
  /** What to wait for in the calls that go on with unfinished jobs. */
  readonly waitS?: number;
  readonly charsMax?: number;
}

/** The document of a batch, in the order of the commands. What is not shown is in a file, and a notice says which. */
export function batchDocument(entries: readonly BatchEntry[], options: BatchOptions): JsonDocument {
  const charsMax = options.charsMax ?? RESULT_CHARS_MAX;
  const envelope = envelopeOf(entries, options);
  let kept: string | null = null;
  let budget = charsMax;
  for (let tries = 1; ; tries++) {
    const { results, cut } = resultsWithin(entries, budget - jsonChars(envelope));
    if (cut) kept ??= keepResults(entries, options.openFile);
    const leftOut = entries.length - results.length;
    const document = {
      ...envelope,
      notices: [...envelope.notices, ...(kept === null ? [] : [kept])],
      ...(leftOut === 0 ? {} : { results_left_out: leftOut }),
      results,
    };
    const excess = jsonChars(document) - charsMax;
    if (excess <= 0 || tries > FITTING_TRIES_MAX) return document;
    budget -= excess;
  }
}

function envelopeOf(entries: readonly BatchEntry[], options: BatchOptions) {
  const succeeded = entries.filter((entry) => entry.outcome.run.success === true).length;
  const unfinished = entries.filter(isUnfinished).length;
  const counts = new Map<string, number>();
  for (const { outcome } of entries) {
    if (outcome.run.executed_on === null) continue;
    const name = shown(outcome.run.executed_on);
    if (counts.has(name) || counts.size < NODES_COUNTED_MAX) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return {
    notices: [...(options.notices ?? [])],
    succeeded,
    failed: entries.filter(isFailure).length,
    ...(unfinished === 0 ? {} : { unfinished, next: nextStep(unfinished, options.waitS ?? 0) }),
    wall_ms: Math.round(options.wallMs),
    ran_on: Object.fromEntries(counts),
  };
}

const isFailure = (entry: BatchEntry): boolean => entry.outcome.run.success === false;
const isUnfinished = (entry: BatchEntry): boolean => entry.outcome.run.state !== 'finished';

const nextStep = (unfinished: number, waitS: number): string =>
  `${unfinished === 1 ? '1 command goes' : `${unfinished} commands go`} on in the background; do not start them again. Call job_output with the job_id of an entry and wait_s ${waitS} for its output and its end, job_list for all of them; job_cancel ends one.`;

interface Bare {
  readonly entry: BatchEntry;
  readonly bare: JsonDocument;
}

/** The fullest form that leaves room for outputs; the list itself is shortened only where even the shortest is too long. */
function resultsWithin(
  entries: readonly BatchEntry[],
  charsMax: number,
): { readonly results: readonly JsonDocument[]; readonly cut: boolean } {
  for (const form of BATCH_FORMS) {
    const bare = entries.map((entry) => ({ entry, bare: bareEntry(entry, form) }));
    const bareChars = charsOf(bare);
    const room = charsMax - bareChars;
    const fits = room >= sum(bare.map((one) => needOf(one, 'stdout') + needOf(one, 'stderr')));
    if (!fits && bareChars > charsMax * BARE_SHARE_MAX[form]) continue;
    const filled = fill(bare, room);
    return { results: filled.results, cut: filled.cut || form !== 'full' };
  }
  const some = choose(entries, charsMax * BARE_SHARE_MAX.compact);
  return { results: fill(some, charsMax - charsOf(some)).results, cut: true };
}

/** As many entries as fit, failures first; each says its place in the call. */
function choose(entries: readonly BatchEntry[], charsMax: number): Bare[] {
  const chosen: Bare[] = [];
  let room = charsMax;
  for (const wanted of [true, false]) {
    for (const entry of entries) {
      if (isFailure(entry) !== wanted) continue;
      const bare = { index: entry.index, ...bareEntry(entry, 'minimal') };
      room -= jsonChars(bare) + 1;
      if (room < 0) return chosen.sort((a, b) => a.entry.index - b.entry.index);
      chosen.push({ entry, bare });
    }
  }
  return chosen.sort((a, b) => a.entry.index - b.entry.index);
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
const charsOf = (bare: readonly Bare[]): number => sum(bare.map((one) => jsonChars(one.bare) + 1));
const needOf = (one: Bare, stream: 'stdout' | 'stderr'): number => outputNeed(one.bare, one.entry, stream);

interface Want {
  readonly one: Bare;
  readonly stream: 'stdout' | 'stderr';
  readonly need: number;
}

/** Gives the room to the outputs of failures, then to the others. */
function fill(
  bare: readonly Bare[],
  room: number,
): { readonly results: readonly JsonDocument[]; readonly cut: boolean } {
  const given = new Map<BatchEntry, { stdout: string; stderr: string; cut: boolean }>(
    bare.map(({ entry }) => [entry, { stdout: '', stderr: '', cut: false }]),
  );
  let left = room;
  let cut = false;
  for (const failures of [true, false]) {
    const wants = bare
      .filter(({ entry }) => isFailure(entry) === failures)
      .flatMap((one) => (['stderr', 'stdout'] as const).map((stream) => ({ one, stream, need: needOf(one, stream) })))
      .filter(({ need }) => need > 0);
    const shares = shareOut(wants, left);
    wants.forEach((want, at) => {
      const share = shares[at] ?? 0;
      left -= Math.min(share, want.need);
      const outputs = given.get(want.one.entry);
      if (outputs === undefined) return;
      const fit = share === 0 ? { text: '', cut: true } : fitWant(want, share);
      outputs[want.stream] = fit.text;
      outputs.cut ||= fit.cut;
      cut ||= fit.cut;
    });
  }
  const none = { stdout: '', stderr: '', cut: false };
  return { results: bare.map((one) => withEntryOutputs(one.bare, given.get(one.entry) ?? none)), cut };
}

function fitWant(want: Want, share: number): { readonly text: string; readonly cut: boolean } {
  const { head, tail } = want.one.entry.outcome[want.stream].text();
  return fitText(head, tail, CUT_MARK, share);
}

/** Equal shares, but nobody gets more than it needs (max-min fairness); too small shares go whole to the first ones. */
function shareOut(wants: readonly Want[], room: number): number[] {
  const shares = wants.map(() => 0);
  const order = wants.map((_, at) => at).sort((a, b) => (wants[a]?.need ?? 0) - (wants[b]?.need ?? 0));
  let left = Math.max(0, room);
  for (const [done, at] of order.entries()) {
    const need = wants[at]?.need ?? 0;
    const share = Math.floor(left / (order.length - done));
    const useful = share >= need || share >= SHARE_CHARS_MIN ? Math.min(need, share) : need <= left ? need : 0;
    shares[at] = useful;
    left -= useful;
  }
  return shares;
}

/** Writes every result, one JSON object a line. @returns the notice that says where */
function keepResults(entries: readonly BatchEntry[], openFile: () => OutputFile): string {
  const what = 'not everything is shown here (what an entry does not name, it may still have)';
  try {
    const file = openFile();
    try {
      for (const entry of entries) file.write(Buffer.from(`${JSON.stringify(wholeEntry(entry))}\n`));
    } finally {
      file.close();
    }
    const all = file.truncated ? 'the first results are' : 'all results are';
    return shown(`${what}: ${all} in ${file.path} on this machine, one JSON object a line, in order`);
  } catch (error) {
    return shown(`${what}, and the results could not be kept in a file: ${messageOf(error)}`);
  }
}

function wholeEntry({ index, command, outcome }: BatchEntry): JsonDocument {
  const whole = (stream: 'stdout' | 'stderr'): Record<string, string> => {
    const { head, tail } = outcome[stream].text();
    if (tail === null) return { [stream]: head };
    if (outcome.run.state !== 'finished') return { [stream]: `${head}${CUT_MARK}${tail}` };
    const file = outcome[stream].keepWhole();
    return { [stream]: `${head}${CUT_MARK}${tail}`, ...(file === null ? {} : { [`${stream}_file`]: file.path }) };
  };
  return { index, command, ...outcome.run, ...whole('stdout'), ...whole('stderr') };
}
