import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { KeptAttempt, RunHandlers, RunResult } from '../../../src/ports/runner.ts';
import type { RunnerProcess } from '../../../src/adapters/process/runner-client.ts';
import { alive, isAlive, makeDaemon, makeRig, newJob, read, run, until } from './rig.ts';

const first = (job: KeptAttempt['job']) => ({ job, attempt: 1 });
const adopted = (runner: RunnerProcess, name: KeptAttempt): Promise<RunResult> =>
  new Promise((onEnded) => {
    const handlers: RunHandlers = { onStarted: () => undefined, onEnded };
    runner.adopt(name, handlers);
  });
const kept = (runner: RunnerProcess): KeptAttempt => {
  const [one, ...more] = runner.kept;
  if (one === undefined || more.length > 0) throw new Error(`${runner.kept.length} attempts were kept`);
  return one;
};

/** The file is there before its first bytes are. */
function isLogged(home: string, job: string): boolean {
  const folder = path.join(home, 'jobs', `${job}.1`);
  return (
    existsSync(folder) && readdirSync(folder).some((name) => readFileSync(path.join(folder, name)).includes('out\n'))
  );
}

describe('a runner that outlives its daemon', () => {
  it('refuses orders that it does not understand, as of a later build, and goes on with all else', async () => {
    const rig = await makeRig();
    const { runner } = rig;
    const gate = path.join(rig.home, 'go');
    const job = run(runner, `echo out; until [ -e ${gate} ]; do sleep 0.02; done; exit 5`, { stdin: true });
    await job.started;
    runner.resize(first(job.job), { columns: 0, rows: 0 });
    expect(await read(runner, job.job, { offset: -1 }).end).toMatchObject({ ok: false, kind: 'io' });
    const stdinAt = new Promise((resolve) =>
      runner.resumeStdin({ job: job.job, attempt: -1 }, runner.mux.nextId(), resolve),
    );
    expect(await stdinAt).toBeNull();
    const refused = await run(runner, 'true', { cwd: '', stdin: true }).result;
    expect(refused).toMatchObject({
      outcome: { kind: 'spawn_failed', message: expect.stringContaining('another version') },
      streams: ['ended', 'ended'],
    });
    writeFileSync(gate, '');
    expect(await job.result).toMatchObject({ outcome: { kind: 'exited', code: 5 }, stdout: 'out\n' });
    await rig.close();
  });

  it('goes on, and the next daemon takes over what runs', async () => {
    const daemon = await makeDaemon('while ! [ -e go ]; do sleep 0.05; done');
    await until('the tree stands', () => alive(daemon.job).length >= 1);
    await daemon.kill();
    const rig = await makeRig(daemon.home);
    expect(rig.runner.pid).toBe(daemon.runnerPid);
    expect(kept(rig.runner)).toEqual({ ...first(daemon.job), kind: 'running', durable: false, stdinBytes: 0 });
    expect(alive(daemon.job).length).toBeGreaterThan(0);
    const ended = adopted(rig.runner, kept(rig.runner));
    rig.runner.cancel(daemon.job, 1);
    expect((await ended).outcome.kind).toBe('cancelled');
    await rig.close();
    expect(isAlive(daemon.runnerPid)).toBe(false);
  });

  it('tells a result until it is acknowledged, also after it has ended itself', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'mw-outliving-'));
    const go = path.join(folder, 'go');
    const line = `echo before; until [ -e ${go} ]; do sleep 0.05; done; echo after; exit 7`;
    const daemon = await makeDaemon(line, { graceMs: 500, durable: true });
    await daemon.kill();
    const one = await makeRig(daemon.home, { daemonGraceMs: 500 });
    expect(one.runner.pid).toBe(daemon.runnerPid);
    expect(kept(one.runner)).toMatchObject({ kind: 'running', durable: true });
    one.runner.release();
    writeFileSync(go, '');
    await until('the command has ended', () => alive(daemon.job).length === 0);
    // On a slow machine this is another already, which has the result from the first one's journal.
    const second = await one.start();
    expect((await adopted(second, kept(second))).outcome).toEqual({ kind: 'exited', code: 7 });
    second.release();
    await until('the runner has ended', () => !isAlive(second.pid));
    const rig = await makeRig(daemon.home);
    const next = rig.runner;
    expect(next.pid).not.toBe(second.pid);
    expect(kept(next)).toMatchObject({
      kind: 'ended',
      result: { outcome: { kind: 'exited', code: 7 }, stdoutBytes: 13 },
    });
    const output = read(next, daemon.job);
    expect(await output.end).toMatchObject({ ok: true, from: 0, next_offset: 13, ended: true });
    expect(output.bytes().toString()).toBe('before\nafter\n');
    next.acknowledge(first(daemon.job));
    next.release();
    const last = await rig.start();
    expect(last.pid).toBe(next.pid);
    expect(last.kept).toEqual([]);
    expect(await read(last, daemon.job).end).toMatchObject({ ok: true, next_offset: 13 });
    await rig.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('goes on byte-exactly for a reader that comes back over another connection', async () => {
    const rig = await makeRig();
    const job = newJob();
    run(rig.runner, 'seq 1 2000000; echo e >&2; exit 3', { job, stdoutStream: null, stderrStream: null });
    let { runner } = rig;
    let all = Buffer.alloc(0);
    let ended: Promise<RunResult> | null = null;
    for (let round = 1; ; round++) {
      const stopAfter = round <= 5 ? 1_500_000 : Number.POSITIVE_INFINITY;
      const reading = read(runner, job, { holds: true, offset: all.byteLength, stopAfter });
      if (round > 5) await reading.end;
      else await until('enough came', () => reading.bytes().byteLength >= 1_500_000);
      all = Buffer.concat([all, reading.bytes()]);
      if (round > 5) break;
      runner.release();
      runner = await rig.start();
      expect(runner.pid).toBe(rig.runner.pid);
      ended = adopted(runner, kept(runner));
    }
    let text = '';
    for (let line = 1; line <= 2_000_000; line++) text += `${line}\n`;
    expect(all.equals(Buffer.from(text))).toBe(true);
    expect(await ended).toMatchObject({ outcome: { kind: 'exited', code: 3 }, truncated: false, stderrBytes: 2 });
    await rig.close();
  });

  it('killed together with its daemon: the next one ends what they left and says that the outcome is unknown', async () => {
    const daemon = await makeDaemon('echo out; setsid sleep 98765 & wait');
    await until('the tree stands', () => alive(daemon.job).length >= 2);
    await until('its output is in the log', () => isLogged(daemon.home, daemon.job));
    process.kill(daemon.runnerPid, 'SIGSTOP');
    await daemon.kill();
    process.kill(daemon.runnerPid, 'SIGKILL');
    await until('it is gone', () => !isAlive(daemon.runnerPid));
    const rig = await makeRig(daemon.home);
    const attempt = kept(rig.runner);
    const result = attempt.kind === 'ended' ? attempt.result : await adopted(rig.runner, attempt);
    expect(result).toMatchObject({ outcome: { kind: 'unknown' }, stdoutBytes: 4 });
    expect(alive(daemon.job)).toEqual([]);
    const output = read(rig.runner, daemon.job);
    await output.end;
    expect(output.bytes().toString()).toBe('out\n');
    await rig.close();
  });

  it('is ended, and its attempts with it, where it does not answer', async () => {
    const daemon = await makeDaemon('sleep 98765 & wait');
    await until('the tree stands', () => alive(daemon.job).length >= 2);
    await daemon.kill();
    process.kill(daemon.runnerPid, 'SIGSTOP');
    const rig = await makeRig(daemon.home);
    expect(rig.runner.pid).not.toBe(daemon.runnerPid);
    const attempt = kept(rig.runner);
    const result = attempt.kind === 'ended' ? attempt.result : await adopted(rig.runner, attempt);
    expect(result.outcome.kind).toBe('unknown');
    await until('the tree is gone', () => alive(daemon.job).length === 0);
    expect(readFileSync(path.join(daemon.home, 'runner.lock'), 'utf8')).toMatch(new RegExp(`^${rig.runner.pid} `));
    await rig.close();
  });

  it('does not take an attempt twice', async () => {
    const rig = await makeRig();
    const job = newJob();
    const go = path.join(rig.home, 'go');
    const one = run(rig.runner, `echo once; until [ -e ${go} ]; do sleep 0.02; done`, { job });
    await one.started;
    expect((await run(rig.runner, 'echo twice', { job }).result).outcome).toMatchObject({ kind: 'spawn_failed' });
    writeFileSync(go, '');
    expect(await one.result).toMatchObject({ stdout: 'once\n', outcome: { kind: 'exited', code: 0 } });
    await rig.close();
  });
});
