import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { BatchEntry } from '../../../../src/front/mcp/batch-form.ts';
import { batchDocument } from '../../../../src/front/mcp/batch-report.ts';
import { OutputFiles } from '../../../../src/front/mcp/output-files.ts';
import { RESULT_CHARS_MAX } from '../../../../src/front/mcp/run-report.ts';
import { temporaryFolders } from '../../../fixtures/temporary-folder.ts';
import { RUN_KEYS } from '../../../fixtures/job-record.ts';
import { outcomeOf } from './fixtures.ts';

const temporary = temporaryFolders();

interface Batch {
  readonly notices: readonly string[];
  readonly succeeded: number;
  readonly failed: number;
  readonly results_left_out?: number;
  readonly results: readonly Record<string, unknown>[];
}

function report(entries: readonly BatchEntry[]): {
  readonly batch: Batch;
  readonly chars: number;
  readonly path: string;
} {
  const folder = temporary();
  const document = batchDocument(entries, { wallMs: 12.3, openFile: () => new OutputFiles(folder).create('batch') });
  return { batch: document as unknown as Batch, chars: JSON.stringify(document).length, path: join(folder, 'batch') };
}

const passed = (index: number, stdout: string, command = `echo ${index}`): BatchEntry => ({
  index,
  command,
  outcome: outcomeOf({}, { stdout }),
});
const broken = (index: number, stdout: string, stderr: string): BatchEntry => ({
  index,
  command: `test ${index}`,
  outcome: outcomeOf({ return_code: 1, success: false }, { stdout, stderr }),
});

describe('the document of a batch', () => {
  it('has whole run objects with their commands where they fit, in order', () => {
    const { batch } = report([passed(0, 'a\n'), broken(1, '', 'no\n'), passed(2, 'c\n')]);
    expect(batch).toMatchObject({ notices: [], succeeded: 2, failed: 1, wall_ms: 12, ran_on: { desk: 3 } });
    expect(batch.results.map((entry) => Object.keys(entry))).toEqual([0, 1, 2].map(() => ['command', ...RUN_KEYS]));
    expect(batch.results.map((entry) => entry['command'])).toEqual(['echo 0', 'test 1', 'echo 2']);
  });

  it('keeps the output of failures first', () => {
    const noise = 'passed\n'.repeat(3000);
    const trace = 'trace\n'.repeat(500);
    const entries = [...Array(10).keys()].map((at) => (at === 7 ? broken(at, '', trace) : passed(at, noise)));
    const { batch, chars, path } = report(entries);
    expect(chars).toBeLessThanOrEqual(RESULT_CHARS_MAX);
    expect(batch.results).toHaveLength(10);
    expect(batch.results[7]?.['stderr']).toBe(trace);
    expect(String(batch.results[0]?.['stdout']).length).toBeLessThan(noise.length);
    expect(batch.results[0]?.['truncated']).toBe(true);
    expect(batch.notices.join()).toContain(path);
    const lines = readFileSync(path, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.map((line) => line['index'])).toEqual([...Array(10).keys()]);
    expect(lines[0]?.['stdout']).toBe(noise);
  });

  it('still has an entry for each of a thousand commands', () => {
    const { batch, chars } = report([...Array(1000).keys()].map((at) => passed(at, `${at}\n`)));
    expect(chars).toBeLessThanOrEqual(RESULT_CHARS_MAX);
    expect(batch.succeeded).toBe(1000);
    expect(batch.results).toHaveLength(1000);
    expect(batch.results.every((entry, at) => entry['command'] === `echo ${at}` && entry['return_code'] === 0)).toBe(
      true,
    );
    expect(batch.notices).toHaveLength(1);
  });

  it('leaves entries out, failures last, where a thousand long commands do not fit, and says how many', () => {
    const long = (at: number): string => `node --test test/unit/some/where/quite/deep/number-${at}.test.ts`;
    const entries = [...Array(1000).keys()].map((at) =>
      at % 100 === 99 ? broken(at, '', `failure ${at}\n`) : passed(at, 'ok\n'.repeat(50), long(at)),
    );
    const { batch, chars } = report(entries);
    expect(chars).toBeLessThanOrEqual(RESULT_CHARS_MAX);
    expect((batch.results_left_out ?? 0) + batch.results.length).toBe(1000);
    const failures = batch.results.filter((entry) => entry['return_code'] === 1);
    expect(failures.map((entry) => entry['stderr'])).toEqual(
      [...Array(10).keys()].map((at) => `failure ${at * 100 + 99}\n`),
    );
    const places = batch.results.map((entry) => Number(entry['index']));
    expect(places).toEqual(places.toSorted((a, b) => a - b));
  });

  it('is bounded whatever the commands print', () => {
    const text = fc.string({ unit: 'binary', maxLength: 200 });
    const output = fc.tuple(text, fc.integer({ min: 0, max: 100 })).map(([part, times]) => part.repeat(times));
    const entry = fc.record({ command: text, stdout: output, stderr: output, ok: fc.boolean() });
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 120 }), (given) => {
        const entries = given.map(({ command, stdout, stderr, ok }, index) => ({
          index,
          command,
          outcome: outcomeOf({ success: ok, return_code: ok ? 0 : 1 }, { stdout, stderr }),
        }));
        const { batch, chars } = report(entries);
        expect(chars).toBeLessThanOrEqual(RESULT_CHARS_MAX);
        expect(batch.succeeded + batch.failed).toBe(entries.length);
        expect(batch.results.length + (batch.results_left_out ?? 0)).toBe(entries.length);
      }),
      { seed: 3, numRuns: 25 },
    );
  });

  it('says where the results could not be kept', () => {
    const document = batchDocument([passed(0, 'x'.repeat(60_000))], {
      wallMs: 1,
      openFile: () => {
        throw new Error('read-only file system');
      },
    });
    expect(document['notices']).toEqual([expect.stringContaining('read-only file system')]);
  });
});
