import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { base32, makeJobId, type JobId, type NodeId } from '../../../src/base/ids.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { endedEntry, startedEntry, unknownResult } from '../../../src/core/jobs/attempt-book.ts';
import { AttemptJournal } from '../../../src/node/attempt-journal.ts';
import type { AttemptEntry } from '../../../src/wire/attempt-entry.ts';
import { MemoryJournalFile } from '../../fixtures/memory-journal.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();
const ORIGIN = base32(new Uint8Array(33).fill(1)).slice(0, 52) as NodeId;
const BOUNDS = { ageMsMax: 1e9, bytesMax: 1e9, attemptsMax: 100, logBytesMax: 1e6 };
const jobId = (number: number): JobId => makeJobId(number, new Uint8Array(16));

function started(number: number, command = 'make'): AttemptEntry {
  const grant = { cpus: 0, memoryBytes: 0, parent: null, lender: null };
  const shown = { cwd: '/', command, instance: 'i', startedAtMs: 0 };
  return startedEntry({ job: jobId(number), attempt: 1, from: ORIGIN, durable: true, nesting: 0, grant, ...shown });
}
const ended = (number: number): AttemptEntry =>
  endedEntry({ job: jobId(number), attempt: 1 }, unknownResult('it is a test'), 1);

describe('the journal of attempts', () => {
  test('tells the next daemon what the last one wrote', async () => {
    const path = join(folder(), 'executor.journal');
    const journal = AttemptJournal.open(path, BOUNDS, silentLogger);
    expect([started(1), started(2), ended(1)].map((entry) => journal.record(entry))).toEqual([true, true, true]);
    await journal.close();
    const next = AttemptJournal.open(path, BOUNDS, silentLogger);
    expect(next.notice).toBeNull();
    expect(next.book.find('').map(({ job, end }) => [job, end !== null])).toEqual([
      [jobId(1), true],
      [jobId(2), false],
    ]);
    await next.close();
  });

  test('that is damaged tells so, keeps what is whole, and is whole the next time', async () => {
    const path = join(folder(), 'executor.journal');
    const journal = AttemptJournal.open(path, BOUNDS, silentLogger);
    for (const number of [1, 2, 3]) journal.record(started(number));
    await journal.close();
    const bytes = readFileSync(path);
    const middle = Math.floor(bytes.byteLength / 2);
    bytes[middle] = (bytes[middle] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    const errors: string[] = [];
    const log = { ...silentLogger, error: (text: string) => void errors.push(text) };
    const next = AttemptJournal.open(path, BOUNDS, log);
    expect(next.book.find('').map(({ job }) => job)).toEqual([jobId(1), jobId(3)]);
    expect(next.knowsAllOf('runner')).toBe(false);
    expect(next.notice).toMatch(/executor\.journal was damaged: 1 line could not be read/);
    expect(errors).toEqual(['the journal of attempts is damaged']);
    await next.close();
    const last = AttemptJournal.open(path, BOUNDS, silentLogger);
    expect(last.notice).toBeNull();
    expect(last.book.find('')).toHaveLength(2);
    await last.close();
  });

  test('with lines of another shape, or in a place where no file can be, is told and does not stop the node', () => {
    const file = new MemoryJournalFile();
    const { journal } = file.open();
    journal.append({ e: 'started', job: 'x' });
    journal.append(started(1));
    const read = new AttemptJournal(file.open(), BOUNDS, silentLogger, 'executor.journal');
    expect(read.notice).toMatch(/damaged/);
    expect(read.book.find('')).toHaveLength(1);
    const nowhere = AttemptJournal.open('/proc/none/executor.journal', BOUNDS, silentLogger);
    expect(nowhere.notice).toMatch(/cannot be opened/);
    expect(nowhere.record(started(1))).toBe(false);
    expect(nowhere.book.find('')).toHaveLength(1);
  });

  test('on a full disk says once that it cannot be written; the book goes on', () => {
    const file = new MemoryJournalFile();
    const errors: string[] = [];
    const log = { ...silentLogger, error: (text: string) => void errors.push(text) };
    const journal = new AttemptJournal(file.open(), BOUNDS, log, 'executor.journal');
    file.full = true;
    expect([journal.record(started(1)), journal.record(ended(1))]).toEqual([false, false]);
    file.full = false;
    expect(journal.record(started(2))).toBe(true);
    expect(errors).toEqual(['the journal of attempts cannot be written']);
    expect(journal.book.find('')).toHaveLength(2);
  });

  test('is written anew when it has grown far beyond what it tells', async () => {
    const file = new MemoryJournalFile();
    const journal = new AttemptJournal(file.open(), BOUNDS, silentLogger, 'executor.journal');
    let most = 0;
    for (let number = 1; number < 3000; number++) {
      journal.record(started(number, 'x'.repeat(1500)));
      journal.record(ended(number));
      for (const { job, attempt } of journal.book.due(1)) journal.record({ e: 'dropped', job, attempt, at_ms: 1 });
      // The next turn, in which a rewrite is done.
      await Promise.resolve();
      most = Math.max(most, file.bytes);
    }
    expect(most).toBeLessThan(2 * 1024 * 1024);
    const again = new AttemptJournal(file.open(), BOUNDS, silentLogger, 'executor.journal');
    expect(again.book.entries()).toEqual(journal.book.entries());
  });
});
