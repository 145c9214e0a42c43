import { describe, expect, test } from 'vitest';
import { base32, makeJobId, type JobId, type NodeId } from '../../../../src/base/ids.ts';
import { AttemptBook, DROPPED_MAX, endedEntry, startedEntry } from '../../../../src/core/jobs/attempt-book.ts';
import type { AttemptResult } from '../../../../src/core/jobs/executor-state.ts';
import type { AttemptEntry } from '../../../../src/wire/attempt-entry.ts';

const ORIGIN = base32(new Uint8Array(33).fill(1)).slice(0, 52) as NodeId;
const jobId = (number: number): JobId => makeJobId(number, new Uint8Array(16));
const BOUNDS = { ageMsMax: 1000, bytesMax: 100, attemptsMax: 3, logBytesMax: 50 };
const grant = { cpus: 2, memoryBytes: 5, parent: null, lender: null };

const started = (number: number, attempt = 1): AttemptEntry => {
  const shown = { cwd: '/', command: 'make', instance: 'i', startedAtMs: 0 };
  return startedEntry({ job: jobId(number), attempt, from: ORIGIN, durable: false, nesting: 1, grant, ...shown });
};
const result = (bytes = 0): AttemptResult => ({
  outcome: { kind: 'exited', code: 0 },
  stdoutBytes: bytes,
  stderrBytes: 0,
  truncated: false,
  leftRunning: 0,
  durationMs: 1,
});
const ended = (number: number, { bytes = 0, atMs = 0 } = {}): AttemptEntry =>
  endedEntry({ job: jobId(number), attempt: 1 }, result(bytes), atMs);
const acked = (number: number): AttemptEntry => ({ e: 'acked', job: jobId(number), attempt: 1 });
const dropped = (number: number, atMs = 0): AttemptEntry => ({
  e: 'dropped',
  job: jobId(number),
  attempt: 1,
  at_ms: atMs,
});

function bookOf(...entries: readonly AttemptEntry[]): AttemptBook {
  const book = new AttemptBook(BOUNDS);
  for (const entry of entries) book.apply(entry);
  return book;
}
const numbers = (attempts: readonly { readonly job: JobId }[]): number[] =>
  attempts.map(({ job }) => [1, 2, 3, 4, 5, 6].find((number) => jobId(number) === job) ?? 0);

describe('what is kept of ended attempts', () => {
  const endedAt = (...list: readonly { bytes?: number; atMs?: number }[]): AttemptBook =>
    bookOf(...list.flatMap((how, index) => [started(index + 1), ended(index + 1, how)]));

  test('is bounded by number, the oldest first', () => {
    expect(numbers(endedAt({}, {}, {}, {}, {}).due(0))).toEqual([1, 2]);
  });

  test('by bytes, of which one attempt takes no more than its log may', () => {
    expect(numbers(endedAt({ bytes: 40 }, { bytes: 40 }, { bytes: 30 }).due(0))).toEqual([1]);
    expect(numbers(endedAt({ bytes: 4000 }, { bytes: 50 }).due(0))).toEqual([]);
  });

  test('by age', () => {
    expect(numbers(endedAt({ atMs: 0 }, { atMs: 600 }).due(1001))).toEqual([1]);
  });

  test('and what runs is never dropped', () => {
    const book = bookOf(...[1, 2, 3, 4, 5, 6].map((number) => started(number)));
    expect(book.due(1e12)).toEqual([]);
    book.apply(dropped(1));
    expect(book.find(jobId(1))).toHaveLength(1);
  });

  test('is gone when it was dropped, but for the time of that', () => {
    const book = endedAt({ bytes: 40 }, { bytes: 40 }, { bytes: 30 });
    for (const { job, attempt } of book.due(7)) book.apply({ e: 'dropped', job, attempt, at_ms: 7 });
    expect(book.due(7)).toEqual([]);
    expect(book.find(jobId(1))).toEqual([]);
    expect(book.droppedAt(jobId(1).slice(0, 12))).toBe(7);
    expect(book.droppedAt('ZZZZ')).toBeNull();
  });

  test('of dropped ones, a bounded number is remembered', () => {
    const book = bookOf();
    for (let number = 0; number <= DROPPED_MAX; number++) book.apply(dropped(number, number));
    expect(book.droppedAt(jobId(0))).toBeNull();
    expect(book.droppedAt(jobId(DROPPED_MAX))).toBe(DROPPED_MAX);
  });
});

test('its entries, applied to an empty book, make the same book', () => {
  const book = bookOf(
    started(1),
    started(2),
    { e: 'detached', job: jobId(2), attempt: 1 },
    ended(1, { bytes: 9, atMs: 3 }),
    acked(1),
    dropped(5, 8),
    started(3),
    ended(3),
  );
  const copy = bookOf(...book.entries());
  expect(copy.entries()).toEqual(book.entries());
  expect(copy.find('')).toEqual(book.find(''));
  expect(copy.droppedAt(jobId(5))).toBe(8);
});

test('entries of which the beginning is missing, or that come twice, change nothing', () => {
  const book = bookOf(ended(1), acked(1), { e: 'detached', job: jobId(1), attempt: 1 });
  expect(book.entries()).toEqual([]);
  const twice = bookOf(started(1), ended(1, { bytes: 40 }), ended(1, { bytes: 4 }), started(1), ended(1));
  expect(twice.get({ job: jobId(1), attempt: 1 })?.end?.result.stdoutBytes).toBe(40);
});

describe('after a restart of the daemon', () => {
  const key = (number: number) => ({ job: jobId(number), attempt: 1 });

  test('what still runs at the runner runs on, with what it holds', () => {
    const book = bookOf(started(1));
    const restored = book.restore([{ ...key(1), kind: 'running' }], 9);
    expect(restored).toMatchObject({ entries: [], strangers: [], given: [] });
    expect(restored.attempts).toEqual([
      { ...key(1), kind: 'running', from: ORIGIN, durable: false, nesting: 1, grant },
    ]);
  });

  test('what ended meanwhile has its result, from the runner', () => {
    const restored = bookOf(started(1)).restore([{ ...key(1), kind: 'ended', result: result(4) }], 9);
    expect(restored.entries).toEqual([endedEntry(key(1), result(4), 9)]);
    expect(restored.attempts).toMatchObject([{ kind: 'ended', result: { stdoutBytes: 4 } }]);
  });

  test('what the runner does not know has an unknown outcome', () => {
    const book = bookOf(started(1));
    const restored = book.restore([], 9);
    expect(restored.entries).toMatchObject([{ e: 'ended', outcome: { kind: 'unknown' } }]);
    expect(restored.attempts).toMatchObject([{ kind: 'ended', result: { outcome: { kind: 'unknown' } } }]);
    expect(book.restore([], 9).entries).toEqual([]);
  });

  test('results wait for their origin until it has them', () => {
    const restored = bookOf(started(1), ended(1), started(2), ended(2), acked(2)).restore([], 9);
    expect(numbers(restored.attempts)).toEqual([1]);
    expect(numbers(restored.given)).toEqual([2]);
  });

  test('what the runner has and the journal has not is a stranger, and was given to a runner', () => {
    const restored = bookOf().restore([{ ...key(1), kind: 'running' }], 9);
    expect(numbers(restored.strangers)).toEqual([1]);
    expect(restored.given).toEqual([key(1)]);
    expect(restored.attempts).toEqual([]);
  });
});
