import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeToken, type InviteToken } from '../../src/wire/pair.ts';
import {
  frame,
  identityOf,
  keysOf,
  openTls,
  pairRaw,
  say,
  staysSmall,
  UPGRADE,
  upgradeText,
  type PemPair,
} from '../fixtures/hostile-peer.ts';
import { NodeSet, until, WAIT_MS_MAX, type TestNode } from '../fixtures/mesh-nodes.ts';
import { makeTestIdentity, type TestIdentity } from '../fixtures/test-certificate.ts';

const MIB = 1024 * 1024;
const GROWTH_BYTES_MAX = 20 * MIB;
/** Of a normal life; and of each kind of refusal one each 10 s, however long a slow machine takes for the attack. */
const OTHER_LINES_MAX = 60;
const KINDS_MAX = 10;
const REFUSALS_EVERY_MS = 10_000;

const set = new NodeSet();
let target: TestNode;
let port = 0;
let stranger: TestIdentity;

beforeAll(async () => {
  target = await set.start({ name: 'target' });
  const [address = ''] = (await target.row(target))?.addresses ?? [];
  port = Number(address.split(':').at(-1));
  stranger = await makeTestIdentity();
});
afterAll(() => set.close());

const tokenOf = async (ttlMs?: number): Promise<InviteToken> => {
  const read = decodeToken(await target.invite(false, ttlMs));
  if (!read.ok) throw new Error(read.error.message);
  return read.value;
};
const statusOf = async (keys: PemPair | null, text: string): Promise<number> => {
  const answer = await say(await openTls(port, keys), text);
  return Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 0);
};
const withHeader = (name: string, value: string): string => upgradeText({ ...UPGRADE, [name]: value });
const without = (name: string): string =>
  upgradeText(Object.fromEntries(Object.entries(UPGRADE).filter(([key]) => key !== name)));
/** The daemon is the same one, has no member but itself, and answers. */
async function unharmed(): Promise<void> {
  const status = await target.status();
  expect(status.daemon_pid).toBe(target.pid);
  expect(status.nodes.map(({ name }) => name)).toEqual(['target']);
  expect(target.isAlive).toBe(true);
}

describe('who has no place in the mesh is refused before any method', () => {
  it.each<[string, number, () => string]>([
    ['control under an unknown key', 403, () => upgradeText()],
    ['bulk under an unknown key', 403, () => withHeader('Sec-WebSocket-Protocol', 'meshwork.bulk.1')],
    ['an Origin', 403, () => withHeader('Origin', 'https://example.org')],
    [
      'an Origin on a pairing',
      403,
      () => upgradeText({ ...UPGRADE, 'Sec-WebSocket-Protocol': 'meshwork.pair.1', Origin: 'null' }),
    ],
    ['another path', 404, () => upgradeText(UPGRADE, '/')],
    ['a path above', 404, () => upgradeText(UPGRADE, '/meshwork/../meshwork')],
    ['a wrong subprotocol', 400, () => withHeader('Sec-WebSocket-Protocol', 'chat')],
    ['no subprotocol', 400, () => without('Sec-WebSocket-Protocol')],
    ['no WebSocket', 426, () => 'GET /meshwork HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a POST', 404, () => 'POST /api/run HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}'],
  ])('%s: HTTP %i', async (_, status, text) => {
    expect(await statusOf(stranger, text())).toBe(status);
    await unharmed();
  });

  it('no certificate: HTTP 401; TLS 1.2: no handshake; plain HTTP: no answer', async () => {
    expect(await statusOf(null, upgradeText())).toBe(401);
    await expect(openTls(port, stranger, { maxVersion: 'TLSv1.2' })).rejects.toThrow();
    await unharmed();
  });

  it("the target's own key, copied: HTTP 403", async () => {
    expect(await statusOf(keysOf(target.home), upgradeText())).toBe(403);
  });
});

describe('tokens', () => {
  it('work once, for one key, which may repeat itself; nobody else may use them', async () => {
    const node = await set.start({ name: 'inviter' });
    const [address = ''] = (await node.row(node))?.addresses ?? [];
    const at = Number(address.split(':').at(-1));
    const read = decodeToken(await node.invite());
    if (!read.ok) throw new Error(read.error.message);
    const first = await pairRaw(at, stranger, stranger, read.value);
    expect(first.reply?.['t']).toBe('pair.granted');
    expect((await pairRaw(at, stranger, stranger, read.value)).reply?.['t']).toBe('pair.granted');
    const other = await makeTestIdentity();
    expect((await pairRaw(at, other, other, read.value)).reply).toMatchObject({ code: 'token_used' });
    const roles = (await node.status()).nodes.map(({ roles: own }) => own.join());
    expect(roles.filter((own) => own.includes('admin')).length).toBe(1);
    await node.kill();
  });

  it('five wrong guesses use one up: the sixth is refused, right as it is', async () => {
    const token = await tokenOf();
    for (let guess = 1; guess <= 5; guess++) {
      const wrong = { ...token, secret: new Uint8Array(16).fill(guess) };
      const keys = await makeTestIdentity();
      expect((await pairRaw(port, keys, keys, wrong)).reply).toMatchObject({ t: 'pair.refused' });
    }
    expect((await pairRaw(port, stranger, stranger, token)).reply).toMatchObject({ code: 'token_guesses_exhausted' });
    await unharmed();
  });

  it('are refused when expired, unknown, for another inviter, replayed, or under another id', async () => {
    const short = await tokenOf(1000);
    const expiresAt = performance.now() + 1100;
    const good = await tokenOf();
    const unknown = { ...good, invite: 'aaaaaaaaaaaaa' as InviteToken['invite'] };
    expect((await pairRaw(port, stranger, stranger, unknown)).reply).toMatchObject({ t: 'pair.refused' });
    const otherInviter = { ...good, inviter: stranger.nodeId };
    expect((await pairRaw(port, stranger, stranger, otherInviter)).reply).toMatchObject({ t: 'pair.refused' });
    const { mac } = await pairRaw(port, stranger, stranger, good, { name: '$(touch x)' });
    expect((await pairRaw(port, stranger, stranger, good, { mac })).reply).toMatchObject({ t: 'pair.refused' });
    const impostor = await makeTestIdentity();
    expect((await pairRaw(port, impostor, stranger, good)).reply).toMatchObject({ t: 'pair.refused' });
    const wrongShape = { wants: ['root'] };
    expect((await pairRaw(port, stranger, stranger, good, wrongShape)).reply).toMatchObject({ t: 'pair.refused' });
    await until('the short one is over', WAIT_MS_MAX, () => performance.now() > expiresAt);
    expect((await pairRaw(port, stranger, stranger, short)).reply).toMatchObject({ code: 'token_expired' });
    await unharmed();
  });
});

describe('malformed and huge', () => {
  const pairing = { ...UPGRADE, 'Sec-WebSocket-Protocol': 'meshwork.pair.1' };
  /** After the upgrade of a pairing, which an unknown key may have. */
  async function afterUpgrade(bytes: Buffer): Promise<string> {
    const socket = await openTls(port, stranger);
    const text = await say(socket, upgradeText(pairing), (sofar) => sofar.includes('\r\n\r\n'));
    expect(text).toContain('101');
    return say(socket, bytes);
  }

  it.each<[string, () => Buffer]>([
    ['a zero-length frame', () => frame(0x81, Buffer.alloc(0))],
    ['a frame that declares 2 GiB', () => frame(0x81, Buffer.alloc(1024), 2 ** 31)],
    ['a frame that declares 2^62 bytes', () => frame(0x81, Buffer.alloc(0), 2 ** 62)],
    [
      'a fragment bomb',
      () =>
        Buffer.concat([
          frame(0x01, Buffer.from('x')),
          ...Array.from({ length: 5000 }, () => frame(0x00, Buffer.from('x'))),
        ]),
    ],
    [
      'empty fragments without end',
      () =>
        Buffer.concat([
          frame(0x01, Buffer.alloc(0)),
          ...Array.from({ length: 5000 }, () => frame(0x00, Buffer.alloc(0))),
        ]),
    ],
    ['5 KiB of JSON', () => frame(0x81, Buffer.from(JSON.stringify({ t: 'x'.repeat(5000) })))],
    ['binary', () => frame(0x82, Buffer.from('{}'))],
    ['deep nesting', () => frame(0x81, Buffer.from('['.repeat(4000)))],
  ])('%s: closed at once', async (_, bytes) => {
    await afterUpgrade(bytes());
    await unharmed();
  });

  it('a flood of all this costs little memory and few log lines, and honest ones still come through', async () => {
    const bomb = Buffer.concat(Array.from({ length: 200 }, () => frame(0x01, Buffer.from('x'))));
    const attack = async (index: number): Promise<void> => {
      try {
        const socket = await openTls(port, index % 3 === 0 ? null : stranger);
        const text = index % 2 === 0 ? upgradeText(pairing) : withHeader('X-Fill', 'x'.repeat(6000));
        await say(socket, text, () => true);
        socket.write(index % 4 === 0 ? bomb : frame(0x81, Buffer.alloc(16 * 1024), 2 ** 31));
        await say(socket, Buffer.alloc(0));
      } catch (error) {
        // Turned away: that is one of the right answers.
        if (!(error instanceof Error)) throw error;
      }
    };
    const flood = async (waves: number): Promise<void> => {
      for (let wave = 0; wave < waves; wave++)
        await Promise.all(Array.from({ length: 50 }, (_, index) => attack(index)));
    };
    // The first takes it what it needs for any of them.
    await flood(25);
    const linesBefore = target.log.split('\n').length;
    const startedMs = performance.now();
    await staysSmall(target, GROWTH_BYTES_MAX, () => flood(10));
    await unharmed();
    const spans = Math.ceil((performance.now() - startedMs) / REFUSALS_EVERY_MS);
    expect(target.log.split('\n').length - linesBefore).toBeLessThan(OTHER_LINES_MAX + KINDS_MAX * spans);
    const token = await tokenOf();
    const keys = await makeTestIdentity();
    expect((await pairRaw(port, keys, keys, token)).reply?.['t']).toBe('pair.granted');
  });
});

describe('what lies on the disk', () => {
  it('is for its owner alone', async () => {
    const modeOf = (...path: string[]): string => (statSync(join(target.home, ...path)).mode & 0o777).toString(8);
    expect(modeOf('control.sock')).toBe('600');
    expect(modeOf('identity')).toBe('700');
    expect(modeOf('identity', 'key.pem')).toBe('600');
    for (const file of ['daemon.log', 'audit.log', 'trust.json', 'state.json']) expect(modeOf(file)).toBe('600');
    expect((await identityOf(target.home)).nodeId).toBe(target.id);
  });
});
