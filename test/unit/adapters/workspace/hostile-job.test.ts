import { execFileSync, spawn } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ChangePackFile } from '../../../../src/adapters/workspace/change-pack-file.ts';
import { MTIME_MS_MAX } from '../../../../src/wire/manifest.ts';
import type { ChangeList } from '../../../../src/wire/change-pack.ts';
import type { ChangePack } from '../../../../src/wire/changes.ts';
import { sentOf, TestExecutor, type SentFiles } from '../../../fixtures/sent-project.ts';

const FILES = { 'a.txt': 'one', 'sub/b.txt': 'two', 'sub/deep/c.txt': 'three' };

let executor: TestExecutor;
let canary: string;
beforeEach(() => {
  executor = new TestExecutor();
  canary = join(executor.home, 'canary');
  for (const folder of ['', 'sub', 'sub/deep', 'app']) mkdirSync(join(canary, folder), { recursive: true });
  writeFileSync(join(canary, 'file'), 'untouched');
});
afterEach(() => {
  expect(readFileSync(join(canary, 'file'), 'utf8')).toBe('untouched');
  expect(readdirSync(canary, { recursive: true }).map(String).toSorted()).toEqual(['app', 'file', 'sub', 'sub/deep']);
  executor.remove();
});

async function jobDoes(act: (tree: string) => void): Promise<{ readonly tree: string; readonly changes: ChangePack }> {
  const { id, tree } = await executor.sync(FILES);
  act(tree);
  const changes = await executor.collect(id);
  await executor.files.close(id);
  return { tree, changes };
}

async function listOf(changes: ChangePack): Promise<ChangeList> {
  const pack = await ChangePackFile.open(join(executor.home, 'changes.pack'), changes.pack_sha256);
  if (!pack.ok) throw new Error(pack.error);
  pack.value.close();
  return pack.value.list;
}

/** The same slot again, as it was sent. */
async function isWholeAgain(tree: string, more: Parameters<TestExecutor['sync']>[1] = {}): Promise<void> {
  const next = await executor.sync(FILES, more);
  expect(next.tree).toBe(tree);
  expect(lstatSync(tree).isDirectory()).toBe(true);
  for (const [path, text] of Object.entries(FILES)) expect(readFileSync(join(tree, path), 'utf8')).toBe(text);
  await executor.files.sweep({ quotaBytes: 2 ** 40, keepDays: 1 });
  await executor.files.close(next.id);
}

describe('a job that means harm', () => {
  it.each([
    ['the tree becomes a link', (tree: string) => (rmSync(tree, { recursive: true }), symlinkSync(canary, tree))],
    [
      'the tree becomes a dangling link',
      (tree: string) => (rmSync(tree, { recursive: true }), symlinkSync('no', tree)),
    ],
    ['the tree becomes a file', (tree: string) => (rmSync(tree, { recursive: true }), writeFileSync(tree, ''))],
    ['the tree is moved away', (tree: string) => renameSync(tree, `${tree}-gone`)],
    [
      'the folder above becomes a link',
      (tree: string) => (rmSync(dirname(tree), { recursive: true }), symlinkSync(canary, dirname(tree))),
    ],
    [
      'a folder becomes a link',
      (tree: string) => (rmSync(join(tree, 'sub'), { recursive: true }), symlinkSync(canary, join(tree, 'sub'))),
    ],
    [
      'a folder becomes a link to the folder above',
      (tree: string) => (rmSync(join(tree, 'sub'), { recursive: true }), symlinkSync('..', join(tree, 'sub'))),
    ],
    [
      'nothing may be read',
      (tree: string) => (chmodSync(join(tree, 'a.txt'), 0), chmodSync(join(tree, 'sub'), 0), chmodSync(tree, 0)),
    ],
    [
      'a FIFO is in the place of a file',
      (tree: string) => (rmSync(join(tree, 'a.txt')), execFileSync('mkfifo', [join(tree, 'a.txt'), join(tree, 'new')])),
    ],
  ])('and where %s: nothing outside is touched, and the next job finds what was sent', async (_what, act) => {
    const { tree } = await jobDoes(act);
    await executor.files.list();
    await isWholeAgain(tree);
  });

  it('brings a file back as it was at one moment while something writes on', async () => {
    const { id, tree } = await executor.sync(FILES);
    const path = join(tree, 'log');
    writeFileSync(path, 'x'.repeat(2 * 1024 * 1024 - 10));
    const collecting = executor.collect(id);
    for (let round = 0; round < 20; round++) appendFileSync(path, 'y'.repeat(100_000));
    const changes = await collecting;
    expect(changes).toMatchObject({ changed: 1, problem: null });
    expect((await listOf(changes)).changed).toMatchObject([{ path: 'log' }]);
  });

  it('may leave something behind that goes on writing to a folder which is removed', async () => {
    const { tree } = await jobDoes((where) => mkdirSync(join(where, 'junk')));
    // Two at once: an empty folder is seen between two of them hardly ever.
    const line = 'n=0; while :; do n=$((n+1)); : > f$n; [ $n -lt 20000 ] || n=0; done';
    const writers = [0, 1].map(() => spawn('/bin/sh', ['-c', line], { cwd: join(tree, 'junk'), stdio: 'ignore' }));
    const ended = writers.map((writer) => new Promise((resolve) => writer.once('exit', resolve)));
    try {
      await vi.waitUntil(() => readdirSync(join(tree, 'junk')).length > 1000, { timeout: 20_000, interval: 1 });
      await isWholeAgain(tree);
      for (let round = 0; round < 2; round++) await isWholeAgain(tree, { clean: true });
      expect(readdirSync(tree).toSorted()).toEqual(['a.txt', 'sub']);
    } finally {
      for (const writer of writers) writer.kill('SIGKILL');
      await Promise.all(ended);
    }
    await isWholeAgain(tree);
    expect(readdirSync(join(dirname(dirname(tree)), '1.slot/trash'))).toEqual([]);
  });

  it('with times that no Date holds, and files of a petabyte, still brings back the rest', async () => {
    const { changes } = await jobDoes((tree) => {
      writeFileSync(join(tree, 'future'), 'f');
      utimesSync(join(tree, 'future'), 1e14, 1e14);
      writeFileSync(join(tree, 'past'), 'p');
      utimesSync(join(tree, 'past'), -1e9, -1e9);
      writeFileSync(join(tree, 'sparse'), '');
      truncateSync(join(tree, 'sparse'), 2 ** 42);
      writeFileSync(join(tree, 'a.txt'), 'changed');
    });
    const { changed, deleted } = await listOf(changes);
    expect(changed.map((entry) => entry.path)).toEqual(['a.txt', 'future', 'past']);
    for (const entry of changed)
      expect(entry).toSatisfy((one: { mtimeMs: number }) => one.mtimeMs >= 0 && one.mtimeMs <= MTIME_MS_MAX);
    expect(deleted).toEqual([]);
    expect(changes.problem).toContain('sparse cannot be read there');
  });
});

const RUNS = Number(process.env['RUNS'] ?? 1500);

it(`${RUNS} random manifests, one after the other in one workspace that jobs leave in any state, touch nothing outside`, async () => {
  const name = fc.constantFrom('a', 'b', 'c', 'sub', 'x.o');
  const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
  const entry = fc.oneof(
    { weight: 4, arbitrary: fc.tuple(path, fc.constantFrom('x', '', 'yy')).map(([at, text]): SentPath => [at, text]) },
    fc
      .tuple(path, fc.constantFrom('a', '../b', '..', '../../canary', '.'))
      .map(([at, link]): SentPath => [at, { link }]),
    path.map((at): SentPath => [at, null]),
  );
  const debris = fc.tuple(path, fc.constantFrom('link', 'up', 'fifo', 'locked', 'file', 'gone'));
  const gitignore: SentPath = ['.gitignore', '*.o\n'];
  let placed = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(entry, { maxLength: 8 }), fc.array(debris, { maxLength: 3 }), async (entries, left) => {
      const sent = sentOf(Object.fromEntries([gitignore, ...entries]));
      const opened = await executor.open(sent);
      const isTaken = await executor.send(opened.id, sent).then(
        () => true,
        () => false,
      );
      const isPlaced = isTaken && (await executor.files.place(opened.id, () => undefined)).ok;
      if (isPlaced) {
        placed++;
        for (const [at, file] of Object.entries(Object.fromEntries(entries))) {
          if (typeof file === 'string') expect(readFileSync(join(opened.tree, at), 'utf8')).toBe(file);
        }
        for (const [at, what] of left) leave(join(opened.tree, at), what);
        await executor.collect(opened.id, { outputs: ['**/*.o'] });
      }
      await executor.files.close(opened.id);
      expect(readFileSync(join(canary, 'file'), 'utf8')).toBe('untouched');
    }),
    { numRuns: RUNS },
  );
  expect(placed).toBeGreaterThan(RUNS / 10);
}, 600_000);

type SentPath = readonly [string, SentFiles[string]];

/** What a job leaves at a path; where something is in the way, nothing. */
function leave(path: string, what: string): void {
  try {
    // What a job writes through its own links is its own affair.
    if (realpathSync(dirname(path)) !== dirname(path)) return;
    rmSync(path, { recursive: true, force: true });
    if (what === 'link') symlinkSync(canary, path);
    else if (what === 'up') symlinkSync('..', path);
    else if (what === 'fifo') execFileSync('mkfifo', [path], { stdio: 'ignore' });
    else if (what === 'locked') mkdirSync(path, { mode: 0 });
    else if (what === 'file') writeFileSync(path, 'left');
  } catch (error) {
    expect(error).toBeInstanceOf(Error);
  }
}
