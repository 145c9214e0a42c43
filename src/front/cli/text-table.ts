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

/** Columns as wide as their widest cell, two spaces between them. */
export function textTable(rows: readonly (readonly Cell[])[], paint: Paint): string {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => row[column]?.text.length ?? 0)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) => {
          const width = widths[column] ?? 0;
          const padded = cell.right === true ? cell.text.padStart(width) : cell.text.padEnd(width);
          return cell.colour === undefined ? padded : paint(cell.colour, padded);
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
