import { array, assert, constantFrom, integer, nat, property, tuple } from 'fast-check';
import { expect, test } from 'vitest';
import { makeJobId, type JobId, type LeaseId } from '../../../src/base/ids.ts';
import { JobBook, type JobBookOptions } from '../../../src/node/job-book.ts';
import { DROPPED_KEPT_MAX, JobBookState } from '../../../src/node/job-book-state.ts';
import { openEntryOf } from '../../../src/node/kept-job.ts';
import type { OriginEntry } from '../../../src/wire/origin-entry.ts';
import { MemoryJournalFile } from '../../fixtures/memory-journal.ts';
import { ended, jobRecord } from '../../fixtures/job-record.ts';
import { BETA, silent, specOf } from './origin-rig.ts';

const jobId = (number: number): JobId => makeJobId(number, new Uint8Array(16));
const recordFixture = (job: JobId) => jobRecord({ job, ...ended });
const DAY_MS = 86_400_000;
const PLACE = {
  node: BETA,
  name: 'beta',
  lease: 'a'.repeat(26) as LeaseId,
  instance: 'i',
  cwd: '/w',
  route: 'the best',
  tools: {},
  sync_ms: 0,
};

function bookOf(file: MemoryJournalFile, options: Partial<JobBookOptions> = {}): JobBook {
  return new JobBook(file.open(), { log: silent, keepMax: 100, keepDays: 7, wallMs: () => 0, ...options });
}

/** What the book tells of itself, to be compared. */
const contentOf = (book: JobBook) => ({
  open: [...book.open],
  finished: [...book.finished],
  dropped: [...book.dropped],
  loose: book.loose.map(({ job, attempt, unwanted }) => ({ job, attempt, unwanted })),
});

const open = (number: number): OriginEntry => openEntryOf(jobId(number), specOf(), null, number);
const started = (number: number, attempt = 1): OriginEntry => ({
  e: 'started',
  job: jobId(number),
  attempt,
  place: PLACE,
  queue_ms: 5,
});
const rerun = (number: number, over: boolean): OriginEntry => ({
  e: 'rerun',
  job: jobId(number),
  attempt: 1,
  over,
  text: 'lost',
  stdout_before: 7,
  stderr_before: 0,
});
const finished = (number: number): OriginEntry => ({ e: 'finished', record: recordFixture(jobId(number)) });

test('what was noted is there after a crash', () => {
  const file = new MemoryJournalFile();
  const book = bookOf(file);
  for (const entry of [open(1), started(1), open(2), finished(2), open(3), started(3), rerun(3, false)])
    book.note(entry);
  book.note({ e: 'cancel', job: jobId(1) });
  book.note({ e: 'detached', job: jobId(3) });
  book.note({ e: 'stdin_ended', job: jobId(1), bytes: 12 });
  file.crash();
  const next = bookOf(file);
  expect(contentOf(next)).toEqual(contentOf(book));
  expect(next.open.get(jobId(1))).toMatchObject({ place: PLACE, cancel_asked: true, stdin_bytes: 12, queue_ms: 5 });
  expect(next.open.get(jobId(3))).toMatchObject({
    attempt: 2,
    place: null,
    reruns: ['lost'],
    avoided: [BETA],
    lost_at: PLACE,
    spec: { durable: true },
    stdout_before: 7,
  });
  expect(next.loose).toMatchObject([{ job: jobId(3), attempt: 1, unwanted: true }]);
  expect(next.notices).toEqual([]);
});

test('an attempt that was not started leaves nothing loose; one whose executor told that it is lost neither', () => {
  const state = new JobBookState();
  for (const entry of [open(1), started(1), { e: 'requeued', job: jobId(1), attempt: 1 } as const]) state.apply(entry);
  expect(state.open.get(jobId(1))).toMatchObject({ attempt: 2, place: null });
  for (const entry of [open(2), started(2), rerun(2, true)]) state.apply(entry);
  expect(state.loose).toEqual([]);
});

test('entries of jobs that nobody knows are skipped', () => {
  const state = new JobBookState();
  for (const entry of [started(1), rerun(1, false), { e: 'cancel', job: jobId(1) } as const]) state.apply(entry);
  state.apply({ e: 'late', record: recordFixture(jobId(1)) });
  expect(state.entries()).toEqual([]);
});

test('finished jobs are kept so many and so long; dropped ones are remembered', () => {
  const file = new MemoryJournalFile();
  let nowMs = 0;
  const options = { keepMax: 3, keepDays: 1, wallMs: () => nowMs };
  const book = bookOf(file, options);
  for (let number = 1; number <= 5; number++) {
    book.note({ e: 'finished', record: { ...recordFixture(jobId(number)), finished_ms: number } });
  }
  expect([...book.finished.keys()]).toEqual([3, 4, 5].map(jobId));
  expect(book.dropped.get(jobId(1))).toBe(0);
  nowMs = DAY_MS + 5;
  book.dropOld();
  expect([...book.finished.keys()]).toEqual([5].map(jobId));
  expect(book.dropped.get(jobId(4))).toBe(nowMs);
  file.crash();
  expect(contentOf(bookOf(file, options))).toEqual(contentOf(book));
});

test('no more dropped ids are remembered than the bound', () => {
  const state = new JobBookState();
  for (let number = 0; number <= DROPPED_KEPT_MAX; number++)
    state.apply({ e: 'dropped', job: jobId(number), at_ms: 1 });
  expect(state.dropped.size).toBe(DROPPED_KEPT_MAX);
  expect(state.dropped.has(jobId(0))).toBe(false);
});

test('a state tells entries that add up to it', () => {
  const kinds = constantFrom('open', 'started', 'rerun', 'finished', 'requeued', 'dropped');
  assert(
    property(array(tuple(kinds, integer({ min: 1, max: 4 }))), (steps) => {
      const state = new JobBookState();
      for (const [kind, number] of steps) {
        const entries: Record<typeof kind, OriginEntry> = {
          open: open(number),
          started: started(number),
          rerun: rerun(number, false),
          finished: finished(number),
          requeued: { e: 'requeued', job: jobId(number), attempt: 1 },
          dropped: { e: 'dropped', job: jobId(number), at_ms: 3 },
        };
        if (kind === 'started' && state.open.get(jobId(number))?.attempt !== 1) continue;
        state.apply(entries[kind]);
      }
      const again = new JobBookState();
      for (const entry of state.entries()) again.apply(entry);
      expect(again.entries()).toEqual(state.entries());
    }),
  );
});

test('damage is told and costs only what it hit', () => {
  const file = new MemoryJournalFile();
  const book = bookOf(file);
  for (let number = 1; number <= 50; number++) book.note(finished(number));
  const whole = file.content;
  assert(
    property(nat(whole.byteLength - 1), integer({ min: 0, max: 7 }), (at, bit) => {
      const damaged = new MemoryJournalFile();
      damaged.damage(() => whole.map((byte, i) => (i === at ? byte ^ (1 << bit) : byte)));
      const found = bookOf(damaged);
      expect(found.finished.size).toBeGreaterThanOrEqual(48);
      expect(found.notices.join()).toContain('could not be read');
      // Told once: what was whole was written anew.
      expect(bookOf(damaged).notices).toEqual([]);
    }),
    { numRuns: 60 },
  );
});

test('an entry of another shape is damage too', () => {
  const file = new MemoryJournalFile();
  file.open().journal.append({ e: 'of the future' });
  expect(bookOf(file).notices).toHaveLength(1);
});

test('what a full disk refused is written once it has room', async () => {
  const file = new MemoryJournalFile();
  const book = bookOf(file);
  file.full = true;
  expect(book.note(open(1))).toBe(false);
  await expect(book.noteDurably(open(2))).rejects.toMatchObject({ code: 'io' });
  expect(book.notices.join()).toContain('no space left');
  file.full = false;
  expect(book.note(started(1))).toBe(true);
  await expect.poll(() => book.notices).toEqual([]);
  file.crash();
  expect(contentOf(bookOf(file))).toEqual(contentOf(book));
});

test('without a journal the book still knows, and says that it will forget', async () => {
  const book = JobBook.open('/nonexistent/folder/origin.journal', {
    log: silent,
    keepMax: 10,
    keepDays: 1,
    wallMs: () => 0,
  });
  expect(book.note(open(1))).toBe(false);
  expect(book.open.size).toBe(1);
  expect(book.notices).toHaveLength(1);
  await expect(book.sync()).rejects.toMatchObject({ code: 'io' });
  await book.close();
});
