import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bytesOfText, isUtf8, textOfBytes } from '../../../src/base/byte-text.ts';

describe('byte strings', () => {
  it('are decoded as the platform decodes UTF-8, damage included', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const text = Buffer.from(bytes).toString('latin1');
        expect(textOfBytes(text)).toBe(new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes));
      }),
      { numRuns: 3000 },
    );
  });

  it('are encoded as the platform encodes UTF-8', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (text) => {
        const bytes = bytesOfText(text);
        expect(bytes).toBe(Buffer.from(text, 'utf8').toString('latin1'));
        expect(textOfBytes(bytes)).toBe(Buffer.from(text, 'utf8').toString('utf8'));
        expect(isUtf8(bytes)).toBe(true);
      }),
      { numRuns: 3000 },
    );
  });

  it('tells what is not UTF-8', () => {
    expect(isUtf8('\xff')).toBe(false);
    expect(isUtf8('\xed\xa0\x80')).toBe(false);
    expect(isUtf8('\xc0\xaf')).toBe(false);
    expect(textOfBytes('caf\xe9.txt')).toBe('caf\ufffd.txt');
  });
});
