import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { OutputLog } from '../../../src/runner/output-log.ts';
import { STREAM_WINDOW_BYTES } from '../../../src/wire/stream-mux.ts';
import { alive, makeRig, newJob, read, type Rig, run, until } from './rig.ts';

const MIB = 1024 * 1024;

let rig: Rig;
let folder: string;
beforeAll(async () => {
  rig = await makeRig(undefined, { logBytesMax: MIB });
  folder = mkdtempSync(path.join(tmpdir(), 'mw-reads-'));
});
afterAll(async () => {
  await rig.close();
  rmSync(folder, { recursive: true, force: true });
});

/** What `seq` prints, as one. */
const lines = (from: number, to: number): string => {
  let text = '';
  for (let line = from; line <= to; line++) text += `${line}\n`;
  return text;
};

describe('reads of an output log', () => {
  it('at any offset, during and after the run, by several at once', async () => {
    const go = path.join(folder, 'go');
    const text = lines(1, 20_000);
    const job = run(rig.runner, `seq 1 10000; while ! [ -e ${go} ]; do sleep 0.02; done; seq 10001 20000; echo e >&2`);
    await until('half is there', () => job.output() >= lines(1, 10_000).length);
    const now = await read(rig.runner, job.job, { offset: 100, follow: false }).end;
    expect(now).toMatchObject({ ok: true, from: 100, next_offset: lines(1, 10_000).length, ended: false });
    const following = [0, 5, 30_000, 48_894].map((offset) => ({
      offset,
      reading: read(rig.runner, job.job, { offset }),
    }));
    const merged = read(rig.runner, job.job, { stream: 'merged' });
    const stderr = read(rig.runner, job.job, { stream: 'stderr' });
    writeFileSync(go, '');
    expect((await job.result).outcome).toEqual({ kind: 'exited', code: 0 });
    for (const { offset, reading } of following) {
      expect(await reading.end).toEqual({ ok: true, from: offset, next_offset: text.length, ended: true });
      expect(reading.bytes().toString()).toBe(text.slice(offset));
    }
    expect(await merged.end).toMatchObject({ ok: true, next_offset: text.length + 2, ended: true });
    expect(merged.bytes().toString()).toBe(`${text}e\n`);
    await stderr.end;
    expect(stderr.bytes().toString()).toBe('e\n');
    rig.runner.acknowledge({ job: job.job, attempt: 1 });
    const after = read(rig.runner, job.job, { offset: text.length - 6, follow: false });
    expect(await after.end).toEqual({ ok: true, from: text.length - 6, next_offset: text.length, ended: true });
    expect(after.bytes().toString()).toBe('20000\n');
  });

  it('are refused past the end, and where there is no log', async () => {
    const job = run(rig.runner, 'echo hello');
    await job.result;
    expect(await read(rig.runner, job.job, { offset: 7 }).end).toMatchObject({ ok: false, kind: 'past_end', end: 6 });
    expect(await read(rig.runner, job.job, { offset: 6 }).end).toEqual({
      ok: true,
      from: 6,
      next_offset: 6,
      ended: true,
    });
    expect(await read(rig.runner, newJob()).end).toMatchObject({ ok: false, kind: 'unknown' });
    rig.runner.drop({ job: job.job, attempt: 1 });
    expect(await read(rig.runner, job.job).end).toMatchObject({ ok: false, kind: 'unknown' });
    expect(readdirSync(path.join(rig.home, 'jobs'))).not.toContain(`${job.job}.1`);
  });

  it('of a durable attempt that nobody read in time: head and tail, and it says where the gap is', async () => {
    const streams = { stdoutStream: null, stderrStream: null };
    const job = run(rig.runner, 'seq 1 1000000', { durable: true, ...streams });
    const result = await job.ended;
    const text = lines(1, 1_000_000);
    expect(result).toMatchObject({ outcome: { kind: 'exited', code: 0 }, stdoutBytes: text.length, truncated: true });
    const head = read(rig.runner, job.job);
    const end = await head.end;
    if (!end.ok) throw new Error(end.message);
    expect(end.ended).toBe(false);
    expect(text.startsWith(head.bytes().toString())).toBe(true);
    expect(end.next_offset).toBeGreaterThan(head.bytes().byteLength);
    const tail = read(rig.runner, job.job, { offset: end.next_offset });
    expect(await tail.end).toEqual({ ok: true, from: end.next_offset, next_offset: text.length, ended: true });
    expect(tail.bytes().toString()).toBe(text.slice(end.next_offset));
    const inGap = read(rig.runner, job.job, { offset: end.next_offset - 5 });
    const behind = { from: end.next_offset, next_offset: end.next_offset };
    expect(await inGap.end).toEqual({ ok: true, ...behind, ended: false });
    expect(inGap.bytes().byteLength).toBe(0);
  });

  it('of a foreground attempt lose nothing, however small the log and slow the reader', async () => {
    const job = run(rig.runner, 'seq 1 2000000; seq 1 9 >&2');
    const result = await job.result;
    expect(result).toMatchObject({ stdoutBytes: lines(1, 2_000_000).length, truncated: false });
    expect(result.stderr).toBe(lines(1, 9));
    expect(result.stdoutSha256).toBe(
      execFileSync('sh', ['-c', 'seq 1 2000000 | sha256sum'], { encoding: 'utf8' }).slice(0, 64),
    );
  });
});

describe('a reader that loses its link', () => {
  it('goes on byte-exactly from where it was, again and again, and the command waits for it', async () => {
    const job = newJob();
    const name = { job, attempt: 1 };
    const got: Buffer[] = [];
    let offset = 0;
    const ran = run(rig.runner, 'seq 1 6000000', { job, stdoutStream: null, stderrStream: null });

    // So little is read by then that the command, which may be 32 MiB ahead of a reader that is away, can't have ended.
    for (let round = 1; round <= 6; round++) {
      const reading = read(rig.runner, job, {
        holds: true,
        offset,
        stopAfter: round < 6 ? 100_000 * round : Infinity,
      });
      if (round === 6) await reading.end;
      else {
        await until('enough came', () => reading.bytes().byteLength >= 100_000 * round);
        rig.runner.park(name);
        await reading.end;
      }
      got.push(reading.bytes());
      offset += reading.bytes().byteLength;
    }
    expect((await ran.ended).truncated).toBe(false);
    const text = lines(1, 6_000_000);
    expect(offset).toBe(text.length);
    expect(Buffer.concat(got).equals(Buffer.from(text))).toBe(true);
  });

  it('may ask again for what was under way', async () => {
    const job = newJob();
    const ran = run(rig.runner, 'seq 1 3000000', { job, stdoutStream: null, stderrStream: null });
    const first = read(rig.runner, job, { holds: true, stopAfter: 12 * MIB });
    await until('much came', () => first.bytes().byteLength >= 12 * MIB);
    rig.runner.park({ job, attempt: 1 });
    await first.end;
    const from = first.bytes().byteLength - 2 * 4 * STREAM_WINDOW_BYTES;
    const second = read(rig.runner, job, { holds: true, offset: from });
    expect(await second.end).toMatchObject({ ok: true, from, ended: true });
    expect(second.bytes().toString()).toBe(lines(1, 3_000_000).slice(from));
    await ran.ended;
  });

  it('is not told as gone; one that closes is, by SIGPIPE; and after detach neither', async () => {
    const start = (): ReturnType<typeof run> => run(rig.runner, 'while :; do echo x || exit 9; sleep 0.01; done');
    const [parked, closed, detached] = [start(), start(), start()];
    await Promise.all([parked.started, closed.started, detached.started]);
    rig.runner.park({ job: parked.job, attempt: 1 });
    rig.runner.detach({ job: detached.job, attempt: 1 });
    for (const each of [parked, closed, detached]) each.abortStdout();
    expect((await closed.ended).outcome.kind).toMatch(/exited|signaled/);
    await new Promise((resolve) => setImmediate(resolve));
    for (const each of [parked, detached]) {
      expect(alive(each.job).length).toBeGreaterThan(0);
      each.cancel();
      expect((await each.ended).outcome.kind).toBe('cancelled');
    }
  });

  it('has stdin go on with what follows the bytes that arrived', async () => {
    let sentBytes = 0;
    const onSent = (bytes: number): void => void (sentBytes += bytes);
    const job = run(rig.runner, 'sha256sum', { stdin: true, onStdinSent: onSent });
    await job.started;
    const input = Buffer.alloc(3 * MIB, 'abcdefg\n');
    const name = { job: job.job, attempt: 1 };
    let at = 0;
    let { stdin } = job;
    for (const upTo of [1000, 700_000, input.byteLength]) {
      const before = sentBytes;
      stdin?.write(input.subarray(at, upTo));
      if (upTo === input.byteLength) break;
      await until('some of it is on its way', () => sentBytes > before);
      rig.runner.park(name);
      stdin?.abort();
      const id = rig.runner.mux.nextId();
      stdin = rig.runner.mux.openOutgoing(id, 0, { onSent });
      at = await new Promise<number>((resolve) => rig.runner.resumeStdin(name, id, (bytes) => resolve(bytes ?? -1)));
      expect(at).toBeGreaterThanOrEqual(0);
    }
    stdin?.end();
    expect((await job.ended).outcome).toEqual({ kind: 'exited', code: 0 });
    const out = read(rig.runner, job.job);
    await out.end;
    const sum = execFileSync('sha256sum', { input, encoding: 'utf8' });
    expect(out.bytes().toString()).toBe(sum);
    const late = rig.runner.mux.nextId();
    rig.runner.mux.openOutgoing(late, 0, {});
    expect(await new Promise((resolve) => rig.runner.resumeStdin(name, late, resolve))).toBeNull();
  });
});

describe('merged output', () => {
  it('is one pipe, in the order of the writes', async () => {
    const line = 'for i in $(seq 1 300); do echo o$i; echo e$i >&2; done; echo x > /dev/stderr';
    const { stdout, stderr, stdoutBytes, stderrBytes } = await run(rig.runner, line, { merge: true }).result;
    let expected = '';
    for (let i = 1; i <= 300; i++) expected += `o${i}\ne${i}\n`;
    expect(stdout).toBe(`${expected}x\n`);
    expect({ stderr, stdoutBytes, stderrBytes }).toEqual({ stderr: '', stdoutBytes: stdout.length, stderrBytes: 0 });
    const missing = await run(rig.runner, ['no-such-x'], { merge: true }).result;
    expect(missing.stdout).toBe('meshwork: no-such-x: command not found\n');
  });
});

describe('the attempt mark', () => {
  it('is carried by later attempts only, and tells their processes apart', async () => {
    const job = newJob();
    const other = await makeRig();
    const print = async (attempt: number) =>
      (await run(other.runner, 'env | grep -E "^(MESHWORK|MW)_"', { job, attempt }).result).stdout;
    expect(await print(1)).toBe(`MESHWORK_JOB_ID=${job}\n`);
    expect((await print(2)).split('\n').sort()).toEqual(['', `MESHWORK_JOB_ID=${job}`, `MW_ATTEMPT=${job}.2`].sort());
    const sleep = 'setsid sleep 98765 & sleep 98765';
    const [first, third] = [run(rig.runner, sleep, { job, attempt: 3 }), run(other.runner, sleep, { job, attempt: 4 })];
    await Promise.all([first.started, third.started]);
    await until('both trees stand', () => alive(job).length >= 4);
    rig.runner.cancel(job, 3);
    await first.result;
    expect(alive(job).length).toBeGreaterThanOrEqual(2);
    other.runner.cancel(job, 4);
    await third.result;
    expect(alive(job)).toEqual([]);
    await other.close();
  });
});

const canMount = process.platform === 'linux' && process.getuid?.() === 0;
if (!canMount) process.stderr.write('a full disk: not tested, only root can mount a small one\n');
describe.runIf(canMount)('a full disk', () => {
  it('cuts the output, which is marked, and nothing else', async () => {
    const home = mkdtempSync(path.join(folder, 'home-'));
    const jobs = path.join(home, 'jobs');
    mkdirSync(jobs);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'none', jobs]);
    const small = await makeRig(home, { logBytesMax: 64 * MIB });
    try {
      const job = run(small.runner, 'seq 1 2000000; exit 5', { stdoutStream: null, stderrStream: null, durable: true });
      expect(await job.ended).toMatchObject({ outcome: { kind: 'exited', code: 5 }, truncated: true });
      const reading = read(small.runner, job.job);
      expect(await reading.end).toMatchObject({ ok: true, from: 0, ended: true });
      expect(reading.bytes().byteLength).toBeGreaterThan(2 * MIB);
      expect(lines(1, 2_000_000).startsWith(reading.bytes().toString())).toBe(true);
      // What the node itself has to write, and what a quick command says, still finds room.
      writeFileSync(path.join(jobs, 'journal'), Buffer.alloc(64 * 1024));
      expect(await run(small.runner, 'echo all right').result).toMatchObject({
        stdout: 'all right\n',
        truncated: false,
      });
      small.runner.acknowledge({ job: job.job, attempt: 1 });
      small.runner.drop({ job: job.job, attempt: 1 });
      expect(await run(small.runner, 'echo well').result).toMatchObject({ stdout: 'well\n', truncated: false });
    } finally {
      await small.close().catch(() => undefined);
      execFileSync('umount', ['-l', jobs]);
      rmSync(home, { recursive: true, force: true });
    }
  });

  it.each([4000, 33_000, 65_536])(
    'keeps half of its reserve at the least, also where %i bytes come at a time',
    (size) => {
      const small = mkdtempSync(path.join(folder, 'small-'));
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'none', small]);
      try {
        const chunk = Buffer.alloc(size);
        for (let first = 1; first < 2 * size; first += 8192) {
          const log = new OutputLog(path.join(small, 'log'), 64 * MIB, () => true, silentLogger);
          log.append('stdout', Buffer.alloc(first));
          while (log.append('stdout', chunk));
          const { bavail, bsize, blocks } = statfsSync(small);
          expect(bavail * bsize, `after ${first} bytes`).toBeGreaterThanOrEqual((blocks * bsize) / 16 / 2);
          log.remove();
        }
      } finally {
        execFileSync('umount', ['-l', small]);
      }
    },
  );
});
