import { describe, expect, test } from 'vitest';
import type { JobId } from '../../../src/base/ids.ts';
import { MemoryJournalFile } from '../../fixtures/memory-journal.ts';
import { numbered } from '../wire/joined-muxes.ts';
import { LOAD } from '../core/scheduling/nodes.ts';
import { OriginRig, peek, specOf } from './origin-rig.ts';

const bytesOf = (numbers: readonly number[]): Uint8Array => Uint8Array.from(numbers);

function submitTo(rig: OriginRig, spec = specOf()) {
  const front = rig.front(spec.stdin);
  const events: string[] = [];
  const { job, result } = rig.service.submit(spec, front.streams, (event) => events.push(event.kind));
  return { front, job, result, events };
}

/** The daemon dies: its links and clients are gone, what it wrote is there. */
function successor(file: MemoryJournalFile, rig: OriginRig, options = {}): OriginRig {
  file.crash();
  rig.link = null;
  return new OriginRig(file, { linked: false, ...options });
}

describe('a foreground job', () => {
  test('runs, is told, kept and acknowledged', async () => {
    const rig = new OriginRig(new MemoryJournalFile());
    const { front, job, result } = submitTo(rig);
    const { stdout, stderr } = await rig.run(job);
    stdout?.write(numbered(0, 1000));
    stdout?.end();
    stderr?.end();
    expect(rig.service.record(job)).toMatchObject({ state: 'running', executed_on: 'beta', attempt: 1 });
    rig.end(job, { stdout_bytes: 1000 });
    await rig.settle();
    expect(await result).toMatchObject({ state: 'finished', return_code: 3, stdout_bytes: 1000, truncated: false });
    expect(bytesOf(front.stdout)).toEqual(numbered(0, 1000));
    expect(front.ends).toEqual(['stdout', 'stderr']);
    expect(rig.count('job.ack')).toBe(1);
    expect(rig.finished).toEqual([job]);
    expect(rig.service.record(job)).toMatchObject({ state: 'finished', return_code: 3, background: false });
    expect(rig.service.cancel(job)).toBe(false);
    // It did not hear that: it is told again.
    rig.end(job, { stdout_bytes: 1000 });
    expect(rig.count('job.ack')).toBe(2);
    expect(rig.faults).toEqual([]);
  });

  test('is acknowledged again over the next link: the acknowledgement may be lost with this one', async () => {
    const rig = new OriginRig(new MemoryJournalFile());
    const { job, result } = submitTo(rig);
    const { stdout, stderr } = await rig.run(job);
    stdout?.end();
    stderr?.end();
    rig.end(job);
    await rig.settle();
    await result;
    expect(rig.count('job.ack')).toBe(1);
    for (const count of [2, 3]) {
      rig.cut();
      rig.heal();
      expect(rig.count('job.ack')).toBe(count);
      expect(rig.last('job.ack')).toMatchObject({ job, attempt: 1 });
    }
  });

  test('goes on over a new link, byte for byte', async () => {
    const rig = new OriginRig(new MemoryJournalFile());
    const { front, job, result } = submitTo(rig, specOf({ stdin: true }));
    front.stdin?.write(numbered(0, 100_000));
    const first = await rig.run(job);
    const taken = rig.stdinAt(rig.last('job.start').streams?.stdin);
    first.stdout?.write(numbered(0, 5000));
    await rig.settle();
    expect(taken.bytes).toHaveLength(100_000);
    rig.cut();
    expect(rig.service.record(job)?.detail).toContain('out of reach');
    front.stdin?.write(numbered(100_000, 50_000));
    front.stdin?.end();
    await rig.settle();
    expect(await peek(result)).toBeNull();
    rig.heal();
    await rig.settle();
    const attach = rig.last('job.attach');
    expect(attach).toMatchObject({ attempt: 1, instance: 'i', stdout_offset: 5000, stderr_offset: 0 });
    const second = rig.outputs(attach);
    const rest = rig.stdinAt(attach.streams?.stdin);
    // Some of what was sent did not get through.
    rig.attached(job, 60_000);
    second.stdout?.write(numbered(5000, 5000));
    second.stdout?.end();
    second.stderr?.end();
    await rig.settle();
    expect(bytesOf(rest.bytes)).toEqual(numbered(60_000, 90_000));
    expect(rest.ended).toBe(true);
    rig.end(job, { stdout_bytes: 10_000 });
    await rig.settle();
    expect(await result).toMatchObject({ return_code: 3, attempts: 1, truncated: false, notices: [] });
    expect(bytesOf(front.stdout)).toEqual(numbered(0, 10_000));
    expect(rig.faults).toEqual([]);
  });

  test('is not over while its last bytes are lost with the link', async () => {
    const rig = new OriginRig(new MemoryJournalFile());
    const { front, job, result } = submitTo(rig);
    const { stdout } = await rig.run(job);
    stdout?.write(numbered(0, 10));
    await rig.settle();
    rig.end(job, { stdout_bytes: 20 });
    rig.cut();
    await rig.settle();
    expect(await peek(result)).toBeNull();
    rig.heal();
    await rig.settle();
    const { stdout: again, stderr } = rig.outputs(rig.last('job.attach'));
    rig.attached(job, 0, false);
    again?.write(numbered(10, 10));
    again?.end();
    stderr?.end();
    rig.end(job, { stdout_bytes: 20 });
    await rig.settle();
    expect(await result).toMatchObject({ return_code: 3, notices: [] });
    expect(bytesOf(front.stdout)).toEqual(numbered(0, 20));
  });

  test('is lost where what is missing of its stdin is gone', async () => {
    const rig = new OriginRig(new MemoryJournalFile());
    const { front, job, result } = submitTo(rig, specOf({ stdin: true }));
    await rig.run(job);
    front.stdin?.write(numbered(0, 10));
    await rig.settle();
    rig.cut();
    rig.heal();
    await rig.settle();
    rig.attached(job, 11);
    expect(rig.count('job.cancel')).toBe(1);
    rig.outputs(rig.last('job.attach')).stdout?.end();
    rig.end(job, {}, { kind: 'cancelled', code: null, signal: 'SIGTERM' });
    rig.cut();
    rig.heal();
    await rig.settle();
    rig.attached(job, 0, false);
    const { stdout, stderr } = rig.outputs(rig.last('job.attach'));
    stdout?.end();
    stderr?.end();
    rig.end(job, {}, { kind: 'cancelled', code: null, signal: 'SIGTERM' });
    await rig.settle();
    expect(await result).toMatchObject({ reason: 'lost', error: { message: expect.stringContaining('stdin') } });
  });

  test('runs although the journal cannot be written', async () => {
    const file = new MemoryJournalFile();
    const rig = new OriginRig(file);
    file.full = true;
    const { job, result } = submitTo(rig);
    const { stdout, stderr } = await rig.run(job);
    stdout?.end();
    stderr?.end();
    expect(rig.service.notices.join()).toContain('not written to this node');
    file.full = false;
    rig.end(job);
    await rig.settle();
    expect(await result).toMatchObject({ return_code: 3 });
    expect(rig.warnings).toHaveLength(1);
    expect(rig.service.notices).toEqual([]);
    expect(successor(file, rig).service.record(job)).toMatchObject({ return_code: 3 });
  });
});

describe('a durable job', () => {
  test('is answered once it is on the disk and a node takes it, and goes on', async () => {
    const file = new MemoryJournalFile();
    const rig = new OriginRig(file);
    const { front, job, result } = submitTo(rig, specOf({ durable: true }));
    await rig.settle();
    expect(await peek(result)).toBeNull();
    await rig.run(job);
    expect(await result).toMatchObject({
      state: 'preparing',
      return_code: null,
      success: null,
      reason: null,
      job_id: job,
    });
    expect((await result).next).toContain(job);
    expect(front.ends).toEqual(['stdout', 'stderr']);
    expect(rig.last('job.start')).toMatchObject({ streams: null, spec: { durable: true } });
    expect(file.unsyncedBytes).toBe(0);
    const waiting = rig.service.wait(job, 60_000);
    rig.end(job, { stdout_bytes: 7 });
    expect(await waiting).toMatchObject({ state: 'finished', stdout_bytes: 7, truncated: false, background: true });
    await rig.settle();
    expect(rig.count('job.ack')).toBe(1);
  });

  test('that no node can take is refused in the answer', async () => {
    const rig = new OriginRig(new MemoryJournalFile());
    const { result } = submitTo(rig, specOf({ durable: true, target: { kind: 'node', node: 'nobody' } }));
    await rig.settle();
    expect(await result).toMatchObject({ state: 'finished', reason: 'refused', error: { code: 'unknown_node' } });
  });

  test('that the node which was asked refuses for good is refused in the answer', async () => {
    const rig = new OriginRig(new MemoryJournalFile());
    const { job, result } = submitTo(rig, specOf({ durable: true }));
    await rig.settle();
    const reasons = [{ code: 'cwd_missing' as const, text: 'has no /work' }];
    rig.receive({ t: 'job.refused', job, attempt: 1, full: false, reasons, load: LOAD });
    expect(await result).toMatchObject({
      state: 'finished',
      reason: 'refused',
      error: { code: 'cwd_missing', message: expect.stringContaining('has no /work') },
    });
  });

  test('is answered with its id where it has to wait for a slot, or for an answer', async () => {
    const rig = new OriginRig(new MemoryJournalFile());
    const full = submitTo(rig, specOf({ durable: true }));
    await rig.settle();
    rig.receive({ t: 'job.refused', job: full.job, attempt: 1, full: true, reasons: [], load: LOAD });
    expect(await full.result).toMatchObject({ state: 'queued', reason: null, job_id: full.job });
    const silent = submitTo(new OriginRig(new MemoryJournalFile()), specOf({ durable: true }));
    expect(await silent.result).toMatchObject({ state: 'queued', reason: null, job_id: silent.job });
  });

  test('is not taken where the disk is full', async () => {
    const file = new MemoryJournalFile();
    const rig = new OriginRig(file);
    file.full = true;
    const { result } = submitTo(rig, specOf({ durable: true }));
    await rig.settle();
    expect(await result).toMatchObject({ reason: 'refused', error: { code: 'io' } });
    expect(rig.sent).toEqual([]);
  });

  test('has no stdin', () => {
    const rig = new OriginRig(new MemoryJournalFile());
    expect(() => submitTo(rig, specOf({ durable: true, stdin: true }))).toThrow(/stdin/);
  });

  test('is followed through a restart of the daemon, late results too', async () => {
    const file = new MemoryJournalFile();
    const rig = new OriginRig(file);
    const { job } = submitTo(rig, specOf({ durable: true }));
    await rig.run(job);
    const next = successor(file, rig);
    next.service.restore();
    await next.settle();
    expect(next.service.record(job)).toMatchObject({ state: 'running', executed_on: 'beta', attempt: 1 });
    next.heal();
    await next.settle();
    expect(next.last('job.attach')).toMatchObject({ job, attempt: 1, streams: null, instance: 'i' });
    next.receive({ t: 'job.gone', job, attempt: 1, instance: 'j', kind: 'unknown', message: 'who?' });
    expect(next.service.record(job)).toMatchObject({ state: 'finished', reason: 'unknown', late: false });
    const third = successor(file, next);
    third.service.restore();
    third.heal();
    await third.settle();
    expect(third.last('job.attach')).toMatchObject({ job, attempt: 1, streams: null });
    third.attached(job, 0, false);
    third.end(job, { stdout_bytes: 9 });
    expect(third.service.record(job)).toMatchObject({ reason: 'exited', return_code: 3, late: true, error: null });
    await third.settle();
    expect(third.count('job.ack')).toBe(1);
    expect(third.book.loose).toEqual([]);
  });

  test('that waited is placed by the next daemon', async () => {
    const file = new MemoryJournalFile();
    const rig = new OriginRig(file, { linked: false });
    rig.heal();
    const { job } = submitTo(rig, specOf({ durable: true }));
    await rig.settle();
    const next = successor(file, rig);
    next.heal();
    next.service.restore();
    await next.run(job);
    next.end(job);
    expect(next.service.record(job)).toMatchObject({ state: 'finished', return_code: 3 });
  });
});

describe('a job that is cancelled while its project is looked through', () => {
  test.each([false, true])('has ended at once, and is not placed afterwards (durable: %s)', async (durable) => {
    let done = (): void => undefined;
    const preparing = (): Promise<void> =>
      new Promise((resolve) => {
        done = resolve;
      });
    const rig = new OriginRig(new MemoryJournalFile(), { preparing });
    const { job, result } = submitTo(rig, specOf({ durable }));
    await rig.settle();
    expect(rig.service.record(job)).toMatchObject({ state: 'preparing' });
    expect(rig.service.cancel(job)).toBe(true);
    await rig.settle();
    expect(await peek(result)).toMatchObject({ state: 'finished', reason: 'cancelled', attempts: 0 });
    done();
    await rig.settle();
    expect(rig.sent).toEqual([]);
    expect(rig.finished).toEqual([job]);
    expect(rig.service.record(job)).toMatchObject({ state: 'finished', reason: 'cancelled' });
    expect(rig.faults).toEqual([]);
  });
});

describe('a client that detaches', () => {
  test('gets an unfinished answer; the executor is told and nothing is aborted', async () => {
    const file = new MemoryJournalFile();
    const rig = new OriginRig(file);
    const { front, job, result } = submitTo(rig);
    const { stdout } = await rig.run(job);
    stdout?.write(numbered(0, 10));
    await rig.settle();
    expect(await rig.service.detach(job)).toBe(true);
    await rig.settle();
    expect(await result).toMatchObject({ state: 'running', executed_on: 'beta', reason: null });
    expect(rig.last('job.detach')).toMatchObject({ job, attempt: 1 });
    expect(stdout?.closed).toBe(false);
    expect(front.ends).toEqual(['stdout', 'stderr']);
    const next = successor(file, rig);
    next.heal();
    next.service.restore();
    await next.settle();
    expect(next.last('job.attach').streams).toBeNull();
    next.attached(job);
    next.end(job, { stdout_bytes: 50 });
    expect(next.service.record(job)).toMatchObject({ return_code: 3, background: true, notices: [] });
  });

  test('of an unknown job is told so', async () => {
    expect(await new OriginRig(new MemoryJournalFile()).service.detach('01ARZ3NDEKTSV4RRFFQ69G5FAV' as JobId)).toBe(
      false,
    );
  });
});

describe('a foreground job of an earlier daemon', () => {
  async function running(spec = specOf()) {
    const file = new MemoryJournalFile();
    const rig = new OriginRig(file);
    const { front, job } = submitTo(rig, spec);
    const { stdout } = await rig.run(job);
    stdout?.write(numbered(0, 100));
    await rig.settle();
    return { file, rig, front, job };
  }

  test('goes on for its client that came back', async () => {
    const { file, rig, job } = await running();
    const next = successor(file, rig);
    next.heal();
    next.service.restore();
    await next.settle();
    expect(next.sent).toEqual([]);
    expect(next.service.record(job)).toMatchObject({ state: 'running', executed_on: 'beta' });
    const front = next.front();
    const { result } = next.service.attach(job, front.streams, { stdout: 60, stderr: 0 }, () => undefined);
    await next.settle();
    const attach = next.last('job.attach');
    expect(attach).toMatchObject({ stdout_offset: 60, stderr_offset: 0 });
    const { stdout, stderr } = next.outputs(attach);
    next.attached(job);
    stdout?.write(numbered(60, 40));
    stdout?.end();
    stderr?.end();
    next.end(job, { stdout_bytes: 100 });
    await next.settle();
    expect(await result).toMatchObject({ return_code: 3, truncated: false, notices: [] });
    expect(bytesOf(front.stdout)).toEqual(numbered(60, 40));
  });

  test('is ended where its client stays away', async () => {
    const { file, rig, job } = await running();
    const next = successor(file, rig, { clientGraceMs: 1 });
    next.heal();
    next.service.restore();
    await expect.poll(() => next.count('job.attach')).toBe(1);
    expect(next.last('job.cancel')).toMatchObject({ job, attempt: 1 });
    expect(next.last('job.attach').streams).toBeNull();
    next.attached(job);
    next.end(job, {}, { kind: 'cancelled', code: null, signal: 'SIGTERM' });
    expect(next.service.record(job)).toMatchObject({
      reason: 'lost',
      error: { message: expect.stringContaining('client did not come back') },
    });
  });

  test('is lost where its stdin had not ended', async () => {
    const { file, rig, job } = await running(specOf({ stdin: true }));
    const next = successor(file, rig);
    next.heal();
    next.service.restore();
    const { result } = next.service.attach(job, next.front().streams, { stdout: 0, stderr: 0 }, () => undefined);
    await next.settle();
    expect(next.count('job.cancel')).toBe(1);
    const { stdout, stderr } = next.outputs(next.last('job.attach'));
    next.attached(job);
    stdout?.end();
    stderr?.end();
    next.end(job, {}, { kind: 'cancelled', code: null, signal: 'SIGTERM' });
    await next.settle();
    expect(await result).toMatchObject({ reason: 'lost', error: { message: expect.stringContaining('stdin') } });
  });

  test('is nothing to a client that never had one, and is told to one that is too late', async () => {
    const { file, rig, job } = await running();
    const other = rig.front();
    const unknown = '01ARZ3NDEKTSV4RRFFQ69G5FAV' as JobId;
    expect(() => rig.service.attach(unknown, other.streams, { stdout: 0, stderr: 0 }, () => undefined)).toThrow(
      /no job/,
    );
    const next = successor(file, rig, { clientGraceMs: 1 });
    next.heal();
    next.service.restore();
    await expect.poll(() => next.count('job.attach')).toBe(1);
    next.attached(job);
    next.end(job, { stdout_bytes: 100 }, { kind: 'cancelled', code: null, signal: 'SIGTERM' });
    const late = next.service.attach(job, next.front().streams, { stdout: 60, stderr: 0 }, () => undefined);
    expect(await late.result).toMatchObject({ reason: 'lost', notices: [expect.stringContaining('40 bytes')] });
  });
});
