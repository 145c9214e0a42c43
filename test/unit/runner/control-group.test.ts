import { existsSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { groupFolder, outsideJobs, ownGroup } from '../../../src/adapters/process/group-place.ts';
import { groupOf, isAlive, makeDaemon, makeRig, newJob, type Rig, run, until } from './rig.ts';

const GONE_MS = 30_000;
const trialHome = mkdtempSync(path.join(tmpdir(), 'mw-group-'));
const trial = groupOf(trialHome);
if ('folder' in trial) rmdirSync(trial.folder);
else console.log(`skipped, what only control groups can do: ${trial.why}`);

let rig: Rig;
let folder: string;
let files = 0;
beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'mw-escape-'));
  rig = await makeRig();
});
afterAll(async () => {
  await rig.close();
  for (const each of [folder, trialHome]) rmSync(each, { recursive: true, force: true });
});

/** A process without session, parents and environment of its job, and where its pid comes to stand. */
function escape(): { readonly line: string; readonly file: string } {
  const file = path.join(folder, String(files++));
  const line = `(env -i setsid bash -c 'echo $$ > ${file}.new; mv ${file}.new ${file}; exec sleep 98765' >/dev/null 2>&1 &); while ! [ -e ${file} ]; do sleep 0.01; done`;
  return { line, file };
}
const pidIn = async (file: string): Promise<number> => {
  await until('it has escaped', () => existsSync(file));
  return Number(readFileSync(file, 'utf8'));
};
const groups = (home: string): string[] => {
  const found = groupOf(home);
  if (!('folder' in found)) throw new Error(found.why);
  return readdirSync(found.folder, { withFileTypes: true }).flatMap((each) => (each.isDirectory() ? [each.name] : []));
};

describe.skipIf('why' in trial)('what clears its environment and leaves its session', () => {
  it('is ended when the command exits', async () => {
    const { line, file } = escape();
    const result = await run(rig.runner, `${line}; exit 3`).result;
    expect(result).toMatchObject({ outcome: { kind: 'exited', code: 3 }, leftRunning: 1 });
    expect(isAlive(await pidIn(file))).toBe(false);
  });

  it('is ended when the command is cancelled, and by a time limit', async () => {
    const [one, two] = [escape(), escape()];
    const cancelled = run(rig.runner, `${one.line}; sleep 98765`);
    // Long enough that it has escaped by then, also where the machine stands still for a while.
    const limited = run(rig.runner, `${two.line}; sleep 98765`, { timeoutMs: 10_000 });
    const pid = await pidIn(one.file);
    cancelled.cancel();
    expect((await cancelled.result).outcome.kind).toBe('cancelled');
    expect((await limited.result).outcome.kind).toBe('timeout');
    expect([pid, await pidIn(two.file)].filter(isAlive)).toEqual([]);
  });

  it('is ended on a terminal, and as the child of one that made a group of its own', async () => {
    const [one, two] = [escape(), escape()];
    const terminal = { columns: 80, rows: 24 };
    await run(rig.runner, one.line, { terminal }).result;
    const nested = `own=$(sed -n 's/^0:://p' /proc/self/cgroup); at=$(find /sys/fs/cgroup -type d -path "*$own" | head -1); mkdir $at/inner && echo $$ > $at/inner/cgroup.procs || exit 9`;
    expect((await run(rig.runner, `${nested}; ${two.line}`).result).outcome).toEqual({ kind: 'exited', code: 0 });
    expect([await pidIn(one.file), await pidIn(two.file)].filter(isAlive)).toEqual([]);
    await until('its groups are gone', () => groups(rig.home).length === 0);
  });

  it('is killed with KILL where TERM does not end it, however fast it forks', async () => {
    const { line, file } = escape();
    const storm = line.replace('exec sleep 98765', `trap "" TERM; while :; do setsid sleep 98765 & sleep 0.02; done`);
    const job = run(rig.runner, `${storm}; sleep 98765`);
    const pid = await pidIn(file);
    job.cancel();
    expect((await job.result).outcome.kind).toBe('cancelled');
    expect(isAlive(pid)).toBe(false);
    await until('its group is gone', () => groups(rig.home).length === 0);
  });

  it('is ended by the next runner where runner and daemon were killed', async () => {
    const { line, file } = escape();
    const daemon = await makeDaemon(`${line}; sleep 98765`);
    const pid = await pidIn(file);
    process.kill(daemon.runnerPid, 'SIGSTOP');
    await daemon.kill();
    process.kill(daemon.runnerPid, 'SIGKILL');
    await until('the runner is gone', () => !isAlive(daemon.runnerPid));
    expect(isAlive(pid)).toBe(true);
    const next = await makeRig(daemon.home);
    await until('it is gone', () => !isAlive(pid), GONE_MS);
    await until('its group is gone', () => groups(next.home).length === 0);
    await next.close();
  });

  it('is ended by the daemon where the runner was killed', async () => {
    const other = await makeRig();
    const { line, file } = escape();
    const job = run(other.runner, `${line}; sleep 98765`);
    const pid = await pidIn(file);
    process.kill(other.runner.pid, 'SIGKILL');
    expect((await job.result).outcome.kind).toBe('unknown');
    expect(isAlive(pid)).toBe(false);
    await other.close();
  });

  it('escapes where that is switched off', async () => {
    const off = await makeRig(undefined, { contain: false });
    const { line, file } = escape();
    const result = await run(off.runner, `${line}; cat /proc/self/cgroup`).result;
    expect(result).toMatchObject({ outcome: { kind: 'exited', code: 0 }, leftRunning: 0 });
    expect(result.stdout).not.toContain('meshwork-');
    const pid = await pidIn(file);
    expect(isAlive(pid)).toBe(true);
    process.kill(pid, 'SIGKILL');
    await off.close();
  });
});

describe.skipIf('why' in trial)('a command in a control group', () => {
  it('sees and does what it would without', async () => {
    const off = await makeRig(undefined, { contain: false });
    const job = newJob();
    const line =
      'ps -o pid= -p 1; readlink /proc/self/ns/pid /proc/self/ns/cgroup /proc/self/ns/mnt; grep -v ^0:: /proc/self/cgroup; ulimit -a; nice; exit 7';
    // One after the other: each runner ends what carries the job's mark when its command exits.
    const inside = await run(rig.runner, line, { job }).result;
    const outside = await run(off.runner, line, { job }).result;
    expect(inside).toMatchObject({ outcome: { kind: 'exited', code: 7 }, stdout: outside.stdout });
    const pids = await run(rig.runner, 'test -d /proc/$PPID && ps -p $PPID -o args=').result;
    expect(pids.stdout).toContain('program.mjs');
    const killed = await run(rig.runner, 'kill -TERM $$; sleep 98765').result;
    expect(killed.outcome).toEqual({ kind: 'signaled', signal: 'SIGTERM' });
    await off.close();
  });

  it('was born there where it was expected, too, and what was expected need not come', async () => {
    const other = await makeRig();
    other.runner.expect();
    other.runner.expect();
    const result = await run(other.runner, 'cat /proc/self/cgroup').result;
    expect(result.stdout).toContain('meshwork-');
    other.runner.expect();
    await until('its group is gone', () => groups(other.home).length === 0);
    await other.close();
  });

  it('was born there, many at once, and nothing stays of the groups', async () => {
    const all = Array.from({ length: 60 }, () => run(rig.runner, 'sed -n s/^0:://p /proc/self/cgroup'));
    for (const each of all) {
      const { stdout, outcome, leftRunning } = await each.result;
      expect({ outcome, leftRunning }).toEqual({ outcome: { kind: 'exited', code: 0 }, leftRunning: 0 });
      expect(stdout).toContain(`/${each.job}.1\n`);
    }
    await until('all groups are gone', () => groups(rig.home).length === 0);
    const runner = readFileSync(`/proc/${rig.runner.pid}/cgroup`, 'utf8');
    expect(runner).toBe(readFileSync('/proc/self/cgroup', 'utf8'));
  });

  it('costs less than a start of a program: docs/measurements.md has what this says', async () => {
    const off = await makeRig(undefined, { contain: false });
    const took: Record<'on' | 'off', number[]> = { on: [], off: [] };
    for (let pair = 0; pair < 120; pair++) {
      for (const which of pair % 2 === 0 ? (['on', 'off'] as const) : (['off', 'on'] as const)) {
        const startMs = performance.now();
        await run(which === 'on' ? rig.runner : off.runner, ['true']).ended;
        if (pair >= 20) took[which].push(performance.now() - startMs);
      }
    }
    const at = (which: 'on' | 'off', share: number): number =>
      took[which].toSorted((a, b) => a - b)[Math.floor(took[which].length * share)] ?? 0;
    const said = (['on', 'off'] as const).map(
      (which) => `${which}: p50 ${at(which, 0.5).toFixed(2)} ms, p95 ${at(which, 0.95).toFixed(2)} ms`,
    );
    console.log(`true through the runner, control groups ${said.join('; ')}`);
    // A busy machine makes both slow.
    expect(at('on', 0.5)).toBeLessThan(3 * at('off', 0.5) + 15);
    await off.close();
  });

  it('leaves no group where nothing could be started', async () => {
    const result = await run(rig.runner, ['/no/such/program']).result;
    expect(result.outcome).toEqual({ kind: 'exited', code: 127 });
    await until('all groups are gone', () => groups(rig.home).length === 0);
  });

  it('leaves the runner nothing to keep when it ends', async () => {
    const other = await makeRig();
    await run(other.runner, 'true').result;
    const base = path.join(ownGroup() ?? '', path.basename('folder' in trial ? trial.folder : ''));
    expect(existsSync(path.join(other.home, 'runner-groups'))).toBe(true);
    const place = readFileSync(path.join(other.home, 'runner-groups'), 'utf8');
    expect(path.dirname(place)).toBe(path.dirname(base));
    await other.close();
    expect(existsSync(place)).toBe(false);
  });
});

describe('where this process’s group is', () => {
  const HYBRID = '41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n';
  const PLAIN = '24 18 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n';
  const PART = '24 18 0:22 /docker/ab /sys/fs/cgroup rw - cgroup2 cgroup rw\n';
  it.each([
    [HYBRID, '9:name=systemd:/\n0::/\n', '/sys/fs/cgroup/unified'],
    [PLAIN, '0::/user.slice/a.scope\n', '/sys/fs/cgroup/user.slice/a.scope'],
    [PART, '0::/docker/ab\n', '/sys/fs/cgroup'],
    [PART, '0::/docker/ab/c\n', '/sys/fs/cgroup/c'],
    [PART, '0::/docker/abc\n', null],
    [PLAIN, '0::/../x\n', null],
    [PLAIN, '3:cpu:/x\n', null],
    ['41 31 0:38 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n', '0::/\n', null],
    ['24 18 0:22 / /a\\040b rw - cgroup2 cgroup2 rw\n', '0::/x\n', '/a b/x'],
  ])('%s %s', (mountinfo, own, expected) => {
    const found = groupFolder(mountinfo, own);
    expect(found === null ? null : path.normalize(`${found}/`)).toBe(expected === null ? null : `${expected}/`);
  });

  it('a daemon that a job starts leaves all jobs', () => {
    const base = '/sys/fs/cgroup/a/meshwork-0123456789ab';
    expect(outsideJobs(`${base}/01J.1`)).toBe('/sys/fs/cgroup/a');
    expect(outsideJobs(`${base}/01J.1/meshwork-ba9876543210/01K.2/x`)).toBe('/sys/fs/cgroup/a');
    expect(outsideJobs(base)).toBeNull();
    expect(outsideJobs('/sys/fs/cgroup/a')).toBeNull();
  });
});
