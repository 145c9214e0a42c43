import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  DURATION_MS_MAX,
  formatDuration,
  formatSize,
  GIB,
  KIB,
  MIB,
  parseDuration,
  parseSize,
} from '../../../src/base/units.ts';

describe('a duration', () => {
  test.each([
    ['90', 90_000],
    ['0.5', 500],
    ['90s', 90_000],
    ['250ms', 250],
    ['1.5h', 5_400_000],
    ['1h30m', 5_400_000],
    ['2d', 172_800_000],
    [' 10m ', 600_000],
    ['0.2ms', 1],
    ['2147483647ms', DURATION_MS_MAX],
  ])('%j is %i ms', (text, ms) => {
    expect(parseDuration(text)).toEqual({ ok: true, value: ms });
  });

  test.each([
    '',
    ' ',
    '0',
    '0s',
    '-5',
    '-5s',
    '5x',
    '1h 30m',
    '1m30',
    's',
    '1e3',
    '.5s',
    '1,5s',
    'NaN',
    '2147483648ms',
    '30d',
    '9'.repeat(400),
  ])('%j is none', (text) => {
    expect(parseDuration(text)).toMatchObject({ ok: false, error: expect.stringContaining('1h30m') });
  });

  test('that is none for its length alone is told so', () => {
    expect(parseDuration('30d')).toMatchObject({ error: expect.stringContaining('too long: give 24d at most') });
    expect(parseDuration('0')).toMatchObject({ error: expect.stringContaining('too short') });
    expect(parseSize('99999999T')).toMatchObject({ error: expect.stringContaining('too large') });
  });

  test.each([
    [0, '0 ms'],
    [849.6, '850 ms'],
    [999.4, '999 ms'],
    [999.6, '1.0 s'],
    [12_345, '12.3 s'],
    [59_940, '59.9 s'],
    [59_960, '1 min'],
    [245_000, '4 min 5 s'],
    [3_599_700, '1 h'],
    [9_000_000, '2 h 30 min'],
  ])('of %d ms is shown as %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });

  test('as it is shown never has more of a unit than the next one holds', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e9, noNaN: true }), (ms) => {
        expect(formatDuration(ms)).not.toMatch(/\b(1\d{3} ms|60(\.\d)? s|60 min)/);
      }),
    );
  });
});

describe('a size', () => {
  test.each([
    ['1000', 1000],
    ['1', 1],
    ['512M', 512 * MIB],
    ['2G', 2 * GIB],
    ['2g', 2 * GIB],
    ['1.5GiB', 1.5 * GIB],
    ['10 MB', 10 * MIB],
    ['3k', 3 * KIB],
    ['1T', 1024 * GIB],
    ['7b', 7],
  ])('%j is %i bytes', (text, bytes) => {
    expect(parseSize(text)).toEqual({ ok: true, value: bytes });
  });

  test.each(['', '0', '0.5', '-1', '5X', 'G', '1G2M', '1e3', '99999999T', 'lots'])('%j is none', (text) => {
    expect(parseSize(text)).toMatchObject({ ok: false, error: expect.stringContaining('512M') });
  });

  test.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [1.5 * MIB, '1.5 MiB'],
    [MIB - 1, '1.0 MiB'],
    [GIB - 1, '1.0 GiB'],
    [1536 * GIB, '1536.0 GiB'],
  ])('of %d bytes is shown as %s', (bytes, text) => {
    expect(formatSize(bytes)).toBe(text);
  });
});
