import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { base32, makeJobId, type LeaseId, type NodeId } from '../../../src/base/ids.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { ok } from '../../../src/base/result.ts';
import type { LeaseInput } from '../../../src/core/jobs/executor-state.ts';
import { ChangePacks } from '../../../src/node/change-packs.ts';
import { SLOW_BYTES_MIN, SLOW_MS_MAX } from '../../../src/node/frame-inbox.ts';
import { MANIFESTS_BYTES_MAX, MANIFESTS_OF_ORIGIN_BYTES_MAX } from '../../../src/node/manifest-budget.ts';
import { WorkspaceSessions } from '../../../src/node/workspace-sessions.ts';
import { encodeFrameHeader, type WorkspaceFrame } from '../../../src/wire/workspace-frame.ts';
import { MANIFEST_BYTES_MAX, type WorkspaceMessage, type WsOpen } from '../../../src/wire/workspace.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';
import { JoinedMuxes } from '../wire/joined-muxes.ts';
import { MANIFEST, MemoryWorkspaces } from './memory-workspaces.ts';

const folder = temporaryFolders();
const ORIGIN = base32(new Uint8Array(33).fill(1)).slice(0, 52) as NodeId;
const lease = 'a'.repeat(26) as LeaseId;
const key = { job: makeJobId(1, new Uint8Array(16)), attempt: 1 };
const UP = 7;
const OPEN: WsOpen = {
  t: 'ws.open',
  ...key,
  lease,
  project: '0'.repeat(32),
  label: 'p',
  root: '/p',
  folder: '',
  manifest: MANIFEST,
  files: 1,
  bytes: 1,
  rules: [],
  is_git: false,
  prepare: [],
  env: {},
  umask: 0o022,
  outputs: [],
  returns: true,
  clean: false,
  up: UP,
};

/** An executor's sessions, with an origin that says whatever the test wants. */
class Rig {
  readonly workspaces = new MemoryWorkspaces();
  readonly link = new JoinedMuxes();
  readonly said: WorkspaceMessage[] = [];
  readonly leases: LeaseInput[] = [];
  readonly home = folder();
  readonly sessions = new WorkspaceSessions({
    files: this.workspaces.files,
    preparer: { prepare: async () => ok({ notices: [], ms: 0, prepared: [] }) },
    folder: join(this.home, 'for'),
    packs: new ChangePacks(join(this.home, 'changes-for'), silentLogger),
    log: silentLogger,
    quotaBytes: 1000,
    user: null,
    origin: () => ({ mux: this.link.second, isHere: false, send: (message) => this.said.push(message) > 0 }),
    holdsLease: () => true,
    post: (input) => this.leases.push(input),
    expect: () => undefined,
  });
  readonly up = this.link.first.openOutgoing(UP, 0, {});

  frame(kind: WorkspaceFrame['kind'], payload: Uint8Array, length = payload.byteLength): void {
    this.up.write(encodeFrameHeader(kind, length));
    this.up.write(payload);
  }

  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 20; quiet += 1) {
      this.link.deliverAll();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  get failure(): WorkspaceMessage | undefined {
    return this.said.find(({ t }) => t === 'ws.failed');
  }
}

afterEach(() => vi.useRealTimers());

const some = (bytes: number) => new Uint8Array(bytes).fill(1);

test.each([
  ['packs before the manifest', (rig: Rig) => rig.frame('pack', some(10))],
  ['a second manifest', (rig: Rig) => [1, 2].forEach(() => rig.frame('manifest', some(10)))],
  ['a manifest that is too large', (rig: Rig) => rig.frame('manifest', some(1), MANIFEST_BYTES_MAX + 1)],
  ['a frame of no known kind', (rig: Rig) => rig.up.write(Uint8Array.of(9, 0, 0, 0, 0))],
  ['an end before the manifest', (rig: Rig) => rig.frame('end', some(0))],
  ['the end of the stream', (rig: Rig) => rig.up.end()],
  ['a stream that is aborted', (rig: Rig) => rig.up.abort()],
])('%s ends the session; its folder and the slot are free', async (_what, send) => {
  const rig = new Rig();
  rig.sessions.receive(ORIGIN, OPEN);
  await rig.settle();
  send(rig);
  await rig.settle();
  expect(rig.failure).toMatchObject({ code: 'refused' });
  expect(rig.workspaces.calls).toContain('close');
  expect(rig.leases.at(-1)).toMatchObject({ kind: 'unlease', wasted: true, lease });
  expect(rig.sessions.begin(ORIGIN, key)).toBe(false);
});

test.each([
  ['in the middle of a pack', 100],
  ['whole packs', 10],
])('an origin that sends on when all is there is cut off: %s', async (_what, length) => {
  const rig = new Rig();
  rig.workspaces.base = MANIFEST;
  rig.workspaces.objects = 0;
  rig.sessions.receive(ORIGIN, OPEN);
  await rig.settle();
  expect(rig.said.map(({ t }) => t)).toContain('ws.ready');
  expect(rig.up.closed).toBe(false);
  rig.frame('pack', some(10), length);
  await rig.settle();
  expect(rig.up.closed).toBe(true);
  expect(rig.sessions.begin(ORIGIN, key)).toBe(true);
});

test('a placing that nobody wants any more is told at once, and its folder is closed once', async () => {
  const rig = new Rig();
  rig.workspaces.base = MANIFEST;
  rig.workspaces.objects = 0;
  let goOn = (): void => undefined;
  rig.workspaces.heldCall = 'place';
  rig.workspaces.hold = new Promise((resolve) => {
    goOn = resolve;
  });
  rig.sessions.receive(ORIGIN, OPEN);
  await rig.settle();
  expect(rig.said.map(({ t }) => t)).not.toContain('ws.ready');
  rig.sessions.receive(ORIGIN, { t: 'ws.close', ...key });
  await rig.settle();
  expect(rig.workspaces.calls).toEqual(['open', 'same manifest', 'place', 'close']);
  goOn();
  await rig.settle();
  expect(rig.workspaces.calls.at(-1)).toBe('close');
  expect(rig.workspaces.calls.filter((call) => call === 'close')).toHaveLength(1);
});

test.each(['../x', '/etc', 'a//b', '.', 'a/../..', '.GIT/hooks', 'a\0b'])(
  'a job in the folder %j does not begin',
  async (where) => {
    const rig = new Rig();
    rig.workspaces.base = MANIFEST;
    rig.workspaces.objects = 0;
    rig.sessions.receive(ORIGIN, { ...OPEN, folder: where });
    await rig.settle();
    expect(rig.failure).toMatchObject({ code: 'refused' });
    expect(rig.sessions.begin(ORIGIN, key)).toBe(false);
  },
);

test('a session that is open is not opened again, nor over a stream in use', async () => {
  const rig = new Rig();
  rig.sessions.receive(ORIGIN, OPEN);
  rig.sessions.receive(ORIGIN, OPEN);
  expect(rig.failure).toMatchObject({ code: 'busy' });
  rig.said.splice(0);
  rig.sessions.receive(ORIGIN, { ...OPEN, attempt: 2 });
  expect(rig.failure).toMatchObject({ code: 'refused', attempt: 2 });
  expect(rig.workspaces.calls).toEqual(['open']);
});

test('a session that is not opened gives its slot back, unless an earlier one of the same lease goes on', async () => {
  const rig = new Rig();
  rig.sessions.receive(ORIGIN, OPEN);
  const other = 'b'.repeat(26) as LeaseId;
  rig.sessions.receive(ORIGIN, OPEN);
  expect(rig.leases.filter(({ kind }) => kind === 'unlease')).toEqual([]);
  rig.sessions.receive(ORIGIN, { ...OPEN, lease: other });
  rig.sessions.receive(ORIGIN, {
    ...OPEN,
    attempt: 2,
    prepare: [{ folder: '..', run: 'x', tool: '', inputs: [], makes: [] }],
  });
  expect(rig.leases.filter(({ kind }) => kind === 'unlease')).toEqual([
    { kind: 'unlease', ...key, lease: other, wasted: false },
    { kind: 'unlease', ...key, attempt: 2, lease, wasted: true },
  ]);
});

/** With clocks that the test moves. */
async function receiving(): Promise<Rig> {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  const rig = new Rig();
  rig.sessions.receive(ORIGIN, OPEN);
  await rig.settle();
  return rig;
}

test.each([
  ['nothing at all', 0],
  ['a byte now and then', 1],
])('an origin that sends %s holds no slot', async (_what, bytes) => {
  const rig = await receiving();
  rig.up.write(encodeFrameHeader('manifest', 1000));
  for (let waitedMs = 0; waitedMs < 2 * SLOW_MS_MAX; waitedMs += SLOW_MS_MAX / 4) {
    rig.up.write(some(bytes));
    await rig.settle();
    vi.advanceTimersByTime(SLOW_MS_MAX / 4);
  }
  await rig.settle();
  expect(rig.failure).toMatchObject({ code: 'expired', message: expect.stringContaining('came within 60 s') });
  expect(rig.leases.at(-1)).toMatchObject({ kind: 'unlease', wasted: true });
  expect(rig.workspaces.calls).toContain('close');
});

test('packs without end of next to nothing hold no slot either', async () => {
  const rig = await receiving();
  rig.frame('manifest', some(10));
  for (let waitedMs = 0; waitedMs < 2 * SLOW_MS_MAX && rig.failure === undefined; waitedMs += SLOW_MS_MAX / 10) {
    rig.frame('pack', some(10));
    await rig.settle();
    vi.advanceTimersByTime(SLOW_MS_MAX / 10);
  }
  await rig.settle();
  expect(rig.failure).toMatchObject({ code: 'expired' });
});

test('an origin that is slow and goes on is waited for', async () => {
  const rig = await receiving();
  const pieces = 40;
  rig.up.write(encodeFrameHeader('manifest', pieces * SLOW_BYTES_MIN));
  for (let index = 0; index < pieces; index++) {
    rig.up.write(some(SLOW_BYTES_MIN));
    await rig.settle();
    vi.advanceTimersByTime(SLOW_MS_MAX - 1);
  }
  await rig.settle();
  expect(rig.failure).toBeUndefined();
  expect(rig.workspaces.calls).toContain(`manifest of ${pieces * SLOW_BYTES_MIN}`);
});

test('manifests that are under way at once have a bound, for one origin and for all', async () => {
  const rig = new Rig();
  const origins = [1, 2, 3, 4, 5].map((byte) => base32(new Uint8Array(33).fill(byte)).slice(0, 52) as NodeId);
  const ups = origins.flatMap((origin, index) =>
    [1, 2].map((attempt) => {
      const up = 1001 + 4 * index + 2 * attempt;
      const stream = rig.link.first.openOutgoing(up, 0, {});
      const which = { ...OPEN, job: makeJobId(index + 2, new Uint8Array(16)), attempt, up };
      rig.sessions.receive(origin, which);
      return { stream, which };
    }),
  );
  await rig.settle();
  for (const { stream } of ups) stream.write(encodeFrameHeader('manifest', MANIFEST_BYTES_MAX));
  await rig.settle();
  const busy = rig.said.filter((said) => said.t === 'ws.failed' && said.code === 'busy');
  const fit = MANIFESTS_BYTES_MAX / MANIFESTS_OF_ORIGIN_BYTES_MAX;
  expect(ups.length - busy.length).toBe(fit);
  expect(busy.filter((said) => said.t === 'ws.failed' && said.attempt === 1)).toHaveLength(origins.length - fit);
  // What ends gives its room back.
  for (const { which } of ups)
    rig.sessions.receive(origins[0] ?? ORIGIN, { t: 'ws.close', job: which.job, attempt: which.attempt });
  await rig.settle();
  const again = rig.link.first.openOutgoing(2001, 0, {});
  rig.sessions.receive(origins[0] ?? ORIGIN, { ...OPEN, up: 2001 });
  await rig.settle();
  again.write(encodeFrameHeader('manifest', MANIFEST_BYTES_MAX));
  await rig.settle();
  expect(rig.said.filter((said) => said.t === 'ws.failed' && said.job === OPEN.job)).toEqual([]);
});
