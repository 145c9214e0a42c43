import { afterEach, describe, expect, it, vi } from 'vitest';
import { MeshError } from '../../../../src/base/errors.ts';
import { estimates, startOrder } from '../../../../src/front/mcp/batch-order.ts';
import { parallelExecute } from '../../../../src/front/mcp/parallel-execute.ts';
import { RESULT_CHARS_MAX } from '../../../../src/front/mcp/run-report.ts';
import { clusterBash } from '../../../../src/front/mcp/run-tools.ts';
import { waitOf } from '../../../../src/front/mcp/wait-time.ts';
import type { JobIo } from '../../../../src/node/api-client.ts';
import type { JobSpec, RunObject } from '../../../../src/node/api-types.ts';
import { ENDED, FakeDaemon, of, quiet, recordOf, RUNNING } from './fake-daemon.ts';

/** A daemon whose jobs run until they are detached; durable ones are answered at once, unfinished. */
function slowDaemon(onStart: (spec: JobSpec, io: JobIo) => void = () => undefined): FakeDaemon {
  let jobs = 0;
  const daemon: FakeDaemon = new FakeDaemon(
    (spec, io) => {
      const job = `JOB${(jobs += 1)}`;
      onStart(spec, io);
      const unfinished: RunObject = { ...RUNNING, job_id: job };
      if (spec.durable) return Promise.resolve(unfinished);
      return new Promise((resolve) => daemon.onDetach.push((one) => one === job && resolve(unfinished)));
    },
    { wait: () => recordOf(), cancel: () => ({ cancelled: true, job: '' }) },
  );
  return daemon;
}

afterEach(() => void vi.useRealTimers());

describe('how long a call waits', () => {
  it('is what was asked, else the setting, else as is usual for the client', () => {
    expect(waitOf(3, { waitS: 9 }, 'claude-code').waitMs).toBe(3000);
    expect(waitOf(undefined, { waitS: 9 }, 'claude-code')).toEqual({ waitMs: 9000, usualS: 9 });
    expect(waitOf(undefined, { waitS: null }, 'claude-code').waitMs).toBe(110_000);
    expect(waitOf(undefined, { waitS: null }, 'Claude Desktop').waitMs).toBe(110_000);
    expect(waitOf(undefined, { waitS: null }, 'inspector').waitMs).toBe(45_000);
  });
});

describe('a call that waits no longer', () => {
  it('hands the job out with what there is, and says how to go on', async () => {
    const daemon = slowDaemon((_, io) => {
      void io.onStdout(Buffer.from('é half\n'));
      void io.onStderr(Buffer.from('warn\n'));
    });
    const result = await clusterBash(of(daemon)).run({ command: 'make', wait_s: 0.05 }, quiet());
    expect(result).toMatchObject({
      isError: false,
      job: 'JOB1',
      document: {
        state: 'running',
        return_code: null,
        success: null,
        reason: null,
        job_id: 'JOB1',
        stdout: 'é half\n',
        stderr: 'warn\n',
        stdout_bytes: 8,
        stderr_bytes: 5,
      },
    });
    const next = String(result.document['next']);
    for (const part of [
      'do not start it again',
      'job_output with job_id "JOB1"',
      'offset 8',
      'offset 5',
      'wait_s 45',
    ]) {
      expect(next).toContain(part);
    }
    expect({ detached: daemon.detached, cancelled: daemon.cancelled }).toEqual({ detached: 1, cancelled: 0 });
    expect(daemon.specs[0]?.durable).toBe(false);
  });

  it('keeps the end where a job ends at that very moment', async () => {
    const daemon = new FakeDaemon(() => new Promise((resolve) => daemon.onDetach.push(() => resolve(ENDED))));
    const { document } = await clusterBash(of(daemon)).run({ command: 'make', wait_s: 0.05 }, quiet());
    expect(document).toMatchObject({ state: 'finished', return_code: 0 });
    expect(document['next']).toBeUndefined();
  });

  it('ends a job whose call was cancelled while it was handed out', async () => {
    const controller = new AbortController();
    const daemon = slowDaemon();
    daemon.onDetach.push(() => controller.abort());
    await clusterBash(of(daemon)).run({ command: 'make', wait_s: 0.05 }, quiet(controller.signal));
    expect(daemon.calls).toContainEqual({ method: 'cancel', params: { job: 'JOB1' } });
  });

  it('says of a long output from which offset job_output reads on, and names no file that holds a part', async () => {
    const daemon = slowDaemon((_, io) => void io.onStdout(Buffer.alloc(60_000, 'x')));
    const { document } = await clusterBash(of(daemon)).run({ command: 'make', wait_s: 0.05 }, quiet());
    const shownFirst = /^x+/.exec(String(document['stdout']))?.[0].length ?? 0;
    const notice = (document['notices'] as string[])[0] ?? '';
    expect(notice).toContain(`job_output with job_id "JOB1", stream "stdout" and offset ${shownFirst} reads on`);
    expect(notice).not.toContain('on this machine');
  });
});

describe('background', () => {
  it('submits a durable job and returns its id', async () => {
    const daemon = slowDaemon();
    const result = await clusterBash(of(daemon)).run({ command: 'make', background: true }, quiet());
    expect(result).toMatchObject({ isError: false, job: 'JOB1', document: { state: 'running', job_id: 'JOB1' } });
    expect(result.document['next']).toContain('offset 0');
    expect(daemon.specs[0]?.durable).toBe(true);
  });

  it('is the same as to wait for nothing', async () => {
    const daemon = slowDaemon();
    await clusterBash(of(daemon)).run({ command: 'make', wait_s: 0 }, quiet());
    expect(daemon.specs[0]?.durable).toBe(true);
  });

  it('says at once that no node can take it', async () => {
    const error = { code: 'no_capable_node', message: 'none has docker' };
    const daemon = new FakeDaemon(() => Promise.resolve({ ...ENDED, success: false, reason: 'refused', error }));
    expect(await clusterBash(of(daemon)).run({ command: 'x', background: true }, quiet())).toMatchObject({
      isError: true,
      document: { state: 'finished', reason: 'refused', error },
    });
  });
});

describe('a batch', () => {
  it('that is cancelled while it is handed out leaves nothing behind', async () => {
    const controller = new AbortController();
    let started = 0;
    const daemon = slowDaemon(() => {
      started += 1;
      if (started === 100) controller.abort();
    });
    const commands = Array.from({ length: 300 }, (_, at) => `make ${at}`);
    await parallelExecute(of(daemon)).run({ commands, background: true }, quiet(controller.signal));
    const ended = daemon.calls.filter(({ method }) => method === 'cancel').map(({ params }) => params);
    expect(ended).toHaveLength(daemon.specs.length);
    expect(daemon.specs.length).toBeLessThan(300);
  });

  it('hands out what is not done, each command with its own id', async () => {
    let started = 0;
    const slow = slowDaemon();
    const daemon: FakeDaemon = new FakeDaemon((spec, io) => {
      started += 1;
      return started <= 10 ? Promise.resolve(ENDED) : slow.submit(spec, io).result;
    });
    daemon.onDetach.push(() =>
      slow.onDetach.forEach((detached) => Array.from({ length: 300 }, (_, at) => detached(`JOB${at}`))),
    );
    const commands = Array.from({ length: 200 }, (_, at) => `sleep ${at}`);
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    const call = parallelExecute(of(daemon)).run({ commands, wait_s: 2 }, quiet());
    await expect.poll(() => daemon.specs.length).toBe(10 + 64);
    await vi.advanceTimersByTimeAsync(2000);
    vi.useRealTimers();
    const { document, isError } = await call;
    expect(isError).toBe(false);
    expect(document).toMatchObject({ succeeded: 10, failed: 0, unfinished: 190 });
    expect(document['next']).toContain('do not start them again');
    expect(JSON.stringify(document).length).toBeLessThanOrEqual(RESULT_CHARS_MAX);
    const results = document['results'] as Record<string, unknown>[];
    expect(results.map(({ command }) => command)).toEqual(commands);
    for (const entry of results.slice(10)) expect(entry).toMatchObject({ state: 'running', return_code: null });
    expect(new Set(results.slice(10).map(({ job_id }) => job_id)).size).toBe(190);
    // What was under way is detached; what had not begun is durable from its start.
    expect(daemon.specs.filter(({ durable }) => durable)).toHaveLength(200 - 10 - 64);
    expect(daemon.detached).toBe(64);
  });

  it('in the background waits for none', async () => {
    const daemon = slowDaemon();
    const { document } = await parallelExecute(of(daemon)).run({ commands: ['a', 'b'], background: true }, quiet());
    expect(document).toMatchObject({ succeeded: 0, failed: 0, unfinished: 2 });
    expect(daemon.specs.every(({ durable }) => durable)).toBe(true);
  });

  it('starts those first that took longest, and answers in the order given', async () => {
    const daemon = new FakeDaemon();
    const seconds = [1, null, 9, 4];
    const ask = daemon.call;
    daemon.call = ((method: string, params: never) =>
      method === 'estimate' ? Promise.resolve({ seconds }) : ask(method as 'status', params)) as typeof ask;
    const commands = ['one', 'unknown', 'nine', 'four'];
    const { document } = await parallelExecute(of(daemon)).run({ commands }, quiet());
    const started = daemon.specs.map(({ command }) => (command.kind === 'line' ? command.line : ''));
    expect(started).toEqual(['nine', 'unknown', 'four', 'one']);
    expect((document['results'] as { command: string }[]).map(({ command }) => command)).toEqual(commands);
  });

  it.each([
    ['now,fail=1', 1],
    ['soon,fail=3', 0],
  ])('is halted by %s', async (halt, ended) => {
    let open = 0;
    let cancelled = 0;
    const daemon: FakeDaemon = new FakeDaemon((spec) => {
      const line = spec.command.kind === 'line' ? spec.command.line : '';
      if (line === 'exit 1') return Promise.resolve({ ...ENDED, return_code: 1, success: false });
      open += 1;
      return new Promise((resolve) => {
        ends.push((run) => resolve(run));
      });
    });
    const ends: ((run: RunObject) => void)[] = [];
    const submit = daemon.submit.bind(daemon);
    daemon.submit = (spec, io) => {
      const handle = submit(spec, io);
      const end = ends.at(-1);
      const cancel = (): void => {
        cancelled += 1;
        end?.({ ...ENDED, reason: 'cancelled', success: false, return_code: 130 });
      };
      return { ...handle, cancel };
    };
    const commands = ['sleep 1', 'exit 1', 'exit 1', 'exit 1', ...Array.from({ length: 200 }, (_, at) => `late ${at}`)];
    const call = parallelExecute(of(daemon)).run({ commands, halt }, quiet());
    if (ended === 0) {
      await expect.poll(() => open).toBeGreaterThan(0);
      // Those that run go on to their end.
      for (const end of ends) end(ENDED);
    }
    const { document } = await call;
    expect(daemon.specs.length).toBeLessThanOrEqual(64 + 3);
    const results = document['results'] as Record<string, unknown>[];
    const last = results.at(-1);
    expect(last).toMatchObject({ return_code: null, reason: 'cancelled', error: { code: 'cancelled' } });
    expect(JSON.stringify(last)).toContain('not started');
    expect(cancelled > 0).toBe(ended === 1);
    expect(document['succeeded']).toBe(ended === 1 ? 0 : open);
  });

  it('starts as given where nobody knows how long anything takes', () => {
    expect(startOrder([null, null, null])).toEqual([0, 1, 2]);
    expect(startOrder([1, 2, null, 3])).toEqual([3, 1, 2, 0]);
    expect(startOrder([])).toEqual([]);
  });

  it('asks for estimates in questions that fit', async () => {
    const asked: number[] = [];
    const daemon = new FakeDaemon();
    daemon.call = ((_: string, { commands }: { commands: string[] }) => {
      asked.push(JSON.stringify(commands).length);
      return Promise.resolve({ seconds: commands.map(() => 1) });
    }) as FakeDaemon['call'];
    const commands = Array.from({ length: 2000 }, (_, at) => (at === 7 ? 7 : '\u0001'.repeat(4000)));
    expect(await estimates(daemon, '/', commands)).toHaveLength(2000);
    expect(Math.max(...asked)).toBeLessThan(900_000);
    expect(asked.length).toBeGreaterThan(10);
  });

  it('says why nothing could be run where the daemon is lost', async () => {
    const daemon = new FakeDaemon(() => Promise.reject(new MeshError('lost', 'gone')));
    expect(await parallelExecute(of(daemon)).run({ commands: ['a'] }, quiet())).toMatchObject({ isError: true });
  });
});
