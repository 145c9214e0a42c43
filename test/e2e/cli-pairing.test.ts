import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { userInfo } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeToken, encodeToken, type InviteToken } from '../../src/wire/pair.ts';
import { processesAt, run, TestMesh, until, type Ran, type StatusJson, type TestNode } from '../fixtures/nodes.ts';

/** invite, join and leave, as people meet them: one story from five strangers to a mesh and back, in this order. */
let mesh: TestMesh;
let folder: string;
const node = (name: string): TestNode => mesh.node(name);

beforeAll(async () => {
  mesh = await TestMesh.start(['admin', 'second', 'third', 'fourth'], { pair: false });
  folder = mesh.folder('ground');
});

afterAll(() => mesh.stop());

const text = (ran: Ran): string => `${ran.stdout.toString()}${ran.stderr.toString()}`;

function read(token: string): InviteToken {
  const decoded = decodeToken(token);
  if (!decoded.ok) throw new Error(decoded.error.message);
  return decoded.value;
}

/** The same invitation with another secret: what a guesser would send. */
function withSecret(token: string, fill: number): string {
  const parts = read(token);
  return encodeToken({ ...parts, secret: new Uint8Array(parts.secret.length).fill(fill) });
}

const isLinkedTo =
  (peer: string) =>
  ({ nodes }: StatusJson): boolean =>
    nodes.some(({ name, reachable, state }) => name === peer && reachable && state === 'alive');

const trustOf = (name: string): string => readFileSync(join(node(name).home, 'trust.json'), 'utf8');

async function expectRefused(name: string, token: string, code: string, message: RegExp): Promise<void> {
  const before = trustOf(name);
  const ran = await node(name).run(['join', token]);
  expect(text(ran)).toContain(`[${code}]`);
  expect(text(ran)).toMatch(message);
  expect(ran.code).toBe(125);
  expect(trustOf(name)).toBe(before);
}

describe('strangers', () => {
  it('see nobody and run nothing elsewhere', async () => {
    const status = await node('second').status();
    expect(status.nodes).toHaveLength(1);
    expect((await node('second').run(['run', '--on', 'admin', '--', 'true'])).code).toBe(125);
  });
});

describe('an invitation', () => {
  it('is alone on stdout, and --json gives it with its time', async () => {
    const plain = await node('admin').run(['invite']);
    expect(plain.stdout.toString()).toMatch(/^mw1[A-Za-z0-9_-]+\n$/);
    expect(plain.stderr.toString()).toMatch(/meshwork join/);
    const json = (await node('admin').json(['invite', '--ttl', '90s'])) as { token: string };
    expect(json).toMatchObject({ expires_in_s: 90 });
    expect(read(json.token).addresses).toEqual([{ host: '127.0.0.1', port: expect.any(Number) as number }]);
  });

  it('that has expired is refused', async () => {
    const token = await node('admin').token(['--ttl', '1s']);
    const madeMs = performance.now();
    await until('the second has passed', () => performance.now() - madeMs > 1100);
    await expectRefused('second', token, 'token_expired', /expired.*meshwork invite|invite/s);
  });

  it('with a wrong secret is refused, and after five guesses also with the right one', async () => {
    const token = await node('admin').token();
    for (const fill of [1, 2, 3, 4, 5]) await expectRefused('second', withSecret(token, fill), 'bad_token', /token/);
    // A guesser never learns that the invitation exists; who has the right secret is told what became of it.
    await expectRefused('second', withSecret(token, 6), 'bad_token', /does not know this token/);
    await expectRefused('second', token, 'token_guesses_exhausted', /guessed at wrongly/);
    expect((await node('admin').status()).nodes).toHaveLength(1);
  });

  it('of an inviter with another key goes nowhere', async () => {
    const parts = read(await node('admin').token());
    const { local_node: other } = await node('third').status();
    const forged = encodeToken({ ...parts, inviter: other as InviteToken['inviter'] });
    await expectRefused('second', forged, 'node_unreachable', /key|identity|another/);
  });

  it('of an inviter that is down says so', async () => {
    const token = await node('fourth').token();
    await node('fourth').down();
    await expectRefused('second', token, 'node_unreachable', /127\.0\.0\.1:\d+.*--peer/s);
    await node('fourth').up();
    // Secrets live in memory only.
    await expectRefused('second', token, 'bad_token', /may have been restarted since.*meshwork invite/s);
  });
});

describe('join', () => {
  it('links at once and says who may now run what here, as whom', async () => {
    const token = await node('admin').token();
    const ran = await node('second').run(['join', token]);
    expect(ran.code).toBe(0);
    expect(ran.stdout.toString()).toMatch(/joined the mesh of admin/);
    expect(ran.stdout.toString()).toContain(`as user ${userInfo().username}`);
    const here = await node('second').sees('the admin', isLinkedTo('admin'));
    expect(here.mesh_id).toBe((await node('admin').status()).mesh_id);
    expect((await node('second').run(['run', '--on', 'admin', '--', 'exit 7'], { cwd: folder })).code).toBe(7);
    await expectRefused('third', token, 'token_used', /used|invite/);
    const again = await node('second').run(['join', await node('admin').token()]);
    expect(again.code).toBe(0);
    expect(again.stdout.toString()).toMatch(/in that mesh already/);
  });

  it('a plain newcomer may not invite, and is told who may', async () => {
    const ran = await node('second').run(['--json', 'invite']);
    expect(ran.code).toBe(125);
    expect(JSON.parse(ran.stdout.toString())).toMatchObject({
      error: { code: 'not_permitted', message: expect.stringMatching(/admin/) as string },
    });
  });

  it('in a larger mesh it refuses and names leave', async () => {
    await expectRefused('second', await node('third').token(), 'already_in_mesh', /meshwork leave/);
  });

  it('--submit-only: it runs for nobody, and may submit', async () => {
    const ran = await node('third').run(['join', '--submit-only', await node('admin').token()]);
    expect(ran.code).toBe(0);
    expect(ran.stdout.toString()).toMatch(/nobody may run commands here/);
    await node('admin').sees('the third', isLinkedTo('third'));
    const refused = await node('admin').run(['run', '--on', 'third', '--', 'touch ran'], { cwd: folder });
    expect(refused.code).toBe(125);
    expect(refused.stderr.toString()).toMatch(/third: takes no jobs/);
    expect(existsSync(join(folder, 'ran'))).toBe(false);
    expect((await node('third').run(['run', '--on', 'admin', '--', 'exit 6'], { cwd: folder })).code).toBe(6);
    const { nodes } = await node('admin').status();
    expect(nodes.find(({ name }) => name === 'third')).toMatchObject({ roles: ['submit'] });
  });

  it('--admin: the newcomer may invite, and the warning of a single admin goes', async () => {
    expect((await node('admin').status()).notices.join()).toMatch(/single admin/);
    await node('fourth').must(['join', await node('admin').token(['--admin'])]);
    expect((await node('admin').status()).notices.join()).not.toMatch(/single admin/);
    expect(await node('fourth').token()).toMatch(/^mw1/);
    await mesh.linked();
  });

  it('starts the daemon where none runs', async () => {
    const home = join(mesh.root, 'fifth');
    mkdirSync(home, { mode: 0o700 });
    writeFileSync(join(home, 'config.toml'), 'name = "fourth"\nlisten = "127.0.0.1:0"\nmdns = false\n');
    const ran = await run(home, ['join', await node('fourth').token()]);
    expect(text(ran)).toMatch(/joined the mesh of fourth/);
    expect(ran.code).toBe(0);
    // Everyone learns of everyone, not only of the inviter.
    const { local_node: fifth } = JSON.parse(text(await run(home, ['status', '--json']))) as { local_node: string };
    const isThere = ({ nodes }: StatusJson): boolean => nodes.some(({ id, reachable }) => id === fifth && reachable);
    await node('third').sees('the fifth', isThere);
    await node('admin').sees('the fifth', isThere);
    // It bears a name that another has: who is meant must be said.
    const unclear = await node('admin').run(['run', '--on', 'fourth', '--', 'touch ran'], { cwd: folder });
    expect(unclear.code).toBe(125);
    expect(unclear.stderr.toString()).toContain(`fourth (${fifth.slice(0, 8)})`);
    expect(unclear.stderr.toString()).toMatch(/more than one node.*\[ambiguous_node\]/);
    expect((await node('admin').run(['run', '--on', fifth.slice(0, 12), '--', 'exit 9'], { cwd: folder })).code).toBe(
      9,
    );
    const left = await run(home, ['leave', '--purge']);
    expect(text(left)).toMatch(/removed/);
    expect(left.code).toBe(0);
    expect(existsSync(home)).toBe(false);
    await until('its daemon is gone', () => processesAt(home).length === 0);
    const isGone = ({ nodes }: StatusJson): boolean => nodes.find(({ id }) => id === fifth)?.state !== 'alive';
    await node('admin').sees('the fifth leave', isGone);
  });
});

describe('a mesh', () => {
  it('is kept over a restart of every daemon', async () => {
    const alive = ({ nodes }: StatusJson) => nodes.filter(({ state, reachable }) => state === 'alive' && reachable);
    const allFour = () => node('admin').sees('all four', (status) => alive(status).length === 4);
    const before = await allFour();
    await Promise.all(mesh.nodes.map((each) => each.down()));
    await Promise.all(mesh.nodes.map((each) => each.up()));
    await mesh.linked();
    const after = await allFour();
    expect(after.mesh_id).toBe(before.mesh_id);
    const rows = (status: StatusJson): string[] =>
      alive(status)
        .map(({ id, name, roles }) => `${id} ${name} ${String(roles)}`)
        .toSorted();
    expect(rows(after)).toEqual(rows(before));
    expect((await node('second').run(['run', '--on', 'fourth', '--', 'exit 5'], { cwd: folder })).code).toBe(5);
  });
});

describe('leave', () => {
  it('makes a mesh of one with a new key; the others see it gone and run nothing there', async () => {
    const before = await node('second').status();
    const ran = await node('second').run(['leave']);
    expect(ran.code).toBe(0);
    expect(ran.stdout.toString()).toMatch(/mesh of one again/);
    const after = await node('second').status();
    expect(after.nodes).toHaveLength(1);
    expect(after.mesh_id).not.toBe(before.mesh_id);
    expect(after.local_node).not.toBe(before.local_node);
    for (const name of ['admin', 'third', 'fourth']) {
      await node(name).sees('the second leave', ({ nodes }) => {
        const row = nodes.find(({ id }) => id === before.local_node);
        return row === undefined || (row.state === 'left' && !row.reachable);
      });
    }
    expect((await node('admin').run(['run', '--on', 'second', '--', 'true'], { cwd: folder })).code).toBe(125);
    expect((await node('second').run(['run', '--on', 'admin', '--', 'true'], { cwd: folder })).code).toBe(125);
  });

  it('it may come back with a new token, under its new key', async () => {
    await node('second').must(['join', await node('fourth').token()]);
    await mesh.linked();
    expect((await node('admin').run(['run', '--on', 'second', '--', 'exit 4'], { cwd: folder })).code).toBe(4);
  });

  it('the last admin is told what that means', async () => {
    await node('fourth').must(['leave']);
    await node('admin').sees('that the fourth is no admin any more', ({ nodes, local_node: self }) =>
      nodes.every(({ id, roles }) => id === self || (Array.isArray(roles) && !roles.includes('admin'))),
    );
    const ran = await node('admin').run(['leave']);
    expect(ran.code).toBe(0);
    expect(ran.stdout.toString()).toMatch(/only admin/);
  });
});
