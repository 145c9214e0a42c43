import { appendFileSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openJournal } from '../../../../src/adapters/journal/journal.ts';
import { MeshError } from '../../../../src/base/errors.ts';
import { temporaryFolders } from '../../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();
const file = (): string => join(folder(), 'a.journal');
const entriesOf = (path: string): readonly unknown[] => openJournal(path).entries;

describe('a journal', () => {
  it('gives back what was appended, in order, and is readable by its owner alone', async () => {
    const path = file();
    const { journal, entries, damage } = openJournal(path);
    expect({ entries, damage, bytes: journal.bytes }).toEqual({ entries: [], damage: [], bytes: 0 });
    journal.append({ n: 1, text: 'a\nb\0 \u2028 ü' });
    journal.append([2]);
    expect(journal.bytes).toBe(statSync(path).size);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await journal.sync();
    await journal.close();
    expect(entriesOf(path)).toEqual([{ n: 1, text: 'a\nb\0 \u2028 ü' }, [2]]);
  });

  it('cuts a torn end off, tells it, and appends whole lines behind', () => {
    const path = file();
    openJournal(path).journal.append({ n: 1 });
    appendFileSync(path, '0badf00d {"n":');
    const reopened = openJournal(path);
    expect(reopened.entries).toEqual([{ n: 1 }]);
    expect(reopened.damage).toEqual([{ line: 2, offset: 17, bytes: 14, what: 'the last record is not whole' }]);
    reopened.journal.append({ n: 2 });
    expect(openJournal(path)).toMatchObject({ entries: [{ n: 1 }, { n: 2 }], damage: [] });
  });

  it('keeps a last record that lacks only its newline', () => {
    const path = file();
    openJournal(path).journal.append({ n: 1 });
    writeFileSync(path, readFileSync(path).subarray(0, -1));
    const reopened = openJournal(path);
    expect(reopened).toMatchObject({ entries: [{ n: 1 }], damage: [] });
    reopened.journal.append({ n: 2 });
    expect(reopened.journal.bytes).toBe(statSync(path).size);
    expect(entriesOf(path)).toEqual([{ n: 1 }, { n: 2 }]);
  });

  it('refuses a record or a journal beyond its bound and stays as it was', () => {
    const path = file();
    const { journal } = openJournal(path, { bytesMax: 40 });
    journal.append({ n: 1 });
    expect(() => journal.append({ text: 'x'.repeat(40) })).toThrow(
      new MeshError('limit', `the journal ${path} is full (40 bytes)`),
    );
    journal.append({ n: 2 });
    expect(entriesOf(path)).toEqual([{ n: 1 }, { n: 2 }]);
  });

  it('reads only as far as a journal may go and tells the rest', () => {
    const path = file();
    const { journal } = openJournal(path);
    for (let n = 0; n < 10; n += 1) journal.append({ n });
    const reopened = openJournal(path, { bytesMax: 40 });
    expect(reopened.entries).toEqual([{ n: 0 }, { n: 1 }]);
    expect(reopened.damage).toMatchObject([{ line: 3 }, { offset: 40, bytes: 130 }]);
    expect(statSync(path).size).toBe(34);
  });

  it('answers many syncs at once', async () => {
    const { journal } = openJournal(file());
    const syncs = Array.from({ length: 200 }, (_, n) => {
      journal.append({ n });
      return journal.sync();
    });
    await Promise.all(syncs);
    await journal.sync();
    await journal.close();
  });
});

describe('a rewrite', () => {
  it('replaces what was there and keeps what is appended while it goes on', async () => {
    const path = file();
    const { journal } = openJournal(path);
    for (let n = 0; n < 100; n += 1) journal.append({ n });
    const before = journal.bytes;
    const rewritten = journal.rewrite([{ n: 98 }, { n: 99 }]);
    expect(journal.isRewriting).toBe(true);
    journal.append({ n: 100 });
    await journal.sync();
    // The old content is in use until the exchange.
    expect(readFileSync(path).byteLength >= before || entriesOf(path).length === 3).toBe(true);
    await rewritten;
    journal.append({ n: 101 });
    expect(journal.isRewriting).toBe(false);
    expect(journal.bytes).toBe(statSync(path).size);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await journal.close();
    expect(entriesOf(path)).toEqual([{ n: 98 }, { n: 99 }, { n: 100 }, { n: 101 }]);
  });

  it('writes more than a slice, is waited for by close, and loses nothing to a busy appender', async () => {
    const path = file();
    const { journal } = openJournal(path);
    const text = 'x'.repeat(10_000);
    const rewritten = journal.rewrite(Array.from({ length: 500 }, (_, n) => ({ n, text })));
    let appended = 500;
    while (journal.isRewriting && appended < 100_000) {
      journal.append({ n: appended });
      appended += 1;
      await new Promise((resolve) => setImmediate(resolve));
    }
    await rewritten;
    await journal.close();
    const numbers = entriesOf(path).map((entry) => (entry as { n: number }).n);
    expect(numbers).toEqual(Array.from({ length: appended }, (_, n) => n));
  });

  it('that died midway leaves the old content, and its rest is removed', () => {
    const path = file();
    openJournal(path).journal.append({ n: 1 });
    writeFileSync(`${path}.new`, 'half');
    expect(entriesOf(path)).toEqual([{ n: 1 }]);
    expect(existsSync(`${path}.new`)).toBe(false);
  });

  it('that fails leaves the old content in use', async () => {
    const path = file();
    const { journal } = openJournal(path);
    journal.append({ n: 1 });
    fs.mkdirSync(`${path}.new`);
    writeFileSync(join(`${path}.new`, 'in the way'), '');
    const failure = await journal.rewrite([{ n: 2 }]).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'io', message: expect.stringContaining('cannot be rewritten') });
    journal.append({ n: 3 });
    await journal.close();
    fs.rmSync(`${path}.new`, { recursive: true });
    expect(entriesOf(path)).toEqual([{ n: 1 }, { n: 3 }]);
  });
});
