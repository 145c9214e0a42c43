import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import {
  addChanges,
  folderInProject,
  leftLines,
  NOTHING_SEEN,
  returnedLine,
} from '../../../../src/front/cli/changes-view.ts';
import { SyncLine, syncText } from '../../../../src/front/cli/sync-line.ts';
import { applyView, secretsView, workspacesView } from '../../../../src/front/cli/workspaces-view.ts';
import type { Changes } from '../../../../src/node/api-types.ts';
import { temporaryFolders } from '../../../fixtures/temporary-folder.ts';

const HOSTILE = 'x\u001B[2J\u202E\ny';
// oxlint-disable-next-line no-control-regex -- they are what must not be there
const CONTROLS = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/;
const temporaryFolder = temporaryFolders();
const NONE: Changes = { returned: [], deleted: [], conflicts: [], held_back: [], left_there: [] };
const build = { path: 'build/', files: 12, bytes: 3_565_158 };

/** Both, as a run on a terminal has them. */
const changesLines = (seen: typeof NOTHING_SEEN, folder: string): string[] => {
  const returned = returnedLine(seen);
  return [...(returned === null ? [] : [returned]), ...leftLines(seen, folder)];
};

describe('what became of the files, on a terminal', () => {
  test('is nothing where nothing changed', () => {
    expect(changesLines(addChanges(NOTHING_SEEN, NONE, 'b'), '')).toEqual([]);
  });

  test('is counted, and what stayed is named with how to fetch it', () => {
    const seen = addChanges(
      NOTHING_SEEN,
      { ...NONE, returned: ['a', 'b'], deleted: ['c'], conflicts: ['d'], held_back: ['e'], left_there: [build] },
      'b',
    );
    expect(changesLines(seen, '')).toEqual([
      '2 files came back, 1 deleted, 1 kept aside, since it changed here too, 1 held back',
      "build/ (12 files, 3.4 MiB) stayed on b: fetch with --out 'build/**'",
    ]);
    expect(changesLines(seen, 'sub/dir')[1]).toContain("--out '../../build/**'");
    const odd = { path: 'app/[id]*.o', files: 1, bytes: 1 };
    const lines = changesLines(addChanges(NOTHING_SEEN, { ...NONE, left_there: [odd] }, 'b'), '');
    expect(lines.join('')).toContain(String.raw`--out 'app/\[id]\*.o'`);
  });

  test('is named so that --out fits that very name', () => {
    const hint = (path: string, files: number, folder: string): string =>
      leftLines(addChanges(NOTHING_SEEN, { ...NONE, left_there: [{ path, files, bytes: 1 }] }, 'b'), folder)[0] ?? '';
    expect(hint('app/[slug]/dist/', 2, 'app')).toContain(String.raw`--out '\[slug]/dist/**'`);
    expect(hint('build', 1, 'build')).toContain("--out '**'");
    expect(hint('build/', 2, 'build')).toContain("--out '**'");
  });

  test('of a batch is added up, each folder once a node', () => {
    const one = { ...NONE, returned: ['a'], left_there: [build] };
    let seen = NOTHING_SEEN;
    for (const node of ['b', 'b', 'c', 'd', 'e']) seen = addChanges(seen, one, node);
    const lines = changesLines(seen, '');
    expect(lines[0]).toBe('5 files came back');
    expect(lines.slice(1).map((line) => line.split(':')[0])).toEqual([
      'build/ (12 files, 3.4 MiB) stayed on b',
      'build/ (12 files, 3.4 MiB) stayed on c',
      'build/ (12 files, 3.4 MiB) stayed on d',
      '1 more stayed there',
    ]);
  });

  test('shows control characters of names', () => {
    const left = { path: `${HOSTILE}'`, files: 1, bytes: 1 };
    const lines = changesLines(addChanges(NOTHING_SEEN, { ...NONE, left_there: [left] }, HOSTILE), '');
    expect(lines).toHaveLength(1);
    expect(lines.join('')).not.toMatch(CONTROLS);
    expect(lines.join('')).toContain(String.raw`--out 'x\u001b\[2J\u202e\u000ay'\'''`);
  });

  test('names patterns from where the command ran', () => {
    const root = temporaryFolder();
    const deep = join(root, 'a', 'b');
    mkdirSync(deep, { recursive: true });
    mkdirSync(join(root, '.git'));
    expect(folderInProject(deep, null)).toBe('a/b');
    expect(folderInProject(deep, join(root, 'a'))).toBe('b');
    expect(folderInProject(root, null)).toBe('');
  });
});

describe('the line while files travel', () => {
  test('is what the daemon says, on one line', () => {
    const event = {
      kind: 'state',
      state: 'syncing',
      node: 'b',
      detail: `sends files: 3 of 9 files ${HOSTILE}`,
    } as const;
    expect(syncText(event)).toBe(String.raw`sends files: 3 of 9 files x\u001b[2J\u202e\u000ay`);
    expect(syncText({ kind: 'state', state: 'preparing', node: 'b', detail: '' })).toBe('preparing on b');
  });

  test('is drawn over itself after a moment, is gone before output, and is no line without a terminal', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    try {
      const written: string[] = [];
      const stream = (isTTY: boolean): NodeJS.WriteStream =>
        ({ isTTY, columns: 80, write: (text: string) => written.push(text) > 0 }) as unknown as NodeJS.WriteStream;
      const event = { kind: 'state', state: 'syncing', node: 'b', detail: 'sends files' } as const;
      const line = new SyncLine(stream(true));
      line.onEvent(event);
      line.clear();
      vi.advanceTimersByTime(5000);
      expect(written).toEqual([]);
      line.onEvent(event);
      vi.advanceTimersByTime(600);
      expect(written.join('')).toContain('sends files');
      line.onEvent({ ...event, state: 'running' });
      expect(written.at(-1)).toBe('\r\u001B[K');
      const count = written.length;
      new SyncLine(stream(false)).onEvent(event);
      vi.advanceTimersByTime(5000);
      expect(written).toHaveLength(count);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe('apply, workspaces and secrets', () => {
  test('apply has a line a file', () => {
    const more = { returned: 3, deleted: 0, conflicts: 0, held_back: 0, left_there: 0 };
    const changes = { ...NONE, returned: ['.mcp.json'], deleted: [HOSTILE], conflicts: ['c'], more };
    const view = applyView({ job: '01J', changes, notices: ['look'] });
    expect(view.split('\n')).toEqual([
      'applied     .mcp.json',
      'applied     and 3 more',
      String.raw`deleted     x\u001b[2J\u202e\u000ay`,
      'conflict    c',
      '! look',
    ]);
    expect(applyView({ job: '01J', changes: NONE, notices: [] })).toBe('nothing was left to apply of 01J');
  });

  test('workspaces are a table', () => {
    const one = {
      name: 'app-1a2b',
      origin: HOSTILE,
      origin_id: 'a'.repeat(52),
      root: '/home/me/app',
      slots: 2,
      in_use: 1,
      bytes: 2048,
      used_ms: 0,
    };
    const view = workspacesView({ notices: [], workspaces: [one], store_bytes: 4096 }, 60_000, null, false);
    expect(view).toMatch(
      /^PROJECT +FROM +SLOTS +IN USE +SIZE +USED +THERE\napp-1a2b +x.+ 2 +1 +2\.0 KiB +1 min ago +\/home\/me\/app\n/,
    );
    expect(view).toContain('and 4.0 KiB of files');
    const long = { ...one, origin: 'desk', root: `/home/me/${'deep/'.repeat(20)}app` };
    const narrow = workspacesView({ notices: [], workspaces: [long], store_bytes: 0 }, 60_000, 80, false).split('\n');
    expect(narrow[1]).toHaveLength(80);
    expect(narrow[1]).toMatch(/^app-1a2b .* …[a-z/]+deep\/app$/);
    expect(view).not.toMatch(CONTROLS);
    expect(workspacesView({ notices: [], workspaces: [], store_bytes: 0 }, 0, null, false)).toMatch(/^no workspaces/);
  });

  test('secrets say what was decided, and how to decide', () => {
    const files = [
      { path: '.env', decision: null },
      { path: 'key.pem', decision: 'skip' },
      { path: HOSTILE, decision: 'send' },
    ] as const;
    const view = secretsView({ root: '/p', notices: [], files });
    expect(view.split('\n')).toEqual([
      '/p:',
      '  not decided  .env',
      '  not sent     key.pem',
      String.raw`  sent         x\u001b[2J\u202e\u000ay`,
      'decide with `meshwork secrets send FILE…` or `meshwork secrets skip FILE…`',
    ]);
    expect(secretsView({ root: '/p', notices: [], files: [] })).toBe('/p: no untracked secrets');
  });
});
