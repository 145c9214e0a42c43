import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import type { ProcessRow } from '../../../src/adapters/process/process-table.ts';
import { readProcess, readProcessTable } from '../../../src/adapters/process/process-table.ts';
import { membersOf, TreeHunt } from '../../../src/adapters/process/tree.ts';
import { startFailure } from '../../../src/adapters/process/spawn.ts';
import { newJob } from './rig.ts';

const row = (pid: number, ppid: number, pgid = pid, sid = pgid, startTag = `t${pid}`): ProcessRow => ({
  pid,
  ppid,
  pgid,
  sid,
  startTag,
});

/** 100 is the leader; 900 and 901 are strangers. */
const TABLE = [
  row(1, 0),
  row(900, 1),
  row(901, 900),
  row(100, 900, 100, 100),
  row(101, 100, 100, 100), // child in the group
  row(102, 1, 102, 100), // a group of its own, adopted by init
  row(103, 101, 103, 103), // a session of its own, child of a member
  row(104, 1, 104, 104), // a daemon with the cookie
  row(105, 104, 105, 105), // its child, without
  row(106, 1, 106, 106), // left everything
];
const none = new Map<number, string>();
const pids = (rows: readonly ProcessRow[]): number[] => rows.map((each) => each.pid).sort((a, b) => a - b);

describe('who belongs to a tree', () => {
  it('group, session, cookie and descendants', () => {
    expect(pids(membersOf(TABLE, 100, none, (each) => each.pid === 104))).toEqual([100, 101, 102, 103, 104, 105]);
  });

  it('the cookie alone, where the leader is not known', () => {
    expect(pids(membersOf(TABLE, null, none, (each) => each.pid === 101))).toEqual([101, 103]);
  });

  it('who was seen before, unless the pid was given to another', () => {
    expect(pids(membersOf(TABLE, null, new Map([[106, 't106']]), () => false))).toEqual([106]);
    expect(pids(membersOf(TABLE, null, new Map([[106, 'older']]), () => false))).toEqual([]);
  });

  it('never init and never this process', () => {
    const table = [...TABLE, row(process.pid, 100, 100, 100), row(107, process.pid)];
    const members = pids(membersOf(table, 100, new Map([[1, 't1']]), () => true));
    expect(members).not.toContain(1);
    expect(members).not.toContain(process.pid);
  });
});

it('who may still end by itself has the time for it, also where this process was held up meanwhile', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'performance'] });
  onTestFinished(() => void vi.useRealTimers());
  const child = spawn('sleep', ['98765'], { stdio: 'ignore', detached: true });
  const pid = child.pid ?? 0;
  const hunt = new TreeHunt({ job: newJob(), attempt: 1, leaderPid: pid }, null, silentLogger);
  const waiting = hunt.waitUntilGone(hunt.look(), 200, []);
  // The clock goes on, and nobody gets to run.
  const heldUp = vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 60_000);
  await vi.advanceTimersByTimeAsync(5);
  heldUp.mockRestore();
  child.kill('SIGKILL');
  await once(child, 'exit');
  await vi.advanceTimersByTimeAsync(200);
  expect(await waiting).toEqual([]);
});

describe('the table', () => {
  it('holds this process as the system knows it', () => {
    const own = readProcess(process.pid);
    expect(own).toMatchObject({ pid: process.pid, ppid: process.ppid });
    expect(readProcessTable()).toContainEqual(own);
    expect(readProcess(2 ** 30)).toBeNull();
  });
});

describe('what the system says when it starts no process', () => {
  const failure = (code: string) =>
    startFailure(Object.assign(new Error('x'), { code }), { command: { kind: 'argv', argv: ['tool'] } });
  it.each([
    ['E2BIG', 'longer than this system takes'],
    ['EAGAIN', 'no more processes'],
    ['ENOMEM', 'not enough memory'],
    ['EMFILE', 'too many open files'],
    ['EIO', 'cannot start a process'],
  ])('%s', (code, text) => {
    expect(failure(code)).toMatchObject({ kind: 'failed', message: expect.stringContaining(text) });
  });

  it.each(['EACCES', 'ENOENT', 'ENOEXEC'])('%s is 126', (code) => {
    expect(failure(code)).toMatchObject({ kind: 'not_executable', code: 126 });
  });
});
