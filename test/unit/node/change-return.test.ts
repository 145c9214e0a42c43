import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { base32, makeJobId, type NodeId } from '../../../src/base/ids.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { err, ok, type Result } from '../../../src/base/result.ts';
import type { ChangeFetch, FetchRefusal, FetchRequest } from '../../../src/node/change-fetch.ts';
import { ChangeReturn } from '../../../src/node/change-return.ts';
import { ProjectBook } from '../../../src/node/project-book.ts';
import { ShippedJobs, type ShippedJob } from '../../../src/node/shipped-jobs.ts';
import type { Applied, ApplyRequest, ScanRefusal } from '../../../src/ports/workspace.ts';
import { NO_CHANGE_PACK, NO_CHANGES, type ChangePack } from '../../../src/wire/changes.ts';
import type { Ended, Outcome } from '../../../src/wire/jobs.ts';
import type { WorkspaceMessage } from '../../../src/wire/workspace.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';
import { JoinedMuxes } from '../wire/joined-muxes.ts';
import { MANIFEST, MemoryProject, PROJECT } from './memory-workspaces.ts';

const folder = temporaryFolders();
const EXECUTOR = base32(new Uint8Array(33).fill(2)).slice(0, 52) as NodeId;
const JOB = makeJobId(1, new Uint8Array(16));
const NOTHING = NO_CHANGE_PACK;
const PACK: ChangePack = {
  ...NOTHING,
  changed: 2,
  deleted: 1,
  pack_bytes: 4,
  pack_sha256: 'b'.repeat(64),
  named: ['a', 'b'],
};
const COUNTS = { returned: 2, deleted: 1, conflicts: 0, heldBack: 0 };
const APPLIED: Applied = {
  changes: { ...NO_CHANGES, returned: ['a', 'b'], deleted: ['c'] },
  counts: COUNTS,
  notices: [],
};
const SHIPPED: ShippedJob = {
  job: JOB,
  attempt: 1,
  node: EXECUTOR,
  node_name: 'b',
  project: PROJECT,
  manifest: MANIFEST,
  withheld: [],
  returns: true,
  outputs: [],
  asked: [],
  scanned_ms: 0,
  held: null,
  at_ms: 0,
};
const exited: Outcome = { kind: 'exited', code: 0 };

class Rig {
  readonly home = folder();
  readonly shipped = new ShippedJobs(join(this.home, 'changes'), silentLogger);
  readonly book = new ProjectBook(join(this.home, 'projects.json'), silentLogger);
  readonly sent: WorkspaceMessage['t'][] = [];
  readonly fetched: FetchRequest[] = [];
  readonly applied: ApplyRequest[] = [];
  readonly project = new MemoryProject();
  readonly returns: ChangeReturn;
  fetch: Result<null, FetchRefusal> = ok(null);
  outcome: Applied = APPLIED;
  refusal: ScanRefusal | null = null;

  constructor(shipped: Partial<ShippedJob> = {}) {
    this.shipped.note({ ...SHIPPED, ...shipped });
    this.returns = new ChangeReturn({
      files: {
        ...this.project.files,
        apply: async (request) => {
          this.applied.push(request);
          return this.refusal === null ? ok(this.outcome) : err(this.refusal);
        },
      },
      shipped: this.shipped,
      book: this.book,
      log: silentLogger,
      conflicts: join(this.home, 'conflicts'),
      packBytesMax: 1000,
      fetch: {
        fetch: async (request: FetchRequest) => {
          this.fetched.push(request);
          if (this.fetch.ok) writeFileSync(request.path, 'pack');
          return this.fetch;
        },
      } as unknown as ChangeFetch,
      executor: () => ({ mux: new JoinedMuxes().first, isHere: false, send: ({ t }) => this.sent.push(t) > 0 }),
    });
  }

  back(changes: ChangePack | null, outcome = exited) {
    const ended: Ended = {
      t: 'job.ended',
      job: JOB,
      attempt: 1,
      outcome,
      stdout_bytes: 0,
      stderr_bytes: 0,
      truncated: false,
      left_running: 0,
      duration_ms: 1,
      changes,
    };
    const shipped = this.returns.shippedAs(JOB, 1);
    if (shipped === null) throw new Error('it was not sent');
    return this.returns.bringBack(shipped, ended);
  }
}

test('changes of a job that was to bring none back are not fetched, whatever its node says', async () => {
  const rig = new Rig({ returns: false });
  expect((await rig.back(PACK)).changes).toEqual(NO_CHANGES);
  expect([rig.fetched, rig.applied]).toEqual([[], []]);
  rig.returns.finished(JOB);
  expect(rig.shipped.get(JOB)).toBeNull();
});

test('products of earlier jobs alone are brought by a job that ended by itself, and held by none', async () => {
  const earlier = { ...PACK, changed: 0, deleted: 0, named: [] };
  const rig = new Rig();
  expect(await rig.back(earlier, { kind: 'timeout', code: null, signal: 'SIGTERM' })).toEqual({
    changes: NO_CHANGES,
    notices: [],
  });
  rig.returns.finished(JOB);
  expect([rig.fetched, rig.shipped.get(JOB)]).toEqual([[], null]);
  expect(rig.sent).toContain('ws.drop');
  expect((await new Rig().back(earlier)).changes).toEqual(APPLIED.changes);
});

test('changes are fetched, applied, dropped there and forgotten here', async () => {
  const rig = new Rig();
  expect(await rig.back(PACK)).toEqual({ changes: APPLIED.changes, notices: [] });
  expect(rig.applied).toMatchObject([{ manifest: MANIFEST, packSha256: PACK.pack_sha256, held: false }]);
  expect(rig.sent).toContain('ws.drop');
  // Until its end is in the journal: a daemon that dies before that is told the end again, and tells the same.
  const next = new Rig(new ShippedJobs(join(rig.home, 'changes'), silentLogger).get(JOB) ?? {});
  expect((await next.back(PACK)).changes).toEqual(APPLIED.changes);
  rig.returns.finished(JOB);
  expect(rig.shipped.get(JOB)).toBeNull();
  expect(existsSync(rig.fetched[0]?.path ?? '')).toBe(false);
  expect(rig.project.calls).toEqual(['unpin']);
});

test('where nothing changed nothing is fetched, and what stayed there is known', async () => {
  const rig = new Rig();
  const left = [{ path: 'dist', files: 3, bytes: 10 }];
  expect(await rig.back({ ...NOTHING, left_there: left })).toMatchObject({ changes: { left_there: left } });
  expect(rig.fetched).toEqual([]);
  expect(rig.book.productsAt(PROJECT)).toEqual({ node: EXECUTOR, what: 'dist on b', paths: ['dist'] });
  rig.shipped.note({ ...SHIPPED, outputs: ['dist/**'] });
  await rig.back(NOTHING);
  expect(rig.book.productsAt(PROJECT)).toBeNull();
});

test('products that stayed are known until all of them were asked for', async () => {
  const rig = new Rig();
  const at = (): string | undefined => rig.book.productsAt(PROJECT)?.what;
  const again = async (left: readonly string[], outputs: readonly string[]): Promise<string | undefined> => {
    rig.shipped.note({ ...SHIPPED, outputs: [...outputs] });
    await rig.back({ ...NOTHING, left_there: left.map((path) => ({ path, files: 2, bytes: 10 })) });
    return at();
  };
  expect(await again(['build'], [])).toBe('build on b');
  expect(await again([], ['build/prog', 'build/*.a'])).toBe('build on b');
  expect(await again(['pkg/dist'], [])).toBe('pkg/dist, build on b');
  expect(await again([], ['**/dist'])).toBe('build on b');
  expect(await again([], [])).toBe('build on b');
  expect(await again([], ['build/*'])).toBeUndefined();
});

test('a log or a tool’s own file that stayed there is named, and keeps nobody there', async () => {
  const rig = new Rig();
  const left = [{ path: 'sub/.envrc', files: 1, bytes: 20 }];
  expect(await rig.back({ ...NOTHING, left_there: left })).toMatchObject({ changes: { left_there: left } });
  expect(rig.book.productsAt(PROJECT)).toBeNull();
});

test.each([
  { outcome: { kind: 'timeout', code: null, signal: 'SIGTERM' } },
  { outcome: { kind: 'cancelled', code: null, signal: 'SIGTERM' } },
  { outcome: { kind: 'unknown', message: 'gone' } },
] as const)('after $outcome.kind they are held, and apply brings them', async ({ outcome }) => {
  const rig = new Rig();
  const { changes, notices } = await rig.back(PACK, outcome);
  expect(changes).toMatchObject({ returned: [], held_back: ['a', 'b'], more: { held_back: 1 } });
  expect(notices.join()).toMatch(new RegExp(`on b \\(a, b and 1 more\\) is held.*meshwork apply ${JOB}`));
  expect(rig.fetched).toEqual([]);
  expect((await rig.returns.applyHeld(JOB)).changes).toEqual(APPLIED.changes);
  expect(rig.applied).toMatchObject([{ held: true }]);
  await expect(rig.returns.applyHeld(JOB)).rejects.toMatchObject({ code: 'nothing_to_apply' });
});

test('who asks for what is being applied already is told that nothing is left', async () => {
  const rig = new Rig();
  await rig.back(PACK, { kind: 'timeout', code: null, signal: 'SIGTERM' });
  const [one, other] = await Promise.allSettled([rig.returns.applyHeld(JOB), rig.returns.applyHeld(JOB)]);
  expect(one).toMatchObject({ status: 'fulfilled' });
  expect(other).toMatchObject({ status: 'rejected', reason: { code: 'nothing_to_apply' } });
  expect([rig.fetched, rig.applied]).toMatchObject([[{ job: JOB }], [{ held: true }]]);
});

test('a glob that the job asked for and no file there matches is named, one of the settings is not', async () => {
  const rig = new Rig({ outputs: ['dist/**', 'report.xml'], asked: ['report.xml'] });
  const { notices } = await rig.back({ ...NOTHING, unmatched: ['dist/**', 'report.xml', 'made up'] });
  expect(notices).toEqual([
    "no file on b matched the output 'report.xml', from the project's root, when the job ended",
  ]);
});

test('of an attempt that never ran nothing waits', async () => {
  const rig = new Rig();
  rig.returns.notStarted(JOB, 2);
  await expect(rig.returns.applyHeld(JOB)).rejects.toMatchObject({ code: 'job_unreachable' });
  rig.returns.notStarted(JOB, 1);
  await expect(rig.returns.applyHeld(JOB)).rejects.toMatchObject({ code: 'nothing_to_apply' });
});

test('more than this disk gives is not fetched', async () => {
  const rig = new Rig();
  expect((await rig.back({ ...PACK, pack_bytes: 1001 })).notices.join()).toContain('quota_bytes');
  expect(rig.fetched).toEqual([]);
});

test('what a job does to protected files waits, on this disk', async () => {
  const rig = new Rig();
  rig.outcome = {
    ...APPLIED,
    changes: { ...APPLIED.changes, held_back: ['.envrc'] },
    counts: { ...COUNTS, heldBack: 1 },
  };
  expect((await rig.back(PACK)).notices.join()).toContain('.envrc');
  const again = new ShippedJobs(join(rig.home, 'changes'), silentLogger);
  expect(again.get(JOB)?.held).toEqual({ pack_bytes: 4, pack_sha256: PACK.pack_sha256 });
  expect(readFileSync(again.packOf(SHIPPED), 'utf8')).toBe('pack');
});

test('a node that is away keeps them; one that has them no more says so; a broken apply loses nothing', async () => {
  const rig = new Rig();
  rig.fetch = err({ kind: 'away', message: '' });
  expect((await rig.back(PACK)).notices.join()).toContain('b, where they are, is out of reach');
  await expect(rig.returns.applyHeld(JOB)).rejects.toMatchObject({ code: 'job_unreachable' });
  rig.fetch = err({ kind: 'gone', message: 'swept' });
  await expect(rig.returns.applyHeld(JOB)).rejects.toMatchObject({ code: 'nothing_to_apply' });
  expect(rig.shipped.get(JOB)).not.toBeNull();
});

test('a pack that is not what it should be is not kept here, nor dropped there: it is fetched again', async () => {
  const rig = new Rig();
  rig.refusal = { code: 'bad_pack', message: 'what came back is refused: its SHA-256 is another' };
  expect((await rig.back(PACK)).notices.join()).toContain(`meshwork apply ${JOB}`);
  expect(rig.sent).not.toContain('ws.drop');
  expect(existsSync(String(rig.fetched[0]?.path))).toBe(false);
  rig.refusal = null;
  await rig.returns.applyHeld(JOB);
  expect(rig.fetched).toHaveLength(2);
  expect(rig.sent).toContain('ws.drop');
});

test('a failure without a secret says which; an end that came late, and one that never did, say what to do', async () => {
  const rig = new Rig({ withheld: ['.env'] });
  expect((await rig.back(NOTHING, { kind: 'exited', code: 1 })).notices).toEqual(['failed without .env']);
  const late = new Rig();
  expect(late.returns.lost(JOB, EXECUTOR).join()).toContain(`meshwork apply ${JOB}`);
  await expect(late.returns.applyHeld(JOB)).rejects.toMatchObject({ code: 'job_unreachable' });
});

test('what nobody asked for in long is forgotten: its pack, what was sent, and what its node keeps', async () => {
  const old = new Rig({ at_ms: 1000 });
  const endedMs = Date.now();
  await old.back(PACK, { kind: 'timeout', code: null, signal: 'SIGTERM' });
  // It may have run for long.
  const heldSinceMs = old.shipped.get(JOB)?.at_ms ?? 0;
  expect(heldSinceMs).toBeGreaterThanOrEqual(endedMs);
  writeFileSync(old.shipped.packOf({ job: JOB, attempt: 1 }), 'pack');
  const keep = { heldMs: 1000, openMs: 2000 };
  old.returns.sweep(keep, heldSinceMs + 1000);
  expect(old.shipped.get(JOB)).not.toBeNull();
  old.returns.sweep(keep, heldSinceMs + 1001);
  expect(old.shipped.get(JOB)).toBeNull();
  expect(existsSync(old.shipped.packOf({ job: JOB, attempt: 1 }))).toBe(false);
  expect(old.project.calls).toContain('unpin');
  expect(old.sent).toEqual(['ws.drop']);
  // Its end is not known: it may come yet.
  const open = new Rig({ at_ms: 1000 });
  open.returns.sweep(keep, 3000);
  expect(open.shipped.get(JOB)).not.toBeNull();
  open.returns.sweep(keep, 3001);
  expect(open.shipped.get(JOB)).toBeNull();
});
