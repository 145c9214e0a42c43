import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { takeLock } from '../../../src/adapters/process/instance-lock.ts';
import { startRunner } from '../../../src/adapters/process/runner-start.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { alive, isAlive, makeDaemon, makeRig, newJob, type Rig, run, type Run, until } from './rig.ts';

/** A tree is gone within 7 s: TERM, 5 s, KILL. Here on a machine that is busy with other tests, and may stand still. */
const GONE_MS = 30_000;

const START = { logPath: '/dev/null', log: silentLogger, logBytesMax: 1024 * 1024 };

let rig: Rig;
let folder: string;
beforeAll(async () => {
  rig = await makeRig();
  folder = mkdtempSync(path.join(tmpdir(), 'mw-ending-'));
});
afterAll(async () => {
  await rig.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Each says `ready` once its tree stands. */
const TREES: readonly [string, string][] = [
  ['a child in the background', 'sleep 98765 & echo ready; wait'],
  ['children of children', '(sleep 98765 & bash -c "sleep 98765 & echo ready; wait") & wait'],
  ['a new session', 'setsid sleep 98765 & setsid bash -c "sleep 98765 & echo ready; wait"'],
  ['a double fork', '(setsid bash -c "(sleep 98765 &) ; echo ready; exec sleep 98765" &) ; sleep 98765'],
  ['nohup', 'nohup sleep 98765 >/dev/null 2>&1 & disown; echo ready; sleep 98765'],
  ['a stopped process', 'sleep 98765 & kill -STOP $!; echo ready; wait'],
  ['one without its environment', 'env -i setsid sleep 98765 & echo ready; wait'],
];
/** These need KILL, so they take 5 s each: run together. */
const STUBBORN: readonly [string, string][] = [
  ['TERM ignored', `trap '' TERM; sleep 98765 & echo ready; while :; do sleep 98765; done`],
  [
    'TERM ignored in a session of its own',
    `setsid bash -c "trap '' TERM; echo ready; while :; do sleep 9; done" & wait`,
  ],
  ['one that respawns', `trap '' TERM HUP; f() { while :; do sleep 0.2; done; }; f & f & echo ready; wait; wait; f`],
];

async function standing(job: Run, output: () => string): Promise<number[]> {
  await until('the tree stands', () => output().includes('ready'));
  const pids = alive(job.job);
  expect(pids.length).toBeGreaterThan(0);
  return pids;
}

function start(line: string, timeoutMs: number | null = null): { job: Run; output: () => string } {
  let output = '';
  const job = run(rig.runner, line, { timeoutMs, onStdout: (text) => (output += text) });
  return { job, output: () => output };
}

describe('a cancelled command leaves nothing', () => {
  it.each(TREES)('%s', async (_, line) => {
    const { job, output } = start(line);
    const pids = await standing(job, output);
    const startMs = performance.now();
    job.cancel();
    const result = await job.result;
    expect(performance.now() - startMs).toBeLessThan(GONE_MS);
    expect(result.outcome.kind).toBe('cancelled');
    expect(result.leftRunning).toBe(0);
    expect(alive(job.job)).toEqual([]);
    expect(pids.filter(isAlive)).toEqual([]);
  });

  it('what ignores TERM is killed after 5 s', async () => {
    await Promise.all(
      STUBBORN.map(async ([, line]) => {
        const { job, output } = start(line);
        const pids = await standing(job, output);
        const startMs = performance.now();
        job.cancel();
        job.cancel();
        const result = await job.result;
        const tookMs = performance.now() - startMs;
        expect(tookMs).toBeGreaterThan(4900);
        expect(tookMs).toBeLessThan(GONE_MS);
        expect(result.outcome.kind).toBe('cancelled');
        expect(alive(job.job)).toEqual([]);
        expect(pids.filter(isAlive)).toEqual([]);
      }),
    );
  });

  it('one that TERM lets end well says how', async () => {
    const { job, output } = start('trap "echo bye; exit 7" TERM; echo ready; sleep 98765 & wait');
    await standing(job, output);
    job.cancel();
    expect(await job.result).toMatchObject({
      outcome: { kind: 'cancelled', code: 7, signal: null },
      stdout: 'ready\nbye\n',
    });
  });

  it('cancelled before it has a process', async () => {
    const job = run(rig.runner, 'sleep 98765');
    job.cancel();
    expect((await job.result).outcome.kind).toBe('cancelled');
    expect(alive(job.job)).toEqual([]);
  });

  it('a storm of forks', async () => {
    const storm = `f() { n=0; while [ $n -lt 60 ]; do sleep 98765 & n=$((n+1)); done; echo ready; while :; do setsid sleep 98765 & sleep 0.02; done; }; f`;
    const { job, output } = start(storm);
    await standing(job, output);
    job.cancel();
    await job.result;
    expect(alive(job.job)).toEqual([]);
  });
});

describe('a time limit', () => {
  it('ends the tree and is the reason', async () => {
    const { job } = start('sleep 98765 & wait', 300);
    const result = await job.result;
    expect(result.outcome).toEqual({ kind: 'timeout', code: null, signal: 'SIGTERM' });
    expect(result.durationMs).toBeGreaterThanOrEqual(299);
    expect(result.durationMs).toBeLessThan(GONE_MS);
    expect(alive(job.job)).toEqual([]);
  });

  it('the first cause is the one that counts', async () => {
    const go = path.join(folder, 'go');
    const { job, output } = start(`trap "echo told" TERM; until [ -e ${go} ]; do sleep 0.05; done`, 1000);
    let isOver = false;
    void job.ended.then(() => (isOver = true));
    // A shell that takes longer to set its trap is over at once; for the cause that is one.
    await until('its time limit strikes', () => isOver || output().includes('told'));
    job.cancel();
    writeFileSync(go, '');
    expect((await job.result).outcome.kind).toBe('timeout');
    const late = start('echo ready', 60_000);
    const result = await late.job.result;
    late.job.cancel();
    expect(result.outcome).toEqual({ kind: 'exited', code: 0 });
  });
});

describe('what a command leaves running', () => {
  it.each([
    ['sleep 98765 &', 1],
    ['sleep 98765 & sleep 98765 & exit 4', 2],
    ['setsid sleep 98765 & exit 0', 1],
    ['(setsid sleep 98765 >/dev/null 2>&1 &); exit 0', 1],
  ])('%s', async (line, count) => {
    const startMs = performance.now();
    const job = run(rig.runner, line);
    const result = await job.result;
    expect(performance.now() - startMs).toBeLessThan(GONE_MS);
    expect(result.outcome.kind).toBe('exited');
    expect(result.leftRunning).toBe(count);
    expect(alive(job.job)).toEqual([]);
  });

  it('may finish by itself if it is quick', async () => {
    // It notices when the runner has seen the command's exit, and has little to do from then on.
    const job = run(rig.runner, '(while kill -0 $$; do :; done 2>/dev/null; echo late) & echo early');
    expect(await job.result).toMatchObject({ stdout: 'early\nlate\n', leftRunning: 0 });
  });

  it('one out of reach that holds the pipe does not hold the end', async () => {
    const file = path.join(folder, 'pid');
    const line = `(env -i setsid bash -c 'echo $$ > ${file}; exec sleep 98765' &); while ! [ -s ${file} ]; do sleep 0.01; done; echo end`;
    const job = run(rig.runner, line);
    const result = await job.result;
    const escaped = Number(readFileSync(file, 'utf8'));
    if (isAlive(escaped)) process.kill(escaped, 'SIGKILL');
    expect(result).toMatchObject({ stdout: 'end\n', outcome: { kind: 'exited', code: 0 } });
  });
});

describe('the runner', () => {
  it('outlives its daemon; foreground attempts do so for a grace time, and an idle runner for another', async () => {
    const line = 'setsid sleep 98765 & nohup sleep 98765 & echo ready; wait';
    const graceMs = 700;
    const daemon = await makeDaemon(line, { graceMs });
    await until('the tree stands', () => alive(daemon.job).length >= 3);
    const startMs = performance.now();
    await daemon.kill();
    await until('one of the tree is gone', () => alive(daemon.job).length < 3, GONE_MS);
    expect(performance.now() - startMs).toBeGreaterThan(graceMs - 10);
    await until('the tree is gone', () => alive(daemon.job).length === 0, GONE_MS);
    await until('the runner is gone', () => !isAlive(daemon.runnerPid), GONE_MS);
    expect(performance.now() - startMs).toBeGreaterThan(2 * graceMs - 20);
    daemon.remove();
  });

  it('killed together with its daemon: the next one ends what they left', async () => {
    const daemon = await makeDaemon('setsid sleep 98765 & echo ready; wait');
    await until('the tree stands', () => alive(daemon.job).length >= 2);
    process.kill(daemon.runnerPid, 'SIGSTOP');
    process.kill(daemon.pid, 'SIGKILL');
    process.kill(daemon.runnerPid, 'SIGKILL');
    await until('both are gone', () => !isAlive(daemon.pid) && !isAlive(daemon.runnerPid));
    const next = await makeRig(daemon.home);
    await until('the tree is gone', () => alive(daemon.job).length === 0, GONE_MS);
    await next.close();
  });

  it('killed: outcomes are unknown, trees are gone, another can start', async () => {
    const other = await makeRig();
    const job = run(other.runner, 'setsid sleep 98765 & echo ready; sleep 98765');
    await job.started;
    await until('the tree stands', () => alive(job.job).length >= 2);
    const died = new Promise<string>((resolve) => other.runner.onDied(resolve));
    process.kill(other.runner.pid, 'SIGKILL');
    const result = await job.result;
    expect(result.outcome.kind).toBe('unknown');
    expect(result.streams).toEqual(['aborted', 'aborted']);
    expect(await died).toContain('SIGKILL');
    expect(alive(job.job)).toEqual([]);
    const refused = await run(other.runner, 'echo x').result;
    expect(refused.outcome).toMatchObject({ kind: 'spawn_failed' });
    const next = await other.start();
    expect(next.instance).not.toBe(other.runner.instance);
    expect(await run(next, 'echo x').result).toMatchObject({ stdout: 'x\n' });
    await other.close();
  });

  it('is the only one on its MESHWORK_HOME', async () => {
    const file = path.join(rig.home, 'runner.lock');
    expect(readFileSync(file, 'utf8')).toMatch(new RegExp(`^${rig.runner.pid} `));
    expect(takeLock(file)).toEqual({ ok: false, holder: rig.runner.pid });
    expect(await run(rig.runner, 'echo still').result).toMatchObject({ stdout: 'still\n' });
  });

  it('leaves no way in for commands', () => {
    expect(readdirSync(rig.home).filter((name) => name.endsWith('.sock'))).toEqual([]);
    expect(statSync(path.join(rig.home, 'runner.key')).mode & 0o777).toBe(0o600);
  });

  it('takes over the lock of a runner that was killed', () => {
    const file = path.join(folder, 'lock');
    writeFileSync(file, '2147483000 12345\n');
    const lock = takeLock(file);
    expect(lock.ok).toBe(true);
    expect(takeLock(file)).toEqual({ ok: false, holder: process.pid });
    if (lock.ok) lock.release();
    expect(readdirSync(folder).filter((name) => name.startsWith('lock'))).toEqual([]);
  });

  it('serves nobody but who has the key, and nobody is in that one’s way', async () => {
    const home = mkdtempSync(path.join(folder, 'raw-'));
    const socketPath = path.join(home, 'runner.sock');
    const child = spawn(process.execPath, [rig.runnerPath, socketPath], { stdio: 'ignore' });
    await until('it listens', () => existsSync(socketPath));
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
    const idle = connect(socketPath);
    idle.on('error', () => undefined);
    const frame = (json: string): Buffer => {
      const prefix = Buffer.alloc(5);
      prefix.writeUInt32BE(json.length + 1);
      return Buffer.concat([prefix, Buffer.from(json)]);
    };
    const strangers = [
      Buffer.from([0x7f, 0xff, 0xff, 0xff, 0]),
      Buffer.from([0, 0, 0, 0, 0]),
      Buffer.from([0, 0, 0, 2, 9, 9]),
      Buffer.from([0, 0, 0, 3, 0, 0x7b, 0x7d]),
      Buffer.from([0, 0, 0, 2, 1, 77]),
      frame('{"t":"runner.stop"}'),
      frame('{"t":"runner.connect","key":""}'),
      frame(`{"t":"runner.connect","key":"${'0'.repeat(64)}"}`),
    ];
    for (const bytes of strangers) {
      const said = await new Promise<number>((resolve) => {
        let count = 0;
        const socket = connect(socketPath, () => socket.write(bytes));
        socket.on('data', (chunk) => (count += chunk.length));
        socket.on('error', () => undefined);
        socket.on('close', () => resolve(count));
      });
      expect(said).toBe(0);
    }
    const runner = await startRunner({ ...START, runnerPath: rig.runnerPath, socketPath });
    expect(runner.pid).toBe(child.pid);
    expect(await run(runner, 'echo served').result).toMatchObject({ stdout: 'served\n' });
    await runner.close();
    idle.destroy();
  });

  it('asked to end by a signal, ends its trees and tells', async () => {
    const other = await makeRig();
    const job = run(other.runner, 'setsid sleep 98765 & sleep 98765');
    await job.started;
    await until('the tree stands', () => alive(job.job).length >= 2);
    process.kill(other.runner.pid, 'SIGTERM');
    expect((await job.result).outcome).toMatchObject({ kind: 'cancelled' });
    expect(alive(job.job)).toEqual([]);
    await other.close();
  });

  it('that cannot start says so', async () => {
    const options = {
      runnerPath: '/no/such/runner.js',
      logPath: path.join(folder, 'log'),
      log: silentLogger,
      logBytesMax: 1e6,
    };
    const failure = { code: 'daemon_start_failed' };
    await expect(startRunner({ ...options, socketPath: path.join(folder, 'a.sock') })).rejects.toMatchObject(failure);
    await expect(startRunner({ ...options, socketPath: `/tmp/${'x'.repeat(120)}/a.sock` })).rejects.toMatchObject(
      failure,
    );
  });
});

it('of two attempts of one job, the end of one leaves the other alone, and the last takes all that went astray', async () => {
  const job = newJob();
  const first = run(rig.runner, 'while read -t 0.01 line || [ $? -gt 128 ]; do sleep 0.01; done; echo well', {
    job,
    stdin: true,
  });
  await first.started;
  for (let attempt = 2; attempt <= 6; attempt++) {
    const line = 'setsid sleep 600 > /dev/null 2>&1 & sleep 0.05';
    const { outcome } = await run(rig.runner, line, { job, attempt }).result;
    expect(outcome).toEqual({ kind: 'exited', code: 0 });
  }
  first.stdin?.end();
  expect(await first.result).toMatchObject({ outcome: { kind: 'exited', code: 0 }, stdout: 'well\n' });
  await until('all are gone', () => alive(job).length === 0);
});
