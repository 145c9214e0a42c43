import { expect, test } from 'vitest';
import { makeJobId } from '../../../../src/base/ids.ts';
import { JobQueue, type Waiting } from '../../../../src/core/scheduling/job-queue.ts';
import { AGING_MS } from '../../../../src/core/scheduling/origin-limits.ts';

let sequence = 0;
function waiting(submitter: string, more: Partial<Waiting> = {}): Waiting {
  sequence += 1;
  return { job: makeJobId(sequence, new Uint8Array(16)), sequence, priority: 0, submitter, sinceMs: 0, ...more };
}

const names = (queue: JobQueue, count: number, nowMs = 0): string =>
  queue
    .inOrder(nowMs, count)
    .map(({ submitter }) => submitter)
    .join('');

function queueOf(...jobs: readonly Waiting[]): JobQueue {
  const queue = new JobQueue();
  for (const job of jobs) queue.put(job);
  return queue;
}

function takeNext(queue: JobQueue, nowMs = 0): Waiting {
  const [next] = queue.inOrder(nowMs, 1);
  if (next === undefined) throw new Error('the queue is empty');
  queue.take(next);
  return next;
}

test('submitters take turns, however many jobs one brought', () => {
  const queue = queueOf(...'aaaaabbc'.split('').map((name) => waiting(name)));
  expect(names(queue, 8)).toBe('abcabaaa');
  const taken: string[] = [];
  while (queue.size > 0) {
    const next = takeNext(queue);
    queue.settled(next.job);
    taken.push(next.submitter);
  }
  expect(taken.join('')).toBe('abcabaaa');
});

test('a newcomer waits for one turn, not for all that came before', () => {
  const queue = queueOf(...Array.from({ length: 50 }, () => waiting('a')));
  takeNext(queue);
  queue.put(waiting('b'));
  expect(names(queue, 3)).toBe('baa');
});

test('within a submitter the first comes first', () => {
  const jobs = [waiting('a'), waiting('a'), waiting('a')];
  expect(queueOf(...jobs.toReversed()).inOrder(0, 3)).toEqual(jobs);
});

test('a job that was asked for in vain gives its submitter the turn back', () => {
  const queue = queueOf(waiting('a'), waiting('a'), waiting('b'));
  const next = takeNext(queue);
  expect(next.submitter).toBe('a');
  expect(names(queue, 2)).toBe('ba');
  queue.put(next);
  expect(queue.inOrder(0, 1)).toEqual([next]);
});

test('a higher priority goes first, until the lower one has waited long enough', () => {
  const low = waiting('a', { priority: -2 });
  const queue = queueOf(low);
  for (let i = 0; i < 10; i++) queue.put(waiting('b', { priority: 1, sinceMs: 3 * AGING_MS }));
  expect(names(queue, 3, 3 * AGING_MS - 1)).toBe('bbb');
  expect(names(queue, 3, 3 * AGING_MS)).toBe('abb');
});

test('age alone does not put one submitter before another of the same priority', () => {
  const queue = queueOf(...Array.from({ length: 5 }, () => waiting('a')));
  takeNext(queue);
  queue.put(waiting('b', { sinceMs: 100 * AGING_MS }));
  expect(names(queue, 4, 100 * AGING_MS)).toBe('baaa');
});

test('jobs leave it from any place', () => {
  const jobs = [waiting('a'), waiting('b'), waiting('a')];
  const queue = queueOf(...jobs);
  for (const job of jobs) queue.remove(job);
  expect(queue.size).toBe(0);
  expect(queue.inOrder(0, 5)).toEqual([]);
});
