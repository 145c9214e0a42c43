import { escapeControls } from '../../base/escape.ts';
import type { NodeReport, StatusReport } from '../../node/api-types.ts';
import { fitted, narrowed, painter, textTable, type Cell } from './text-table.ts';

const LABELS_SHOWN_MAX = 4;
const NEARBY_SHOWN_MAX = 20;

const HEADERS = ['NODE', 'STATE', 'CPU', 'MEM', '1M', 'JOBS', 'PLATFORM', 'ID', 'ADDRESS', 'NOTES'] as const;
const HEADERS_RIGHT: readonly string[] = ['CPU', 'MEM', '1M', 'JOBS'];
/** Where the terminal is narrow: a name tells nodes apart, and is what one types. */
const LEFT_OUT_FIRST: readonly string[] = ['ID', 'ADDRESS'];
const NOTES_CHARS_MIN = 12;
const DEFAULT_PORT = ':47470';

/**
 * The table that a person reads at a glance: one line a node, this one first and marked `*`.
 *
 * @param columns of the terminal: a narrow one is not shown what matters least (`--json` has it); null: all of it
 * @param colour whether escape sequences may be used
 */
export function statusView(status: StatusReport, columns: number | null, colour: boolean): string {
  const paint = painter(colour);
  const nodes = [...status.nodes].sort(
    (a, b) => Number(b.id === status.local_node) - Number(a.id === status.local_node) || a.name.localeCompare(b.name),
  );
  const rows = [
    HEADERS.map((text): Cell => ({
      text: text === 'NODE' ? '  NODE' : text,
      colour: 'dim',
      right: HEADERS_RIGHT.includes(text),
    })),
    ...nodes.map((node) => cellsOf(node, node.id === status.local_node)),
  ];
  const narrow = narrowed(rows, columns, LEFT_OUT_FIRST);
  const lines = [textTable(fitted(narrow, columns, { charsMin: NOTES_CHARS_MIN, kept: 'start' }), paint)];
  for (const notice of status.notices) lines.push(paint('yellow', `! ${escapeControls(notice)}`));
  if (status.nearby.length > 0) {
    lines.push(
      '',
      paint('dim', 'Nearby, not joined (invite one with `meshwork invite`, then `meshwork join TOKEN` there):'),
    );
    for (const { name, address } of status.nearby.slice(0, NEARBY_SHOWN_MAX))
      lines.push(`  ${escapeControls(name)}  ${escapeControls(address)}`);
    const more = status.nearby.length - NEARBY_SHOWN_MAX;
    if (more > 0) lines.push(`  and ${more} more`);
  }
  return lines.join('\n');
}

function cellsOf(node: NodeReport, isLocal: boolean): Cell[] {
  const gone = node.state === 'dead' || node.state === 'left';
  const known = (value: number | null, text: (value: number) => string): string =>
    value === null || gone ? '-' : text(value);
  return [
    { text: `${isLocal ? '*' : ' '} ${escapeControls(node.name)}`, colour: 'bold' },
    stateCell(node),
    { text: known(node.cpu_percent, (value) => `${Math.round(value)}%`), right: true },
    { text: known(node.memory_percent, (value) => `${Math.round(value)}%`), right: true },
    { text: known(node.load_1m, (value) => value.toFixed(2)), right: true },
    { text: known(node.jobs_running, (value) => `${value}/${node.slots ?? '?'}${queued(node)}`), right: true },
    { text: node.os === null ? '-' : `${node.os}/${node.arch} ${node.cores}c` },
    { text: node.id.slice(0, 8), colour: 'dim' },
    { text: escapeControls(addressOf(node)) },
    { text: notesOf(node, isLocal), colour: 'dim' },
  ];
}

/** One word: an overloaded node is alive, and that is what matters of it. */
function stateCell({ state, status }: NodeReport): Cell {
  if (state === 'alive') {
    return status === 'overloaded' ? { text: status, colour: 'yellow' } : { text: state, colour: 'green' };
  }
  return { text: state, colour: state === 'suspect' ? 'yellow' : 'red' };
}

const queued = ({ jobs_queued: jobs }: NodeReport): string => (jobs === null || jobs === 0 ? '' : ` +${jobs} queued`);

/** The port where it is not the usual one. */
function addressOf({ addresses: [first = '-'] }: NodeReport): string {
  return first.endsWith(DEFAULT_PORT) ? first.slice(0, -DEFAULT_PORT.length) : first;
}

function notesOf(node: NodeReport, isLocal: boolean): string {
  const labels = Object.entries(node.labels)
    .slice(0, LABELS_SHOWN_MAX)
    .map(([key, value]) => `${key}=${value}`);
  const notes = [
    ...(isLocal || node.reachable || node.state === 'left' ? [] : ['no link']),
    ...(node.roles.includes('admin') ? ['admin'] : []),
    ...(node.roles.includes('run') ? [] : ['submits only']),
    ...(node.facts === 'overridden' ? ['facts overridden'] : []),
    ...(node.capabilities.includes('gpu') ? ['gpu'] : []),
    ...labels,
  ];
  return escapeControls(notes.join(', '));
}
