import { join } from 'node:path';
import { expect, test } from 'vitest';
import { base32, makeJobId, type LeaseId, type NodeId } from '../../../src/base/ids.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { ok } from '../../../src/base/result.ts';
import type { LeaseInput } from '../../../src/core/jobs/executor-state.ts';
import { ChangePacks } from '../../../src/node/change-packs.ts';
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
    origin: () => ({ mux: this.link.second, send: (message) => this.said.push(message) > 0 }),
    holdsLease: () => true,
    post: (input) => this.leases.push(input),
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
