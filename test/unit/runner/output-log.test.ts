import {
  appendFileSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { LogCursor } from '../../../src/runner/log-cursor.ts';
import { OutputLog, offsetIn, type OutputStream } from '../../../src/runner/output-log.ts';
import type { LogStream } from '../../../src/wire/job-query.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'mw-log-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const MIB = 1024 * 1024;
const STREAMS: readonly LogStream[] = ['stdout', 'stderr', 'merged'];
let logs = 0;
const newFolder = (): string => path.join(folder, `log-${++logs}`);
const newLog = (bytesMax: number, mayDrop = (): boolean => true): OutputLog =>
  new OutputLog(newFolder(), bytesMax, mayDrop, silentLogger);

/** What was written, kept whole. */
class Model {
  readonly bytes: Record<LogStream, Buffer[]> = { stdout: [], stderr: [], merged: [] };
  #next = 0;

  chunk(size: number): Buffer {
    const chunk = Buffer.alloc(size);
    for (let at = 0; at < size; at++) chunk[at] = this.#next = (this.#next * 5 + 3 + (at % 7)) % 251;
    return chunk;
  }

  write(log: OutputLog, stream: OutputStream, size: number): void {
    const chunk = this.chunk(size);
    expect(log.append(stream, chunk)).toBe(true);
    this.bytes[stream].push(chunk);
    this.bytes.merged.push(chunk);
  }

  all(stream: LogStream): Buffer {
    return Buffer.concat(this.bytes[stream]);
  }
}

interface Piece {
  readonly at: number;
  readonly bytes: Buffer;
}

/** All that can be read from an offset on, in the pieces that gaps make of it. */
function readAll(log: OutputLog, stream: LogStream, offset: number, blockMax = 70_000): Piece[] {
  const cursor = new LogCursor(log, stream, offset);
  const pieces: { at: number; parts: Uint8Array[] }[] = [{ at: offset, parts: [] }];
  for (;;) {
    const read = cursor.read(blockMax);
    if (read.kind === 'tail') break;
    if (read.kind === 'gap') pieces.push({ at: read.to, parts: [] });
    else pieces.at(-1)?.parts.push(Buffer.from(read.bytes));
  }
  cursor.close();
  return pieces
    .map(({ at, parts }) => ({ at, bytes: Buffer.concat(parts) }))
    .filter(({ bytes }, index) => index === 0 || bytes.byteLength > 0);
}

/** Every piece is what was written at its place, and the last one reaches the end. */
function expectTrue(log: OutputLog, model: Model, stream: LogStream, offset: number): readonly Piece[] {
  const all = model.all(stream);
  const pieces = readAll(log, stream, offset);
  for (const { at, bytes } of pieces) expect(bytes.equals(all.subarray(at, at + bytes.byteLength))).toBe(true);
  const last = pieces.at(-1);
  expect((last?.at ?? 0) + (last?.bytes.byteLength ?? 0)).toBe(all.byteLength);
  return pieces;
}

const diskBytes = (log: OutputLog): number =>
  readdirSync(log.folder).reduce((sum, name) => sum + statSync(path.join(log.folder, name)).size, 0);

describe('an output log', () => {
  it('costs nothing before the first byte, and one file for a result alone', () => {
    const log = newLog(MIB);
    expect(() => statSync(log.folder)).toThrow('ENOENT');
    log.end('{"a":1}');
    expect(readdirSync(log.folder)).toEqual(['000000.log']);
    expect(statSync(log.folder).mode & 0o777).toBe(0o700);
    expect(statSync(path.join(log.folder, '000000.log')).mode & 0o777).toBe(0o600);
    expect(OutputLog.load(log.folder, MIB, silentLogger)?.result).toBe('{"a":1}');
    expect(OutputLog.load(newFolder(), MIB, silentLogger)).toBeNull();
  });

  it('gives every stream from any offset, while it is written, after its end and when it is read back', () => {
    const writes = fc.array(
      fc.record({
        stream: fc.constantFrom<OutputStream>('stdout', 'stderr'),
        size: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 65_536 })),
      }),
      { minLength: 1, maxLength: 40 },
    );
    fc.assert(
      fc.property(writes, fc.nat(), (list, salt) => {
        const log = newLog(64 * MIB);
        const model = new Model();
        for (const { stream, size } of list) model.write(log, stream, size);
        const check = (of: OutputLog): void => {
          for (const stream of STREAMS) {
            const size = model.all(stream).byteLength;
            expect(offsetIn(of.ends, stream)).toBe(size);
            for (const offset of [0, 1, salt % (size + 1), size - 1, size]) {
              if (offset < 0 || offset > size) continue;
              expect(expectTrue(of, model, stream, offset)).toHaveLength(1);
            }
          }
        };
        check(log);
        log.end('{}');
        check(log);
        const loaded = OutputLog.load(log.folder, MIB, silentLogger);
        expect(loaded?.result).toBe('{}');
        if (loaded !== null) check(loaded.output);
        log.remove();
      }),
      { numRuns: 40 },
    );
  });

  it('keeps its head and its tail within its bound, and says where the gap is', () => {
    const log = newLog(MIB);
    const model = new Model();
    for (let round = 0; round < 600; round++) model.write(log, round % 3 === 0 ? 'stderr' : 'stdout', 10_000);
    log.end('{}');
    expect(diskBytes(log)).toBeLessThan(1.15 * MIB);
    expect(log.hasDropped).toBe(true);
    const loaded = OutputLog.load(log.folder, MIB, silentLogger)?.output;
    for (const of of [log, loaded]) {
      if (of === undefined) throw new Error('no log');
      for (const stream of STREAMS) {
        const pieces = expectTrue(of, model, stream, 0);
        expect(pieces).toHaveLength(2);
        const share = stream === 'merged' ? 1 : stream === 'stdout' ? 2 / 3 : 1 / 3;
        expect(pieces[0]?.bytes.byteLength).toBeGreaterThan(0.4 * MIB * share);
        expect(pieces[1]?.bytes.byteLength).toBeGreaterThan(0.3 * MIB * share);
        // In the gap: what is behind it.
        const inGap = (pieces[0]?.bytes.byteLength ?? 0) + 5;
        const behind = expectTrue(of, model, stream, inGap);
        expect(behind[0]?.bytes.byteLength).toBe(0);
        expect(behind[1]?.at).toBe(pieces[1]?.at);
      }
    }
  });

  it('drops nothing that somebody needs, and does so once it is needed no more', () => {
    let needed = true;
    const log = newLog(MIB, () => !needed);
    const model = new Model();
    for (let round = 0; round < 300; round++) model.write(log, 'stdout', 10_000);
    expect(expectTrue(log, model, 'stdout', 0)).toHaveLength(1);
    needed = false;
    log.trim();
    expect(expectTrue(log, model, 'stdout', 0)).toHaveLength(2);
    expect(diskBytes(log)).toBeLessThan(1.15 * MIB);
  });

  it('passes over segments without a byte of the stream', () => {
    const log = newLog(64 * MIB);
    const model = new Model();
    model.write(log, 'stderr', 5);
    for (let round = 0; round < 200; round++) model.write(log, 'stdout', 60_000);
    model.write(log, 'stderr', 7);
    expectTrue(log, model, 'stderr', 0);
    expect(expectTrue(log, model, 'stderr', 6)).toHaveLength(1);
  });

  it('is read back from a tail torn at any byte, and goes on with the right offsets', () => {
    const log = newLog(MIB);
    const model = new Model();
    for (let round = 0; round < 12; round++) model.write(log, round % 2 === 0 ? 'stdout' : 'stderr', 37);
    log.end('{"x":true}');
    const file = path.join(log.folder, '000000.log');
    const size = statSync(file).size;
    for (let cut = size - 1; cut >= 0; cut--) {
      const torn = newFolder();
      cpSync(log.folder, torn, { recursive: true });
      truncateSync(path.join(torn, '000000.log'), cut);
      const loaded = OutputLog.load(torn, MIB, silentLogger);
      if (loaded === null) throw new Error('no log');
      expect(loaded.result).toBeNull();
      const { output } = loaded;
      const there = { ...output.ends };
      expect(there.stdout + there.stderr).toBeGreaterThanOrEqual(Math.max(0, cut - 32 - 18 - 13 * 5));
      output.end('{"y":1}');
      const again = OutputLog.load(torn, MIB, silentLogger);
      expect(again?.result).toBe('{"y":1}');
      for (const stream of STREAMS) {
        const bytes = again === null ? [] : readAll(again.output, stream, 0);
        expect(bytes).toHaveLength(1);
        expect(bytes[0]?.bytes.equals(model.all(stream).subarray(0, offsetIn(there, stream)))).toBe(true);
      }
      rmSync(torn, { recursive: true });
    }
  });

  it('with garbage behind its last record is read up to there', () => {
    const log = newLog(MIB);
    const model = new Model();
    model.write(log, 'stdout', 100);
    const file = path.join(log.folder, '000000.log');
    const whole = readFileSync(file);
    for (const garbage of [
      Buffer.alloc(50),
      Buffer.from([1, 255, 255, 255, 255, 9]),
      Buffer.from([77, 0, 0, 0, 1, 1]),
    ]) {
      const torn = newFolder();
      cpSync(log.folder, torn, { recursive: true });
      appendFileSync(path.join(torn, '000000.log'), garbage);
      const loaded = OutputLog.load(torn, MIB, silentLogger);
      expect(loaded?.output.ends).toEqual({ stdout: 100, stderr: 0 });
      expect(statSync(path.join(torn, '000000.log')).size).toBe(whole.byteLength);
    }
  });
});
