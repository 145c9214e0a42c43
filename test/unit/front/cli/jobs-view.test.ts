import { describe, expect, test } from 'vitest';
import { idCharsOf, jobsView } from '../../../../src/front/cli/jobs-view.ts';
import { standingOf } from '../../../../src/front/cli/record-view.ts';
import { runObjectOf } from '../../../../src/node/api-run-object.ts';
import { summaryOf } from '../../../../src/front/cli/run-summary.ts';
import type { JobRecord } from '../../../../src/node/api-types.ts';
import { runObject } from '../../../fixtures/fake-batch-api.ts';
import { jobRecord } from '../../../fixtures/job-record.ts';

const NOW_MS = 1_800_000_000_000;

const record = (facts: Partial<JobRecord>): JobRecord =>
  jobRecord({
    job: '01JD8Z3KAAAAAAAAAAAAAAAAAA' as JobRecord['job'],
    origin: 'desk',
    command: 'npm test',
    submitted_ms: NOW_MS - 65_000,
    executed_on: 'laptop',
    executed_on_id: null,
    auto_routed: true,
    stdout_bytes: 3,
    stderr_bytes: 4,
    queue_ms: 1,
    dispatch_ms: 2,
    ...facts,
  });

const ended = (facts: Partial<JobRecord>): JobRecord =>
  record({ state: 'finished', finished_ms: NOW_MS, reason: 'exited', return_code: 0, duration_ms: 12_300, ...facts });

describe('a job in a word or two', () => {
  test.each<[Partial<JobRecord>, string]>([
    [{ state: 'queued', queue_position: 3 }, 'queued #3'],
    [{ state: 'preparing' }, 'preparing'],
    [{}, 'running'],
    [ended({}), 'exit 0'],
    [ended({ return_code: 2, late: true }), 'exit 2 (late)'],
    [ended({ reason: 'signaled', signal: 'SIGKILL', return_code: null }), 'SIGKILL'],
    [ended({ reason: 'timeout', return_code: null }), 'timeout'],
    [ended({ reason: 'unknown', return_code: null }), 'unknown'],
  ])('%#', (facts, words) => {
    expect(standingOf(record(facts))).toBe(words);
  });
});

describe('the table of jobs', () => {
  test('is read at a glance', () => {
    const jobs = [
      record({ state: 'queued', queue_position: 2, executed_on: null, command: 'make\n-j8' }),
      ended({ job: '01JD8Z3KBBBBBBBBBBBBBBBBBB' as JobRecord['job'], origin: 'tower' }),
    ];
    expect(jobsView({ jobs, more: 3, notices: ['attic did not answer'] }, NOW_MS, null, false)).toBe(
      [
        'JOB        STATE      NODE          AGE    TOOK  FROM   COMMAND',
        '01JD8Z3KA  queued #2  -       1 min 5 s       -  desk   make -j8',
        '01JD8Z3KB  exit 0     laptop  1 min 5 s  12.3 s  tower  npm test',
        'and 3 more (`meshwork jobs --all`)',
        '! attic did not answer',
      ].join('\n'),
    );
  });

  test('cuts the command to the terminal, and shows what a terminal would obey', () => {
    const jobs = [record({ command: `echo \u001B[2J${'x'.repeat(500)}` })];
    const [, line = ''] = jobsView({ jobs, more: 0, notices: [] }, NOW_MS, 100, false).split('\n');
    expect(line).toHaveLength(100);
    expect(line).toMatch(/echo \\u001b\[2Jx+…$/);
  });

  test('says when there are none', () => {
    expect(jobsView({ jobs: [], more: 0, notices: [] }, NOW_MS, null, false)).toBe('no jobs');
  });

  test.each([
    [[], 8],
    [['01JD8Z3KAAAA'], 8],
    [['01JD8Z3KAAAA', '01JD8Z3KABAA', '01JD9'], 10],
    [['01JD8Z3KAAAA', '01JD8Z3KAAAA'], 8],
  ])('ids %j are told apart by %i characters', (ids, chars) => {
    expect(idCharsOf(ids)).toBe(chars);
  });
});

describe('the run object of a record', () => {
  test('has its keys in the order of the contract, and says what to call while it is unfinished', () => {
    const object = runObjectOf(record({}));
    expect(object).toMatchObject({ state: 'running', return_code: null, success: null, reason: null });
    expect(object.next).toMatch(/meshwork wait 01JD8Z3K/);
    expect(Object.keys(object).slice(0, 8)).toEqual([
      'notices',
      'state',
      'return_code',
      'executed_on',
      'cwd',
      'stdout',
      'stderr',
      'changes',
    ]);
    expect(object).not.toHaveProperty('error');
  });

  test('of one that has ended tells how', () => {
    const object = runObjectOf(ended({ return_code: 3, late: true, error: { code: 'x', message: 'y' } }));
    expect(object).toMatchObject({
      return_code: 3,
      success: false,
      reason: 'exited',
      late: true,
      error: { code: 'x' },
    });
    expect(object).not.toHaveProperty('next');
  });
});

describe('the last line of a run on a terminal', () => {
  const ran = (facts: object) => runObject({ executed_on: 'laptop', duration_ms: 12_300, ...facts });

  test.each([
    [ran({}), null, 'on laptop in 12.3 s'],
    [ran({}), { here: 'laptop', hereMs: 60_000 }, 'here in 12.3 s'],
    [ran({}), { here: 'desk', hereMs: 60_000 }, 'on laptop in 12.3 s; here it takes about 1 min: saved 47.7 s'],
    [ran({}), { here: 'desk', hereMs: 13_000 }, 'on laptop in 12.3 s'],
    [ran({}), { here: 'desk', hereMs: null }, 'on laptop in 12.3 s'],
    [ran({ reason: 'timeout' }), { here: 'desk', hereMs: 60_000 }, 'on laptop in 12.3 s'],
    [
      ran({ queue_ms: 4000, attempts: 2 }),
      null,
      'on laptop in 12.3 s, after 4.0 s in the queue, at the second attempt',
    ],
    [ran({ executed_on: null }), null, null],
    [ran({ reason: 'refused', duration_ms: 0 }), null, null],
  ])('%#', (result, expected, line) => {
    expect(summaryOf(result, expected)).toBe(line);
  });
});
