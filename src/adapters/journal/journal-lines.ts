import { crc32 } from 'node:zlib';
import type { JournalDamage } from '../../ports/journal.ts';

/**
 * The bytes of a journal: one line a record, `crc32 of the JSON (8 hex digits) SPACE json NEWLINE`. JSON has no raw
 * newline, so damage costs only the lines that it touches.
 */
const HEADER_BYTES = 9;
const NEWLINE = 0x0a;
const SPACE = 0x20;
/** A lost newline joins two lines; of a damaged line only so many places are looked at where one may begin. */
const SPLITS_MAX = 32;
const HEADER = /[0-9a-f]{8} (?=[{[])/g;
/** Damage beyond is counted in the last entry. */
export const DAMAGE_LISTED_MAX = 100;

export interface JournalContent {
  readonly entries: readonly unknown[];
  readonly damage: readonly JournalDamage[];
  /** Bytes to keep: what follows is a torn line. */
  readonly wholeBytes: number;
  /** The last record lacks only its newline. */
  readonly endsOpen: boolean;
}

export function encodeEntry(entry: object): Uint8Array {
  const json = Buffer.from(JSON.stringify(entry), 'utf8');
  const line = Buffer.allocUnsafe(HEADER_BYTES + json.byteLength + 1);
  line.write(`${checksumOf(json)} `, 0, 'latin1');
  json.copy(line, HEADER_BYTES);
  line[line.byteLength - 1] = NEWLINE;
  return line;
}

/** Reads whatever is whole; never throws. */
export function decodeJournal(content: Uint8Array): JournalContent {
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  const entries: unknown[] = [];
  const damage: JournalDamage[] = [];
  let at = 0;
  for (let line = 1; at < bytes.byteLength; line += 1) {
    const newline = bytes.indexOf(NEWLINE, at);
    const end = newline < 0 ? bytes.byteLength : newline;
    const offset = at;
    const found = decodeLine(bytes.subarray(at, end));
    entries.push(...found.entries);
    if (newline < 0) {
      if (found.wholeBytes < end - offset)
        damage.push({ line, offset, bytes: end - offset, what: 'the last record is not whole' });
      return {
        entries,
        damage: listed(damage),
        wholeBytes: offset + found.wholeBytes,
        endsOpen: found.wholeBytes > 0,
      };
    }
    if (found.what !== null) damage.push({ line, offset, bytes: end + 1 - offset, what: found.what });
    at = end + 1;
  }
  return { entries, damage: listed(damage), wholeBytes: at, endsOpen: false };
}

interface DecodedLine {
  readonly entries: readonly unknown[];
  /** Null where the line is one whole record. */
  readonly what: string | null;
  /** Up to the end of the last whole record in it. */
  readonly wholeBytes: number;
}

function decodeLine(line: Buffer): DecodedLine {
  const record = recordOf(line);
  if (record !== null) return { entries: [record.entry], what: null, wholeBytes: line.byteLength };
  // A newline in front of a record may be what was damaged: then the records around it are whole.
  const starts = [0];
  for (const match of line.toString('latin1').matchAll(HEADER)) {
    if (match.index > 0 && starts.length < SPLITS_MAX) starts.push(match.index);
  }
  const entries: unknown[] = [];
  let wholeBytes = 0;
  for (let index = 0; index < starts.length; index += 1) {
    const from = starts[index] ?? 0;
    const ends = [...starts.slice(index + 1).map((start) => start - 1), line.byteLength];
    const taken = ends.findIndex((end) => recordOf(line.subarray(from, end)) !== null);
    const end = ends[taken];
    if (end === undefined) continue;
    const whole = recordOf(line.subarray(from, end));
    if (whole !== null) entries.push(whole.entry);
    wholeBytes = end;
    index += taken;
  }
  const rest = entries.length === 0 ? '' : `; ${entries.length} of the records in it are whole`;
  return { entries, what: `a record does not match its checksum${rest}`, wholeBytes };
}

function recordOf(line: Buffer): { readonly entry: unknown } | null {
  if (line.byteLength <= HEADER_BYTES || line[HEADER_BYTES - 1] !== SPACE) return null;
  const json = line.subarray(HEADER_BYTES);
  if (line.toString('latin1', 0, HEADER_BYTES - 1) !== checksumOf(json)) return null;
  try {
    const entry: unknown = JSON.parse(json.toString('utf8'));
    return { entry };
  } catch {
    // The checksum is right by chance: damage like any other, which the caller tells.
    return null;
  }
}

const checksumOf = (json: Uint8Array): string => crc32(json).toString(16).padStart(8, '0');

function listed(damage: JournalDamage[]): readonly JournalDamage[] {
  const more = damage.length - DAMAGE_LISTED_MAX;
  const last = damage[DAMAGE_LISTED_MAX - 1];
  if (more <= 0 || last === undefined) return damage;
  return [...damage.slice(0, DAMAGE_LISTED_MAX - 1), { ...last, what: `${last.what}; ${more} more like it` }];
}
