import { describe, expect, test } from 'vitest';
import { cutToWidth, displayWidth } from '../../../../src/front/cli/display-width.ts';
import { fitted, painter, textTable } from '../../../../src/front/cli/text-table.ts';

describe('the cells of a terminal', () => {
  test.each([
    ['make test', 9],
    ['', 0],
    ['naïve', 5],
    ['e\u0301', 1],
    ['日本', 4],
    ['ﾊﾝ', 2],
    ['한글', 4],
    ['Ａ１', 4],
    ['😀', 2],
    ['👩‍👧', 2],
    ['❤️', 2],
    ['a\u200Bb', 2],
    ['→ ✓ …', 5],
  ])('%s', (text, cells) => {
    expect(displayWidth(text)).toBe(cells);
  });

  test.each([
    ['start', 'x日'],
    ['end', '日y'],
  ] as const)('no character is cut in two: the %s', (kept, left) => {
    expect(cutToWidth('x日本日y', 4, kept)).toBe(left);
    expect(cutToWidth('x😀😀y', 3, kept)).toBe(kept === 'start' ? 'x😀' : '😀y');
  });
});

test('columns stand below each other whatever their characters, and the last one fits', () => {
  const rows = [
    [{ text: '日本' }, { text: 'make '.repeat(10) }],
    [{ text: 'plain' }, { text: '語'.repeat(30) }],
    [{ text: 'é' }, { text: 'ls' }],
  ];
  const table = textTable(fitted(rows, 30, { charsMin: 5, kept: 'start' }), painter(false)).split('\n');
  expect(table).toEqual([`日本   ${'make '.repeat(4)}ma…`, `plain  ${'語'.repeat(11)}…`, 'é      ls']);
  expect(table.map(displayWidth).every((cells) => cells <= 30)).toBe(true);
});
