import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { MeshError } from '../../../../src/base/errors.ts';
import { parseHalt } from '../../../../src/front/cli/halt.ts';
import { jobSpecOf } from '../../../../src/front/cli/job-options.ts';
import { Joblog } from '../../../../src/front/cli/joblog.ts';
import { Batch, type BatchPlan } from '../../../../src/front/cli/map-batch.ts';
import { Spool } from '../../../../src/front/cli/spool.ts';
import { FakeBatchApi, type FakeJob } from '../../../fixtures/fake-batch-api.ts';
import { until } from '../../../fixtures/nodes.ts';

const KIB = 1024;
let api: FakeBatchApi;
let folder: string;
let printed: { stdout: string; stderr: string };

beforeEach(() => {
  api = new FakeBatchApi();
  folder = mkdtempSync(join(tmpdir(), 'meshwork-test-'));
  vi.stubEnv('TMPDIR', folder);
  printed = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    vi.spyOn(process[name], 'write').mockImplementation((bytes, ...rest: unknown[]) => {
      printed[name] += Buffer.from(bytes as Uint8Array).toString();
      const done = rest.at(-1);
      if (typeof done === 'function') (done as () => void)();
      return true;
    });
  }
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

async function* from(args: Iterable<string>): AsyncGenerator<string, void, undefined> {
  yield* args;
}

const numbers = (count: number): string[] => Array.from({ length: count }, (_, index) => String(index + 1));
const argOf = (job: FakeJob): string => job.line.replace('do ', '');

function batchOf(args: Iterable<string>, plan: Partial<BatchPlan> = {}, spool = new Spool()): Batch {
  return new Batch(
    api,
    {
      words: ['do {}'],
      specOf: (words) => jobSpecOf(words, {}, false),
      arguments: from(args),
      width: 4,
      halt: null,
      joblog: null,
      tailCopies: false,
      tag: false,
      json: false,
      bar: null,
      cwd: '/',
      estimates: true,
      ...plan,
    },
    spool,
  );
}

const haltAt = (text: string) => {
  const halt = parseHalt(text);
  if (!halt.ok) throw new Error(halt.error);
  return halt.value;
};

describe('the order of a batch', () => {
  test('prints in the order of the arguments, whatever ends first, with at most -j under way', async () => {
    const batch = batchOf(numbers(9), { width: 3 });
    const done = batch.run();
    // The last of those under way always ends first.
    for (let ended = 0; ended < 9; ended++) {
      const open = await until('enough are under way', () => {
        const those = api.jobs.filter((job) => !ends.has(job));
        return those.length === Math.min(3, 9 - ended) ? those : null;
      });
      const job = open.at(-1) as FakeJob;
      ends.add(job);
      job.stdout(`out ${argOf(job)}\n`);
      job.end();
    }
    expect(await done).toBe(0);
    expect(printed.stdout).toBe(
      numbers(9)
        .map((arg) => `out ${arg}\n`)
        .join(''),
    );
    expect(api.mostUnderWay).toBe(3);
  });
  const ends = new Set<FakeJob>();

  test('the longest that history knows starts first; one job under way is always the first given', async () => {
    for (const [arg, seconds] of [
      ['1', 1],
      ['2', 2],
      ['3', 3],
      ['4', 40],
      ['5', 50],
      ['6', 6],
    ] as const)
      api.estimates.set(`do ${arg}`, seconds);
    api.onSubmit = (job) => {
      job.run();
      job.stdout(argOf(job));
      job.end({ duration_ms: 1 });
    };
    expect(await batchOf(numbers(6), { width: 2 }).run()).toBe(0);
    expect(api.jobs.slice(0, 2).map(argOf)).toEqual(['5', '1']);
    expect(api.jobs.map(argOf).indexOf('4')).toBeLessThan(api.jobs.map(argOf).indexOf('6'));
    expect(printed.stdout).toBe('123456');
  });

  test('-j 1 keeps to the order given', async () => {
    for (const [index, arg] of numbers(5).entries()) api.estimates.set(`do ${arg}`, index);
    api.onSubmit = (job) => job.end();
    await batchOf(numbers(5), { width: 1 }).run();
    expect(api.jobs.map(argOf)).toEqual(numbers(5));
  });

  test('a failing history only costs the order', async () => {
    api.call = () => Promise.reject(new MeshError('internal', 'no history'));
    api.onSubmit = (job) => job.end();
    expect(await batchOf(numbers(5)).run()).toBe(0);
    expect(api.jobs.map(argOf)).toEqual(numbers(5));
  });
});

describe('memory', () => {
  test('10,000 arguments with 20 KB each: no more is held than the spool may, nothing is lost, nothing is left', async () => {
    let produced = 0;
    let ahead = 0;
    const spool = new Spool({ memoryBytesMax: 1024 * KIB, fileBytesMax: 8 * 1024 * KIB });
    function* args(): Generator<string> {
      for (; produced < 10_000; produced++) yield String(produced);
    }
    const body = 'x'.repeat(20_000);
    let bytes = 0;
    let next = 0;
    vi.mocked(process.stdout.write).mockImplementation((chunk, ...rest: unknown[]) => {
      const text = Buffer.from(chunk as Uint8Array).toString();
      bytes += text.length;
      for (const [tag] of text.matchAll(/<\d+>/g)) {
        expect(tag).toBe(`<${next}>`);
        next += 1;
      }
      (rest.at(-1) as () => void)();
      return true;
    });
    // Each group of jobs ends in the reverse order.
    const group: FakeJob[] = [];
    api.onSubmit = (job) => {
      job.stdout(`<${argOf(job)}>`);
      job.stdout(body);
      api.jobs.length = 0;
      group.push(job);
      if (group.length < 16 && Number(argOf(job)) < 9_984) return;
      for (const one of group.splice(0).toReversed()) one.end();
    };
    globalThis.gc?.();
    const before = process.memoryUsage().rss;
    const watch = setInterval(() => {
      ahead = Math.max(ahead, process.memoryUsage().rss - before);
    }, 20);
    expect(await batchOf(args(), { width: 16 }, spool).run()).toBe(0);
    clearInterval(watch);
    expect({ next, bytes }).toEqual({
      next: 10_000,
      bytes:
        10_000 * 20_000 +
        numbers(10_000)
          .map((n) => `<${Number(n) - 1}>`)
          .join('').length,
    });
    expect(ahead).toBeLessThan(150 * 1024 * KIB);
    expect(readdirSync(folder)).toEqual([]);
  });

  test('a full spool holds back those whose turn has not come, and lets the one whose turn it is through', async () => {
    const spool = new Spool({ memoryBytesMax: 64 * KIB, fileBytesMax: 128 * KIB });
    const batch = batchOf(numbers(3), { width: 3 }, spool);
    const done = batch.run();
    await until('all are under way', () => api.jobs.length === 3);
    const [first, second, third] = api.jobs as [FakeJob, FakeJob, FakeJob];
    let thirdTaken = false;
    const big = Buffer.alloc(600 * KIB, '3');
    void Promise.resolve(third.stdout(big)).then(() => (thirdTaken = true));
    // All of it comes out at once now, since it is this one's turn.
    await first.stdout(Buffer.alloc(500 * KIB, '1'));
    await until('it was written', () => printed.stdout.length >= 436 * KIB);
    expect(thirdTaken).toBe(false);
    first.stdout('end1');
    first.end();
    second.stdout('2');
    second.end();
    third.end();
    expect(await done).toBe(0);
    expect(thirdTaken).toBe(true);
    expect(printed.stdout).toBe(`${'1'.repeat(500 * KIB)}end12${'3'.repeat(600 * KIB)}`);
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('--halt', () => {
  test('now: ends what runs, starts no more, and tells so', async () => {
    api.onSubmit = (job) => {
      job.run();
      if (argOf(job) === '2') job.end({ return_code: 1 });
    };
    expect(await batchOf(numbers(50), { halt: haltAt('now,fail=1') }).run()).toBe(1);
    expect(api.jobs).toHaveLength(4);
    expect(api.jobs.filter(({ cancelled }) => cancelled).map(argOf)).toEqual(['1', '3', '4']);
  });

  test('soon: what runs finishes', async () => {
    let failures = 0;
    api.onSubmit = (job) => {
      job.run();
      if (failures < 2) job.end({ return_code: ++failures });
      else job.stdout(argOf(job));
    };
    const done = batchOf(numbers(50), { halt: haltAt('soon,fail=2') }).run();
    await until('two failed', () => failures === 2 && api.underWay <= 3);
    for (const job of api.jobs.filter(({ line }) => line !== '')) if (Number(argOf(job)) > 2) job.end();
    expect(await done).toBe(2);
    expect(api.jobs.some(({ cancelled }) => cancelled)).toBe(false);
    expect(api.jobs.length).toBeLessThan(10);
  });

  test('a percentage needs some jobs to go by', async () => {
    api.onSubmit = (job) => job.end({ return_code: Number(argOf(job)) % 2 });
    expect(await batchOf(numbers(100), { width: 1, halt: haltAt('soon,fail=50%') }).run()).toBe(2);
    expect(api.jobs).toHaveLength(3);
  });
});

describe('--joblog and --resume-failed', () => {
  const path = () => join(folder, 'log');

  test('writes a line a job as GNU parallel does; resuming runs exactly the failures and what never ran', async () => {
    const first = Joblog.open(path(), false);
    api.onSubmit = (job) => job.end({ return_code: argOf(job) === '2' ? 3 : 0, duration_ms: 1234, stdout_bytes: 7 });
    await batchOf(numbers(3), { joblog: first, width: 1 }).run();
    first.close();
    const [header, ...lines] = readFileSync(path(), 'utf8').trimEnd().split('\n');
    expect(header).toBe('Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand');
    expect(lines[1]).toMatch(/^2\tdesk\t\d{10}\.\d{3}\t {5}1\.234\t0\t7\t3\t0\tdo 2$/);
    // A line that was cut short when its writer was killed counts for nothing.
    writeFileSync(path(), `${[header, ...lines].join('\n')}\n4\tdesk\t12`);
    api = new FakeBatchApi();
    api.onSubmit = (job) => job.end();
    const second = Joblog.open(path(), true);
    expect(await batchOf(numbers(5), { joblog: second, width: 1 }).run()).toBe(0);
    second.close();
    expect(api.jobs.map(argOf)).toEqual(['2', '4', '5']);
    const seqs = readFileSync(path(), 'utf8')
      .trimEnd()
      .split('\n')
      .slice(1)
      .map((line) => line.split('\t')[0]);
    expect(seqs).toEqual(['1', '2', '3', '2', '4', '5']);
  });

  test('another command or other arguments than the log has are refused before anything runs', async () => {
    const first = Joblog.open(path(), false);
    api.onSubmit = (job) => job.end();
    await batchOf(['a', 'b'], { joblog: first }).run();
    first.close();
    api = new FakeBatchApi();
    const second = Joblog.open(path(), true);
    await expect(batchOf(['a', 'c'], { joblog: second }).run()).rejects.toThrow(
      /job 2 was `do b`.*`do c`.*nothing was run/,
    );
    second.close();
    expect(api.jobs).toEqual([]);
  });

  test('a file that is no joblog is left as it is', () => {
    writeFileSync(path(), 'int main() {}\n');
    expect(() => Joblog.open(path(), false)).toThrow(/no joblog; nothing was run/);
    expect(readFileSync(path(), 'utf8')).toBe('int main() {}\n');
  });
});

describe('a second copy of a straggler', () => {
  async function stragglerBatch(plan: Partial<BatchPlan> = {}) {
    let spent = 0;
    vi.spyOn(performance, 'now').mockImplementation(() => spent);
    api.onSubmit = (job) => {
      if (api.jobs.length > 4) return;
      job.run(argOf(job) === '4' ? 'slow' : 'desk');
      if (argOf(job) === '4') job.stdout('half of ');
      else job.end({ duration_ms: 2000 });
    };
    const done = batchOf(numbers(4), { tailCopies: true, ...plan }).run();
    while (api.jobs.length < 4 || api.underWay > 1) await new Promise(setImmediate);
    spent = 60_000;
    return done;
  }

  test('is asked for elsewhere; the first result counts once, the other copy is ended', async () => {
    const done = stragglerBatch();
    await vi.waitFor(() => expect(api.jobs).toHaveLength(5), { timeout: 60_000 });
    const [slow, copy] = api.jobs.slice(3) as [FakeJob, FakeJob];
    expect(copy.spec.avoid).toEqual([`id-of-${slow.id}`]);
    copy.run('other');
    copy.stdout('whole');
    copy.end({ duration_ms: 1 });
    expect(await done).toBe(0);
    expect(slow.cancelled).toBe(true);
    expect(printed.stdout).toBe('whole');
    expect(api.jobs).toHaveLength(5);
  });

  test('that cannot run leaves the first one to end', async () => {
    const done = stragglerBatch();
    await vi.waitFor(() => expect(api.jobs).toHaveLength(5), { timeout: 60_000 });
    const [slow, copy] = api.jobs.slice(3) as [FakeJob, FakeJob];
    copy.fail(new MeshError('no_capable_node', 'nowhere else'));
    await new Promise(setImmediate);
    slow.stdout('it');
    slow.end();
    expect(await done).toBe(0);
    expect(printed.stdout).toBe('half of it');
    expect(api.jobs).toHaveLength(5);
  });
});

describe('a daemon that goes', () => {
  test('starts nothing more; what was under way counts as failed', async () => {
    const batch = batchOf(numbers(20));
    const done = batch.run();
    await until('some are under way', () => api.jobs.length === 4);
    api.closed = true;
    for (const job of api.jobs) job.fail(new MeshError('lost', 'the daemon went away'));
    expect(await done).toBe(4);
    expect(api.jobs).toHaveLength(4);
  });
});
