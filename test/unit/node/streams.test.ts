import { describe, expect, test } from 'vitest';
import type { JobId, NodeId } from '../../../src/base/ids.ts';
import { runAttempt, streamsAreFree } from '../../../src/node/executor-streams.ts';
import { OriginStreams } from '../../../src/node/origin-streams.ts';
import type { RunHandlers, RunRequest, RunResult, Runner } from '../../../src/ports/runner.ts';
import { type IncomingStream, type OutgoingStream, STREAM_WINDOW_BYTES } from '../../../src/wire/stream-mux.ts';
import { JoinedMuxes, numbered } from '../wire/joined-muxes.ts';
import { PLAIN_RUN } from '../../fixtures/plain-spec.ts';

const JOB = '01ARZ3NDEKZZZZZZZZZZZZZZZZ' as JobId;
const NODE = 'a'.repeat(52) as NodeId;
const ENDED: RunResult = {
  outcome: { kind: 'exited', code: 0 },
  stdoutBytes: 0,
  stderrBytes: 0,
  truncated: false,
  leftRunning: 0,
  durationMs: 1,
};

interface Sink {
  readonly stream: IncomingStream;
  readonly bytes: number[];
  how: 'open' | 'end' | 'abort';
}

function sinkAt(muxes: JoinedMuxes['first'], id: number, windowBytes: number): Sink {
  const bytes: number[] = [];
  const sink: Sink = {
    bytes,
    how: 'open',
    stream: muxes.openIncoming(id, windowBytes, {
      onData: (some) => bytes.push(...some),
      onEnd: () => {
        sink.how = 'end';
      },
      onAbort: () => {
        sink.how = 'abort';
      },
    }),
  };
  return sink;
}

/** A front, an origin, an executor and a runner, with a wire between each two of them. */
function rig(windowBytes = STREAM_WINDOW_BYTES) {
  const [control, link, runnerWire] = [new JoinedMuxes(), new JoinedMuxes(), new JoinedMuxes()];
  const wires = [control, link, runnerWire];
  const ids = { stdin: 1, stdout: 3, stderr: 5 };
  const front = {
    stdin: control.first.openOutgoing(ids.stdin, 0, {
      onAbort: () => {
        stdinAborted = true;
      },
    }),
    stdout: sinkAt(control.first, ids.stdout, windowBytes),
    stderr: sinkAt(control.first, ids.stderr, windowBytes),
  };
  let stdinAborted = false;
  const origin = new OriginStreams({ mux: control.second, ...ids, windowBytes });
  const settle = (): void => {
    while (wires.some(({ underWay }) => underWay > 0)) for (const wire of wires) wire.deliverAll();
  };
  /** Starts an attempt at the executor; the runner's ends of its streams come back. */
  const start = () => {
    const streams = origin.open(link.first);
    const told: string[] = [];
    const run: { handlers: RunHandlers | null; request: RunRequest | null } = { handlers: null, request: null };
    const runner: Runner = {
      instance: 'i',
      mux: runnerWire.first,
      run: (request, handlers) => Object.assign(run, { request, handlers }),
      expect: () => undefined,
      cancel: () => undefined,
      kept: [],
      adopt: () => undefined,
      read: () => undefined,
      park: () => told.push('parked'),
      detach: () => undefined,
      resumeStdin: () => undefined,
      resize: () => undefined,
      acknowledge: () => undefined,
      drop: () => undefined,
    };
    const resolved = {
      job: JOB,
      attempt: 1,
      command: { kind: 'line', line: 'x' },
      cwd: '/',
      env: {},
      umask: 0,
      timeoutMs: null,
      outputBytesMax: null,
      user: null,
      ...PLAIN_RUN,
    } as const;
    runAttempt(
      { id: NODE, mux: link.second },
      runner,
      resolved,
      { streams, window_bytes: STREAM_WINDOW_BYTES },
      {
        onStarted: () => told.push('started'),
        onEnded: () => told.push('ended'),
      },
    );
    const { request } = run;
    const output = (id: number): OutgoingStream =>
      runnerWire.second.openOutgoing(id, STREAM_WINDOW_BYTES, { onAbort: () => told.push('output aborted') });
    const process = {
      stdout: output(request?.stdoutStream ?? 0),
      stderr: output(request?.stderrStream ?? 0),
      stdin: sinkAt(runnerWire.second, request?.stdinStream ?? 0, 0),
    };
    /** The runner says that it started, then reads stdin. */
    const begin = (): void => {
      settle();
      run.handlers?.onStarted(7);
      process.stdin.stream.grant(STREAM_WINDOW_BYTES);
      origin.started();
      settle();
    };
    const end = (): void => {
      run.handlers?.onEnded(ENDED);
      settle();
    };
    return { process, begin, end, told };
  };
  return { control, link, runnerWire, front, origin, start, settle, stdinAborted: () => stdinAborted };
}

describe("a job's streams from front to process", () => {
  test('carry every byte of stdin, stdout and stderr, and their ends', () => {
    const { front, origin, start, settle } = rig();
    front.stdin.write(numbered(0, 300_000));
    front.stdin.end();
    const { process, begin, end, told } = start();
    begin();
    expect(Uint8Array.from(process.stdin.bytes)).toEqual(numbered(0, 300_000));
    expect(process.stdin.how).toBe('end');
    process.stdout.write(numbered(5, 200_000));
    process.stderr.write(numbered(9, 10));
    process.stdout.end();
    process.stderr.end();
    end();
    origin.finish();
    settle();
    expect(told).toEqual(['started', 'ended']);
    expect(Uint8Array.from(front.stdout.bytes)).toEqual(numbered(5, 200_000));
    expect(Uint8Array.from(front.stderr.bytes)).toEqual(numbered(9, 10));
    expect([front.stdout.how, front.stderr.how]).toEqual(['end', 'end']);
    expect([origin.received.stdout, origin.received.stderr]).toEqual([200_000, 10]);
  });

  test('do not lose an end of stdin that comes before the process exists', () => {
    const { front, start, settle } = rig();
    front.stdin.end();
    settle();
    const { process, begin } = start();
    settle();
    begin();
    expect(process.stdin.how).toBe('end');
  });

  test('give up stdin where the front did so before the process exists', () => {
    const { front, start, settle } = rig();
    front.stdin.abort();
    settle();
    const { process, begin } = start();
    begin();
    expect(process.stdin.how).toBe('abort');
  });

  test.each([
    ['was not started', ({ origin }: ReturnType<typeof rig>) => origin.dropAttempt()],
    [
      'was lost before it started',
      ({ link, origin }: ReturnType<typeof rig>) => {
        link.first.close();
        origin.dropAttempt();
      },
    ],
  ])('keep stdin whole for a second attempt where the first one %s', (_what, lose) => {
    const rigged = rig();
    const { front, start, settle, origin } = rigged;
    front.stdin.write(numbered(0, 1000));
    front.stdin.end();
    start();
    settle();
    lose(rigged);
    settle();
    const again = new JoinedMuxes();
    const streams = origin.open(again.first);
    const stdin = sinkAt(again.second, streams.stdin ?? 0, 0);
    stdin.stream.grant(STREAM_WINDOW_BYTES);
    origin.started();
    for (let round = 0; round < 10; round++) {
      settle();
      again.deliverAll();
    }
    expect(Uint8Array.from(stdin.bytes)).toEqual(numbered(0, 1000));
    expect(stdin.how).toBe('end');
  });

  test('end the front’s stdin once the process reads no more', () => {
    const { start, settle, stdinAborted } = rig();
    const { process, begin } = start();
    begin();
    process.stdin.stream.abort();
    settle();
    expect(stdinAborted()).toBe(true);
  });

  test("hold the process back at the front's pace", () => {
    const { front, start, settle } = rig(1000);
    const { process, begin } = start();
    begin();
    process.stdout.write(new Uint8Array(4 * STREAM_WINDOW_BYTES));
    settle();
    expect(front.stdout.bytes).toHaveLength(1000);
    // The windows of the three hops, no more.
    expect(process.stdout.queuedBytes).toBeGreaterThanOrEqual(STREAM_WINDOW_BYTES - 1000);
    for (let seen = 0; seen < 4 * STREAM_WINDOW_BYTES;) {
      const { length } = front.stdout.bytes;
      expect(length).toBeGreaterThan(seen);
      front.stdout.stream.consumed(length - seen);
      front.stdout.stream.grant(STREAM_WINDOW_BYTES);
      seen = length;
      settle();
    }
    expect(process.stdout.queuedBytes).toBe(0);
  });

  test('let the result wait for the last byte, at the executor and at the origin', () => {
    const { front, origin, start, settle, link, runnerWire } = rig();
    const { process, begin, end, told } = start();
    begin();
    process.stdout.write(numbered(0, 10));
    process.stdout.end();
    process.stderr.end();
    const closed: string[] = [];
    origin.whenOutputsClosed(() => closed.push(`${origin.received.stdout}`));
    expect(told).toEqual(['started']);
    runnerWire.deliverAll();
    end();
    expect(told).toEqual(['started', 'ended']);
    settle();
    expect(closed).toEqual(['10']);
    origin.whenOutputsClosed(() => closed.push('at once'));
    expect(closed).toEqual(['10', 'at once']);
    expect(front.stdout.bytes).toHaveLength(10);
    expect(link.violations).toEqual([]);
  });

  test('count as closed where the executor is gone in the middle; what came is delivered', () => {
    const { front, origin, start, settle, link } = rig();
    const { process, begin, end, told } = start();
    begin();
    process.stdout.write(numbered(0, 10));
    settle();
    let closed = 0;
    origin.whenOutputsClosed(() => {
      closed += 1;
    });
    link.first.close();
    link.second.close();
    settle();
    expect(closed).toBe(1);
    expect(told).toContain('output aborted');
    end();
    expect(told.at(-1)).toBe('ended');
    origin.finish();
    settle();
    expect([front.stdout.bytes.length, front.stdout.how]).toEqual([10, 'end']);
  });

  test('count as closed where the front is gone, so that its job can end', () => {
    const { control, origin, start, settle } = rig();
    const { begin, told } = start();
    begin();
    let closed = 0;
    control.second.close();
    origin.whenOutputsClosed(() => {
      closed += 1;
    });
    settle();
    expect(closed).toBe(1);
    expect(told).toEqual(['started', 'output aborted', 'output aborted']);
  });

  test('let a front give up one output alone', () => {
    const { front, origin, start, settle } = rig();
    const { process, begin } = start();
    begin();
    let closed = 0;
    origin.whenOutputsClosed(() => {
      closed += 1;
    });
    front.stdout.stream.abort();
    settle();
    process.stderr.write(numbered(0, 5));
    process.stderr.end();
    settle();
    expect(closed).toBe(1);
    expect(front.stderr.bytes).toHaveLength(5);
  });
});

test('streams that an origin names must be distinct and free', () => {
  const { second } = new JoinedMuxes();
  expect(streamsAreFree(second, { stdin: 1, stdout: 3, stderr: 5 })).toBe(true);
  expect(streamsAreFree(second, { stdin: null, stdout: 3, stderr: 3 })).toBe(false);
  second.openOutgoing(3, 0, {});
  expect(streamsAreFree(second, { stdin: null, stdout: 3, stderr: 5 })).toBe(false);
});
