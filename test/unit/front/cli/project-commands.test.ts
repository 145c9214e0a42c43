import * as fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { MeshError } from '../../../../src/base/errors.ts';
import {
  applyCommand,
  removeWorkspacesCommand,
  secretsCommand,
  workspacesCommand,
} from '../../../../src/front/cli/project-commands.ts';
import type { ApiClient } from '../../../../src/node/api-client.ts';

vi.mock('node:fs', async (original) => ({ ...(await original<typeof fs>()), writeSync: vi.fn<typeof fs.writeSync>() }));

const NONE = { returned: [], deleted: [], conflicts: [], held_back: [], left_there: [] };
let printed: string;
let asked: [string, unknown][];
let closed: number;

beforeEach(() => {
  printed = '';
  asked = [];
  closed = 0;
  vi.mocked(fs.writeSync).mockImplementation((fd: number, bytes: unknown) => {
    expect(fd).toBe(1);
    printed += Buffer.from(bytes as Uint8Array).toString();
    return (bytes as Uint8Array).byteLength;
  });
});

afterEach(() => {
  vi.restoreAllMocks();
});

/** A daemon that gives that answer, whatever is asked. */
const daemon = (answer: unknown) => (): Promise<ApiClient> =>
  Promise.resolve({
    call: (method: string, params: unknown) => {
      asked.push([method, params]);
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    },
    close: () => (closed += 1),
  } as unknown as ApiClient);

describe('apply', () => {
  test('tells what was applied, and ends with 1 where a file changed here too', async () => {
    const report = { job: '01JWHOLE', changes: { ...NONE, returned: ['.mcp.json'] }, notices: [] };
    expect(await applyCommand(daemon(report), '01J', false)).toBe(0);
    expect(printed).toBe('applied     .mcp.json\n');
    expect(asked).toEqual([['apply', { job: '01J' }]]);
    const conflict = { ...report, changes: { ...NONE, conflicts: ['a'] } };
    expect(await applyCommand(daemon(conflict), '01J', false)).toBe(1);
    expect(closed).toBe(2);
  });

  test('as JSON is the report, control characters escaped', async () => {
    const report = { job: '01J', changes: { ...NONE, returned: ['\u009B2J'] }, notices: [] };
    expect(await applyCommand(daemon(report), '01J', true)).toBe(0);
    const { job, ...facts } = report;
    expect(JSON.parse(printed)).toEqual({ job_id: job, ...facts });
    expect(printed).toContain(String.raw`\u009b2J`);
  });

  test('of a job that holds nothing back is refused', async () => {
    const nothing = new MeshError('nothing_to_apply', 'nothing is held back of 01J');
    await expect(applyCommand(daemon(nothing), '01J', false)).rejects.toThrow(nothing);
    expect(closed).toBe(1);
  });
});

describe('workspaces', () => {
  test('are listed', async () => {
    const report = { notices: ['a disk is full'], workspaces: [], store_bytes: 0 };
    expect(await workspacesCommand(daemon(report), false)).toBe(0);
    expect(printed).toBe('no workspaces: nothing is kept here of the projects of others\n! a disk is full\n');
    printed = '';
    expect(await workspacesCommand(daemon(report), true)).toBe(0);
    expect(JSON.parse(printed)).toEqual(report);
  });

  test('are removed: those named, or all that no job uses', async () => {
    const report = { removed: ['app'], bytes: 2048, notices: [] };
    expect(await removeWorkspacesCommand(daemon(report), ['app'], false)).toBe(0);
    expect(printed).toBe('removed app\n2.0 KiB are free again\n');
    printed = '';
    expect(await removeWorkspacesCommand(daemon({ ...report, removed: [], bytes: 0 }), [], false)).toBe(0);
    expect(printed).toBe('nothing was removed\n');
    expect(asked.map(([, params]) => params)).toEqual([{ names: ['app'] }, { names: [] }]);
    await expect(removeWorkspacesCommand(daemon(report), [''], false)).rejects.toThrow(/name is empty/);
    await expect(removeWorkspacesCommand(daemon(report), Array(65).fill('x'), false)).rejects.toThrow(/at most 64/);
  });
});

describe('secrets', () => {
  test('are listed and decided for the directory that one is in', async () => {
    const report = { root: '/p', notices: [], files: [{ path: '.env', decision: 'send' }] };
    expect(await secretsCommand(daemon(report), 'send', ['.env'], false)).toBe(0);
    expect(printed).toBe('/p:\n  sent         .env\n');
    printed = '';
    expect(await secretsCommand(daemon(report), 'ask', [], true)).toBe(0);
    expect(JSON.parse(printed)).toEqual(report);
    const cwd = process.cwd();
    expect(asked).toEqual([
      ['secrets', { cwd, decision: 'send', files: ['.env'] }],
      ['secrets', { cwd, decision: 'ask', files: [] }],
    ]);
  });
});
