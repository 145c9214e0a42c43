import { err, ok, type Result } from './result.ts';

export const MS_PER_SECOND = 1000;
export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

const DURATION_UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: MS_PER_SECOND,
  m: 60 * MS_PER_SECOND,
  h: 3600 * MS_PER_SECOND,
  d: 86_400 * MS_PER_SECOND,
};

/** The longest duration accepted anywhere: what a 32-bit timer can hold. */
export const DURATION_MS_MAX = 2 ** 31 - 1;

/**
 * Reads `90`, `90s`, `1.5h`, `250ms`, `1h30m`: a bare number is seconds, as in timeout(1).
 *
 * @returns milliseconds, above 0, or a message that says what is accepted
 */
export function parseDuration(text: string): Result<number, string> {
  const bad = err(`"${text}" is not a duration: give a number with ms, s, m, h or d, such as 90s or 1h30m`);
  const trimmed = text.trim();
  if (/^\d+(\.\d+)?$/.test(trimmed)) return checkDuration(Number(trimmed) * MS_PER_SECOND, text);
  const parts = [...trimmed.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join('') !== trimmed) return bad;
  let totalMs = 0;
  for (const part of parts) totalMs += Number(part[1]) * (DURATION_UNITS_MS[part[2] ?? ''] ?? Number.NaN);
  return checkDuration(totalMs, text);
}

function checkDuration(ms: number, text: string): Result<number, string> {
  if (ms > 0 && ms <= DURATION_MS_MAX) return ok(Math.ceil(ms));
  const days = Math.floor(DURATION_MS_MAX / 86_400_000);
  return err(
    `"${text}" is ${ms > 0 ? `too long: give ${days}d at most` : 'too short: give more than 0'}, such as 1h30m`,
  );
}

const SIZE_UNITS: Readonly<Record<string, number>> = { '': 1, b: 1, k: KIB, m: MIB, g: GIB, t: 1024 * GIB };

/**
 * Reads `512M`, `2G`, `1.5GiB`, `1000`: powers of 1024, a bare number is bytes, as in docker run --memory.
 *
 * @returns bytes, above 0, or a message that says what is accepted
 */
export function parseSize(text: string): Result<number, string> {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text.trim());
  const bytes =
    match === null ? Number.NaN : Number(match[1]) * (SIZE_UNITS[(match[2] ?? '').toLowerCase()] ?? Number.NaN);
  if (bytes >= 1 && bytes <= Number.MAX_SAFE_INTEGER) return ok(Math.floor(bytes));
  if (bytes > 0) return err(`"${text}" is too ${bytes < 1 ? 'small' : 'large'} a size: give one such as 512M or 2G`);
  return err(`"${text}" is not a size: give a number with K, M, G or T, such as 512M or 2G`);
}

/** `850 ms`, `12.3 s`, `4 min 5 s`: for people. */
export function formatDuration(ms: number): string {
  if (Math.round(ms) < MS_PER_SECOND) return `${Math.round(ms)} ms`;
  // What rounds to 60.0 s is a minute.
  if (Math.round(ms / 100) < 600) return `${(ms / MS_PER_SECOND).toFixed(1)} s`;
  const seconds = Math.round(ms / MS_PER_SECOND);
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  const rest = hours > 0 ? [`${hours} h`, minutes, 'min'] : [`${minutes} min`, seconds % 60, 's'];
  return rest[1] === 0 ? `${rest[0]}` : rest.join(' ');
}

/** `512 B`, `1.5 MiB`: for people. */
export function formatSize(bytes: number): string {
  if (bytes < KIB) return `${bytes} B`;
  for (const [unit, size] of [
    ['GiB', GIB],
    ['MiB', MIB],
    ['KiB', KIB],
  ] as const) {
    // What rounds to 1024.0 of one unit is 1.0 of the next.
    if (Math.round((bytes / size) * KIB * 10) >= KIB * 10) return `${(bytes / size).toFixed(1)} ${unit}`;
  }
  return `${bytes} B`;
}

/** 1st, 2nd, 3rd, 11th. */
export function ordinal(count: number): string {
  const isTeen = count % 100 >= 11 && count % 100 <= 13;
  return `${count}${isTeen ? 'th' : (['th', 'st', 'nd', 'rd'][count % 10] ?? 'th')}`;
}
