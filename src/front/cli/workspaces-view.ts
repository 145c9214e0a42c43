import { escapeControls } from '../../base/escape.ts';
import { formatDuration, formatSize } from '../../base/units.ts';
import type { ApplyReport, SecretsReport, WorkspacesReport } from '../../node/api-types.ts';
import { leftText } from './changes-view.ts';
import { fitted, painter, textTable, type Cell } from './text-table.ts';

const HEADERS = ['PROJECT', 'FROM', 'SLOTS', 'IN USE', 'SIZE', 'USED', 'THERE'] as const;
const HEADERS_RIGHT: readonly string[] = ['SLOTS', 'IN USE', 'SIZE', 'USED'];

const PATH_CHARS_MIN = 20;

/**
 * @param nowMs wall clock, milliseconds since 1970
 * @param columns of the terminal: what is long is cut to fit; null leaves it whole
 */
export function workspacesView(
  report: WorkspacesReport,
  nowMs: number,
  columns: number | null,
  colour: boolean,
): string {
  const paint = painter(colour);
  const lines: string[] = [];
  if (report.workspaces.length === 0) lines.push('no workspaces: nothing is kept here of the projects of others');
  else {
    const rows = report.workspaces.map((one): Cell[] => [
      { text: escapeControls(one.name), colour: 'bold' },
      { text: escapeControls(one.origin) },
      { text: String(one.slots), right: true },
      { text: String(one.in_use), right: true },
      { text: formatSize(one.bytes), right: true },
      { text: `${formatDuration(Math.max(0, nowMs - one.used_ms))} ago`, right: true },
      { text: escapeControls(one.root) },
    ]);
    const header = HEADERS.map((text): Cell => ({ text, colour: 'dim', right: HEADERS_RIGHT.includes(text) }));
    lines.push(textTable(fitted([header, ...rows], columns, { charsMin: PATH_CHARS_MIN, kept: 'end' }), paint));
  }
  if (report.store_bytes > 0)
    lines.push(paint('dim', `and ${formatSize(report.store_bytes)} of files to make them of`));
  for (const notice of report.notices) lines.push(paint('yellow', `! ${escapeControls(notice)}`));
  return lines.join('\n');
}

const DECISIONS = { send: 'sent', skip: 'not sent', ask: 'not decided' } as const;

export function secretsView(report: SecretsReport): string {
  const root = escapeControls(report.root);
  const lines = report.files.map(
    ({ path, decision }) => `${DECISIONS[decision ?? 'ask'].padEnd(DECISIONS.ask.length)}  ${escapeControls(path)}`,
  );
  const open = report.files.some(({ decision }) => decision === null);
  return [
    lines.length === 0 ? `${root}: no untracked secrets` : `${root}:`,
    ...lines.map((line) => `  ${line}`),
    ...(open ? ['decide with `meshwork secrets send FILE…` or `meshwork secrets skip FILE…`'] : []),
    ...report.notices.map((notice) => `! ${escapeControls(notice)}`),
  ].join('\n');
}

/** A line a file, as git and rsync tell them. */
export function applyView({ job, changes, notices }: ApplyReport): string {
  const { returned, deleted, conflicts, held_back: held, left_there: left, more } = changes;
  const list = (word: string, names: readonly string[], beyond = 0): string[] => [
    ...names.map((name) => `${word}  ${escapeControls(name)}`),
    ...(beyond > 0 ? [`${word}  and ${beyond} more`] : []),
  ];
  const lines = [
    ...list('applied   ', returned, more?.returned),
    ...list('deleted   ', deleted, more?.deleted),
    ...list('conflict  ', conflicts, more?.conflicts),
    ...list('held back ', held, more?.held_back),
    ...list('left there', left.map(leftText), more?.left_there),
  ];
  return [
    ...(lines.length === 0 ? [`nothing was left to apply of ${job}`] : lines),
    ...notices.map((notice) => `! ${escapeControls(notice)}`),
  ].join('\n');
}
