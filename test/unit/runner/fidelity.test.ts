import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync, chmodSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { STREAM_WINDOW_BYTES } from '../../../src/wire/stream-mux.ts';
import { BASE_ENV, has, makeRig, type Rig, run, until } from './rig.ts';

let rig: Rig;
let folder: string;
beforeAll(async () => {
  rig = await makeRig();
  folder = mkdtempSync(path.join(tmpdir(), 'mw-fidelity-'));
});
afterAll(async () => {
  await rig.close();
  rmSync(folder, { recursive: true, force: true });
});

const residentBytes = (pid: number): number =>
  Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;

describe('what a command does is what comes back', () => {
  const exited = (code: number) => ({ kind: 'exited', code });
  const signaled = (signal: string) => ({ kind: 'signaled', signal });
  it.each<[string, string | string[], unknown, string, string | RegExp]>([
    ['true', 'true', exited(0), '', ''],
    ['an exit code', 'exit 3', exited(3), '', ''],
    ['the highest exit code', 'exit 255', exited(255), '', ''],
    ['a signal', 'kill -TERM $$', signaled('SIGTERM'), '', ''],
    ['another signal', 'kill -USR1 $$', signaled('SIGUSR1'), '', ''],
    ['a child killed by a signal', 'bash -c "kill -9 \\$\\$"; exit $?', exited(137), '', /./],
    ['both streams', 'echo out; echo err >&2', exited(0), 'out\n', 'err\n'],
    ['a variable', 'echo $HOME', exited(0), '/tmp\n', ''],
    ['a glob', 'cd /etc && echo host[n]am[e]', exited(0), 'hostname\n', ''],
    ['several lines', 'for i in 1 2\ndo echo $i\ndone', exited(0), '1\n2\n', ''],
    ['a here-document', 'cat <<E\nx $((1+1))\nE', exited(0), 'x 2\n', ''],
    ['a pipe and its status', 'set -o pipefail; false | cat; echo $?', exited(0), '1\n', ''],
    ['redirection by name', 'echo a > /dev/stderr; echo b > /dev/stdout', exited(0), 'b\n', 'a\n'],
    ['descriptors by name', 'echo a > /dev/fd/2; echo b | tee /dev/stderr', exited(0), 'b\n', 'a\nb\n'],
    ['process substitution', 'cat <(echo a) <(echo b); echo c > >(cat)', exited(0), 'a\nb\nc\n', ''],
    ['empty stdin', 'cat; echo end', exited(0), 'end\n', ''],
    ['the name of the shell', 'echo $0', exited(0), 'bash\n', ''],
    ['a line that looks like an option', '-c', exited(127), '', /-c: command not found/],
    ['an unknown command', 'no-such-command-x', exited(127), '', /no-such-command-x: command not found/],
    ['an argv, unparsed', ['printf', '%s|', 'a b', '$HOME', '*', ''], exited(0), 'a b|$HOME|*||', ''],
    ['an unknown program', ['no-such-x', 'y'], exited(127), '', 'meshwork: no-such-x: command not found\n'],
    ['a missing path', ['./no-such-x'], exited(127), '', 'meshwork: ./no-such-x: No such file or directory\n'],
    ['a folder', ['/tmp'], exited(126), '', 'meshwork: /tmp: Is a directory\n'],
    ['a file that is no program', ['/etc/passwd'], exited(126), '', 'meshwork: /etc/passwd: Permission denied\n'],
    ['unicode', 'echo "grüße 漢字 😀"', exited(0), Buffer.from('grüße 漢字 😀\n').toString('latin1'), ''],
    ['bytes that are not UTF-8', String.raw`printf '\xff\x00\xfe\r\n'`, exited(0), '\xff\0\xfe\r\n', ''],
  ])('%s', async (_, command, outcome, stdout, stderr) => {
    const result = await run(rig.runner, command).result;
    expect(result.stdout).toBe(stdout);
    if (typeof stderr === 'string') expect(result.stderr).toBe(stderr);
    else expect(result.stderr).toMatch(stderr);
    expect(result.outcome).toEqual(outcome);
    expect(result.stdoutBytes).toBe(stdout.length);
    expect(result.stderrBytes).toBe(result.stderr.length);
    expect(result).toMatchObject({ truncated: false, leftRunning: 0, streams: ['ended', 'ended'] });
  });

  it('a script whose interpreter is missing is 126, one without a #! line runs in sh', async () => {
    const bad = path.join(folder, 'bad');
    const plain = path.join(folder, 'plain');
    writeFileSync(bad, '#!/no/such/interpreter\n');
    writeFileSync(plain, 'echo plain $1\n');
    chmodSync(bad, 0o755);
    chmodSync(plain, 0o755);
    expect(await run(rig.runner, [bad]).result).toMatchObject({ outcome: { kind: 'exited', code: 126 } });
    expect(await run(rig.runner, [plain, 'x']).result).toMatchObject({ stdout: 'plain x\n' });
  });

  it('a program is found in the PATH of the job', async () => {
    const tool = path.join(folder, 'my-tool');
    writeFileSync(tool, '#!/bin/sh\necho "tool $0 $1"\n');
    chmodSync(tool, 0o755);
    const env = { ...BASE_ENV, PATH: `${folder}:/usr/bin:/bin` };
    expect(await run(rig.runner, ['my-tool', 'x'], { env }).result).toMatchObject({ stdout: `tool ${tool} x\n` });
    expect(await run(rig.runner, ['my-tool', 'x']).result).toMatchObject({ outcome: { code: 127 } });
    const relative = await run(rig.runner, ['./my-tool'], { cwd: folder }).result;
    expect(relative.outcome).toEqual({ kind: 'exited', code: 0 });
  });

  it('a shell that PATH does not name is found all the same', async () => {
    const result = await run(rig.runner, 'echo $0', { env: { PATH: '/nowhere' } }).result;
    expect(result).toMatchObject({ stdout: '/bin/bash\n', outcome: { kind: 'exited', code: 0 } });
  });

  it('the environment is what was given and the cookie, nothing else', async () => {
    const env = { ...BASE_ENV, EMPTY: '', UMLAUT: 'ü\n' };
    const job = run(rig.runner, ['env', '-0'], { env });
    const { stdout } = await job.result;
    const seen = Buffer.from(stdout, 'latin1').toString('utf8').split('\0').filter(Boolean).sort();
    const expected = { ...env, MESHWORK_JOB_ID: job.job };
    expect(seen).toEqual(
      Object.entries(expected)
        .map(([name, value]) => `${name}=${value}`)
        .sort(),
    );
  });

  it('no descriptor but the three reaches the command', async () => {
    const { stdout } = await run(rig.runner, ['ls', '/proc/self/fd']).result;
    expect(stdout).toBe('0\n1\n2\n3\n');
  });

  it.each([0o027, 0o077, 0o002])('umask %o', async (umask) => {
    const file = path.join(folder, `umask-${umask}`);
    const result = await run(rig.runner, `umask; : > ${file}`, { umask }).result;
    expect(result.stdout).toBe(`${umask.toString(8).padStart(4, '0')}\n`);
    expect(statSync(file).mode & 0o777).toBe(0o666 & ~umask);
  });

  it('runs in its directory, and says so where there is none', async () => {
    expect(await run(rig.runner, 'pwd', { cwd: folder }).result).toMatchObject({ stdout: `${folder}\n` });
    const gone = await run(rig.runner, 'pwd', { cwd: `${folder}/gone` }).result;
    expect(gone.outcome).toEqual({
      kind: 'spawn_failed',
      message: `the directory ${folder}/gone does not exist here. Nothing was run.`,
    });
    expect(gone.streams).toEqual(['ended', 'ended']);
    const file = await run(rig.runner, 'pwd', { cwd: '/etc/passwd' }).result;
    expect(file.outcome).toMatchObject({ kind: 'spawn_failed' });
  });

  it('a line of 120,000 bytes works, a longer than the system takes is refused clearly', async () => {
    const line = `: ${'x'.repeat(119_980)}; echo end`;
    expect(await run(rig.runner, line).result).toMatchObject({ stdout: 'end\n' });
    const long = await run(rig.runner, ['echo', 'x'.repeat(140_000)]).result;
    expect(long.outcome).toMatchObject({ kind: 'spawn_failed', message: expect.stringContaining('longer than') });
    const longest = await run(
      rig.runner,
      Array.from({ length: 20 }, () => 'x'.repeat(60_000)),
    ).result;
    expect(longest.outcome).toMatchObject({ kind: 'spawn_failed', message: expect.stringContaining('1 MiB') });
    expect(longest.streams).toEqual(['ended', 'ended']);
  });
});

describe('output', () => {
  it('200 MB arrive unchanged, in seconds, through flat memory', async () => {
    const megabytes = 200;
    const job = run(rig.runner, `yes 0123456789abcde | head -c ${megabytes}000000`);
    let peak = 0;
    const timer = setInterval(() => (peak = Math.max(peak, residentBytes(rig.runner.pid))), 20);
    const result = await job.result;
    clearInterval(timer);
    const expected = createHash('sha256');
    const block = Buffer.from('0123456789abcde\n'.repeat(62_500));
    for (let i = 0; i < megabytes; i++) expected.update(block);
    expect(result.stdoutBytes).toBe(megabytes * 1_000_000);
    expect(result.stdoutSha256).toBe(expected.digest('hex'));
    expect(peak).toBeLessThan(150 * 1024 * 1024);
  });

  it('beyond its bound is counted and dropped', async () => {
    const result = await run(rig.runner, 'head -c 5000000 /dev/zero; echo end >&2', { outputBytesMax: 1000 }).result;
    expect(result).toMatchObject({ stdoutBytes: 5_000_000, stderrBytes: 4, truncated: true, stderr: 'end\n' });
    expect(result.stdout).toHaveLength(1000);
    const exact = await run(rig.runner, 'head -c 1000 /dev/zero', { outputBytesMax: 1000 }).result;
    expect(exact).toMatchObject({ stdoutBytes: 1000, truncated: false });
  });

  it('a reader that stops reading holds the command back, not the others', async () => {
    let received = 0;
    const job = run(rig.runner, 'yes', { stalled: true, onStdout: (text) => (received += text.length) });
    await until('the window is full', () => received === STREAM_WINDOW_BYTES);
    expect(await run(rig.runner, 'echo other').result).toMatchObject({ stdout: 'other\n' });
    job.cancel();
    const result = await job.result;
    expect(result.outcome).toMatchObject({ kind: 'cancelled' });
    expect(result.stdoutBytes).toBeLessThan(3 * 1024 * 1024);
    expect(result.streams[0]).toBe('aborted');
  });
});

describe('stdin', () => {
  it('50 MB arrive unchanged, with their end', async () => {
    const block = Buffer.alloc(1_000_000, 'meshwork');
    let left = 50;
    let waiting = 0;
    const expected = createHash('sha256');
    const feed = (): void => {
      while (left > 0 && waiting < 2_000_000) {
        left--;
        waiting += block.byteLength;
        expected.update(block);
        job.stdin?.write(block);
      }
      if (left === 0) job.stdin?.end();
    };
    const job = run(rig.runner, 'sha256sum', {
      stdin: true,
      onStdinSent: (bytes) => {
        waiting -= bytes;
        feed();
      },
    });
    feed();
    const { stdout } = await job.result;
    expect(stdout).toBe(`${expected.digest('hex')}  -\n`);
  });

  it.each(['cat', 'cat /dev/stdin', 'sleep 0.05; cat /dev/stdin', 'sleep 0.05; cat'])(
    'short, read by %s',
    async (line) => {
      const job = run(rig.runner, line, { stdin: true });
      job.stdin?.write(Buffer.from('hello\n'));
      job.stdin?.end();
      expect(await job.result).toMatchObject({ stdout: 'hello\n', stderr: '', outcome: { kind: 'exited', code: 0 } });
    },
  );

  it('at its end from the start', async () => {
    const job = run(rig.runner, 'cat; echo end', { stdin: true });
    job.stdin?.end();
    expect(await job.result).toMatchObject({ stdout: 'end\n' });
  });

  it('an answer can depend on what came before', async () => {
    const job = run(rig.runner, 'while read -r x; do echo "got $x"; done', {
      stdin: true,
      onStdout: (text) => (text.includes('2') ? job.stdin?.end() : job.stdin?.write(Buffer.from('2\n'))),
    });
    job.stdin?.write(Buffer.from('1\n'));
    expect(await job.result).toMatchObject({ stdout: 'got 1\ngot 2\n' });
  });

  it('a command that does not read it stops the source', async () => {
    let aborted = 0;
    const job = run(rig.runner, 'exec 0<&-; sleep 0.1; echo end', { stdin: true, onAbortStdin: () => aborted++ });
    job.stdin?.write(Buffer.alloc(200_000));
    expect(await job.result).toMatchObject({ stdout: 'end\n', outcome: { kind: 'exited', code: 0 } });
    expect(aborted).toBe(1);
  });

  it('does not make bash read its start-up files', async () => {
    writeFileSync(path.join(folder, '.bashrc'), 'echo from-bashrc\n');
    const job = run(rig.runner, 'cat', { stdin: true, env: { ...BASE_ENV, HOME: folder } });
    job.stdin?.end();
    expect(await job.result).toMatchObject({ stdout: '' });
  });
});

describe('many commands', () => {
  it('at once, each its own output; no descriptor stays open', async () => {
    const open = (): number => readdirSync(`/proc/${rig.runner.pid}/fd`).length;
    const jobs = Array.from({ length: 60 }, (_, index) => {
      const job = run(rig.runner, `cat; echo ${index}`, { stdin: index % 2 === 0 });
      if (index % 4 === 0) job.stdin?.write(Buffer.alloc(100_000, 'x'));
      job.stdin?.end();
      return job.result;
    });
    const results = await Promise.all(jobs);
    for (const [index, { outcome, stdout, stderr }] of results.entries()) {
      const seen = { outcome, tail: stdout.slice(-1 - String(index).length), stderr };
      expect(seen).toEqual({ outcome: { kind: 'exited', code: 0 }, tail: `${index}\n`, stderr: '' });
    }
    // Pipes at hand, a few descriptors of Node's own, and nothing for the jobs that ended.
    await until('the descriptors of ended commands are closed', () => open() < 160);
    await Promise.all(Array.from({ length: 60 }, () => run(rig.runner, ['no-such-x'], { cwd: folder }).result));
    await Promise.all(Array.from({ length: 60 }, () => run(rig.runner, 'x', { cwd: '/no/such' }).result));
    await until('the descriptors of failed commands are closed', () => open() < 160);
  });
});

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.log('skipped: dropping to another user needs root');
describe.runIf(isRoot)('another user', () => {
  it('has its ids, and no group of root', async () => {
    const user = { uid: 65_534, gid: 65_534, groups: [65_534] };
    const { stdout } = await run(rig.runner, 'id -u; id -g; id -G; echo x > /dev/stderr', { user }).result;
    expect(stdout).toBe('65534\n65534\n65534\n');
  });

  it.runIf(has('setpriv'))('has its supplementary groups', async () => {
    const user = { uid: 65_534, gid: 65_534, groups: [65_534, 12_345] };
    const job = run(rig.runner, 'id -G; echo $0; echo x > /dev/stderr', { user });
    expect(await job.result).toMatchObject({ stdout: '65534 12345\nbash\n', stderr: 'x\n' });
  });

  it.runIf(has('setpriv'))('gets its loader variables, and nothing that is root still does', async () => {
    const user = { uid: 65_534, gid: 65_534, groups: [65_534, 12_345] };
    const traces = mkdtempSync(path.join(tmpdir(), 'mw-loader-'));
    chmodSync(traces, 0o777);
    const env = { ...BASE_ENV, LD_DEBUG: 'libs', LD_DEBUG_OUTPUT: path.join(traces, 'trace'), TZDIR: '/here' };
    const { stdout } = await run(rig.runner, 'id -u; echo $LD_DEBUG $TZDIR', { user, env }).result;
    expect(stdout).toBe('65534\nlibs /here\n');
    const owners = readdirSync(traces).map((name) => statSync(path.join(traces, name)).uid);
    rmSync(traces, { recursive: true });
    expect([...new Set(owners)]).toEqual([65_534]);
  });
});
