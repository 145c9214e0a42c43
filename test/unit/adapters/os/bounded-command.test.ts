import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runBounded } from '../../../../src/adapters/os/bounded-command.ts';
import { readProcessStart } from '../../../../src/adapters/os/process-identity.ts';
import { temporaryFolders } from '../../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();
const sh = (line: string, limits: { timeoutMs?: number; outputBytesMax?: number; cwd?: string } = {}) =>
  runBounded({
    file: '/bin/sh',
    args: ['-c', line],
    env: { PATH: '/usr/bin:/bin', GIVEN: 'yes' },
    cwd: '/',
    timeoutMs: 5000,
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
    const end = await sh(`sleep 98 & echo $! > ${pidFile}; wait`, { timeoutMs: 300 });
    expect(end.kind).toBe('timeout');
    await expectGone(pidFile);
  });

  it('lets what is over its time clean up, and kills what does not heed', async () => {
    const lock = join(folder(), 'lock');
    const pidFile = join(folder(), 'pid');
    const tidy = `bash -c 'trap "rm ${lock}" EXIT; : > ${lock}; sleep 96'`;
    const deaf = `sh -c 'trap "" TERM; echo $$ > ${pidFile}; while :; do sleep 1; done' & ${tidy}; wait`;
    expect((await sh(deaf, { timeoutMs: 500 })).kind).toBe('timeout');
    expect(existsSync(lock)).toBe(false);
    await expectGone(pidFile);
  });

  it('does not wait for what holds the pipe after the leader exited, and ends it', async () => {
    const pidFile = join(folder(), 'pid');
    const end = await sh(`sleep 97 & echo $! > ${pidFile}; echo done`);
    expect(end).toMatchObject({ kind: 'exited', code: 0 });
    if (end.kind === 'exited') expect(String(end.stdout)).toBe('done\n');
    await expectGone(pidFile);
  });

  it('stops at the output bound', async () => {
    expect((await sh('yes', { outputBytesMax: 1000 })).kind).toBe('too_much_output');
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

async function expectGone(pidFile: string): Promise<void> {
  expect(existsSync(pidFile)).toBe(true);
  const pid = Number(readFileSync(pidFile, 'utf8'));
  await expect.poll(() => readProcessStart(pid), { timeout: 60_000 }).toBeNull();
}
