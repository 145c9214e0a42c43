import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { assert, AssertionError, unreachable } from '../../../src/base/assert.ts';
import { MeshError, messageOf, systemCodeOf } from '../../../src/base/errors.ts';
import { escapeControls } from '../../../src/base/escape.ts';
import { pick, seededRandom } from '../../../src/base/random.ts';

describe('escapeControls', () => {
  test.each([
    ['plain text', 'héllo wörld ✓ 日本', 'héllo wörld ✓ 日本'],
    ['an escape sequence', '\u001B[31mred', '\\u001b[31mred'],
    ['a C1 control', 'a\u009Bb\u007F', 'a\\u009bb\\u007f'],
    ['a bidirectional override', 'a\u202Eb\u2066c\u200Fd\u061Ce', 'a\\u202eb\\u2066c\\u200fd\\u061ce'],
    ['line separators', 'a\u2028b\nc\rd', 'a\\u2028b\\u000ac\\u000dd'],
    ['controls at both ends', '\0a\0', '\\u0000a\\u0000'],
    ['nothing', '', ''],
  ])('shows %s', (_what, text, escaped) => {
    expect(escapeControls(text)).toBe(escaped);
  });

  test('leaves what is to be kept', () => {
    expect(escapeControls('a\n\tb\r', '\n\t')).toBe('a\n\tb\\u000d');
  });

  test('leaves no control in any text, and shows a text without them as it is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const shown = escapeControls(text);
        // oxlint-disable-next-line no-control-regex -- they are what is looked for
        expect(shown).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/);
        expect(escapeControls(shown)).toBe(shown);
      }),
    );
  });
});

describe('seededRandom', () => {
  test('gives the same numbers of the same seed, in [0, 1), and others of another', () => {
    const take = (seed: number): number[] => {
      const random = seededRandom(seed);
      return Array.from({ length: 100 }, () => random.next());
    };
    expect(take(7)).toEqual(take(7));
    expect(take(7)).not.toEqual(take(8));
    expect(take(1).every((value) => value >= 0 && value < 1)).toBe(true);
    expect(take(1)[0]).toBe(0.6270739405881613);
  });

  test('spreads evenly enough to choose by', () => {
    const random = seededRandom(3);
    const counts = [0, 0, 0, 0];
    for (let i = 0; i < 4000; i++) {
      const chosen = pick(random, [0, 1, 2, 3]) ?? 0;
      counts[chosen] = (counts[chosen] ?? 0) + 1;
    }
    for (const count of counts) expect(count).toBeGreaterThan(900);
    expect(pick(random, [])).toBeUndefined();
  });
});

test('errors tell their text and code, whatever was thrown', () => {
  const cause = new Error('below');
  expect(new MeshError('io', 'above', cause)).toMatchObject({ code: 'io', message: 'above', cause, name: 'MeshError' });
  expect('cause' in new MeshError('io', 'above')).toBe(false);
  expect([messageOf(cause), messageOf('text'), messageOf(null)]).toEqual(['below', 'text', 'null']);
  expect([systemCodeOf({ code: 'ENOENT' }), systemCodeOf({ code: 2 }), systemCodeOf(null)]).toEqual(['ENOENT', '', '']);
  expect(() => assert(0, 'zero')).toThrow(AssertionError);
  expect(() => unreachable('x' as never)).toThrow('unreachable: "x"');
});
