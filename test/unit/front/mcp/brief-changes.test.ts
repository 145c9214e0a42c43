import { describe, expect, it } from 'vitest';
import { bareEntry } from '../../../../src/front/mcp/batch-form.ts';
import { batchDocument } from '../../../../src/front/mcp/batch-report.ts';
import { briefChanges } from '../../../../src/front/mcp/brief-changes.ts';
import { INSTRUCTIONS } from '../../../../src/front/mcp/instructions.ts';
import { RESULT_CHARS_MAX, runDocument } from '../../../../src/front/mcp/run-report.ts';
import { jsonChars } from '../../../../src/front/mcp/shown-text.ts';
import type { Changes } from '../../../../src/node/api-types.ts';
import { outcomeOf } from './fixtures.ts';

const NONE: Changes = { returned: [], deleted: [], conflicts: [], held_back: [], left_there: [] };
const many = (count: number, chars: number): string[] =>
  Array.from({ length: count }, (_, index) => `${index}/${'\u001B'.repeat(chars)}`);
const HUGE: Changes = {
  returned: many(200, 8000),
  deleted: many(200, 8000),
  conflicts: many(200, 8000),
  held_back: many(200, 8000),
  left_there: many(50, 8000).map((path) => ({ path, files: 1, bytes: 2 })),
  more: { returned: 1000, deleted: 0, conflicts: 0, held_back: 0, left_there: 0 },
};

describe('changes for a model', () => {
  it('are as they are where they are short', () => {
    const changes = { ...NONE, returned: ['a.c'], left_there: [{ path: 'build/', files: 2, bytes: 3 }] };
    expect(briefChanges(changes)).toEqual(changes);
  });

  it('are cut to short lists of short names, and say how many more there are', () => {
    const brief = briefChanges(HUGE);
    expect(brief.returned.length + (brief.more?.returned ?? 0)).toBe(1200);
    expect(brief.left_there.length + (brief.more?.left_there ?? 0)).toBe(50);
    expect(brief.conflicts[0]).toMatch(/^0\/\\u001b/);
    expect(jsonChars(brief)).toBeLessThan(RESULT_CHARS_MAX * 0.7);
  });

  it('never make a result too long, and leave room for output', () => {
    const document = runDocument(outcomeOf({ changes: HUGE }, { stdout: 'x'.repeat(60_000) }));
    expect(jsonChars(document)).toBeLessThanOrEqual(RESULT_CHARS_MAX);
    expect(String(document['stdout']).length).toBeGreaterThan(5000);
    const entries = Array.from({ length: 300 }, (_, index) => ({
      index,
      command: 'make',
      outcome: outcomeOf({ changes: HUGE }, { stdout: 'x'.repeat(2000) }),
    }));
    const openFile = () => {
      throw new Error('a full disk');
    };
    expect(jsonChars(batchDocument(entries, { wallMs: 1, openFile }))).toBeLessThanOrEqual(RESULT_CHARS_MAX);
  });

  it('stand in the compact form of a batch only where there are any', () => {
    const entry = { index: 0, command: 'make', outcome: outcomeOf({ changes: { ...NONE, conflicts: ['a'] } }) };
    expect(bareEntry(entry, 'compact')).toMatchObject({ changes: { conflicts: ['a'] } });
    expect(bareEntry({ ...entry, outcome: outcomeOf() }, 'compact')).not.toHaveProperty('changes');
  });

  it('have a notice for what stayed there', () => {
    const changes = { ...NONE, left_there: [{ path: 'build/\n', files: 2, bytes: 2048 }] };
    expect(runDocument(outcomeOf({ changes }))['notices']).toEqual([
      'git-ignored products stayed on desk: build/\n (2 files, 2.0 KiB); outputs brings them',
    ]);
  });

  it('are announced in the instructions, which clients cut', () => {
    expect(INSTRUCTIONS).toContain(
      'Uncommitted files are sent and changed unignored files return, ignored products stay there unless in outputs',
    );
    expect(INSTRUCTIONS.length).toBeLessThanOrEqual(2048);
  });
});
