import { expect, test } from 'vitest';
import type { NodeId } from '../../../src/base/ids.ts';
import { configSchema } from '../../../src/node/config-schema.ts';
import { checkJob, type JobCheckContext } from '../../../src/node/job-check.ts';
import type { Role } from '../../../src/wire/trust.ts';

const [SELF, OTHER] = ['a'.repeat(52) as NodeId, 'b'.repeat(52) as NodeId];

function rig(roles: { readonly self: Role[]; readonly other: Role[] }, accept: string | string[] = 'members') {
  let looks = 0;
  const member = (node: NodeId, of: Role[]) => [node, { node, spki: '', name: null, roles: of, expiresWallMs: null }];
  const context = {
    self: () => SELF,
    trust: () => ({ members: new Map([member(SELF, roles.self), member(OTHER, roles.other)] as never) }),
    config: configSchema.parse({ exec: { accept } }),
    directories: { resolve: () => ((looks += 1), Promise.resolve({ ok: true, cwd: '/secret' })) },
    probe: { findTool: () => ((looks += 1), Promise.resolve(null)), facts: { tools: {} } },
  } as unknown as JobCheckContext;
  const check = (from: NodeId) =>
    checkJob(context, from, {
      t: 'job.reserve',
      job: '01ARZ3NDEKZZZZZZZZZZZZZZZZ' as never,
      attempt: 1,
      dry_run: true,
      command: { kind: 'line', line: 'true' },
      requires: { os: null, arch: null, capabilities: [], cpus: null, memory_bytes: null },
      tools: [],
      cwd: {
        path: '/secret',
        home_relative: null,
        boot_id: null,
        device: '0',
        inode: '0',
        clean_commit: null,
        git_prefix: null,
      },
      explicit: true,
      workspace: false,
      parent: null,
    });
  return { check, looks: () => looks };
}

test.each<[string, Parameters<typeof rig>]>([
  ['has no role submit', [{ self: ['run'], other: ['run'] }]],
  ['asks a node that only submits', [{ self: ['submit'], other: ['submit', 'run'] }]],
  ['is not in exec.accept', [{ self: ['run'], other: ['submit', 'run'] }, ['admin']]],
  ['asks a node that accepts nobody', [{ self: ['run'], other: ['submit', 'run', 'admin'] }, 'none']],
])('who %s learns that alone, and nothing is looked up for it', async (_, given) => {
  const { check, looks } = rig(...given);
  const verdict = await check(OTHER);
  expect(verdict.ok ? [] : verdict.reasons.map(({ code }) => code)).toEqual(['not_accepted']);
  expect(looks()).toBe(0);
});

test('who may submit is looked up', async () => {
  const { check, looks } = rig({ self: ['run'], other: ['submit', 'run'] });
  expect(await check(OTHER)).toMatchObject({ ok: true, cwd: '/secret' });
  expect(looks()).toBe(1);
});
