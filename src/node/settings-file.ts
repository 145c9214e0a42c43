import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { parse as parseToml, TomlError } from 'smol-toml';
import { messageOf, systemCodeOf } from '../base/errors.ts';
import { err, ok, type Result } from '../base/result.ts';
import { MIB } from '../base/units.ts';

const SETTINGS_FILE_BYTES_MAX = MIB;
const SHOWN_CHARS_MAX = 120;

export type Table = { readonly [key: string]: unknown };

/**
 * Reads a file of settings in TOML, at most SETTINGS_FILE_BYTES_MAX long.
 *
 * @returns null where there is none, or a message that names the file, and line and column of a fault
 */
export function readSettingsFile(file: string): Result<Table | null, string> {
  let text: string;
  try {
    // Not blocking: a FIFO of that name would hold its reader for ever.
    const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = fstatSync(fd);
      if (!stats.isFile()) return err(`${file} is no file`);
      if (stats.size > SETTINGS_FILE_BYTES_MAX) return err(`${file} is larger than ${SETTINGS_FILE_BYTES_MAX} bytes`);
      text = readFileSync(fd, 'utf8');
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return ok(null);
    return err(`${file} cannot be read (${systemCodeOf(error) || messageOf(error)})`);
  }
  try {
    return ok(parseToml(text));
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    return err(`${file}, line ${error.line}, column ${error.column}: ${error.message.split('\n')[0] ?? ''}`);
  }
}

export function tableOf(value: unknown): Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};
}

export function valueAt(values: Table, path: readonly string[]): unknown {
  let value: unknown = values;
  for (const key of path) value = tableOf(value)[key];
  return value;
}

/** A value as people are shown it. */
export function shownValue(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > SHOWN_CHARS_MAX ? `${text.slice(0, SHOWN_CHARS_MAX)}…` : text;
}

export function didYouMean(given: string, valid: readonly string[]): string {
  const nearest = nearestOf(given, valid);
  return nearest === null ? '' : `; did you mean ${nearest}?`;
}

/** The valid name with the fewest edits to the given one; of names in sections, the last part counts too. */
export function nearestOf(given: string, valid: readonly string[]): string | null {
  let best: string | null = null;
  let bestScore = Infinity;
  for (const name of valid) {
    // A key in the wrong section has the right last part: as good as one edit.
    const score = Math.min(editDistance(given, name), editDistance(lastPart(given), lastPart(name)) + 1);
    if (score < bestScore) [best, bestScore] = [name, score];
  }
  return best;
}

function lastPart(name: string): string {
  return name.slice(name.lastIndexOf('.') + 1);
}

/** Levenshtein's distance: insertions, deletions and replacements of one character. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const nextRow = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      nextRow.push(Math.min(replace, (row[j] ?? 0) + 1, (nextRow[j - 1] ?? 0) + 1));
    }
    row = nextRow;
  }
  return row[b.length] ?? 0;
}
