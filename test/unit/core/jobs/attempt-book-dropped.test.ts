import { expect, it } from 'vitest';
import type { JobId, NodeId } from '../../../../src/base/ids.ts';
import { AttemptBook, endedEntry, startedEntry } from '../../../../src/core/jobs/attempt-book.ts';

const JOB = '01J00000000000000000000000' as JobId;
const FROM = 'a'.repeat(52) as NodeId;
const BOUNDS = { ageMsMax: 1e9, bytesMax: 1e9, attemptsMax: 10, logBytesMax: 1e6 };

it('what was dropped was given to a runner all the same, in every attempt up to the last', () => {
  const book = new AttemptBook(BOUNDS);
  const key = { job: JOB, attempt: 2 };
  const grant = { cpus: 0, memoryBytes: 0, parent: null, lender: null };
  const given = { ...key, from: FROM, durable: true, nesting: 0, grant };
  book.apply(startedEntry({ ...given, cwd: '/', command: 'true', instance: 'r', startedAtMs: 0 }));
  const outcome = { kind: 'exited', code: 0 } as const;
  const result = { outcome, stdoutBytes: 0, stderrBytes: 0, truncated: false, leftRunning: 0, durationMs: 1 };
  book.apply(endedEntry(key, result, 1));
  book.apply({ e: 'dropped', ...key, at_ms: 2 });
  const { attempts, given: over, isWhole } = book.restore([], 3);
  expect(attempts).toEqual([]);
  expect(over).toEqual([{ job: JOB, attempt: 1 }, key]);
  expect(isWhole).toBe(true);
});
