import { cutToWidth, displayWidth } from './display-width.ts';

const RESET = '\u001B[0m';
const COLOURS = {
  dim: '\u001B[2m',
  bold: '\u001B[1m',
  red: '\u001B[31m',
  yellow: '\u001B[33m',
  green: '\u001B[32m',
} as const;

export type Colour = keyof typeof COLOURS;
export type Paint = (colour: Colour, text: string) => string;

export interface Cell {
  readonly text: string;
  readonly colour?: Colour;
  readonly right?: boolean;
}

/** @param wanted whether escape sequences may be used */
export const painter =
  (wanted: boolean): Paint =>
  (name, text) =>
    wanted ? `${COLOURS[name]}${text}${RESET}` : text;

type Row = readonly Cell[];

const GAP = 2;

/** Columns as wide as their widest cell, two spaces between them. */
export function textTable(rows: readonly Row[], paint: Paint): string {
  const widths = widthsOf(rows);
  return rows
    .map((row) =>
      row
        .map((cell, column) => {
          const width = widths[column] ?? 0;
          const padding = ' '.repeat(width - displayWidth(cell.text));
          const padded = cell.right === true ? padding + cell.text : cell.text + padding;
          return cell.colour === undefined ? padded : paint(cell.colour, padded);
        })
        .join(' '.repeat(GAP))
        .trimEnd(),
    )
    .join('\n');
}

/**
 * Cuts the last column where the table is wider than the terminal.
 *
 * @param columns of the terminal; null where it is none: all is left whole
 * @param kept which side of a text stays: the end of a path says more than its beginning
 */
export function fitted(
  rows: readonly Row[],
  columns: number | null,
  { charsMin, kept }: { readonly charsMin: number; readonly kept: 'start' | 'end' },
): readonly Row[] {
  if (columns === null) return rows;
  const before = widthsOf(rows).slice(0, -1);
  const room = Math.max(charsMin, columns - before.reduce((sum, width) => sum + width + GAP, 0));
  const cut = (text: string): string => {
    const left = cutToWidth(text, room - 1, kept);
    return kept === 'start' ? `${left}…` : `…${left}`;
  };
  return rows.map((row) =>
    row.map((cell, column) =>
      column === before.length && displayWidth(cell.text) > room ? { ...cell, text: cut(cell.text) } : cell,
    ),
  );
}

/**
 * Leaves out columns, one after the other, until the table is no wider than the terminal.
 *
 * @param leaveOut headers of the first row, what matters least first
 */
export function narrowed(rows: readonly Row[], columns: number | null, leaveOut: readonly string[]): readonly Row[] {
  const [least, ...others] = leaveOut;
  if (columns === null || least === undefined || widthOf(rows) <= columns) return rows;
  const at = rows[0]?.findIndex(({ text }) => text === least);
  const rest = rows.map((row) => row.filter((_, column) => column !== at));
  return narrowed(rest, columns, others);
}

/** Without the spaces at the ends of lines. */
function widthOf(rows: readonly Row[]): number {
  const widths = widthsOf(rows);
  const used = widths.findLastIndex((width) => width > 0);
  return widths.slice(0, used + 1).reduce((sum, width) => sum + width + GAP, -GAP);
}

function widthsOf(rows: readonly Row[]): number[] {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  return Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => displayWidth(row[column]?.text ?? ''))),
  );
}
