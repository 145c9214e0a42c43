import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { startRunner } from '../../../src/adapters/process/runner-start.ts';
import { alive, BASE_ENV, makeRig, type Rig, run, until } from './rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await makeRig();
});
afterAll(() => rig.close());

const terminal = { columns: 77, rows: 33 };
const env = { ...BASE_ENV, TERM: 'vt100' };

describe('a command on a pseudo-terminal', () => {
  it('has one, of that size and kind, and its output is stdout', async () => {
    const line = 'test -t 0 && test -t 1 && test -t 2 && stty size && echo $TERM && echo e >&2 && exit 3';
    const result = await run(rig.runner, line, { terminal, env }).result;
    expect(result).toMatchObject({
      stdout: '33 77\r\nvt100\r\ne\r\n',
      stderr: '',
      outcome: { kind: 'exited', code: 3 },
    });
    expect(result.streams).toEqual(['ended', 'ended']);
  });

  it('reads what is typed, and the end of it', async () => {
    const job = run(rig.runner, 'stty -echo; echo ready; read -r line; echo "got $line"; cat', {
      terminal,
      env,
      stdin: true,
    });
    await until('it is ready', () => job.output() > 0);
    job.stdin?.write(Buffer.from('h\u00e4llo\n'));
    await until('it has read', () => job.output() > 12);
    job.stdin?.end();
    const { stdout, outcome } = await job.result;
    expect(Buffer.from(stdout, 'latin1').toString()).toBe('ready\r\ngot h\u00e4llo\r\n');
    expect(outcome).toEqual({ kind: 'exited', code: 0 });
  });

  it('is interrupted by Ctrl-C, and says by which signal it ended', async () => {
    const job = run(rig.runner, 'echo ready; exec sleep 98765', { terminal, env, stdin: true });
    await until('it is ready', () => job.output() > 0);
    job.stdin?.write(new Uint8Array([3]));
    expect((await job.result).outcome).toEqual({ kind: 'signaled', signal: 'SIGINT' });
  });

  it('is told of another size', async () => {
    const line = 'trap "stty size; exit" WINCH; echo ready; while :; do sleep 0.05; done';
    const job = run(rig.runner, line, { terminal, env });
    await until('it is ready', () => job.output() > 0);
    rig.runner.resize({ job: job.job, attempt: 1 }, { columns: 120, rows: 50 });
    expect((await job.result).stdout).toBe('ready\r\n50 120\r\n');
  });

  it('loses no byte of much output', async () => {
    const result = await run(rig.runner, 'stty -opost; seq 1 300000', { terminal, env }).result;
    let text = '';
    for (let line = 1; line <= 300_000; line++) text += `${line}\n`;
    expect(result).toMatchObject({ outcome: { kind: 'exited', code: 0 }, stdoutBytes: text.length });
    expect(result.stdout).toBe(text.slice(0, result.stdout.length));
  });

  it('is ended with its whole tree', async () => {
    const job = run(rig.runner, 'setsid sleep 98765 & sleep 98765 & echo ready; wait', { terminal, env });
    await until('the tree stands', () => job.output() > 0 && alive(job.job).length >= 3);
    job.cancel();
    expect((await job.result).outcome.kind).toBe('cancelled');
    expect(alive(job.job)).toEqual([]);
  });

  const isRoot = process.getuid?.() === 0;
  if (!isRoot) process.stderr.write('a terminal of another user: not tested, only root can give it\n');
  it.runIf(isRoot)('of another user has none of root’s groups, and may open it by its name', async () => {
    const user = { uid: 65_534, gid: 65_534, groups: [] };
    // It is given to the user in the moment after the start.
    const line = 'id -u; id -G; until [ -w "$(tty)" ]; do sleep 0.01; done; echo x > "$(tty)"';
    const { stdout } = await run(rig.runner, line, { terminal, env, user, cwd: '/' }).result;
    expect(stdout).toBe('65534\r\n65534\r\nx\r\n');
  });

  it('is refused where the library is missing', async () => {
    const home = mkdtempSync(path.join(tmpdir(), 'mw-bare-'));
    const runnerPath = path.join(home, 'runner.mjs');
    copyFileSync(rig.runnerPath, runnerPath);
    const options = { runnerPath, socketPath: path.join(home, 'runner.sock'), logPath: path.join(home, 'runner.log') };
    const bare = await startRunner({ ...options, log: silentLogger, logBytesMax: 1024 * 1024 });
    const { outcome } = await run(bare, 'true', { terminal }).result;
    expect(outcome).toMatchObject({ kind: 'spawn_failed', message: expect.stringContaining('@lydell/node-pty') });
    await bare.close();
    rmSync(home, { recursive: true, force: true });
  });
});
