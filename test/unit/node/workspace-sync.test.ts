import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { base32, makeJobId, type LeaseId, type NodeId } from '../../../src/base/ids.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { err, ok, type Result } from '../../../src/base/result.ts';
import type { LeaseInput } from '../../../src/core/jobs/executor-state.ts';
import type { SyncInput } from '../../../src/core/scheduling/origin-job.ts';
import { ChangePacks, type WorkspaceLink } from '../../../src/node/change-packs.ts';
import { ProjectBook } from '../../../src/node/project-book.ts';
import type { JobProject, ProjectService } from '../../../src/node/project-service.ts';
import { readProjectSettings } from '../../../src/node/project-settings.ts';
import { ShippedJobs } from '../../../src/node/shipped-jobs.ts';
import { WorkspaceSessions } from '../../../src/node/workspace-sessions.ts';
import type { Preparer } from '../../../src/node/workspace-session.ts';
import {
  STILL_MS_MAX,
  STILL_PREPARING_MS_MAX,
  WorkspaceSync,
  type SyncMessage,
} from '../../../src/node/workspace-sync.ts';
import type { ScanRefusal } from '../../../src/ports/workspace.ts';
import { workspaceMessageSchema, type WorkspaceMessage } from '../../../src/wire/workspace.ts';
import type { ManifestHash } from '../../../src/wire/manifest.ts';
import { SHIPPED } from '../../fixtures/plain-spec.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';
import { JoinedMuxes } from '../wire/joined-muxes.ts';
import { MANIFEST, MemoryProject, MemoryWorkspaces, PROJECT } from './memory-workspaces.ts';
import { specOf } from './origin-rig.ts';

const folder = temporaryFolders();
const nodeId = (number: number): NodeId => base32(new Uint8Array(33).fill(number)).slice(0, 52) as NodeId;
const [ORIGIN, EXECUTOR] = [nodeId(1), nodeId(2)];
const lease = 'a'.repeat(26) as LeaseId;
const key = { job: makeJobId(1, new Uint8Array(16)), attempt: 1, lease };
const DELIVER_MS_MAX = 20_000;

/** An origin and an executor, with a link between them that carries what they say as the wire's schemas have it. */
class Rig {
  readonly project = new MemoryProject();
  readonly workspaces = new MemoryWorkspaces();
  readonly home = folder();
  readonly link = new JoinedMuxes();
  readonly said: WorkspaceMessage['t'][] = [];
  readonly posts: SyncInput[] = [];
  readonly leases: LeaseInput[] = [];
  readonly notices: string[] = [];
  readonly shipped = new ShippedJobs(join(this.home, 'changes'), silentLogger);
  readonly book = new ProjectBook(join(this.home, 'projects.json'), silentLogger);
  readonly sessions: WorkspaceSessions;
  readonly sync: WorkspaceSync;
  holds = true;
  prepared: Preparer['prepare'] = async () => ok({ notices: ['prepared'], ms: 5, prepared: ['node_modules'] });
  fresh: Result<JobProject, ScanRefusal>;

  constructor() {
    const settings = readProjectSettings(this.home);
    this.fresh = ok({
      project: PROJECT,
      folder: '',
      sync: SHIPPED,
      settings,
      scan: this.project.scan,
      scannedAtMs: 0,
      prepare: [],
      outputs: ['out/**'],
    });
    this.sessions = new WorkspaceSessions({
      files: this.workspaces.files,
      preparer: { prepare: (...given) => this.prepared(...given) },
      folder: join(this.home, 'for'),
      packs: new ChangePacks(join(this.home, 'changes-for'), silentLogger),
      log: silentLogger,
      quotaBytes: 1000,
      user: null,
      origin: () => this.#to((message) => this.sync.receive(EXECUTOR, message as SyncMessage), 'second'),
      holdsLease: () => this.holds,
      post: (input) => this.leases.push(input),
      expect: () => void this.workspaces.calls.push('expect'),
    });
    this.sync = new WorkspaceSync({
      files: this.project.files,
      projects: {
        fresh: async () => this.fresh,
        outdated: () => this.project.calls.push('outdated'),
      } as unknown as ProjectService,
      book: this.book,
      shipped: this.shipped,
      log: silentLogger,
      executor: () =>
        this.#to(
          (message) => this.sessions.receive(ORIGIN, message as Parameters<WorkspaceSessions['receive']>[1]),
          'first',
        ),
      post: (input) => this.posts.push(input),
      notify: (_job, notices) => this.notices.push(...notices),
    });
  }

  #to(receive: (message: WorkspaceMessage) => void, side: 'first' | 'second'): WorkspaceLink {
    return {
      mux: this.link[side],
      isHere: false,
      send: (message) => {
        const parsed = workspaceMessageSchema.parse(JSON.parse(JSON.stringify(message)));
        this.said.push(parsed.t);
        setImmediate(() => receive(parsed));
        return true;
      },
    };
  }

  begin(): void {
    const place = {
      node: EXECUTOR,
      name: 'b',
      lease,
      instance: 'i',
      cwd: '',
      route: '',
      tools: {},
      reservedAtMs: 0,
      syncMs: 0,
    };
    this.sync.begin(key.job, key.attempt, place, specOf({ sync: SHIPPED }));
  }

  async until(stop: () => boolean): Promise<void> {
    const untilMs = performance.now() + DELIVER_MS_MAX;
    while (!stop()) {
      if (performance.now() > untilMs) throw new Error(`said ${this.said.join()}; ${this.workspaces.calls.join()}`);
      this.link.deliver('second');
      this.link.deliver('first');
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  end = (): Promise<void> => this.until(() => this.posts.some(({ kind }) => kind !== 'sync_progress'));
  get last(): SyncInput | undefined {
    return this.posts.at(-1);
  }
}

test('a project goes over: manifest, what is missing, preparation; then the attempt may begin, and end', async () => {
  const rig = new Rig();
  expect(rig.sync.pinning).toEqual([]);
  rig.begin();
  await rig.until(() => rig.project.calls.includes('pin'));
  expect(rig.sync.pinning).toEqual([key.job]);
  await rig.end();
  expect(rig.sync.pinning).toEqual([key.job]);
  expect(rig.last).toEqual({ kind: 'synced', ...key, cwd: '/there/p' });
  expect(rig.link.violations).toEqual([]);
  expect(rig.workspaces.calls).toEqual(['open', 'manifest of 3000000', 'pack of 1500000', 'pack of 900000', 'place']);
  expect(rig.project.calls).toEqual(['pin', 'manifest from nothing', 'open packs', 'close packs']);
  expect(rig.said.filter((t) => t !== 'ws.progress')).toEqual(['ws.open', 'ws.base', 'ws.want', 'ws.ready']);
  expect(rig.leases.at(-1)).toMatchObject({ kind: 'ready', ...key, cwd: '/there/p' });
  expect(rig.notices).toEqual(['placed']);
  expect(rig.shipped.get(key.job)).toMatchObject({ node: EXECUTOR, manifest: MANIFEST, held: null });
  expect(new ShippedJobs(join(rig.home, 'changes'), silentLogger).get(key.job)).toEqual(rig.shipped.get(key.job));
  expect(rig.sessions.begin(EXECUTOR, key)).toBe(false);
  expect(rig.sessions.begin(ORIGIN, key)).toBe(true);
  expect(rig.sessions.begin(ORIGIN, key)).toBe(false);
  expect(await rig.sessions.collect(key)).toEqual(rig.workspaces.changes);
  expect(rig.workspaces.calls.at(-1)).toBe('collect out/** to a pack');
  rig.sessions.release(key);
  rig.sessions.release(key);
  expect(rig.workspaces.calls.slice(-2)).toEqual(['collect out/** to a pack', 'close']);
  expect(await rig.sessions.collect(key)).toBeNull();
});

test('where it is there already nothing is sent but the question', async () => {
  const rig = new Rig();
  rig.workspaces.base = MANIFEST;
  rig.workspaces.objects = 0;
  rig.begin();
  await rig.end();
  expect(rig.workspaces.calls).toEqual(['open', 'expect', 'same manifest', 'place']);
  expect(rig.project.calls).toEqual(['pin']);
});

const BASE = 'b'.repeat(64) as ManifestHash;

test('what changed since the last job there goes along with what differs: nothing is asked for', async () => {
  const rig = new Rig();
  rig.book.sentTo(PROJECT, EXECUTOR, BASE);
  rig.workspaces.base = BASE;
  rig.workspaces.objects = 0;
  rig.begin();
  await rig.end();
  expect(rig.last).toMatchObject({ kind: 'synced' });
  expect(rig.link.violations).toEqual([]);
  expect(rig.workspaces.calls).toEqual(['open', 'expect', 'manifest of 100 with 300', 'place']);
  expect(rig.project.calls).toEqual(['change ahead', 'pin']);
});

test('what did not go along is asked for; what is much is not sent unasked', async () => {
  const lacking = new Rig();
  lacking.book.sentTo(PROJECT, EXECUTOR, BASE);
  lacking.workspaces.base = BASE;
  lacking.begin();
  await lacking.end();
  expect(lacking.last).toMatchObject({ kind: 'synced' });
  expect(lacking.workspaces.calls).toEqual([
    'open',
    'expect',
    'manifest of 100 with 300',
    'pack of 1500000',
    'pack of 900000',
    'place',
  ]);
  const much = new Rig();
  much.book.sentTo(PROJECT, EXECUTOR, BASE);
  much.project.change = { ...much.project.change, pack: null };
  much.workspaces.base = BASE;
  much.begin();
  await much.end();
  expect(much.workspaces.calls.slice(0, 4)).toEqual(['open', 'manifest of 100', 'expect', 'pack of 1500000']);
});

test('an executor that has another manifest than it was taken to have gets what differs from that', async () => {
  const rig = new Rig();
  rig.book.sentTo(PROJECT, EXECUTOR, BASE);
  rig.workspaces.base = 'c'.repeat(64) as ManifestHash;
  rig.begin();
  await rig.end();
  expect(rig.last).toMatchObject({ kind: 'synced' });
  expect(rig.workspaces.calls.slice(0, 2)).toEqual(['open', 'manifest of 3000000']);
  expect(rig.project.calls.slice(0, 3)).toEqual(['change ahead', 'pin', 'manifest from a base']);
});

test('without a lease nothing is opened; with one, a second session of the attempt is not', async () => {
  const rig = new Rig();
  rig.holds = false;
  rig.begin();
  await rig.end();
  expect(rig.last).toMatchObject({ kind: 'sync_failed', final: true, reason: { code: 'sync' } });
  expect(rig.workspaces.calls).toEqual([]);
});

test('what the executor refuses is told as it is, with the folder free and the lease given up', async () => {
  const full = new Rig();
  full.workspaces.refusal = { code: 'no_space', message: 'the disk is full' };
  full.begin();
  await full.end();
  expect(full.last).toMatchObject({
    kind: 'sync_failed',
    final: true,
    reason: { code: 'sync', text: 'the disk is full' },
  });
  expect(full.leases.at(-1)).toMatchObject({ kind: 'unlease', wasted: false });
  const unprepared = new Rig();
  const step = { folder: '', run: 'npm ci', tool: 'npm', inputs: [], makes: [] };
  if (unprepared.fresh.ok) unprepared.fresh = ok({ ...unprepared.fresh.value, prepare: [step] });
  unprepared.prepared = async () => err({ code: 'needs_prepare', message: 'has no npm' });
  unprepared.begin();
  await unprepared.end();
  expect(unprepared.last).toMatchObject({ kind: 'sync_failed', reason: { code: 'needs_prepare', text: 'has no npm' } });
  expect(unprepared.workspaces.calls.at(-1)).toBe('close');
});

test('what this side cannot read is another try, and the executor is told to let go', async () => {
  const rig = new Rig();
  rig.fresh = err({ code: 'unstable', message: 'a.c changes all the time' });
  rig.begin();
  await rig.end();
  expect(rig.last).toMatchObject({ kind: 'sync_failed', final: false, reason: { text: 'a.c changes all the time' } });
});

test('a file that changed since it was looked at: the project is looked at anew for the next try', async () => {
  const rig = new Rig();
  rig.project.unstable = { code: 'unstable', message: 'a.pack changed' };
  rig.begin();
  await rig.end();
  expect(rig.last).toMatchObject({ kind: 'sync_failed', final: false, reason: { text: 'a.pack changed' } });
  expect(rig.project.calls).toContain('outdated');
});

test.each([
  ['the origin', (rig: Rig) => rig.sync.abort(key)],
  ['the end of the lease', (rig: Rig) => rig.sessions.leaseEnded(key)],
  ['the end of the link', (rig: Rig) => rig.sessions.linkDown(ORIGIN)],
])('%s ends a session under way; its folder is free', async (_what, end) => {
  const rig = new Rig();
  let goOn = (): void => undefined;
  rig.begin();
  await rig.until(() => rig.workspaces.calls.length === 1);
  rig.workspaces.hold = new Promise((resolve) => {
    goOn = resolve;
  });
  await rig.until(() => rig.workspaces.calls.length === 2);
  end(rig);
  goOn();
  await rig.until(() => rig.workspaces.calls.includes('close'));
  expect(rig.posts.filter(({ kind }) => kind === 'synced')).toEqual([]);
  expect(rig.sessions.begin(ORIGIN, key)).toBe(false);
});

test('one that is ready and never begun is let go of with its lease; a lease that is past does not end the next', async () => {
  const rig = new Rig();
  rig.begin();
  await rig.end();
  rig.sessions.leaseEnded({ ...key, lease: 'b'.repeat(26) as LeaseId });
  expect(rig.workspaces.calls).not.toContain('close');
  rig.sessions.leaseEnded(key);
  await rig.until(() => rig.workspaces.calls.includes('close'));
  expect(rig.sessions.begin(ORIGIN, key)).toBe(false);
});

test('a daemon that starts takes up what attempts run in, and knows what they return', async () => {
  const rig = new Rig();
  rig.begin();
  await rig.end();
  rig.sessions.begin(ORIGIN, key);
  const later = new Rig();
  for (const [name, text] of rig.workspaces.notes) later.workspaces.notes.set(name, text);
  later.workspaces.kept = rig.workspaces.opened;
  const { job, attempt } = key;
  await later.sessions.restore([{ from: ORIGIN, job, attempt }]);
  // Nothing was ever kept there: the thread need not be started.
  expect(later.workspaces.calls).toEqual([]);
  mkdirSync(join(later.home, 'for'));
  await later.sessions.restore([{ from: ORIGIN, job, attempt }]);
  expect(later.sessions.isInUse(key)).toBe(true);
  await later.sessions.collect(key);
  later.sessions.release(key);
  expect(later.workspaces.calls).toEqual(['release all but 1', 'collect out/** to a pack', 'close']);
});

test('what became of a workspace that is gone, or of its note, is told with the job', async () => {
  const rig = new Rig();
  const { job, attempt } = key;
  const running = [{ from: ORIGIN, job, attempt }];
  const gone = { changed: 0, problem: expect.stringContaining('is gone') };
  await rig.sessions.restore(running);
  expect(await rig.sessions.collect(key)).toMatchObject(gone);
  rig.sessions.release(key);
  mkdirSync(join(rig.home, 'for'));
  await rig.sessions.restore(running);
  expect(rig.sessions.isInUse(key)).toBe(true);
  expect(await rig.sessions.collect(key)).toMatchObject(gone);
  rig.sessions.release(key);
  expect(rig.workspaces.calls).toEqual(['release all but 1']);
  rig.workspaces.kept = rig.workspaces.opened;
  rig.workspaces.notes.set('session', '{"returns":tr');
  await rig.sessions.restore(running);
  expect(await rig.sessions.collect(key)).toEqual(rig.workspaces.changes);
});

test('progress without pause is heard now and then', async () => {
  const rig = new Rig();
  rig.begin();
  const message = {
    t: 'ws.progress',
    job: key.job,
    attempt: key.attempt,
    phase: 'receiving',
    files: 0,
    bytes: 0,
    line: '',
  } as const;
  for (let index = 0; index < 5000; index++) rig.sync.receive(EXECUTOR, { ...message, files: index });
  rig.sync.receive(EXECUTOR, { ...message, phase: 'placing' });
  const told = rig.posts.filter(({ kind }) => kind === 'sync_progress');
  expect(told.length).toBeGreaterThan(1);
  expect(told.length).toBeLessThan(1000);
  await rig.end();
});

afterEach(() => vi.useRealTimers());

test.each([
  ['receiving', STILL_MS_MAX],
  ['placing', STILL_MS_MAX],
  ['preparing', STILL_PREPARING_MS_MAX],
] as const)(
  'an executor that says for very long that it is %s, while nothing moves, is given up',
  (phase, patienceMs) => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const rig = new Rig();
    rig.begin();
    const message = {
      t: 'ws.progress',
      job: key.job,
      attempt: key.attempt,
      phase,
      files: 7,
      bytes: 7,
      line: '',
    } as const;
    const failed = () => rig.posts.filter(({ kind }) => kind === 'sync_failed');
    for (let moved = 0; moved < 3; moved++) {
      rig.sync.receive(EXECUTOR, { ...message, files: moved });
      vi.advanceTimersByTime(patienceMs - 1);
      rig.sync.receive(EXECUTOR, { ...message, files: moved });
      expect(failed()).toEqual([]);
      vi.advanceTimersByTime(100);
    }
    rig.sync.receive(EXECUTOR, { ...message, files: 2 });
    expect(failed()).toMatchObject([
      { final: false, reason: { text: expect.stringContaining('nothing has moved there') } },
    ]);
  },
);
