import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { haltReached, parseHalt } from '../../../../src/front/cli/halt.ts';
import { joblogEnd, joblogLine, parseJoblog } from '../../../../src/front/cli/joblog.ts';
import { ARGUMENT_CHARS_MAX, commandText, linesOf } from '../../../../src/front/cli/map-arguments.ts';
import { Lineup } from '../../../../src/front/cli/map-lineup.ts';
import { progressLine, remainingMs, type Workload } from '../../../../src/front/cli/map-progress.ts';
import { HeldOutput, Spool } from '../../../../src/front/cli/spool.ts';
import { tailCopyAfterMs } from '../../../../src/front/cli/tail-copy.ts';
import { wholeCharsBytes } from '../../../../src/front/cli/utf8-cut.ts';
import { MeshError } from '../../../../src/base/errors.ts';
import { runObject } from '../../../fixtures/fake-batch-api.ts';

const KIB = 1024;

describe('--halt', () => {
  test.each([
    ['now,fail=1', { when: 'now', fail: { kind: 'count', count: 1 } }],
    ['soon,fail=30%', { when: 'soon', fail: { kind: 'percent', percent: 30 } }],
    ['never', null],
  ])('%s', (text, halt) => {
    expect(parseHalt(text)).toEqual({ ok: true, value: halt });
  });

  test.each(['', 'now', 'fail=1', 'now,fail=0', 'now,fail=-1', 'now,fail=101%', 'now,success=1', 'later,fail=1', '1'])(
    '%j is refused',
    (text) => {
      expect(parseHalt(text).ok).toBe(false);
    },
  );

  test('counts, or compares with what has finished', () => {
    const count = { when: 'now', fail: { kind: 'count', count: 2 } } as const;
    expect([haltReached(count, 1, 9), haltReached(count, 2, 2)]).toEqual([false, true]);
    const half = { when: 'now', fail: { kind: 'percent', percent: 50 } } as const;
    expect([haltReached(half, 2, 2), haltReached(half, 2, 4), haltReached(half, 2, 5)]).toEqual([false, true, false]);
  });
});

describe('the joblog', () => {
  const entry = {
    seq: 7,
    host: 'desk',
    startMs: 1_388_569_200_123,
    runtimeMs: 1,
    receivedBytes: 5,
    exitCode: 0,
    signal: 0,
  };

  test('has a line as GNU parallel has it', () => {
    const line = joblogLine({ ...entry, command: 'echo a\techo b\necho c' });
    expect(line).toBe('7\tdesk\t1388569200.123\t     0.001\t0\t5\t0\t0\techo a\techo b\0echo c');
    const text = `Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n${line}\n7\tcut`;
    const { jobs, wholeChars } = parseJoblog(text, 'x');
    expect([...jobs]).toEqual([[7, { succeeded: true, command: 'echo a\techo b\necho c' }]]);
    expect(text.slice(wholeChars)).toBe('7\tcut');
  });

  test.each([
    [runObject({ return_code: 3 }), { exitCode: 3, signal: 0 }],
    [runObject({ reason: 'signaled', signal: 'SIGKILL', return_code: null }), { exitCode: 0, signal: 9 }],
    [runObject({ reason: 'timeout' }), { exitCode: 124, signal: 0 }],
    [runObject({ reason: 'cancelled' }), { exitCode: 0, signal: 15 }],
    [new MeshError('no_capable_node', 'x'), { exitCode: 125, signal: 0 }],
  ])('end %#', (result, end) => {
    expect(joblogEnd(result)).toEqual(end);
  });

  test.each([
    'Seq Host\n',
    'x',
    'Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\nnot a line\n',
  ])('refuses %j and says that nothing was run', (text) => {
    expect(() => parseJoblog(text, 'x')).toThrow(/nothing was run/);
  });
});

describe('arguments', () => {
  const linesIn = async (...chunks: (string | Uint8Array)[]): Promise<string[]> => {
    const stream = new PassThrough();
    for (const chunk of chunks) stream.write(chunk);
    stream.end();
    const lines: string[] = [];
    for await (const line of linesOf(stream)) lines.push(line);
    return lines;
  };

  test('are lines, whatever the pieces', async () => {
    const umlaut = Buffer.from('ü');
    expect(await linesIn('a\nb', 'c\r\n\n', umlaut.subarray(0, 1), umlaut.subarray(1), '\nlast')).toEqual([
      'a',
      'bc',
      '',
      'ü',
      'last',
    ]);
    expect(await linesIn('')).toEqual([]);
  });

  test('of any length cost bounded memory', async () => {
    const [long = '', next] = await linesIn(...Array.from({ length: 64 }, () => 'x'.repeat(64 * KIB)), '\nnext\n');
    expect(long.length).toBe(ARGUMENT_CHARS_MAX + 1);
    expect(next).toBe('next');
  });

  test('as one line', () => {
    expect(commandText(['echo a; b'])).toBe('echo a; b');
    expect(commandText(['echo', "it's", 'b'])).toBe(`echo 'it'\\''s' b`);
  });
});

describe('the line-up', () => {
  const of = (...estimates: (number | null)[]): Lineup => {
    const lineup = new Lineup();
    for (const [index, estimateS] of estimates.entries()) lineup.add({ seq: index + 1, arg: '', estimateS });
    return lineup;
  };
  const drain = (take: () => { seq: number } | null): number[] => {
    const seqs: number[] = [];
    for (let next = take(); next !== null; next = take()) seqs.push(next.seq);
    return seqs;
  };

  test('gives the longest first, equals in their order', () => {
    const lineup = of(1, 5, 3, 5);
    expect(drain(() => lineup.takeLongest())).toEqual([2, 4, 3, 1]);
  });

  test('takes what is not known for as long as the usual one', () => {
    const lineup = of(null, 1, 9, null, 2);
    expect(drain(() => lineup.takeLongest())[0]).toBe(3);
  });

  test('gives each once from both ends, in the time of a few thousand', () => {
    const lineup = of(...Array.from({ length: 20_000 }, (_, index) => (index * 7919) % 20_000));
    const seen = new Set<number>();
    for (let turn = 0; lineup.size > 0; turn++) {
      const next = turn % 2 === 0 ? lineup.takeLongest() : lineup.takeFirst();
      seen.add(next?.seq ?? 0);
    }
    expect(seen.size).toBe(20_000);
    expect(lineup.takeFirst()).toBeNull();
    expect(lineup.takeLongest()).toBeNull();
    expect(lineup.ahead).toEqual({ knownS: 0, unknownCount: 0 });
  });
});

describe('the time left', () => {
  const work = (facts: Partial<Workload>): Workload => ({
    aheadKnownMs: 0,
    aheadUnknown: 0,
    running: [],
    finished: 0,
    finishedMs: 0,
    foretoldMs: 0,
    foretoldTookMs: 0,
    elapsedMs: 1000,
    ...facts,
  });

  test('is not known before anything tells of it', () => {
    expect(remainingMs(work({ aheadUnknown: 3 }))).toBeNull();
    expect(remainingMs(work({ running: [{ ranMs: 10, estimateMs: null }] }))).toBeNull();
  });

  test('follows what has finished, at the concurrency so far', () => {
    // 10 jobs of 1 s in 5 s: two at once; 20 more take 10 s.
    expect(remainingMs(work({ finished: 10, finishedMs: 10_000, elapsedMs: 5000, aheadUnknown: 20 }))).toBe(10_000);
  });

  test('corrects history by what this batch shows, and is at least the longest that runs', () => {
    const facts = { finished: 1, finishedMs: 4000, foretoldMs: 2000, foretoldTookMs: 4000, elapsedMs: 4000 };
    expect(remainingMs(work({ ...facts, aheadKnownMs: 3000 }))).toBe(6000);
    expect(remainingMs(work({ ...facts, running: [{ ranMs: 0, estimateMs: 50_000 }] }))).toBe(100_000);
  });

  test('is in the line, which is honest about what is not known', () => {
    const base = { finished: 25, failed: 2, running: 8, arguments: 100, elapsedMs: 12_000 };
    expect(progressLine({ ...base, complete: true, remainingMs: 36_000 })).toBe(
      '[######                  ] 25% 25/100, 2 failed, 8 running, 12.0 s, about 36.0 s left',
    );
    expect(progressLine({ ...base, complete: false, remainingMs: null })).toBe(
      '25 of at least 100, 2 failed, 8 running, 12.0 s, time left not known yet',
    );
    const done = { ...base, finished: 100, running: 0, complete: true, remainingMs: 0 };
    expect(progressLine(done)).toBe(`[${'#'.repeat(24)}] 100% 100/100, 2 failed, 12.0 s`);
  });
});

describe('a second copy', () => {
  test.each([
    [null, [], null],
    [null, [1000, 2000], null],
    [null, [1000, 2000, 90_000], 3000],
    [null, [10, 10, 10], 1000],
    [10_000, [], 15_000],
  ])('expected %j ms, finished %j: after %j ms', (expectedMs, finishedMs, dueMs) => {
    expect(tailCopyAfterMs(expectedMs, finishedMs)).toBe(dueMs);
  });
});

describe('the spool', () => {
  const collect = async (held: HeldOutput): Promise<Buffer> => {
    const parts: Uint8Array[] = [];
    await held.drain((bytes) => void parts.push(bytes.slice()));
    return Buffer.concat(parts);
  };

  test('gives back what it was given, from memory and from its file, and uses both again', async () => {
    const spool = new Spool({ memoryBytesMax: 128 * KIB, fileBytesMax: 512 * KIB });
    for (let round = 0; round < 20; round++) {
      const held = new HeldOutput(spool);
      const bytes = Buffer.alloc(500 * KIB, `round ${round} `);
      for (let at = 0; at < bytes.byteLength; at += 7777)
        expect(held.push(bytes.subarray(at, at + 7777))).toBeUndefined();
      held.seal();
      expect((await collect(held)).equals(bytes)).toBe(true);
    }
    spool.close();
  });

  test('holds pushes back while it is full, and keeps their order', async () => {
    const spool = new Spool({ memoryBytesMax: 0, fileBytesMax: 64 * KIB });
    const [first, second] = [new HeldOutput(spool), new HeldOutput(spool)];
    expect(first.push(Buffer.alloc(128 * KIB, 'a'))).toBeUndefined();
    const waits = [Buffer.alloc(100 * KIB, 'b'), Buffer.from('c'), Buffer.from('d')].map((bytes) => second.push(bytes));
    expect(waits[0]).toBeInstanceOf(Promise);
    expect(spool.full).toBe(true);
    expect((await collect(first)).byteLength).toBe(128 * KIB);
    await Promise.all(waits);
    expect((await collect(second)).toString()).toBe(`${'b'.repeat(100 * KIB)}cd`);
    spool.close();
  });

  test('what is given up lets those that wait go', async () => {
    const spool = new Spool({ memoryBytesMax: 0, fileBytesMax: 0 });
    const held = new HeldOutput(spool);
    const waits = held.push(Buffer.alloc(200 * KIB));
    held.discard();
    await waits;
    expect(held.push(Buffer.from('x'))).toBeUndefined();
  });
});

test('UTF-8 is cut between characters', () => {
  const text = Buffer.from('aü€😀');
  const whole = Array.from({ length: text.byteLength + 1 }, (_, length) => wholeCharsBytes(text.subarray(0, length)));
  expect(whole).toEqual([0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10]);
  expect(wholeCharsBytes(Buffer.from([0x80, 0x80, 0x80, 0x80]))).toBe(4);
});
