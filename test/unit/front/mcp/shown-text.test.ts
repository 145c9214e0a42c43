import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  clip,
  fitText,
  prefixWithin,
  jsonChars,
  shown,
  shownDeep,
  textChars,
} from '../../../../src/front/mcp/shown-text.ts';

const anyText = fc.string({ unit: 'binary', maxLength: 400 });

describe('what a model reads', () => {
  it('shows control characters and escape sequences, and keeps lines and columns', () => {
    expect(shown('a\u001b[31mred\r\n\tb\u0007\u009b\u202e')).toBe('a\\u001b[31mred\\u000d\n\tb\\u0007\\u009b\\u202e');
    expect(shownDeep({ 'k\u001b': ['\u0000', 1, null, { deep: '\u001b' }] })).toEqual({
      'k\\u001b': ['\\u0000', 1, null, { deep: '\\u001b' }],
    });
  });

  it('is whole where it fits', () => {
    expect(fitText('all of it', null, '...', 9)).toEqual({ text: 'all of it', cut: false, headChars: 9 });
  });

  it('keeps the beginning and the end where it does not', () => {
    const { text, cut } = fitText(`first${'x'.repeat(1000)}last`, null, '[...]', 100);
    expect(cut).toBe(true);
    expect(text).toMatch(/^firstx+\[\.\.\.\]x+last$/);
    expect(textChars(text)).toBe(100);
  });

  it('marks a middle that is missing already', () => {
    expect(fitText('head', 'tail', '|', 100)).toEqual({ text: 'head|tail', cut: true, headChars: 4 });
  });

  it('never takes more room within JSON than it has, whatever the text', () => {
    fc.assert(
      fc.property(anyText, fc.option(anyText), fc.integer({ min: -5, max: 300 }), (head, tail, room) => {
        const { text, cut } = fitText(head, tail, '[cut]', room);
        expect(jsonChars(text) - 2).toBeLessThanOrEqual(Math.max(0, room));
        if (!cut) expect(text).toBe(shown(head));
      }),
      { seed: 7 },
    );
  });

  it('has a longest beginning that fits, and none longer', () => {
    fc.assert(
      fc.property(anyText, fc.integer({ min: 0, max: 300 }), (text, room) => {
        const kept = prefixWithin(text, room);
        expect(text.startsWith(kept)).toBe(true);
        expect(textChars(kept)).toBeLessThanOrEqual(room);
        const [next = ''] = text.slice(kept.length);
        if (next !== '') expect(textChars(kept + next)).toBeGreaterThan(room);
      }),
      { seed: 8 },
    );
  });

  it('cuts lines without leaving half a character', () => {
    expect(clip('short', 5)).toBe('short');
    expect(clip('ab😀cd', 4)).toBe('ab…');
    expect(clip('abcdef', 4)).toBe('abc…');
  });
});
