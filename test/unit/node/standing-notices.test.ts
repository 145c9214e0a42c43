import { expect, test } from 'vitest';
import type { Command } from '../../../src/wire/job-spec.ts';
import { StandingNotices } from '../../../src/node/standing-notices.ts';
import { jobId } from '../core/scheduling/origin-world.ts';

const MINUTE_MS = 60_000;
const make: Command = { kind: 'argv', argv: ['make'] };

test('what is so of a project is told with its first job, to whoever asks git, and again after a while', () => {
  const standing = new StandingNotices();
  const due = (job: number, nowMs: number, command: Command = make, project = 'p') =>
    standing.dueFor(jobId(job), command, project, ['one', 'two'], nowMs);
  expect(due(1, 0)).toEqual(['one', 'two']);
  expect(due(2, 1000)).toEqual([]);
  // Its files are sent to another node.
  expect(due(1, 2000)).toEqual(['one', 'two']);
  expect(due(3, 3000, { kind: 'line', line: 'cd x && git status' })).toEqual(['one', 'two']);
  expect(due(4, 4000, make, 'q')).toEqual(['one', 'two']);
  expect(standing.dueFor(jobId(5), make, 'p', ['two', 'three'], 5000)).toEqual(['three']);
  expect(due(6, 40 * MINUTE_MS)).toEqual(['one', 'two']);
  expect(due(7, 41 * MINUTE_MS)).toEqual([]);
});

test('remembers a bounded number', () => {
  const standing = new StandingNotices();
  for (let project = 0; project < 300; project++) standing.dueFor(jobId(1), make, `${project}`, ['x'], 0);
  expect(standing.dueFor(jobId(2), make, '299', ['x'], 1)).toEqual([]);
  expect(standing.dueFor(jobId(2), make, '0', ['x'], 1)).toEqual(['x']);
});
