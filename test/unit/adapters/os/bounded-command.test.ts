import { existsSync, readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { runBounded } from '../../../../src/adapters/os/bounded-command.ts';
import { readProcessStart } from '../../../../src/adapters/os/process-identity.ts';
import { temporaryFolders } from '../../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();
afterEach(() => void vi.useRealTimers());
const sh = (
  line: string,
  limits: { timeoutMs?: number; outputBytesMax?: number; cwd?: string; urgent?: boolean } = {},
) =>
  runBounded({
    file: '/bin/sh',
    args: ['-c', line],
    env: { PATH: '/usr/bin:/bin', GIVEN: 'yes' },
    cwd: '/',
    timeoutMs: 60_000,
    outputBytesMax: 65_536,
    user: null,
    ...limits,
  });

describe('runBounded', () => {
  it('gives exit code and both streams, with only the environment given and stdin empty', async () => {
    process.env['SECRET_OF_THE_TEST'] = 'leaked';
    const end = await sh('cat; echo "$GIVEN$SECRET_OF_THE_TEST"; echo err >&2; exit 3');
    delete process.env['SECRET_OF_THE_TEST'];
    expect(end).toMatchObject({ kind: 'exited', code: 3 });
    if (end.kind === 'exited') expect([String(end.stdout), String(end.stderr)]).toEqual(['yes\n', 'err\n']);
  });

  it('ends the whole group at the time-out', async () => {
    const pidFile = join(folder(), 'pid');
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const ending = sh(`sleep 98 & echo $! > ${pidFile}; wait`);
    await turnsUntil(() => existsSync(pidFile) && readFileSync(pidFile, 'utf8').endsWith('\n'));
    vi.advanceTimersByTime(60_000);
    expect((await ending).kind).toBe('timeout');
    vi.useRealTimers();
    await expectGone(pidFile);
  });

  it('lets what is over its time clean up, and kills what does not heed', async () => {
    const lock = join(folder(), 'lock');
    const pidFile = join(folder(), 'pid');
    const tidy = `bash -c 'trap "rm ${lock}" EXIT; : > ${lock}; sleep 96'`;
    const deaf = `sh -c 'trap "" TERM; echo $$ > ${pidFile}; while :; do sleep 1; done' & ${tidy}; wait`;
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const ending = sh(deaf);
    await turnsUntil(() => existsSync(lock) && existsSync(pidFile) && readFileSync(pidFile, 'utf8').endsWith('\n'));
    vi.advanceTimersByTime(60_000);
    await turnsUntil(() => !existsSync(lock));
    vi.advanceTimersByTime(10_000);
    expect((await ending).kind).toBe('timeout');
    vi.useRealTimers();
    await expectGone(pidFile);
  });

  it('does not wait for what holds the pipe after the leader exited, and ends it', async () => {
    const pidFile = join(folder(), 'pid');
    const end = await sh(`sleep 97 & echo $! > ${pidFile}; echo done`);
    expect(end).toMatchObject({ kind: 'exited', code: 0 });
    if (end.kind === 'exited') expect(String(end.stdout)).toBe('done\n');
    await expectGone(pidFile);
  });

  it('takes what ended in time for that, also where this process was held up meanwhile', async () => {
    const marker = join(folder(), 'ended');
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const ending = sh(`echo done; : > ${marker}; exit 4`);
    while (!existsSync(marker) || isRunningChild()) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    vi.advanceTimersByTime(60_000);
    vi.useRealTimers();
    expect(await ending).toMatchObject({ kind: 'exited', code: 4 });
  });

  it('stops at the output bound', async () => {
    expect((await sh('yes', { outputBytesMax: 1000 })).kind).toBe('too_much_output');
  });

  it('yields to nobody where somebody waits for it', async () => {
    const end = await sh('nice', { urgent: true });
    if (end.kind === 'exited') expect(String(end.stdout)).toBe(`${getPriority()}\n`);
    expect(end.kind).toBe('exited');
  });

  it('says why a program could not be started', async () => {
    const end = await runBounded({
      file: '/no/such/program',
      args: [],
      env: {},
      cwd: '/',
      timeoutMs: 1000,
      outputBytesMax: 10,
      user: null,
    });
    expect(end).toMatchObject({ kind: 'not_started', message: expect.stringContaining('ENOENT') });
  });
});

/** Whether a child of this process still runs: zombies, which wait to be noticed, do not. */
const isRunningChild = (): boolean => {
  const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8').trim().split(' ');
  return children.some((pid) => pid !== '' && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8')));
};

/** With the clock of a test that stands still. */
async function turnsUntil(condition: () => boolean): Promise<void> {
  const untilMs = performance.now() + 60_000;
  while (!condition()) {
    if (performance.now() > untilMs) throw new Error('not within 60 s');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function expectGone(pidFile: string): Promise<void> {
  expect(existsSync(pidFile)).toBe(true);
  const pid = Number(readFileSync(pidFile, 'utf8'));
  await expect.poll(() => readProcessStart(pid), { timeout: 60_000 }).toBeNull();
}
