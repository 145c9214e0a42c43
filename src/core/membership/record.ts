import type { DigestEntry, MemberRecord, MemberState, RecordItem } from '../../wire/membership.ts';
import {
  MEMBER_MESSAGE_BYTES_MAX,
  RECORD_BYTES_MAX,
  RECORDS_PER_MESSAGE_MAX,
  TOMBSTONE_MS,
} from '../../wire/membership.ts';

/** A record as it travels, checked against its subject's key. */
export interface SignedRecord {
  readonly record: MemberRecord;
  /** base64 */
  readonly sig: string;
}

/** Names what is signed, so that a signature made here means nothing anywhere else. */
const SIGNING_CONTEXT = 'meshwork member record 1\n';

/**
 * What the subject signs: a context line and the record as JSON with sorted keys. The caller encodes it as UTF-8.
 *
 * Two equal records give the same text on every node, whatever order their keys were in.
 */
export function recordBytes(record: MemberRecord): string {
  return SIGNING_CONTEXT + sortedJson(record);
}

function sortedJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(sortedJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([key, field]) => `${JSON.stringify(key)}:${sortedJson(field)}`).join(',')}}`;
}

/** The length of `text` in UTF-8, without encoding it: the core has no TextEncoder. */
export function utf8Bytes(text: string): number {
  let bytes = 0;
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  }
  return bytes;
}

/** False for a record that nobody would pass on: its subject must not announce it, others ignore it. */
export function recordFits(record: MemberRecord): boolean {
  return utf8Bytes(recordBytes(record)) <= RECORD_BYTES_MAX;
}

interface Stamp {
  readonly incarnation: number;
  readonly version: number;
}

/** True where `a` was made after `b` by their subject: higher incarnation, then higher version. */
export function isNewer(a: Stamp, b: Stamp): boolean {
  return a.incarnation > b.incarnation || (a.incarnation === b.incarnation && a.version > b.version);
}

/** An age fit for the wire: whole milliseconds, and 0 for members that are neither dead nor left. */
export function ageForWire(state: MemberState, sinceMs: number, nowMs: number): number {
  if (state !== 'dead' && state !== 'left') return 0;
  return Math.min(Math.max(0, Math.round(nowMs - sinceMs)), TOMBSTONE_MS);
}

export function digestEntry(record: MemberRecord, state: MemberState, ageMs: number): DigestEntry {
  return { id: record.id, incarnation: record.incarnation, version: record.version, state, age_ms: ageMs };
}

/** What one answer to a digest may cost its sender; the rest comes at the next one. */
const RECORD_PAGES_MAX = 8;
/** The JSON around the items of one message. */
const ENVELOPE_BYTES = 256;

/** Splits items into messages of at most 256 KiB and 256 items each, and at most 8 of them. */
export function pageRecords(items: readonly RecordItem[]): RecordItem[][] {
  const pages: RecordItem[][] = [];
  let page: RecordItem[] = [];
  let pageBytes = ENVELOPE_BYTES;
  for (const item of items) {
    const bytes = utf8Bytes(JSON.stringify(item)) + 1;
    const full = page.length >= RECORDS_PER_MESSAGE_MAX || pageBytes + bytes > MEMBER_MESSAGE_BYTES_MAX;
    if (full && page.length > 0) {
      pages.push(page);
      if (pages.length >= RECORD_PAGES_MAX) return pages;
      page = [];
      pageBytes = ENVELOPE_BYTES;
    }
    page.push(item);
    pageBytes += bytes;
  }
  if (page.length > 0) pages.push(page);
  return pages;
}
