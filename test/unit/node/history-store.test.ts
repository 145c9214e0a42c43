import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { NodeId } from '../../../src/base/ids.ts';
import { silentLogger, type LogFields } from '../../../src/base/log.ts';
import { HistoryStore } from '../../../src/node/history-store.ts';
import { ProjectPlaces } from '../../../src/node/project-place.ts';
import type { JobRecord } from '../../../src/wire/job-record.ts';
import type { Command, JobSpec } from '../../../src/wire/job-spec.ts';
import { temporaryFolders, writeTree } from '../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();
const [SELF, OTHER] = ['a'.repeat(52) as NodeId, 'b'.repeat(52) as NodeId];
const line = (text: string): Command => ({ kind: 'line', line: text });

function logTo(lines: string[]) {
  const warn = (message: string, fields?: LogFields): void =>
    void lines.push(`${message} ${String(fields?.['error'])}`);
  return { ...silentLogger, warn };
}

describe('the history of durations', () => {
  it('is there again after a restart, readable by its owner alone, without a word of a command', async () => {
    const path = join(folder(), 'history.json');
    const store = await HistoryStore.open(path, () => SELF, silentLogger);
    store.record('/p', line('login --password hunter2'), SELF, 12.5);
    await store.close();
    expect(readFileSync(path, 'utf8')).not.toContain('hunter2');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const again = await HistoryStore.open(path, () => SELF, silentLogger);
    expect(again.estimate('/p', line('login --password hunter2'))).toBe(12.5);
    expect(again.estimate('/q', line('login --password hunter2'))).toBeNull();
    await again.close();
  });

  it.each(['', '{', '[]', '{"version":2}', '\0\0\0', '{"version":1,"ids":[],"nodes":[],"runs":[["zz",[0,1]]]}'])(
    'that reads %j begins anew and says so',
    async (content) => {
      const path = join(folder(), 'history.json');
      writeFileSync(path, content);
      const lines: string[] = [];
      const store = await HistoryStore.open(path, () => SELF, logTo(lines));
      expect(lines).toEqual([expect.stringContaining('cannot be used and begins anew')]);
      store.record('/p', line('make'), SELF, 1);
      await store.close();
      expect((await HistoryStore.open(path, () => SELF, silentLogger)).estimate('/p', line('make'))).toBe(1);
    },
  );

  it('that cannot be written is said once, and goes on in memory', async () => {
    const inside = folder();
    const path = join(inside, 'gone', 'history.json');
    mkdirSync(join(inside, 'gone'));
    const lines: string[] = [];
    const store = await HistoryStore.open(path, () => SELF, logTo(lines));
    rmSync(join(inside, 'gone'), { recursive: true });
    for (const seconds of [1, 2]) {
      store.record('/p', line('make'), SELF, seconds);
      await store.close();
    }
    expect(lines).toEqual([expect.stringContaining('cannot be written')]);
    expect(store.estimate('/p', line('make'))).toBe(1.5);
  });

  it('tells figures as on this node', async () => {
    const store = await HistoryStore.open(join(folder(), 'history.json'), () => SELF, silentLogger);
    const job = { command: line('make new'), cwd: { path: '/p' } };
    expect([SELF, OTHER].map(store.of(job).slownessOf)).toEqual([1, null]);
    for (let n = 0; n < 9; n += 1) {
      store.record('/p', line(`make c${n}x`), OTHER, 20);
      store.record('/p', line(`make c${n}x`), SELF, 5);
    }
    expect(store.of(job).slownessOf(OTHER)).toBeCloseTo(4, 5);
    store.record('/p', line('make new'), OTHER, 40);
    expect(store.estimate('/p', line('make new'))).toBeCloseTo(10, 5);
    expect(store.of(job).durationS).toBeCloseTo(10, 5);
    expect(await store.estimates('/p', ['make new', 'never'])).toEqual([store.of(job).durationS, null]);
  });

  it('counts success only', async () => {
    const store = await HistoryStore.open(join(folder(), 'history.json'), () => SELF, silentLogger);
    const spec = { cwd: '/p', command: line('make'), terminal: null } as JobSpec;
    const done = { reason: 'exited', return_code: 0, executed_on_id: SELF, duration_ms: 3000 } as JobRecord;
    for (const other of [{ return_code: 1 }, { reason: 'timeout' }, { executed_on_id: null }, { duration_ms: 0 }]) {
      store.onFinished({ ...done, ...other } as JobRecord, spec);
    }
    store.onFinished(done, { ...spec, terminal: { columns: 80, rows: 24 } });
    expect(store.estimate('/p', spec.command)).toBeNull();
    store.onFinished(done, spec);
    expect(store.estimate('/p', spec.command)).toBe(3);
  });
});

describe('the project of a directory', () => {
  it('is its work tree, the main one for linked work trees, a marked folder, or the directory itself', () => {
    const root = folder();
    writeTree(root, {
      'main/.git/HEAD': '',
      'main/sub/a/x': '',
      'linked/.git': `gitdir: ${root}/main/.git/worktrees/linked\n`,
      'linked/sub/x': '',
      'module/.git': 'gitdir: ../main/.git/modules/module\n',
      'marked/.meshwork.toml': '',
      'plain/deep/x': '',
    });
    const places = new ProjectPlaces();
    expect(places.at(join(root, 'main/sub/a'))).toEqual({
      id: join(root, 'main'),
      root: join(root, 'main'),
      prefix: 'sub/a',
    });
    expect(places.at(join(root, 'linked/sub'))).toEqual({
      id: join(root, 'main'),
      root: join(root, 'linked'),
      prefix: 'sub',
    });
    expect(places.at(join(root, 'module')).id).toBe(join(root, 'module'));
    expect(places.at(join(root, 'marked')).id).toBe(join(root, 'marked'));
    expect(places.at(join(root, 'plain/deep'))).toEqual({
      id: join(root, 'plain/deep'),
      root: join(root, 'plain/deep'),
      prefix: '',
    });
    expect(places.at('/')).toEqual({ id: '/', root: '/', prefix: '' });
  });
});
