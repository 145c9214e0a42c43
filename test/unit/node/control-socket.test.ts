import { connect, type Socket } from 'node:net';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { connectDaemon, type ApiClient } from '../../../src/node/api-client.ts';
import { serveControl, type ControlServer } from '../../../src/node/control-server.ts';
import type { JobEvent, RunObject, StatusReport } from '../../../src/wire/api.ts';
import { CHANNEL_CONTROL, encodeFramePrefix, FrameDecoder } from '../../../src/wire/framing.ts';
import { PROTOCOL_VERSION } from '../../../src/wire/version.ts';
import { FakeDaemon, JOB } from '../../fixtures/fake-daemon.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';
import { lineSpec } from '../../fixtures/plain-spec.ts';

const folder = temporaryFolders();
const SPEC = lineSpec('true');
const RESULT = { state: 'finished', return_code: 0 } as RunObject;

let daemon: FakeDaemon;
let path: string;
let control: ControlServer;
let clients: ApiClient[];
let sockets: Socket[];

beforeEach(async () => {
  daemon = new FakeDaemon();
  path = join(folder(), 'control.sock');
  control = await serveControl(path, '9.9.9', daemon.handlers, silentLogger);
  clients = [];
  sockets = [];
});
afterEach(async () => {
  for (const api of clients) api.close();
  for (const socket of sockets) socket.destroy();
  await control.close(false);
  vi.unstubAllEnvs();
});

async function client(): Promise<ApiClient> {
  const api = await connectDaemon(path, 'other');
  clients.push(api);
  return api;
}

/** A client that says what it likes. */
class RawClient {
  readonly received: unknown[] = [];
  readonly closed: Promise<unknown>;
  readonly #socket: Socket;

  constructor() {
    this.#socket = connect(path);
    sockets.push(this.#socket);
    const decoder = new FrameDecoder();
    this.#socket.on('data', (chunk: Buffer) => {
      const frames = decoder.push(chunk);
      if (typeof frames === 'string') throw new Error(frames);
      for (const { body } of frames) this.received.push(JSON.parse(Buffer.from(body).toString('utf8')));
    });
    this.#socket.on('error', () => undefined);
    // Not `once` of node:events: what the server had not read when it closed comes as an error first.
    this.closed = new Promise((resolve) => this.#socket.once('close', resolve));
  }

  text(text: string): this {
    const body = Buffer.from(text);
    this.#socket.write(Buffer.concat([encodeFramePrefix(CHANNEL_CONTROL, body.byteLength), body]));
    return this;
  }

  bytes(bytes: Uint8Array): this {
    this.#socket.write(bytes);
    return this;
  }

  send(message: object): this {
    return this.text(JSON.stringify(message));
  }

  hello(changes: object = {}): this {
    return this.send({ t: 'hello', protocol: PROTOCOL_VERSION, client: 'other', parent_job: null, ...changes });
  }

  request(id: number, method: string, params: unknown = {}): this {
    return this.send({ t: 'request', id, method, params });
  }

  /** The answer to a request. */
  answer(id: number): Promise<unknown> {
    const find = () =>
      this.received.find(
        (one) => (one as { t: string; id: number }).t === 'response' && (one as { id: number }).id === id,
      );
    return vi.waitFor(() => find() ?? Promise.reject(new Error(`no answer to ${id}`)), { timeout: 60_000 });
  }
}

const failed = (code: string) => expect.objectContaining({ ok: false, error: expect.objectContaining({ code }) });

describe('the control socket', () => {
  test("is the user's own, says who answers, and answers each method", async () => {
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const api = await client();
    expect(api.daemon).toEqual({ pid: process.pid, version: '9.9.9' });
    expect(await api.call('status', {})).toEqual({ mesh_id: 'm' });
    expect(await api.call('down', { drain: true })).toEqual({ jobs_ended: 1 });
    expect(await api.call('cancel', { job: JOB })).toMatchObject({ cancelled: false });
    await expect(api.call('settings', {})).rejects.toMatchObject({
      code: 'not_permitted',
      message: 'no settings today',
    });
    await expect(api.call('explain', { spec: SPEC })).rejects.toMatchObject({ code: 'internal' });
  });

  test('is not there without a daemon', async () => {
    await control.close(false);
    await expect(connectDaemon(path)).rejects.toMatchObject({ code: 'daemon_not_running' });
    await expect(connectDaemon(join(folder(), 'none', 'control.sock'))).rejects.toMatchObject({
      code: 'daemon_not_running',
    });
  });

  test('serves nothing to a client of another protocol, not even what it sent along', async () => {
    const raw = new RawClient().hello({ protocol: PROTOCOL_VERSION + 1 }).request(1, 'leave');
    await raw.closed;
    expect(raw.received.filter((one) => (one as { t: string }).t === 'response')).toEqual([]);
  });

  test.each([
    ['a request before its hello', (raw: RawClient) => raw.request(1, 'status')],
    ['malformed JSON', (raw: RawClient) => raw.hello().text('{"t":')],
    ['no message', (raw: RawClient) => raw.hello().text('null')],
    ['a hello that is none', (raw: RawClient) => raw.hello({ client: 'stranger' })],
    ['a frame beyond the bound', (raw: RawClient) => raw.hello().bytes(encodeFramePrefix(CHANNEL_CONTROL, 1 << 20))],
    ['a frame on no channel', (raw: RawClient) => raw.hello().bytes(new Uint8Array([0, 0, 0, 1, 9]))],
    ['a stream frame that is none', (raw: RawClient) => raw.hello().bytes(new Uint8Array([0, 0, 0, 2, 1, 7]))],
  ])('closes on %s, and goes on for others', async (_what, act) => {
    const raw = act(new RawClient());
    await raw.closed;
    expect(raw.received.filter((one) => (one as { ok?: boolean }).ok === true)).toEqual([]);
    expect(await (await client()).call('status', {})).toEqual({ mesh_id: 'm' });
  });

  test.each([
    ['an unknown method', 'destroy', {}],
    ['a missing parameter', 'down', {}],
    ['a parameter too many', 'status', { verbose: true }],
    ['a relative directory', 'explain', { spec: { ...SPEC, cwd: 'here' } }],
    ['an invitation for a month', 'invite', { ttl_ms: 30 * 86_400_000, admin: false }],
  ])('answers bad_argument to %s, and lives on', async (_what, method, params) => {
    const raw = new RawClient().hello().request(1, method, params).request(2, 'status');
    expect(await raw.answer(1)).toEqual(failed('bad_argument'));
    expect(await raw.answer(2)).toMatchObject({ ok: true });
  });

  test('bounds the open requests of one client, who can still cancel', async () => {
    const raw = new RawClient().hello();
    for (let id = 1; id <= 4097; id++) raw.request(id, 'invite', { ttl_ms: 60_000, admin: false });
    expect(await raw.answer(4097)).toEqual(failed('limit'));
    raw.request(5000, 'cancel', { job: JOB });
    expect(await raw.answer(5000)).toMatchObject({ ok: true, result: { cancelled: false } });
  });

  test('may be waited on by one client for very much at once, without a warning of a leak', async () => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const stops: (() => void)[] = [];
    daemon.handlers.wait = (_params, signal) =>
      new Promise((_resolve, reject) => {
        const stop = (): void => reject(new Error('gone'));
        stops.push(stop);
        signal.addEventListener('abort', stop);
      });
    const raw = new RawClient().hello();
    for (let id = 1; id <= 20; id++) raw.request(id, 'wait', { job: JOB, wait_ms: null });
    await vi.waitFor(() => expect(stops).toHaveLength(20), { timeout: 60_000 });
    expect(warned.mock.calls).toEqual([]);
    warned.mockRestore();
  });

  test('answers limit where the answer is larger than a frame, and lives on', async () => {
    const api = await client();
    daemon.statusReport = () => Promise.resolve({ mesh_id: 'x'.repeat(2 ** 20) } as StatusReport);
    await expect(api.call('status', {})).rejects.toMatchObject({ code: 'limit' });
    expect(await api.call('down', { drain: false })).toEqual({ jobs_ended: 0 });
  });

  test('lets a job of this node look, submit and follow what it submitted, but not steer', async () => {
    vi.stubEnv('MESHWORK_JOB_ID', JOB);
    daemon.running = JOB;
    const api = await client();
    expect(await api.call('status', {})).toEqual({ mesh_id: 'm' });
    for (const steering of ['leave', 'restart', 'settings'] as const) {
      await expect(api.call(steering, {})).rejects.toMatchObject({ code: 'not_permitted' });
    }
    await expect(api.call('jobs', { all: true })).rejects.toMatchObject({ code: 'not_permitted' });
    const io = { stdin: null, onStdout: () => undefined, onStderr: () => undefined };
    const nested = await api.submit(SPEC, io).job;
    expect(daemon.jobs[0]?.parent).toEqual({ job: JOB, depth: 1 });
    expect(await api.call('cancel', { job: nested })).toEqual({ cancelled: true, job: nested });
    for (const foreign of ['cancel', 'job'] as const) {
      await expect(api.call(foreign, { job: JOB })).rejects.toMatchObject({ code: 'not_permitted' });
    }
    daemon.depth = 3;
    await expect(api.submit(SPEC, io).result).rejects.toMatchObject({ code: 'nested_too_deep' });
    daemon.running = '';
    expect(await api.call('leave', {})).toMatchObject({ mesh_id: '' });
  });
});

describe('a submitted job', () => {
  const collect = () => {
    const chunks: Uint8Array[] = [];
    return { text: () => Buffer.concat(chunks).toString(), on: (bytes: Uint8Array) => void chunks.push(bytes.slice()) };
  };
  const submitted = (count = 1) => vi.waitFor(() => expect(daemon.jobs).toHaveLength(count), { timeout: 60_000 });

  test('delivers its bytes, its events, and then its result', async () => {
    const api = await client();
    const [stdout, stderr] = [collect(), collect()];
    const events: JobEvent[] = [];
    const stdin = new PassThrough();
    const spec = { ...SPEC, stdin: true };
    const job = api.submit(spec, {
      stdin,
      onStdout: stdout.on,
      onStderr: stderr.on,
      onEvent: (event) => void events.push(event),
    });
    await submitted();
    const [open] = daemon.jobs;
    const got: number[] = [];
    let stdinEnded = false;
    const input = open?.streams.mux.openIncoming(open.streams.stdin ?? 0, 0, {
      onData: (bytes) => {
        got.push(...bytes);
        input?.consumed(bytes.byteLength);
      },
      onEnd: () => {
        stdinEnded = true;
      },
      onAbort: () => undefined,
    });
    stdin.end('to the job');
    input?.grant(4);
    await vi.waitFor(() => expect(stdinEnded).toBe(true), { timeout: 60_000 });
    expect(Buffer.from(got).toString()).toBe('to the job');
    const outputs = daemon.outputs(0);
    outputs.stdout.write(Buffer.from('out'));
    outputs.stderr.write(Buffer.from('err'));
    open?.resolve(RESULT);
    outputs.stdout.write(Buffer.from('put'));
    outputs.stdout.end();
    outputs.stderr.end();
    expect(await job.result).toEqual(RESULT);
    expect([stdout.text(), stderr.text()]).toEqual(['output', 'err']);
    expect(events).toEqual([{ kind: 'accepted', job: open?.job }]);
  });

  test('is cancelled when its client goes away, and only then', async () => {
    const api = await client();
    api
      .submit(SPEC, { stdin: null, onStdout: () => undefined, onStderr: () => undefined })
      .result.catch(() => undefined);
    await submitted();
    await (await client()).call('status', {});
    expect(daemon.cancelled).toEqual([]);
    api.close();
    await vi.waitFor(() => expect(daemon.cancelled).toEqual([daemon.jobs[0]?.job]), { timeout: 60_000 });
  });

  test('is cancelled once, also where that was asked before it was accepted', async () => {
    const api = await client();
    const job = api.submit(SPEC, { stdin: null, onStdout: () => undefined, onStderr: () => undefined });
    job.cancel();
    job.cancel();
    await vi.waitFor(() => expect(daemon.cancelled).toHaveLength(1), { timeout: 60_000 });
    const outputs = daemon.outputs(0);
    outputs.stdout.end();
    outputs.stderr.end();
    daemon.jobs[0]?.resolve({ ...RESULT, reason: 'cancelled' });
    expect(await job.result).toMatchObject({ reason: 'cancelled' });
  });

  test.each([
    [
      'throws',
      () => {
        throw new Error('disk full');
      },
    ],
    ['rejects', () => Promise.reject(new Error('disk full'))],
  ])('ends where its output handler %s, and says so', async (_what, onStdout) => {
    const api = await client();
    const job = api.submit(SPEC, { stdin: null, onStdout, onStderr: () => undefined });
    const settled = expect(job.result).rejects.toThrow('disk full');
    await submitted();
    const outputs = daemon.outputs(0);
    outputs.stdout.write(Buffer.from('a'));
    outputs.stdout.write(Buffer.from('b'));
    await vi.waitFor(() => expect(daemon.cancelled).toHaveLength(1), { timeout: 60_000 });
    outputs.stdout.end();
    outputs.stderr.end();
    daemon.jobs[0]?.resolve(RESULT);
    await settled;
    expect(await api.call('status', {})).toEqual({ mesh_id: 'm' });
  });

  test('is refused where it is larger than a frame, or names streams in use', async () => {
    const api = await client();
    const argv = Array.from({ length: 20 }, () => 'x'.repeat(100_000));
    const huge = api.submit(
      { ...SPEC, command: { kind: 'argv', argv } },
      { stdin: null, onStdout: () => undefined, onStderr: () => undefined },
    );
    await expect(huge.result).rejects.toMatchObject({ code: 'bad_argument' });
    const raw = new RawClient().hello();
    const streams = { stdin: null, stdout: 1, stderr: 1 };
    raw.request(1, 'submit', { spec: SPEC, streams, window_bytes: 1000 });
    expect(await raw.answer(1)).toEqual(failed('limit'));
    raw.request(2, 'submit', { spec: SPEC, streams: { ...streams, stderr: 3 }, window_bytes: 1000 });
    await submitted();
    daemon.outputs(0);
    raw.request(3, 'submit', { spec: SPEC, streams: { ...streams, stderr: 5 }, window_bytes: 1000 });
    expect(await raw.answer(3)).toEqual(failed('limit'));
    expect(daemon.jobs).toHaveLength(1);
  });

  test('rejects with lost where the daemon goes down, and later submissions too', async () => {
    const api = await client();
    const stdin = new PassThrough();
    const io = { stdin, onStdout: () => undefined, onStderr: () => undefined };
    const job = api.submit(SPEC, io);
    await submitted();
    const settled = expect(job.result).rejects.toMatchObject({ code: 'lost' });
    await control.close(false);
    await settled;
    await api.whenClosed;
    await expect(api.submit(SPEC, { ...io, stdin: new PassThrough() }).result).rejects.toMatchObject({ code: 'lost' });
    await expect(api.call('status', {})).rejects.toMatchObject({ code: 'lost' });
  });
});
