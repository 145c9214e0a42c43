import { escapeControls } from '../../base/escape.ts';
import { formatDuration } from '../../base/units.ts';
import type { JobRecord, JobsReport } from '../../node/api-types.ts';
import { standingOf } from './record-view.ts';
import { fitted, painter, textTable, type Cell, type Colour } from './text-table.ts';

/** Jobs of the same second differ behind it. */
const ID_CHARS_MIN = 8;
const COMMAND_CHARS_MIN = 20;
const HEADERS = ['JOB', 'STATE', 'NODE', 'AGE', 'TOOK', 'FROM', 'COMMAND'] as const;
const HEADERS_RIGHT: readonly string[] = ['AGE', 'TOOK'];

/**
 * The table that a person reads at a glance: unfinished jobs first, then the newest.
 *
 * @param nowMs wall clock, milliseconds since 1970
 * @param columns of the terminal: the command is cut to fit; null leaves it whole
 */
export function jobsView(report: JobsReport, nowMs: number, columns: number | null, colour: boolean): string {
  const paint = painter(colour);
  const lines: string[] = [];
  if (report.jobs.length === 0) lines.push('no jobs');
  else {
    const idChars = idCharsOf(report.jobs.map(({ job }) => job));
    const rows = [
      HEADERS.map((text): Cell => ({ text, colour: 'dim', right: HEADERS_RIGHT.includes(text) })),
      ...report.jobs.map((job) => cellsOf(job, idChars, nowMs)),
    ];
    lines.push(textTable(fitted(rows, columns, { charsMin: COMMAND_CHARS_MIN, kept: 'start' }), paint));
  }
  if (report.more > 0) lines.push(paint('dim', `and ${report.more} more (\`meshwork jobs --all\`)`));
  for (const notice of report.notices) lines.push(paint('yellow', `! ${escapeControls(notice)}`));
  return lines.join('\n');
}

/** How many characters tell these ids apart. */
export function idCharsOf(ids: readonly string[]): number {
  const sorted = [...ids].sort();
  let chars = ID_CHARS_MIN;
  for (const [index, id] of sorted.entries()) {
    const next = sorted[index + 1];
    if (next === undefined || next === id) continue;
    let same = 0;
    while (same < id.length && id[same] === next[same]) same += 1;
    chars = Math.max(chars, same + 1);
  }
  return chars;
}

function cellsOf(job: JobRecord, idChars: number, nowMs: number): Cell[] {
  return [
    { text: job.job.slice(0, idChars), colour: 'bold' },
    { text: escapeControls(standingOf(job)), colour: colourOf(job) },
    { text: escapeControls(job.executed_on ?? '-') },
    { text: formatDuration(Math.max(0, nowMs - job.submitted_ms)), right: true },
    { text: job.duration_ms > 0 ? formatDuration(job.duration_ms) : '-', right: true },
    { text: escapeControls(job.origin) },
    { text: escapeControls(job.command.replaceAll('\n', ' ')) },
  ];
}

function colourOf(job: JobRecord): Colour {
  if (job.state !== 'finished') return job.state === 'running' ? 'green' : 'yellow';
  if (job.reason === 'exited' && job.return_code === 0) return 'dim';
  return job.reason === 'cancelled' ? 'dim' : 'red';
}
