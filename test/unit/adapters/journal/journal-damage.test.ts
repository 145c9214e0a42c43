import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DAMAGE_LISTED_MAX, decodeJournal, encodeEntry } from '../../../../src/adapters/journal/journal-lines.ts';
import { openJournal } from '../../../../src/adapters/journal/journal.ts';
import { temporaryFolders } from '../../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();
const entries = Array.from({ length: 120 }, (_, n) => ({ kind: 'started', n, command: `make part-${n * 7919}` }));
const lines = entries.map(encodeEntry);
const texts = entries.map((entry) => JSON.stringify(entry));
const textsOf = (found: readonly unknown[]): string[] => found.map((entry) => JSON.stringify(entry));
const whole = Buffer.concat(lines);
let written = 0;
const ends = lines.map((line) => (written += line.byteLength));
/** Seeds are printed by fast-check when a property fails. */
const RUNS = { numRuns: 400 };

describe('a journal that was cut', () => {
  const CUTS = Array.from({ length: 4096 }, (_, back) => whole.byteLength - 1 - back);
  /** A record is whole without its newline. */
  const keptAt = (cut: number): number => ends.filter((end) => end - 1 <= cut).length;

  it('at any byte of its last 4 KiB: every whole record is there, the rest is told', () => {
    for (const cut of CUTS) {
      const found = decodeJournal(whole.subarray(0, cut));
      const kept = keptAt(cut);
      expect(textsOf(found.entries).join()).toBe(texts.slice(0, kept).join());
      const torn = cut - (ends[kept - 1] ?? 0);
      expect(found.damage.map(({ bytes }) => bytes)).toEqual(torn > 0 ? [torn] : []);
    }
  });

  it('goes on whole behind what was kept', async () => {
    const path = join(folder(), 'a.journal');
    for (const cut of CUTS.filter((_, index) => index % 13 === 0)) {
      writeFileSync(path, whole);
      truncateSync(path, cut);
      const { journal } = openJournal(path);
      journal.append({ after: cut });
      await journal.close();
      const again = openJournal(path);
      await again.journal.close();
      expect(again.damage).toEqual([]);
      expect(textsOf(again.entries).join()).toBe([...texts.slice(0, keptAt(cut)), `{"after":${cut}}`].join());
    }
  });
});

describe('a journal with flipped bits', () => {
  const flip = (bits: readonly number[]): Buffer => {
    const damaged = Buffer.from(whole);
    for (const bit of bits) damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    return damaged;
  };
  const lineOf = (offset: number): number => ends.findIndex((end) => offset < end);
  const bit = fc.integer({ min: 0, max: whole.byteLength * 8 - 1 });

  it('loses at most the records that were touched, and tells each of them', () => {
    fc.assert(
      fc.property(fc.uniqueArray(bit, { minLength: 1, maxLength: 12 }), (bits) => {
        const { entries: found, damage } = decodeJournal(flip(bits));
        const touched = new Set(bits.map((at) => lineOf(at >> 3)));
        const numbers = textsOf(found).map((text) => texts.indexOf(text));
        const missed = texts.flatMap((_, index) => (touched.has(index) || numbers.includes(index) ? [] : [index]));
        expect(missed).toEqual([]);
        // Nothing is made up, and the order stays.
        expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
        expect(numbers).not.toContain(-1);
        if (found.length < entries.length) expect(damage.length).toBeGreaterThan(0);
        const reported = damage.map(({ offset, bytes }) => ({ offset, end: offset + bytes }));
        const lost = entries.flatMap((_, index) => (numbers.includes(index) ? [] : [index]));
        for (const index of lost) {
          const end = ends[index] ?? 0;
          expect(reported.some((one) => one.offset < end && one.end > end - (lines[index]?.byteLength ?? 0))).toBe(
            true,
          );
        }
      }),
      RUNS,
    );
  });

  it('and cut, and grown by noise: never throws, and opens clean the second time but for what is told', async () => {
    const path = join(folder(), 'a.journal');
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(bit, { maxLength: 6 }),
        fc.integer({ min: 0, max: whole.byteLength }),
        fc.uint8Array({ maxLength: 200 }),
        async (bits, cut, noise) => {
          writeFileSync(path, Buffer.concat([flip(bits).subarray(0, cut), noise]));
          const first = openJournal(path);
          first.journal.append({ after: 'damage' });
          await first.journal.close();
          const second = openJournal(path);
          await second.journal.close();
          expect(second.entries).toEqual([...first.entries, { after: 'damage' }]);
        },
      ),
      RUNS,
    );
  });

  it('whose newline is damaged, and that was cut behind: the record before it stays', () => {
    const path = join(folder(), 'a.journal');
    const [first = 0, second = 0] = ends;
    const damaged = Buffer.from(whole.subarray(0, second - 5));
    damaged[first - 1] = 0x1a;
    writeFileSync(path, damaged);
    const { journal, entries: found, damage } = openJournal(path);
    expect(found).toEqual([entries[0]]);
    expect(damage).toHaveLength(1);
    journal.append({ after: 'damage' });
    expect(openJournal(path).entries).toEqual([entries[0], { after: 'damage' }]);
  });

  it('whose newline is damaged: both records beside it are there', () => {
    const damaged = Buffer.from(whole);
    damaged[(lines[0]?.byteLength ?? 0) - 1] = 0x1a;
    const found = decodeJournal(damaged);
    expect(found.entries).toEqual(entries);
    expect(found.damage).toEqual([expect.objectContaining({ line: 1, offset: 0 })]);
  });

  it('lists only so much damage, and says how much more there is', () => {
    const found = decodeJournal(Buffer.from('rubbish\n'.repeat(1000)));
    expect(found.damage).toHaveLength(DAMAGE_LISTED_MAX);
    expect(found.damage.at(-1)?.what).toContain('900 more like it');
  });
});
