import { describe, expect, test } from 'vitest';
import type { JobId, LeaseId, NodeId } from '../../../src/base/ids.ts';
import type { AttemptPlace, JobResult, JobView } from '../../../src/core/scheduling/origin-job.ts';
import { lateRecordOf, liveRecordOf, type RecordContext, recordOf } from '../../../src/node/job-facts.ts';
import { runObjectOf } from '../../../src/node/api-run-object.ts';
import { jobRecordSchema } from '../../../src/wire/job-record.ts';
import type { Ended, Outcome } from '../../../src/wire/jobs.ts';

const JOB = '01ARZ3NDEKZZZZZZZZZZZZZZZZ' as JobId;
const PLACE: AttemptPlace = {
  node: 'b'.repeat(52) as NodeId,
  name: 'desk',
  lease: 'l'.repeat(26) as LeaseId,
  instance: 'i',
  cwd: '/w',
  route: 'the best',
  tools: { node: { here: '20.1', there: '20.2' } },
  reservedAtMs: 0,
  syncMs: 0,
};
const COMMON = {
  attempts: 1,
  queueMs: 1.4,
  dispatchMs: 2.6,
  syncMs: 3,
  route: 'the best',
  automatic: true,
  reruns: [],
} as const;
const CONTEXT: RecordContext = {
  job: JOB,
  factsOf: () => null,
  origin: { id: 'c'.repeat(52) as NodeId, name: 'here' },
  spec: { command: { kind: 'line', line: 'make' }, durable: false },
  submittedMs: 1,
  finishedMs: 2,
  received: { stdout: 7, stderr: 0 },
  cancelAsked: true,
  lostBecause: null,
  staysHere: null,
  notices: [],
};

const ended = (outcome: Outcome, changes: Partial<Ended> = {}): JobResult => ({
  ...COMMON,
  kind: 'ended',
  place: PLACE,
  ended: {
    t: 'job.ended',
    job: JOB,
    attempt: 1,
    outcome,
    stdout_bytes: 7,
    stderr_bytes: 0,
    truncated: false,
    left_running: 0,
    changes: null,
    duration_ms: 9.5,
    ...changes,
  },
});

// INTERFACE "JSON shapes": these keys in this order.
const KEYS = (
  'notices state return_code executed_on cwd stdout stderr changes success signal reason job_id executed_on_id os arch ' +
  'tools route auto_routed attempts stdout_bytes stderr_bytes truncated queue_ms dispatch_ms sync_ms duration_ms'
).split(' ');

test.each<[string, JobResult, object]>([
  ['success', ended({ kind: 'exited', code: 0 }), { return_code: 0, success: true, reason: 'exited', signal: null }],
  ['failure', ended({ kind: 'exited', code: 3 }), { return_code: 3, success: false, reason: 'exited', signal: null }],
  [
    'a signal',
    ended({ kind: 'signaled', signal: 'SIGKILL' }),
    { return_code: 137, success: false, reason: 'signaled', signal: 'SIGKILL' },
  ],
  [
    'a signal that has no number here',
    ended({ kind: 'signaled', signal: 'SIGEMT' }),
    { return_code: null, success: false, reason: 'signaled', signal: 'SIGEMT' },
  ],
  [
    'a time limit',
    ended({ kind: 'timeout', code: 0, signal: null }),
    { return_code: 124, success: false, reason: 'timeout', signal: null },
  ],
  [
    'a cancellation',
    ended({ kind: 'cancelled', code: null, signal: 'SIGTERM' }),
    { return_code: 130, success: false, reason: 'cancelled', signal: 'SIGTERM' },
  ],
  [
    'a process that could not be made',
    ended({ kind: 'spawn_failed', message: 'EAGAIN' }),
    {
      return_code: null,
      success: false,
      reason: 'refused',
      error: { code: 'spawn_failed', message: expect.stringContaining('EAGAIN') },
    },
  ],
  [
    'a lost runner',
    ended({ kind: 'unknown', message: 'the runner died' }),
    {
      return_code: null,
      success: false,
      reason: 'unknown',
      error: { code: 'unknown_outcome', message: expect.stringContaining('may have run') },
    },
  ],
  [
    'a lost link',
    { ...COMMON, kind: 'unknown', place: PLACE, message: 'the link was lost' },
    {
      return_code: null,
      success: false,
      reason: 'unknown',
      executed_on: 'desk',
      error: { code: 'unknown_outcome', message: 'the link was lost' },
    },
  ],
  [
    'a refusal',
    { ...COMMON, kind: 'refused', code: 'no_capable_node', message: 'none', rejected: [] },
    {
      return_code: null,
      success: false,
      reason: 'refused',
      executed_on: null,
      cwd: null,
      tools: {},
      error: { code: 'no_capable_node', message: 'none' },
    },
  ],
  [
    'a cancellation before it ran',
    { ...COMMON, kind: 'cancelled' },
    { return_code: 130, success: false, reason: 'cancelled', executed_on: null },
  ],
])('the run object of %s', (_what, result, expected) => {
  const object = runObjectOf(recordOf(result, CONTEXT));
  expect(object).toMatchObject({ state: 'finished', job_id: JOB, queue_ms: 1, dispatch_ms: 3, ...expected });
  expect(Object.keys(object).filter((key) => key !== 'error')).toEqual(KEYS);
  expect('error' in object).toBe('error' in expected);
});

test('a node that ended a job unasked is told apart from a cancellation', () => {
  const result = ended({ kind: 'cancelled', code: null, signal: 'SIGTERM' });
  expect(runObjectOf(recordOf(result, { ...CONTEXT, cancelAsked: false }))).toMatchObject({
    reason: 'lost',
    return_code: null,
  });
});

test.each<[string, Partial<Ended>, Partial<RecordContext>, readonly RegExp[], boolean]>([
  ['nothing', {}, {}, [], false],
  ['one that was left', { left_running: 1 }, {}, [/^1 process that .* was ended$/], false],
  ['several that were left', { left_running: 2 }, {}, [/^2 processes that .* were ended$/], false],
  ['cut output', { truncated: true, stdout_bytes: 99 }, {}, [/kept a part of the output only/], true],
  ['lost output', {}, { received: { stdout: 6, stderr: 0 } }, [/output was lost/], true],
  ['what was said before', {}, { notices: ['before'] }, [/^before$/], false],
])('notices tell of %s', (_what, changes, context, notices, truncated) => {
  const object = runObjectOf(recordOf(ended({ kind: 'exited', code: 0 }, changes), { ...CONTEXT, ...context }));
  expect(object.notices).toHaveLength(notices.length);
  notices.forEach((notice, i) => expect(object.notices[i]).toMatch(notice));
  expect(object.truncated).toBe(truncated);
});

test('a command line that was an argv is shown as words', () => {
  const command: RecordContext['spec']['command'] = { kind: 'argv', argv: ['echo', "it's", 'a b', 'c'] };
  const record = recordOf(ended({ kind: 'exited', code: 0 }), { ...CONTEXT, spec: { command, durable: true } });
  expect(record).toMatchObject({ command: `echo 'it'\\''s' 'a b' c`, background: true, attempt: 1, state: 'finished' });
  expect(jobRecordSchema.parse(record)).toEqual(record);
});

test('attempts that were run again are told in the notices', () => {
  const result = { ...ended({ kind: 'exited', code: 0 }), reruns: ['attempt 1 on lap: the runner died'] };
  expect(runObjectOf(recordOf(result, CONTEXT)).notices).toEqual([
    'attempt 1 on lap: the runner died; it was run again',
  ]);
});

test('an unfinished job has no outcome and says what to call', () => {
  const object = runObjectOf(liveRecordOf(null, { ...CONTEXT, received: null }, 0));
  expect(object).toMatchObject({ state: 'preparing', return_code: null, success: null, reason: null });
  expect(object.next).toContain(`meshwork logs -f ${JOB}`);
  expect(jobRecordSchema.parse(liveRecordOf(null, { ...CONTEXT, received: null }, 0))).toBeDefined();
});

describe('a job whose files are on their way', () => {
  const view: JobView = {
    state: 'syncing',
    detail: "sends the project's files to desk: 3 of 9 files",
    queuePosition: null,
    attempt: 2,
    place: PLACE,
    isSent: false,
    startedAtMs: null,
    submittedAtMs: -5,
    syncMs: 12.4,
    route: 'the best',
    automatic: true,
    reruns: [],
  };
  const record = (state: JobView['state']) =>
    jobRecordSchema.parse(liveRecordOf({ ...view, state }, { ...CONTEXT, received: null }, 20));

  test('names the node and how long it has taken; nothing was started there, and its directory is not known', () => {
    const told = {
      state: 'syncing',
      executed_on: 'desk',
      cwd: null,
      attempt: 1,
      attempts: 1,
      sync_ms: 12,
      queue_ms: 5,
    };
    expect(record('syncing')).toMatchObject({ ...told, detail: view.detail, duration_ms: 0 });
    expect(record('preparing').state).toBe('preparing');
  });

  test('once it runs, the time that they took stays', () => {
    const running = liveRecordOf(
      { ...view, state: 'running', isSent: true, startedAtMs: 15 },
      { ...CONTEXT, received: null },
      20,
    );
    expect(running).toMatchObject({ state: 'running', cwd: '/w', attempts: 2, sync_ms: 12, duration_ms: 5 });
  });

  test('and is told in the end', () => {
    expect(runObjectOf(recordOf(ended({ kind: 'exited', code: 0 }), CONTEXT))).toMatchObject({ sync_ms: 3 });
  });
});

test('a late outcome takes the place of the unknown one', () => {
  const record = recordOf({ ...COMMON, kind: 'unknown', place: PLACE, message: 'the link was lost' }, CONTEXT);
  const result = ended({ kind: 'exited', code: 4 }, { stdout_bytes: 9 });
  if (result.kind !== 'ended') throw new Error('not an end');
  const late = lateRecordOf(record, PLACE, result.ended, { finishedMs: 9, cancelAsked: false });
  expect(jobRecordSchema.parse(late)).toMatchObject({ late: true, return_code: 4, error: null, stdout_bytes: 9 });
  expect(runObjectOf(late)).toMatchObject({ late: true, reason: 'exited' });
});

test('what of the project kept it here is a notice, where that alone did', () => {
  const staysHere = { code: 'too_large', text: 'the project has 9 files. Its largest folders: a (8)' } as const;
  const noticesFor = (route: string): readonly string[] =>
    recordOf({ ...ended({ kind: 'exited', code: 0 }), route }, { ...CONTEXT, staysHere }).notices;
  expect(noticesFor(`here: \`make\` is heavy, but stays here: ${staysHere.text}`)).toEqual([
    'ran here: the project has 9 files',
  ]);
  expect(noticesFor('here: `ls` is light, so it stays here')).toEqual([]);
});
