import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { meshworkFailed } from '../../../../src/front/mcp/job-run.ts';
import { refusalReport } from '../../../../src/node/api-refusal.ts';
import { OutputFiles } from '../../../../src/front/mcp/output-files.ts';
import { RESULT_CHARS_MAX, runDocument } from '../../../../src/front/mcp/run-report.ts';
import { shownDeep } from '../../../../src/front/mcp/shown-text.ts';
import { MeshError } from '../../../../src/base/errors.ts';
import { temporaryFolders } from '../../../fixtures/temporary-folder.ts';
import { RUN_KEYS } from '../../../fixtures/job-record.ts';
import { outcomeOf } from './fixtures.ts';

const temporary = temporaryFolders();

describe('the run object of a tool', () => {
  it('has the keys of the contract, in its order, with the output', () => {
    const document = runDocument(outcomeOf({}, { stdout: 'out\n', stderr: 'err\n' }));
    expect(Object.keys(document)).toEqual([...RUN_KEYS]);
    expect(document).toMatchObject({ stdout: 'out\n', stderr: 'err\n', truncated: false, notices: [] });
  });

  it('is bounded, keeps both ends, and names the file that holds all', () => {
    const files = new OutputFiles(temporary());
    const text = Array.from({ length: 50_000 }, (_, at) => `line ${at}\n`).join('');
    const outcome = outcomeOf({}, { stdout: text, stderr: 'short\n' }, (name) => files.create(name));
    const document = runDocument(outcome);
    outcome.stdout.close();
    expect(JSON.stringify(document).length).toBeLessThanOrEqual(RESULT_CHARS_MAX);
    expect(JSON.stringify(document).length).toBeGreaterThan(RESULT_CHARS_MAX - 2000);
    expect(document['stdout']).toMatch(/^line 0\n/);
    expect(document['stdout']).toMatch(/line 49999\n$/);
    expect(document['stderr']).toBe('short\n');
    expect(document['truncated']).toBe(true);
    const notice = String((document['notices'] as string[])[0]);
    const path = / in (\S+) on this machine/.exec(notice)?.[1] ?? '';
    expect(readFileSync(path, 'utf8')).toBe(text);
  });

  it('shares its room between two long streams', () => {
    const long = 'x'.repeat(60_000);
    const document = runDocument(outcomeOf({}, { stdout: long, stderr: long }));
    const [out, err] = [String(document['stdout']).length, String(document['stderr']).length];
    expect(Math.abs(out - err)).toBeLessThan(100);
    expect(document['notices']).toHaveLength(2);
  });

  it('keeps both ends of output that is long as JSON, whatever number of characters is left over by escapes', () => {
    for (let spare = 0; spare < 24; spare++) {
      for (const unit of ['"', '\u001b', '\u009b"x\\', '\ufffd\u0007', 'x\u2028']) {
        const long = unit.repeat(Math.floor(70_000 / unit.length));
        const document = runDocument(outcomeOf({ route: 'r'.repeat(spare) }, { stdout: long, stderr: `y${long}` }));
        expect(JSON.stringify(document).length).toBeLessThanOrEqual(RESULT_CHARS_MAX);
        expect(JSON.stringify(document).length).toBeGreaterThan(RESULT_CHARS_MAX - 1000);
      }
    }
  });

  it('is bounded whatever the output and whatever other nodes say', () => {
    const text = fc.string({ unit: 'binary', maxLength: 3000 });
    const long = fc.tuple(text, fc.integer({ min: 1, max: 60 })).map(([part, times]) => part.repeat(times));
    fc.assert(
      fc.property(long, long, fc.array(long, { maxLength: 20 }), long, (stdout, stderr, notices, message) => {
        const fields = { notices, route: message, executed_on: 'desk\u001b', error: { code: 'refused', message } };
        const document = runDocument(outcomeOf(fields, { stdout, stderr }));
        expect(JSON.stringify(document).length).toBeLessThanOrEqual(RESULT_CHARS_MAX);
        expect(JSON.stringify(document)).toBe(JSON.stringify(shownDeep(document)));
      }),
      { seed: 11, numRuns: 30 },
    );
  });
});

describe('what counts as an error of meshwork', () => {
  it.each([
    ['a command that fails by itself', outcomeOf({ return_code: 3, success: false }).run, false],
    ['a signal', outcomeOf({ reason: 'signaled', success: false, signal: 'SIGTERM' }).run, false],
    ['a time limit', outcomeOf({ reason: 'timeout', success: false }).run, false],
    ['a refusal', refusalReport(new MeshError('no_capable_node', 'none'), '/'), true],
    ['a lost daemon', refusalReport(new MeshError('lost', 'gone'), '/'), true],
    ['an unknown outcome', outcomeOf({ reason: 'unknown', success: false }).run, true],
    ['a job that was cancelled by others', outcomeOf({ reason: 'cancelled', success: false }).run, true],
  ])('%s', (_, run, expected) => {
    expect(meshworkFailed(run)).toBe(expected);
  });

  it('says of a lost daemon that the command may have run', () => {
    const run = refusalReport(new MeshError('lost', 'gone'), '/');
    expect(run).toMatchObject({ reason: 'lost', error: { code: 'lost' }, return_code: null, success: false });
    expect(run.notices[0]).toContain('may have run');
  });
});
