import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { MeshError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { connectDaemon, type ApiClient, type JobIo, type LogsRequest } from '../../../src/node/api-client.ts';
import { serveControl, type ControlServer } from '../../../src/node/control-server.ts';
import type { JobEvent, RunObject } from '../../../src/wire/api.ts';
import { FakeDaemon, JOB } from '../../fixtures/fake-daemon.ts';
import { ended, jobRecord } from '../../fixtures/job-record.ts';
import { lineSpec } from '../../fixtures/plain-spec.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();
const SPEC = lineSpec('make');
const RESULT = { state: 'finished', return_code: 0 } as RunObject;

let path: string;
let daemon: FakeDaemon;
let control: ControlServer;
let api: ApiClient;

beforeEach(async () => {
  path = join(folder(), 'control.sock');
  await up();
  api = await connectDaemon(path);
});
afterEach(async () => {
  api.close();
  await control.close(false);
});

async function up(): Promise<void> {
  daemon = new FakeDaemon();
  control = await serveControl(path, '1.0.0', daemon.handlers, silentLogger);
}

/** Another daemon takes this one's place. */
async function restart(): Promise<FakeDaemon> {
  const before = daemon;
  await control.close(true);
  await up();
  return before;
}

function collect() {
  const got = { stdout: '', stderr: '' };
  const events: JobEvent[] = [];
  const io: JobIo = {
    stdin: null,
    onStdout: (bytes) => void (got.stdout += Buffer.from(bytes).toString()),
    onStderr: (bytes) => void (got.stderr += Buffer.from(bytes).toString()),
    onEvent: (event) => void events.push(event),
  };
  return { got, events, io };
}

const jobsAsked = (count = 1) => vi.waitFor(() => expect(daemon.jobs).toHaveLength(count), { timeout: 60_000 });
const logsAsked = (count = 1) => vi.waitFor(() => expect(daemon.logs).toHaveLength(count), { timeout: 60_000 });

describe('a job under way when its daemon is restarted', () => {
  test('is attached to again, and every byte comes once', async () => {
    const { got, events, io } = collect();
    const job = api.submit(SPEC, io);
    await jobsAsked();
    const first = daemon.outputs(0);
    first.stdout.write(Buffer.from('before '));
    first.stderr.write(Buffer.from('e'));
    await vi.waitFor(() => expect(got).toEqual({ stdout: 'before ', stderr: 'e' }), { timeout: 60_000 });
    const id = await job.job;
    await restart();
    await jobsAsked();
    expect(daemon.jobs[0]).toMatchObject({ job: id, attached: { stdout_offset: 7, stderr_offset: 1 } });
    const second = daemon.outputs(0);
    second.stdout.write(Buffer.from('after'));
    daemon.jobs[0]?.resolve(RESULT);
    second.stdout.end();
    second.stderr.end();
    expect(await job.result).toEqual(RESULT);
    expect(got).toEqual({ stdout: 'before after', stderr: 'e' });
    expect(events.filter(({ kind }) => kind === 'accepted')).toHaveLength(1);
    expect(events.some((event) => event.kind === 'state' && event.detail.includes('went away'))).toBe(true);
  });

  test('shares one new connection with the others, and with what is asked meanwhile', async () => {
    const jobs = [api.submit(SPEC, collect().io), api.submit(SPEC, collect().io)];
    await jobsAsked(2);
    const pending = jobs.map(({ result }) => result);
    await restart();
    const status = api.call('status', {});
    await jobsAsked(2);
    expect(await status).toEqual({ mesh_id: 'm' });
    for (const index of [0, 1]) {
      const { stdout, stderr } = daemon.outputs(index);
      stdout.end();
      stderr.end();
      daemon.jobs[index]?.resolve(RESULT);
    }
    expect(await Promise.all(pending)).toEqual([RESULT, RESULT]);
    expect(api.closed).toBe(false);
  });

  test('is cancelled at the next daemon', async () => {
    const job = api.submit(SPEC, collect().io);
    await jobsAsked();
    const id = await job.job;
    await restart();
    await jobsAsked();
    job.cancel();
    // Maybe once more with the answer to its submission, if that was under way.
    await vi.waitFor(() => expect(new Set(daemon.cancelled)).toEqual(new Set([id])), { timeout: 60_000 });
    const { stdout, stderr } = daemon.outputs(0);
    stdout.end();
    stderr.end();
    daemon.jobs[0]?.resolve({ ...RESULT, reason: 'cancelled' });
    expect(await job.result).toMatchObject({ reason: 'cancelled' });
  });

  test('is lost where part of its stdin was still to come', async () => {
    const stdin = new PassThrough();
    const job = api.submit({ ...SPEC, stdin: true }, { ...collect().io, stdin });
    const settled = expect(job.result).rejects.toMatchObject({
      code: 'lost',
      message: expect.stringMatching(/being given its stdin.*meshwork logs/) as string,
    });
    await jobsAsked();
    stdin.write('half');
    await job.job;
    await restart();
    await settled;
  });

  test('is lost where the daemon does not know it any more', async () => {
    const job = api.submit(SPEC, collect().io);
    const settled = expect(job.result).rejects.toMatchObject({ code: 'lost', message: 'gone' });
    await jobsAsked();
    await restart();
    await jobsAsked();
    daemon.jobs[0]?.reject(new MeshError('lost', 'gone'));
    await settled;
  });

  test('is lost at once where its end is asked for while the daemon is away', async () => {
    const job = api.submit(SPEC, collect().io);
    const settled = expect(job.result).rejects.toMatchObject({
      code: 'lost',
      message: expect.stringMatching(/its end was asked for meanwhile/) as string,
    });
    await jobsAsked();
    await job.job;
    await control.close(true);
    await api.whenClosed;
    job.cancel();
    await settled;
    await up();
  });

  test('is lost at once where the daemon goes down for good', async () => {
    const job = api.submit(SPEC, collect().io);
    const settled = expect(job.result).rejects.toMatchObject({ code: 'lost' });
    await jobsAsked();
    await job.job;
    await control.close(false);
    await settled;
    expect(api.closed).toBe(true);
    await up();
  });
});

describe('a job that runs', () => {
  test('is let go of, and resized, also before it was accepted', async () => {
    const job = api.submit(SPEC, collect().io);
    job.resize({ columns: 80, rows: 24 });
    const detached = job.detach();
    expect(await detached).toBe(true);
    expect(daemon.resized).toEqual([{ job: daemon.jobs[0]?.job, size: { columns: 80, rows: 24 } }]);
    const { stdout, stderr } = daemon.outputs(0);
    stdout.end();
    stderr.end();
    daemon.jobs[0]?.resolve({ ...RESULT, state: 'running' });
    expect(await job.result).toMatchObject({ state: 'running' });
  });
});

test('who waits for the end of a job waits on at the next daemon', async () => {
  const waited = api.call('wait', { job: JOB, wait_ms: null });
  await vi.waitFor(() => expect(daemon.waits).toHaveLength(1), { timeout: 60_000 });
  await restart();
  await vi.waitFor(() => expect(daemon.waits).toHaveLength(1), { timeout: 60_000 });
  daemon.waits[0]?.(jobRecord(ended));
  expect(await waited).toMatchObject({ state: 'finished' });
});

describe('logs', () => {
  const PLAIN: LogsRequest = { job: JOB, stream: 'stdout', offset: 0, follow: true };
  const answer = { from: 0, next_offset: 0, ended: true, job: JOB, attempt: 1, run_again: null };
  const read = (changes: Partial<LogsRequest> = {}, signal?: AbortSignal) => {
    const told: string[] = [];
    let text = '';
    const done = api.logs(
      { ...PLAIN, ...changes },
      {
        onBytes: (bytes) => void (text += Buffer.from(bytes).toString()),
        onGap: (from, to) => void told.push(`gap ${from}-${to}`),
        onAttempt: (attempt) => void told.push(`attempt ${attempt}`),
        ...(signal === undefined ? {} : { signal }),
      },
    );
    return { done, told, text: () => text };
  };

  test('go on where they were after the daemon was restarted', async () => {
    const { done, text } = read();
    await logsAsked();
    daemon.logs[0]?.stream.write(Buffer.from('0123'));
    await vi.waitFor(() => expect(text()).toBe('0123'), { timeout: 60_000 });
    await restart();
    await logsAsked();
    expect(daemon.logs[0]?.params).toMatchObject({ offset: 4, follow: true });
    daemon.logs[0]?.stream.write(Buffer.from('456'));
    daemon.logs[0]?.stream.end();
    daemon.logs[0]?.resolve({ ...answer, from: 4, next_offset: 7 });
    expect(await done).toEqual({ ...answer, next_offset: 7 });
    expect(text()).toBe('0123456');
  });

  test('tell of gaps and go on behind them', async () => {
    const { done, told, text } = read({ follow: false });
    const serve = async (index: number, bytes: string, end: Partial<typeof answer>): Promise<void> => {
      await logsAsked(index + 1);
      const asked = daemon.logs[index];
      asked?.stream.write(Buffer.from(bytes));
      asked?.stream.end();
      asked?.resolve({ ...answer, ...end });
    };
    await serve(0, 'head', { next_offset: 100, ended: false });
    await serve(1, '', { from: 150, next_offset: 150, ended: false });
    await serve(2, 'tail', { from: 150, next_offset: 154 });
    expect(await done).toEqual({ ...answer, next_offset: 154 });
    expect(daemon.logs.map(({ params }) => params.offset)).toEqual([0, 100, 150]);
    expect([told, text()]).toEqual([['gap 4-100', 'gap 100-150'], 'headtail']);
  });

  test('end where a node tells of gaps without end and of nothing else', async () => {
    const { done, told } = read({ follow: false });
    const failure = expect(done).rejects.toMatchObject({
      code: 'io',
      message: expect.stringMatching(/gaps and nothing else/) as string,
    });
    for (let index = 0; index < 65; index++) {
      await logsAsked(index + 1);
      daemon.logs[index]?.stream.end();
      daemon.logs[index]?.resolve({ ...answer, from: index + 1, next_offset: index + 1, ended: false });
    }
    await failure;
    expect(told).toHaveLength(65);
  });

  test('go on with the newest attempt of a job that is run again', async () => {
    const { done, told } = read();
    await logsAsked();
    daemon.logs[0]?.stream.end();
    daemon.logs[0]?.resolve({ ...answer, ended: false, run_again: 2 } as never);
    await logsAsked(2);
    expect(daemon.logs[1]?.params).toMatchObject({ attempt: 2, offset: 0 });
    daemon.logs[1]?.stream.end();
    daemon.logs[1]?.resolve({ ...answer, attempt: 2 });
    expect(await done).toMatchObject({ attempt: 2, ended: true });
    expect(told).toEqual(['attempt 2']);
  });

  test('are stopped, and say how far they came', async () => {
    const stop = new AbortController();
    const { done, text } = read({ offset: 10 }, stop.signal);
    await logsAsked();
    daemon.logs[0]?.stream.write(Buffer.from('abc'));
    await vi.waitFor(() => expect(text()).toBe('abc'), { timeout: 60_000 });
    stop.abort();
    await vi.waitFor(() => expect(daemon.logs[0]?.stream.closed).toBe(true), { timeout: 60_000 });
    daemon.logs[0]?.resolve({ ...answer, from: 10, next_offset: 13, ended: false });
    expect(await done).toEqual({ ...answer, from: 10, next_offset: 13, ended: false });
  });
});
