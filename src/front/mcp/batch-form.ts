import type { JobOutcome } from './job-run.ts';
import { briefChanges, isNoChange } from './brief-changes.ts';
import { boundedRun, brief, RESULT_CHARS_MAX } from './run-report.ts';
import { jsonChars } from './shown-text.ts';
import type { JsonDocument } from './tool.ts';

const COMMAND_CHARS = { full: 2000, compact: 300, minimal: 80 } as const;
/** Of each list, where many entries share a result. */
const COMPACT_CHANGES_MAX = 5;
const ERROR_CHARS = { compact: 500, minimal: 160 } as const;

/** One command of a batch. */
export interface BatchEntry {
  /** Position in the call, from 0. */
  readonly index: number;
  readonly command: string;
  readonly outcome: JobOutcome;
}

/** How much is said of each command: the more commands, the less. */
export type BatchForm = 'full' | 'compact' | 'minimal';
export const BATCH_FORMS: readonly BatchForm[] = ['full', 'compact', 'minimal'];

/** An entry without its outputs. */
export function bareEntry(entry: BatchEntry, form: BatchForm): JsonDocument {
  const { run } = entry.outcome;
  const command = brief(entry.command, COMMAND_CHARS[form]);
  if (form === 'full') return { command, ...boundedRun(run) };
  const outcome = {
    ...(run.state === 'finished' ? {} : { state: run.state, job_id: run.job_id }),
    ...(run.reason === 'exited' || run.state !== 'finished' ? {} : { reason: run.reason }),
    ...(run.signal === null ? {} : { signal: run.signal }),
    ...(run.error === undefined
      ? {}
      : { error: { code: run.error.code, message: brief(run.error.message, ERROR_CHARS[form]) } }),
  };
  if (form === 'minimal') return { command, return_code: run.return_code, ...outcome };
  const notices = run.notices.length === 0 ? {} : { notices: boundedRun(run).notices.slice(0, 2) };
  const { return_code, executed_on, success } = boundedRun(run);
  const changes = isNoChange(run.changes) ? {} : { changes: briefChanges(run.changes, COMPACT_CHANGES_MAX) };
  return { command, ...notices, return_code, executed_on, stdout: '', stderr: '', ...changes, success, ...outcome };
}

/** Puts outputs where the contract has them; a stream that the form has no place for is added where it says anything. */
export function withEntryOutputs(
  bare: JsonDocument,
  outputs: { readonly stdout: string; readonly stderr: string; readonly cut: boolean },
): JsonDocument {
  const entry: Record<string, unknown> = { ...bare };
  for (const stream of ['stdout', 'stderr'] as const) {
    if (stream in bare || outputs[stream] !== '') entry[stream] = outputs[stream];
  }
  // The shortest form has no room for it a thousand times: there the batch's notice says what a missing stream means.
  const saysNothing = outputs.stdout === '' && outputs.stderr === '' && !('stdout' in bare);
  if (outputs.cut && !saysNothing) entry['truncated'] = true;
  return entry;
}

/** What an output takes within JSON, beyond the bare entry. */
export function outputNeed(bare: JsonDocument, entry: BatchEntry, stream: 'stdout' | 'stderr'): number {
  const chars = entry.outcome[stream].shownChars(RESULT_CHARS_MAX);
  return chars === 0 || stream in bare ? chars : chars + jsonChars({ [stream]: '' });
}
