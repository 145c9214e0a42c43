import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeStreamFrame,
  encodeCredit,
  encodeStreamHeader,
  FRAME_ABORT,
  FRAME_CREDIT,
  FRAME_DATA,
  FRAME_END,
  STREAM_CHUNK_BYTES_MAX,
} from '../../../src/wire/stream-frame.ts';
import { joinStreams, STREAM_WINDOW_BYTES, StreamMux, STREAMS_MAX } from '../../../src/wire/stream-mux.ts';
import { frameOf, JoinedMuxes, numbered } from './joined-muxes.ts';

const noop = (): void => undefined;
const IGNORE = { onData: noop, onEnd: noop, onAbort: noop };

/** A stream from `first` to `second` and everything that its handlers were told. */
function rig(windowBytes: number, extraCredit = windowBytes) {
  const wire = new JoinedMuxes();
  const told: string[] = [];
  const received: number[] = [];
  const id = wire.first.nextId();
  const incoming = wire.second.openIncoming(id, windowBytes, {
    onData: (bytes) => received.push(...bytes),
    onEnd: () => told.push('end'),
    onAbort: () => told.push('abort'),
  });
  let sent = 0;
  const outgoing = wire.first.openOutgoing(id, extraCredit, {
    onSent: (bytes) => {
      sent += bytes;
    },
    onEnded: () => told.push('ended'),
    onAbort: () => told.push('sender aborted'),
  });
  return { wire, told, received, incoming, outgoing, id, sent: () => sent };
}

type Action =
  | { readonly kind: 'write'; readonly bytes: number }
  | { readonly kind: 'consume'; readonly bytes: number }
  | { readonly kind: 'grant'; readonly bytes: number }
  | { readonly kind: 'deliver'; readonly to: 'first' | 'second' };

const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('write' as const), bytes: fc.integer({ min: 0, max: 300 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('consume' as const), bytes: fc.integer({ min: 0, max: 500 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('grant' as const), bytes: fc.integer({ min: -5, max: 50 }) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('deliver' as const),
      to: fc.constantFrom('first' as const, 'second' as const),
    }),
  },
);

describe('one stream between two muxes', () => {
  test('delivers every byte in order, within its credit, and its end once, under any schedule', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 400 }), fc.array(action, { maxLength: 120 }), (windowBytes, actions) => {
        const { wire, told, received, incoming, outgoing, sent } = rig(windowBytes);
        let allowed = windowBytes;
        let written = 0;
        let consumed = 0;
        const consume = (bytes: number): void => {
          const some = Math.min(bytes, received.length - consumed);
          consumed += some;
          allowed += some;
          incoming.consumed(some);
        };
        for (const one of actions) {
          if (one.kind === 'write') {
            outgoing.write(numbered(written, one.bytes));
            written += one.bytes;
          } else if (one.kind === 'deliver') wire.deliver(one.to);
          else if (one.kind === 'consume') consume(one.bytes);
          else {
            allowed += Math.max(0, one.bytes);
            incoming.grant(one.bytes);
          }
          expect(sent()).toBeLessThanOrEqual(allowed);
          expect(outgoing.queuedBytes).toBe(written - sent());
        }
        outgoing.end();
        outgoing.end();
        incoming.grant(1);
        for (let before = -1; before !== received.length || wire.underWay > 0;) {
          before = received.length;
          wire.deliverAll();
          consume(received.length);
        }
        expect(wire.violations).toEqual([]);
        expect(Uint8Array.from(received)).toEqual(numbered(0, written));
        expect(told).toEqual(['ended', 'end']);
        expect([wire.first.size, wire.second.size]).toEqual([0, 0]);
      }),
      { numRuns: 200 },
    );
  });

  test.each(['sender', 'receiver'] as const)(
    'is aborted by its %s at any moment, which the other side hears once',
    (who) => {
      fc.assert(
        fc.property(fc.array(action, { maxLength: 40 }), (actions) => {
          const { wire, told, incoming, outgoing } = rig(100);
          for (const one of actions) {
            if (one.kind === 'write') outgoing.write(numbered(0, one.bytes));
            else if (one.kind === 'deliver') wire.deliver(one.to);
          }
          if (who === 'sender') outgoing.abort();
          else incoming.abort();
          wire.deliverAll();
          outgoing.write(numbered(0, 5));
          incoming.consumed(10);
          incoming.grant(10);
          outgoing.abort();
          incoming.abort();
          outgoing.end();
          wire.deliverAll();
          expect(told).toEqual([who === 'sender' ? 'abort' : 'sender aborted']);
          expect(wire.violations).toEqual([]);
          expect([wire.first.size, wire.second.size, outgoing.queuedBytes]).toEqual([0, 0, 0]);
        }),
        { numRuns: 60 },
      );
    },
  );

  test('ends without credit where nothing was written, and only behind what was', () => {
    const empty = rig(0);
    empty.outgoing.end();
    empty.wire.deliverAll();
    expect(empty.told).toEqual(['ended', 'end']);
    const full = rig(0);
    full.outgoing.write(new Uint8Array(3));
    full.outgoing.write(new Uint8Array(0));
    full.outgoing.end();
    full.wire.deliverAll();
    expect(full.told).toEqual([]);
    full.incoming.grant(3);
    full.wire.deliverAll();
    expect(full.told).toEqual(['ended', 'end']);
  });

  test('cuts large writes into chunks, and refuses a write after its end', () => {
    const { wire, outgoing, received } = rig(STREAM_WINDOW_BYTES);
    outgoing.write(new Uint8Array(2 * STREAM_CHUNK_BYTES_MAX + 1));
    expect(wire.underWay).toBe(3);
    wire.deliverAll();
    expect(received).toHaveLength(2 * STREAM_CHUNK_BYTES_MAX + 1);
    outgoing.write(new Uint8Array(STREAM_WINDOW_BYTES));
    outgoing.end();
    expect(() => outgoing.write(new Uint8Array(1))).toThrow('write after end');
  });

  test('keeps its bytes although the writer reuses none of them before they are sent, and a reply may come at once', () => {
    // A wire without any delay: credit comes back from inside the write that used it.
    const received: number[] = [];
    const second: StreamMux = new StreamMux((header, payload) => first.receive(frameOf(header, payload)), 'second');
    const first: StreamMux = new StreamMux((header, payload) => second.receive(frameOf(header, payload)), 'first');
    let ended = 0;
    const incoming = second.openIncoming(1, 7, {
      ...IGNORE,
      onData: (bytes) => {
        received.push(...bytes);
        incoming.consumed(bytes.byteLength);
      },
      onEnd: () => {
        ended += 1;
      },
    });
    const outgoing = first.openOutgoing(1, 7, {});
    for (let at = 0; at < 1000; at += 50) outgoing.write(numbered(at, 50));
    outgoing.end();
    expect(Uint8Array.from(received)).toEqual(numbered(0, 1000));
    expect(ended).toBe(1);
  });
});

describe('a mux', () => {
  test('gives odd ids to the first side, even ones to the second, and none that is open', () => {
    const { first, second } = new JoinedMuxes();
    expect([first.nextId(), first.nextId(), second.nextId(), second.nextId()]).toEqual([1, 3, 2, 4]);
    first.openOutgoing(5, 0, {});
    first.openIncoming(7, 0, IGNORE);
    expect(first.nextId()).toBe(9);
  });

  test('aborts every stream once when it is closed, and at once those that are opened later', () => {
    const mux = new StreamMux(noop, 'first');
    let aborts = 0;
    const onAbort = (): void => {
      aborts += 1;
    };
    for (const id of [1, 3, 5]) mux.openIncoming(id, 10, { ...IGNORE, onAbort });
    for (const id of [2, 4]) mux.openOutgoing(id, 10, { onAbort });
    mux.close();
    mux.close();
    expect([aborts, mux.size]).toEqual([5, 0]);
    expect(mux.openIncoming(9, 10, { ...IGNORE, onAbort }).closed).toBe(true);
    expect(mux.openOutgoing(11, 10, { onAbort }).closed).toBe(true);
    expect([aborts, mux.size]).toEqual([7, 0]);
  });

  test('drops frames of streams that it does not know', () => {
    const { wire, told } = rig(10);
    for (const [kind, payload] of [
      [FRAME_DATA, new Uint8Array(8)],
      [FRAME_CREDIT, encodeCredit(8)],
      [FRAME_END, null],
      [FRAME_ABORT, null],
    ] as const) {
      expect(wire.second.receive(frameOf(encodeStreamHeader(kind, 77), payload))).toBeNull();
    }
    expect(told).toEqual([]);
  });

  test('reports a sender beyond its credit, and frames that are none', () => {
    const { wire, id, received } = rig(4, 1000);
    expect(wire.second.receive(frameOf(encodeStreamHeader(FRAME_DATA, id), new Uint8Array(5)))).toMatch(
      /more than its credit/,
    );
    expect(received).toEqual([]);
    expect(wire.second.receive(new Uint8Array([9, 0, 0, 0, 1]))).toMatch(/unknown stream frame kind/);
  });

  test('opens no id twice, and no more streams than its bound, all or none', () => {
    const mux = new StreamMux(noop, 'first');
    for (let id = 1; id <= STREAMS_MAX - 2; id++) mux.openIncoming(id, 0, IGNORE);
    expect(mux.canOpen([STREAMS_MAX, STREAMS_MAX + 1])).toBe(true);
    expect(mux.canOpen([STREAMS_MAX, STREAMS_MAX + 1, STREAMS_MAX + 2])).toBe(false);
    expect(mux.canOpen([1])).toBe(false);
    expect(mux.canOpen([STREAMS_MAX, STREAMS_MAX])).toBe(false);
    expect(() => mux.openOutgoing(1, 0, {})).toThrow('open already');
    mux.openOutgoing(STREAMS_MAX, 0, {});
    mux.openOutgoing(STREAMS_MAX + 1, 0, {});
    expect(() => mux.openIncoming(STREAMS_MAX + 2, 0, IGNORE)).toThrow(`more than ${STREAMS_MAX}`);
  });
});

describe('joined streams', () => {
  /** source → (left wire) → middle → (right wire) → reader. */
  function chain(windowBytes: number) {
    const [left, right] = [new JoinedMuxes(), new JoinedMuxes()];
    const received: number[] = [];
    const ends: string[] = [];
    const reader = right.second.openIncoming(1, windowBytes, {
      onData: (bytes) => received.push(...bytes),
      onEnd: () => ends.push('reader end'),
      onAbort: () => ends.push('reader abort'),
    });
    const source = left.first.openOutgoing(1, windowBytes, { onAbort: () => ends.push('source abort') });
    const join = () =>
      joinStreams(
        { mux: left.second, id: 1, grantedBytes: windowBytes },
        { mux: right.first, id: 1, creditBytes: windowBytes },
        (how) => ends.push(how),
      );
    const settle = (): void => {
      while (left.underWay + right.underWay > 0) {
        left.deliverAll();
        right.deliverAll();
      }
    };
    return { left, right, received, ends, reader, source, join, settle };
  }

  test("hand on every byte at the reader's pace, holding no more than a window", () => {
    const { left, right, received, ends, reader, source, join, settle } = chain(1000);
    const { outgoing } = join();
    source.write(numbered(0, 5000));
    source.end();
    for (let consumed = 0; consumed < 5000;) {
      settle();
      expect(outgoing.queuedBytes).toBeLessThanOrEqual(1000);
      expect(received.length - consumed).toBeGreaterThan(0);
      expect(received.length - consumed).toBeLessThanOrEqual(1000);
      reader.consumed(received.length - consumed);
      consumed = received.length;
    }
    settle();
    expect(Uint8Array.from(received)).toEqual(numbered(0, 5000));
    expect(ends).toEqual(['ended', 'reader end']);
    expect([left.violations, right.violations]).toEqual([[], []]);
  });

  test.each([
    ['the source aborts', ({ source }: ReturnType<typeof chain>) => source.abort(), ['source_lost', 'reader abort']],
    ['the reader aborts', ({ reader }: ReturnType<typeof chain>) => reader.abort(), ['sink_lost', 'source abort']],
    [
      'the source is cut off',
      ({ left }: ReturnType<typeof chain>) => left.second.close(),
      ['source_lost', 'reader abort'],
    ],
    [
      'the reader is cut off',
      ({ right }: ReturnType<typeof chain>) => right.first.close(),
      ['sink_lost', 'source abort'],
    ],
  ])('end once where %s', (_what, act, expected) => {
    const rigged = chain(10);
    rigged.join();
    rigged.source.write(numbered(0, 50));
    rigged.settle();
    act(rigged);
    rigged.settle();
    rigged.left.second.close();
    rigged.right.first.close();
    expect(rigged.ends).toEqual(expected);
  });

  test.each([
    ['the source', true, false, 'source_lost'],
    ['the sink', false, true, 'sink_lost'],
    ['both', true, true, 'source_lost'],
  ])('of a dead mux close at once: %s', (_what, source, sink, how) => {
    const rigged = chain(10);
    if (source) rigged.left.second.close();
    if (sink) rigged.right.first.close();
    const { incoming, outgoing } = rigged.join();
    expect(rigged.ends).toEqual([how]);
    expect([incoming.closed, outgoing.closed]).toEqual([true, true]);
    expect([rigged.left.second.size, rigged.right.first.size]).toEqual([0, 0]);
  });
});

describe('a stream frame', () => {
  test.each([
    ['too short', [1, 0, 0, 0]],
    ['of no kind', [0, 0, 0, 0, 1]],
    ['of stream 0', [FRAME_END, 0, 0, 0, 0]],
    ['of a stream beyond the bound', [FRAME_END, 0x80, 0, 0, 0]],
    ['of data without any', [FRAME_DATA, 0, 0, 0, 1]],
    ['of short credit', [FRAME_CREDIT, 0, 0, 0, 1, 0, 0, 1]],
    ['of long credit', [FRAME_CREDIT, 0, 0, 0, 1, 0, 0, 0, 0, 1]],
    ['of an end with a payload', [FRAME_END, 0, 0, 0, 1, 0]],
    ['of an abort with a payload', [FRAME_ABORT, 0, 0, 0, 1, 0]],
  ])('%s is refused', (_what, bytes) => {
    expect(decodeStreamFrame(Uint8Array.from(bytes))).toBeTypeOf('string');
  });

  test('of more data than a chunk is refused, wherever it lies in its buffer', () => {
    const buffer = new Uint8Array(STREAM_CHUNK_BYTES_MAX + 20);
    buffer.set(encodeStreamHeader(FRAME_DATA, 0x7fff_ffff), 10);
    const whole = decodeStreamFrame(buffer.subarray(10, 10 + 5 + STREAM_CHUNK_BYTES_MAX));
    expect(whole).toMatchObject({ kind: FRAME_DATA, streamId: 0x7fff_ffff });
    expect(decodeStreamFrame(buffer.subarray(10, 10 + 6 + STREAM_CHUNK_BYTES_MAX))).toBeTypeOf('string');
  });
});
