import { afterEach, describe, expect, it, vi } from 'vitest';
import { CALLS_OPEN_MAX, WorkspaceThread } from '../../../../src/adapters/workspace/workspace-thread.ts';
import { detachable } from '../../../../src/adapters/workspace/thread-messages.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import type { ManifestHash } from '../../../../src/wire/manifest.ts';

/** A thread that answers as `code` says; `reply(value)` and `message` are there. */
const threadOf = (code: string): URL =>
  new URL(
    `data:text/javascript,${encodeURIComponent(`
      import { parentPort, threadId } from 'node:worker_threads';
      parentPort.on('message', (message) => {
        if (message.t === 'stop') process.exit(0);
        const reply = (value) => parentPort.postMessage({ t: 'done', id: message.id, value });
        ${code}
      });`)}`,
  );

const started: WorkspaceThread[] = [];
function threadWith(code: string, idleMs?: number): WorkspaceThread {
  const thread = new WorkspaceThread({
    workerUrl: threadOf(code),
    folder: '/nowhere',
    home: '/nowhere',
    env: {},
    user: null,
    heapMb: 32,
    log: silentLogger,
    ...(idleMs === undefined ? {} : { idleMs }),
  });
  started.push(thread);
  return thread;
}

const IDLE_MS = 1000;
const HASH = 'a'.repeat(64) as ManifestHash;

describe('WorkspaceThread', () => {
  afterEach(async () => {
    vi.useRealTimers();
    await Promise.all(started.splice(0).map(async (thread) => thread.stop()));
  });

  it('carries arguments, values and byte arrays, and leaves the caller its bytes', async () => {
    const thread = threadWith(`reply({ ok: true, value: message.args })`);
    const big = new Uint8Array(1000).map((_, index) => index);
    const slice = big.subarray(10, 20);
    const answer: unknown = await thread.takeManifest('here', slice);
    expect(answer).toEqual({ ok: true, value: ['here', slice] });
    expect(slice.length).toBe(10);
  });

  it('hands a pack over with all of its memory, and memory back, without a copy', async () => {
    const thread = threadWith(`reply({ ok: true, value: [message.args[1], message.args[1].buffer?.byteLength] })`);
    const pack = new Uint8Array(new ArrayBuffer(1000), 0, 10).fill(7);
    const answer: unknown = await thread.takePack('here', pack);
    expect(answer).toEqual({ ok: true, value: [new Uint8Array(10).fill(7), 1000] });
    expect(pack.buffer.byteLength).toBe(0);
    const spent = new ArrayBuffer(500);
    await thread.nextPack(1, spent);
    expect(spent.byteLength).toBe(0);
  });

  it('tells progress by the function that was given', async () => {
    const thread = threadWith(
      `for (const value of [1, 2, 3]) parentPort.postMessage({ t: 'progress', id: message.id, value }); reply(message.args)`,
    );
    const told: number[] = [];
    expect(await thread.place('here', (files) => told.push(files))).toEqual(['here', null]);
    expect(told).toEqual([1, 2, 3]);
  });

  it('rejects with the code and the text of the thread', async () => {
    const thread = threadWith(
      `parentPort.postMessage({ t: 'failed', id: message.id, code: 'io', message: 'disk trouble' })`,
    );
    await expect(thread.list()).rejects.toMatchObject({ name: 'MeshError', code: 'io', message: 'disk trouble' });
  });

  it.each([
    ['exits', 'process.exit(7)', 'code 7'],
    ['throws', `throw new Error('a fault')`, 'a fault'],
    ['eats memory', `const all = []; for (;;) all.push(new Array(1e6).fill(message));`, 'memory'],
  ])('rejects what is open where the thread %s, and starts another at the next call', async (_, fault, text) => {
    const thread = threadWith(
      `if (message.op === 'close') { ${fault} } else if (message.op === 'readNote') reply('x')`,
    );
    const open = thread.list();
    const closing = thread.close('here');
    await expect(closing).rejects.toMatchObject({ code: 'internal', message: expect.stringContaining(text) });
    await expect(open).rejects.toMatchObject({ code: 'internal' });
    expect(await thread.readNote('here', 'a')).toBe('x');
  });

  it('ends when idle, not while a source of packs is open, and starts again', async () => {
    // Of the timers alone: when the thread's own has fired is no question of how fast this machine is.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const thread = threadWith(`reply(threadId)`, IDLE_MS);
    const id = async (): Promise<unknown> => thread.cost(HASH, null);
    const first = await id();
    vi.advanceTimersByTime(IDLE_MS);
    expect(await id()).not.toBe(first);
    const source = await thread.openPacks({ root: '/', key: '', kind: 'plain' }, HASH, new Uint8Array());
    for (let round = 0; round < 3; round++) {
      vi.advanceTimersByTime(2 * IDLE_MS);
      expect(await id()).toBe(source);
    }
    await thread.closePacks(source ?? 0);
    vi.advanceTimersByTime(IDLE_MS);
    expect(await id()).not.toBe(source);
  });

  it('bounds the calls that are open', async () => {
    const thread = threadWith('');
    const open = Array.from({ length: CALLS_OPEN_MAX }, async () => thread.close('here').catch(() => 'rejected'));
    await expect(thread.close('one more')).rejects.toMatchObject({ code: 'limit' });
    await thread.stop();
    expect(new Set(await Promise.all(open))).toEqual(new Set(['rejected']));
  });

  it('stops: what is open rejects, and nothing more is taken', async () => {
    const thread = threadWith('');
    const open = expect(thread.list()).rejects.toMatchObject({ code: 'internal' });
    await thread.stop();
    await open;
    await expect(thread.list()).rejects.toMatchObject({ code: 'internal' });
    await thread.stop();
  });
});

describe('detachable', () => {
  it('copies slices, and takes whole buffers where they are given away', () => {
    const whole = new Uint8Array([1, 2, 3]);
    const transfer: ArrayBuffer[] = [];
    const value = detachable({ ok: true, value: { want: whole, part: whole.subarray(1) } }, transfer, true);
    expect(value).toEqual({ ok: true, value: { want: whole, part: new Uint8Array([2, 3]) } });
    expect(transfer[0]).toBe(whole.buffer);
    expect(transfer).toHaveLength(2);
  });
});
