import { createHash } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { type Logger, silentLogger } from '../../../src/base/log.ts';
import { type AuditLog, openAuditLog } from '../../../src/node/audit-log.ts';
import { openDaemonLog } from '../../../src/node/daemon-log.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();
const SMALL = { bytesMax: 1000, segmentsMax: 3 };

function errorsOf(): { readonly log: Logger; readonly errors: string[] } {
  const errors: string[] = [];
  return { errors, log: { ...silentLogger, error: (message) => void errors.push(message) } };
}

const write = (audit: AuditLog, count: number, from = 0): void => {
  for (let i = from; i < from + count; i++) audit.append({ event: 'start', job: `job ${i}`, command: 'make é' });
};

/** The lines of all segments, oldest first. */
function linesOf(path: string, segments = SMALL.segmentsMax): string[] {
  const paths = [...Array.from({ length: segments }, (_, i) => `${path}.${segments - i}`), path];
  return paths.filter((one) => existsSync(one)).flatMap((one) => readFileSync(one, 'utf8').split('\n').slice(0, -1));
}

/** Index of the first line that does not continue the chain, or -1: what `audit verify` is to say. */
function brokenAt(lines: readonly string[]): number {
  const hashes = lines.map((line) => createHash('sha256').update(`${line}\n`).digest('hex'));
  return lines.findIndex((line, i) => i > 0 && !line.endsWith(`"prev":"${hashes[i - 1]}"}`));
}

describe('the audit log', () => {
  test('chains its lines from a first one without a predecessor, across restarts and segments', () => {
    const path = join(folder(), 'audit.log');
    const first = openAuditLog(path, { bytesMax: 100_000, segmentsMax: 3 }, silentLogger);
    write(first, 2);
    first.close();
    expect(JSON.parse(linesOf(path)[0] ?? '')).toMatchObject({ event: 'start', job: 'job 0', prev: '0'.repeat(64) });
    const second = openAuditLog(path, SMALL, silentLogger);
    write(second, 10, 2);
    second.close();
    const lines = linesOf(path);
    expect(lines.map((line) => (JSON.parse(line) as { job: string }).job)).toEqual(
      Array.from({ length: 12 }, (_, i) => `job ${i}`),
    );
    expect(brokenAt(lines)).toBe(-1);
    expect(existsSync(`${path}.1`)).toBe(true);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test('keeps each segment and their number within bounds; what is left is one chain', () => {
    const path = join(folder(), 'audit.log');
    const audit = openAuditLog(path, SMALL, silentLogger);
    write(audit, 100);
    audit.close();
    expect(readdirSync(dirname(path)).sort()).toEqual(['audit.log', 'audit.log.1', 'audit.log.2', 'audit.log.3']);
    for (const name of readdirSync(dirname(path)))
      expect(statSync(join(dirname(path), name)).size).toBeLessThanOrEqual(1000);
    expect(brokenAt(linesOf(path))).toBe(-1);
    // A start right after the turn-over continues the chain of the segment before.
    writeFileSync(path, '');
    rmSync(path);
    const again = openAuditLog(path, SMALL, silentLogger);
    write(again, 1);
    again.close();
    expect(brokenAt(linesOf(path))).toBe(-1);
  });

  test.each([
    ['changed', (lines: string[]) => lines.with(3, (lines[3] ?? '').replace('job 3', 'job X')), 4],
    ['removed', (lines: string[]) => lines.toSpliced(3, 1), 3],
    ['inserted', (lines: string[]) => lines.toSpliced(3, 0, lines[2] ?? ''), 3],
    ['swapped', (lines: string[]) => lines.with(3, lines[4] ?? '').with(4, lines[3] ?? ''), 3],
  ])('shows that a line was %s', (_what, tamper, at) => {
    const path = join(folder(), 'audit.log');
    const audit = openAuditLog(path, { bytesMax: 100_000, segmentsMax: 1 }, silentLogger);
    write(audit, 8);
    audit.close();
    expect(brokenAt(tamper(linesOf(path)))).toBe(at);
  });

  test('goes on behind half a line that a crash left', () => {
    const path = join(folder(), 'audit.log');
    const audit = openAuditLog(path, SMALL, silentLogger);
    write(audit, 2);
    audit.close();
    appendFileSync(path, '{"at":"20');
    const again = openAuditLog(path, SMALL, silentLogger);
    write(again, 1, 2);
    again.close();
    const lines = linesOf(path);
    expect(lines).toHaveLength(4);
    expect(brokenAt(lines.toSpliced(2, 1))).toBe(2);
    expect(JSON.parse(lines[3] ?? '')).toMatchObject({ job: 'job 2' });
  });

  test('says once, loudly, that it cannot turn over, stops nothing, and goes on when it can', () => {
    const path = join(folder(), 'audit.log');
    const { log, errors } = errorsOf();
    const audit = openAuditLog(path, SMALL, log);
    write(audit, 4);
    // A folder in the way of the oldest segment: it cannot be removed, as on a broken disk.
    mkdirSync(join(`${path}.3`, 'x'), { recursive: true });
    write(audit, 5, 4);
    expect(errors).toEqual(['the audit log cannot be written']);
    rmSync(`${path}.3`, { recursive: true });
    write(audit, 2, 9);
    audit.close();
    expect(errors).toHaveLength(1);
    expect(brokenAt(linesOf(path))).toBe(-1);
    expect(linesOf(path).at(-1)).toContain('job 10');
  });

  test('cuts long commands', () => {
    const path = join(folder(), 'audit.log');
    const audit = openAuditLog(path, { bytesMax: 100_000, segmentsMax: 1 }, silentLogger);
    audit.append({ event: 'start', command: 'x'.repeat(100_000) });
    audit.close();
    expect(statSync(path).size).toBeLessThan(5000);
  });
});

describe("the daemon's log", () => {
  const open = (path: string, level: 'debug' | 'info' = 'info') =>
    openDaemonLog({ path, level, bytesMax: 2000, alsoStderr: false });

  test('is JSON lines of its level, twice its bound at most, and silent once closed', () => {
    const path = join(folder(), 'daemon.log');
    const { log, close } = open(path);
    log.debug('unheard');
    for (let i = 0; i < 200; i++) log.info(`héllo ${i}`, { i });
    log.error('last', { why: 'test' });
    close();
    log.error('too late');
    expect(readdirSync(dirname(path)).sort()).toEqual(['daemon.log', 'daemon.log.1']);
    for (const name of [path, `${path}.1`]) expect(statSync(name).size).toBeLessThanOrEqual(2000);
    const lines = readFileSync(path, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { msg: string });
    expect(lines.at(-1)).toMatchObject({ msg: 'last', why: 'test' });
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test('appends to what a run before wrote', () => {
    const path = join(folder(), 'daemon.log');
    for (const message of ['one', 'two']) {
      const { log, close } = open(path);
      log.info(message);
      close();
    }
    expect(readFileSync(path, 'utf8').match(/"msg":"\w+"/g)).toEqual(['"msg":"one"', '"msg":"two"']);
  });

  test('tells stderr once that it cannot be written, and goes on', () => {
    const path = join(folder(), 'daemon.log');
    const { log, close } = open(path);
    const stderr = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    mkdirSync(join(`${path}.1`, 'x'), { recursive: true });
    for (let i = 0; i < 50; i++) log.info(`a line of some length, ${i}`);
    rmSync(`${path}.1`, { recursive: true });
    log.info('again');
    const told = stderr.mock.calls.length;
    stderr.mockRestore();
    close();
    expect(told).toBe(1);
    expect(readFileSync(path, 'utf8')).toContain('again');
  });
});
