import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bytesOfText, textSlice } from '../../../../src/front/mcp/utf8-slice.ts';

const utf8 = (text: string): Uint8Array => Buffer.from(text);
const decoded = (bytes: Uint8Array): string => new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
/** Also what is no UTF-8: characters, cut ones and any bytes. */
const anyBytes = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'binary', maxLength: 6 }).map(utf8),
      fc.uint8Array({ maxLength: 4 }),
      fc.constantFrom(utf8('é').subarray(0, 1), utf8('€').subarray(0, 2), utf8('😀').subarray(0, 3)),
    ),
    { maxLength: 12 },
  )
  .map((parts) => Uint8Array.from(Buffer.concat(parts)));

describe('text cut from bytes', () => {
  it('ends between characters', () => {
    const bytes = utf8('aé€😀');
    expect(textSlice(bytes, 2, false)).toEqual({ text: 'a', bytes: 1 });
    expect(textSlice(bytes, 9, false)).toEqual({ text: 'aé€', bytes: 6 });
    expect(textSlice(bytes, 10, false)).toEqual({ text: 'aé€😀', bytes: 10 });
  });

  it('always goes on where there is a whole character', () => {
    expect(textSlice(utf8('😀x'), 1, false)).toEqual({ text: '😀', bytes: 4 });
    expect(textSlice(utf8('😀').subarray(0, 3), 1, false)).toEqual({ text: '', bytes: 0 });
    expect(textSlice(utf8('😀').subarray(0, 3), 1, true)).toEqual({ text: '\uFFFD', bytes: 3 });
  });

  it('keeps a byte order mark, and holds back what may become a character', () => {
    expect(textSlice(utf8('\uFEFFa'), 99, true)).toEqual({ text: '\uFEFFa', bytes: 4 });
    expect(textSlice(Uint8Array.of(0x61, 0xe2, 0x82), 99, false)).toEqual({ text: 'a', bytes: 1 });
    expect(textSlice(Uint8Array.of(0x61, 0xe2, 0x82), 99, true)).toEqual({ text: 'a\uFFFD', bytes: 3 });
    expect(bytesOfText(Uint8Array.of(0xe2, 0x61), 1)).toBe(1);
  });

  it('gives, read on piece by piece, the text of the whole', () => {
    fc.assert(
      fc.property(anyBytes, fc.integer({ min: 1, max: 9 }), (bytes, step) => {
        let text = '';
        for (let at = 0, tries = 0; at < bytes.byteLength; tries++) {
          const slice = textSlice(bytes.subarray(at), step, true);
          expect(slice.bytes).toBeGreaterThan(0);
          expect(tries).toBeLessThan(200);
          text += slice.text;
          at += slice.bytes;
        }
        expect(text).toBe(decoded(bytes));
      }),
      { seed: 5, numRuns: 500 },
    );
  });

  it('says of every beginning of a text how many bytes it stands for', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const characters = Array.from(decoded(bytes));
        for (let count = 0; count <= characters.length; count++) {
          const head = characters.slice(0, count).join('');
          const at = bytesOfText(bytes, head.length);
          expect(head + decoded(bytes.subarray(at))).toBe(decoded(bytes));
        }
      }),
      { seed: 6, numRuns: 300 },
    );
  });
});
