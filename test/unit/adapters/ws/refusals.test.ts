import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls_, type TLSSocket } from 'node:tls';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { MIB } from '../../../../src/base/units.ts';
import { makeTestIdentity, type TestIdentity } from '../../../fixtures/test-certificate.ts';
import {
  Cleanup,
  connectTls,
  MESH,
  readToEnd,
  startPeer,
  type TestPeer,
  trustEachOther,
  until,
  UPGRADE_HEADERS,
  upgradeText,
} from './link-harness.ts';

const LINK_ID = 'a'.repeat(26);
const hello = (fields: object = {}): string =>
  JSON.stringify({
    type: 'hello',
    protocol: 1,
    mesh: MESH,
    incarnation: 1,
    name: 'x',
    link_id: LINK_ID,
    ...fields,
  });

let own: TestIdentity;
let friend: TestIdentity;
let other: TestIdentity;
let stranger: TestIdentity;
let rsa: TestIdentity;
const cleanup = new Cleanup();

beforeAll(async () => {
  own = await makeTestIdentity();
  friend = await makeTestIdentity();
  other = await makeTestIdentity();
  stranger = await makeTestIdentity();
  rsa = await makeTestIdentity('rsa');
});
afterEach(async () => cleanup.run());

/** A peer that trusts `friend` and `other`; anything that reaches its owner is an error unless a test allows it. */
async function target(): Promise<TestPeer> {
  const peer = await startPeer(own, cleanup);
  peer.trust.set(friend.nodeId, 'trusted');
  peer.trust.set(other.nodeId, 'trusted');
  peer.onPair = async () => expect.unreachable('onPair');
  return peer;
}

const kinds = (peer: TestPeer): unknown[] => peer.logged.map(({ fields }) => fields['kind']);

async function say(peer: TestPeer, identity: TestIdentity | null, text: string): Promise<string> {
  const socket = await connectTls(peer.listening.port, identity, cleanup);
  socket.write(text);
  return readToEnd(socket);
}

async function openWebSocket(
  peer: TestPeer,
  identity: TestIdentity,
  subprotocol: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ socket: WebSocket; messages: string[]; closed: { code: number; reason: string }[] }> {
  const socket = new WebSocket(`wss://127.0.0.1:${peer.listening.port}/meshwork`, subprotocol, {
    key: identity.keyPem,
    cert: identity.certPem,
    rejectUnauthorized: false,
    perMessageDeflate: false,
    headers: { ...headers },
  });
  cleanup.add(() => socket.terminate());
  const messages: string[] = [];
  const closed: { code: number; reason: string }[] = [];
  socket.on('message', (data: Buffer) => messages.push(data.toString('utf8')));
  socket.on('close', (code, reason) => closed.push({ code, reason: reason.toString('utf8') }));
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.on('error', reject);
  });
  return { socket, messages, closed };
}

/** A connection as a node makes it, hello done, but whose bytes the test writes. */
async function rawLink(peer: TestPeer, isPolite = true): Promise<{ control: TLSSocket; bulk: TLSSocket }> {
  const control = await connectTls(peer.listening.port, friend, cleanup);
  control.write(upgradeText('/meshwork', UPGRADE_HEADERS));
  const text = collect(control);
  await until('the upgrade', () => text().includes('101 Switching'));
  control.write(frame(0x81, Buffer.from(hello())));
  await until('the hello', () => text().includes('"link_id"'));
  const bulk = await connectTls(peer.listening.port, friend, cleanup);
  const headers = { ...UPGRADE_HEADERS, 'Sec-WebSocket-Protocol': 'meshwork.bulk.1', 'X-Meshwork-Link': LINK_ID };
  bulk.write(upgradeText('/meshwork', headers));
  collect(bulk);
  if (isPolite) for (const socket of [control, bulk]) endOnClose(socket);
  await until('the link', () => peer.links.length > 0);
  return { control, bulk };
}

const without = (name: string): Record<string, string> =>
  Object.fromEntries(Object.entries(UPGRADE_HEADERS).filter(([key]) => key !== name));

function collect(socket: Socket): () => string {
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
  });
  return () => text;
}

/** Answers a close frame as a decent peer does, at the level of TCP. */
function endOnClose(socket: Socket): void {
  socket.on('data', (chunk: Buffer) => {
    if (chunk[0] === 0x88) socket.end();
  });
}

/** A masked frame (RFC 6455 §5.2) with a mask of zeros; `declared` may lie about the length. */
function frame(firstByte: number, payload: Buffer, declared = payload.byteLength): Buffer {
  const head = Buffer.alloc(14);
  head[0] = firstByte;
  head[1] = 0x80 | 127;
  head.writeBigUInt64BE(BigInt(declared), 2);
  return Buffer.concat([head, payload]);
}

describe('an upgrade is refused with a plain HTTP status', () => {
  test.each<[string, number, string, string]>([
    ['an Origin', 403, 'origin', upgradeText('/meshwork', { ...UPGRADE_HEADERS, Origin: 'https://example.org' })],
    ['an empty Origin', 403, 'origin', upgradeText('/meshwork', { ...UPGRADE_HEADERS, Origin: '' })],
    [
      'an Origin after many headers',
      403,
      'origin',
      upgradeText('/meshwork', {
        ...UPGRADE_HEADERS,
        ...Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`a${i}`, ''])),
        Origin: 'null',
      }),
    ],
    ['another path', 404, 'path', upgradeText('/', UPGRADE_HEADERS)],
    ['a longer path', 404, 'path', upgradeText('/meshwork/../meshwork', UPGRADE_HEADERS)],
    ['a query', 404, 'path', upgradeText('/meshwork?x', UPGRADE_HEADERS)],
    ['no subprotocol', 400, 'subprotocol', upgradeText('/meshwork', without('Sec-WebSocket-Protocol'))],
    [
      'another subprotocol',
      400,
      'subprotocol',
      upgradeText('/meshwork', { ...UPGRADE_HEADERS, 'Sec-WebSocket-Protocol': 'mqtt' }),
    ],
    [
      'two subprotocols',
      400,
      'subprotocol',
      upgradeText('/meshwork', {
        ...UPGRADE_HEADERS,
        'Sec-WebSocket-Protocol': 'meshwork.control.1, meshwork.pair.1',
      }),
    ],
    [
      'an old WebSocket version',
      426,
      'not_websocket',
      upgradeText('/meshwork', { ...UPGRADE_HEADERS, 'Sec-WebSocket-Version': '8' }),
    ],
    ['another upgrade', 426, 'not_websocket', upgradeText('/meshwork', { ...UPGRADE_HEADERS, Upgrade: 'h2c' })],
    ['a plain request', 426, 'not_websocket', 'GET /meshwork HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a plain request elsewhere', 404, 'path', 'POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello'],
    ['headers over the bound', 400, 'bad_http', upgradeText('/meshwork', { Host: 'x'.repeat(10_000) })],
    ['no HTTP at all', 400, 'bad_http', '\u0000\u0001\u0002 garbage\r\n\r\n'],
    [
      'a bulk socket of no link',
      409,
      'unmatched_bulk',
      upgradeText('/meshwork', {
        ...UPGRADE_HEADERS,
        'Sec-WebSocket-Protocol': 'meshwork.bulk.1',
        'X-Meshwork-Link': LINK_ID,
      }),
    ],
  ])('for %s: %i, even to a trusted key', async (_what, status, kind, text) => {
    const peer = await target();
    const answer = await say(peer, friend, text);
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(answer.length).toBeLessThan(300);
    expect(kinds(peer)).toEqual([kind]);
    expect(peer.links).toEqual([]);
  });

  test('for a key that is unknown, revoked, our own, or missing', async () => {
    const peer = await target();
    const text = upgradeText('/meshwork', UPGRADE_HEADERS);
    const pair = upgradeText('/meshwork', { ...UPGRADE_HEADERS, 'Sec-WebSocket-Protocol': 'meshwork.pair.1' });
    expect(await say(peer, stranger, text)).toMatch(/^HTTP\/1.1 403 /);
    peer.trust.set(stranger.nodeId, 'revoked');
    expect(await say(peer, stranger, pair)).toMatch(/^HTTP\/1.1 403 /);
    expect(await say(peer, own, text)).toMatch(/^HTTP\/1.1 403 /);
    expect(await say(peer, null, text)).toMatch(/^HTTP\/1.1 401 /);
    expect(await say(peer, null, pair)).toMatch(/^HTTP\/1.1 401 /);
    expect(kinds(peer)).toEqual(['untrusted', 'revoked', 'self', 'no_certificate']);
  });

  test('for a bulk socket that names the link of another key', async () => {
    const peer = await target();
    const { socket, messages } = await openWebSocket(peer, friend, 'meshwork.control.1');
    socket.send(hello());
    await until('the hello', () => messages.length > 0);
    await expect(openWebSocket(peer, other, 'meshwork.bulk.1', { 'x-meshwork-link': LINK_ID })).rejects.toThrow('409');
    await openWebSocket(peer, friend, 'meshwork.bulk.1', { 'x-meshwork-link': LINK_ID });
    await until('the link', () => peer.links[0]?.peer === friend.nodeId);
  });
});

describe('TLS is refused', () => {
  test('of version 1.2', async () => {
    const peer = await target();
    const tls12 = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const;
    await expect(connectTls(peer.listening.port, friend, cleanup, tls12)).rejects.toThrow();
    await until('the log line', () => kinds(peer).includes('tls_failed'));
  });

  test('to a key that is neither Ed25519 nor P-256: it cannot even be shown', async () => {
    const peer = await target();
    peer.trust.set(rsa.nodeId, 'trusted');
    expect(await say(peer, rsa, upgradeText('/meshwork', UPGRADE_HEADERS))).toMatch(/^HTTP\/1.1 401 /);
  });

  test('to bytes that are no TLS', async () => {
    const peer = await target();
    const socket = connectTcp(peer.listening.port, '127.0.0.1');
    cleanup.add(() => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.write('GET /meshwork HTTP/1.1\r\nHost: x\r\n\r\n');
    await readToEnd(socket);
    expect(kinds(peer)).toEqual(['tls_failed']);
  });

  test('never resumed: every connection shows its key', async () => {
    const peer = await target();
    const first = await connectTls(peer.listening.port, friend, cleanup);
    let session: Buffer | undefined;
    first.on('session', (ticket: Buffer) => {
      session = ticket;
    });
    first.write(upgradeText('/', UPGRADE_HEADERS));
    await readToEnd(first);
    const again = await connectTls(peer.listening.port, friend, cleanup, session === undefined ? {} : { session });
    expect(again.isSessionReused()).toBe(false);
  });
});

describe('a hello is refused', () => {
  test('of another protocol version: both sides learn which', async () => {
    const peer = await target();
    const { socket, messages, closed } = await openWebSocket(peer, friend, 'meshwork.control.1');
    socket.send(hello({ protocol: 2, more: true }));
    await until('the close', () => closed.length > 0);
    expect(messages.map((text) => JSON.parse(text) as unknown)).toEqual([
      { type: 'refuse', code: 'protocol_mismatch', protocol: 1 },
    ]);
    expect(closed).toEqual([{ code: 4001, reason: 'protocol_mismatch' }]);
    expect(peer.refusals).toMatchObject([{ peer: friend.nodeId, fault: { kind: 'protocol_mismatch', theirs: 2 } }]);
  });

  test('by the dialled side: the dial fails with its version', async () => {
    const peer = await target();
    const dialler = await startPeer(friend, cleanup);
    trustEachOther(peer, dialler);
    const { WebSocketServer } = await import('ws');
    const { createServer } = await import('node:https');
    const server = createServer({ key: other.keyPem, cert: other.certPem }).listen(0, '127.0.0.1');
    const sockets = new WebSocketServer({ server });
    cleanup.add(() => {
      sockets.close();
      server.close();
    });
    sockets.on('connection', (socket) => {
      socket.on('message', () => socket.send('{"type":"refuse","code":"protocol_mismatch","protocol":3}'));
    });
    dialler.trust.set(other.nodeId, 'trusted');
    const port = await until('a port', () => {
      const address = server.address();
      return typeof address === 'object' && address !== null ? address.port : null;
    });
    const dialled = await dialler.transport.dial({ host: '127.0.0.1', port, expectedPeer: other.nodeId });
    expect(dialled).toMatchObject({ ok: false, error: { kind: 'protocol_mismatch', theirs: 3 } });
  });

  test.each([
    ['that is no JSON', 'hello'],
    ['with unknown fields', hello({ roles: ['admin'] })],
    ['that is empty', ''],
  ])('%s', async (_what, text) => {
    const peer = await target();
    const { socket, messages, closed } = await openWebSocket(peer, friend, 'meshwork.control.1');
    socket.send(text);
    await until('the close', () => closed.length > 0);
    expect(messages.map((message) => JSON.parse(message) as unknown)).toMatchObject([{ code: 'bad_hello' }]);
    expect(kinds(peer)).toEqual(['bad_hello']);
  });
});

describe('a link is closed, and memory stays flat, on', () => {
  const zeroes = Buffer.alloc(MIB);
  test.each<[string, 'control' | 'bulk', string, () => Buffer[]]>([
    ['an empty control message', 'control', 'an empty control message', () => [frame(0x81, Buffer.alloc(0))]],
    ['an empty bulk message', 'bulk', 'an empty bulk message', () => [frame(0x82, Buffer.alloc(0))]],
    ['binary on control', 'control', 'binary data on the control socket', () => [frame(0x82, Buffer.from('{}'))]],
    ['text on bulk', 'bulk', 'text on the bulk socket', () => [frame(0x81, Buffer.from('{}'))]],
    ['one byte over the limit', 'control', 'Max payload size exceeded', () => [frame(0x81, Buffer.alloc(MIB + 1))]],
    [
      'a frame of 2 GiB',
      'bulk',
      'Max payload size exceeded',
      () => [frame(0x82, Buffer.alloc(0), 2 ** 31), ...Array.from({ length: 64 }, () => zeroes)],
    ],
    [
      'a frame of 2^60 bytes',
      'bulk',
      'Unsupported WebSocket frame: payload length > 2^53 - 1',
      () => [frame(0x82, Buffer.alloc(0), 2 ** 60), ...Array.from({ length: 16 }, () => zeroes)],
    ],
    [
      'a fragment bomb',
      'control',
      'Too many message fragments',
      () => [frame(0x01, Buffer.from('a')), ...Array.from({ length: 20_000 }, () => frame(0x00, Buffer.from('a')))],
    ],
    [
      'a bomb of empty fragments',
      'bulk',
      'Too many message fragments',
      () => [frame(0x02, Buffer.alloc(0)), ...Array.from({ length: 20_000 }, () => frame(0x00, Buffer.alloc(0)))],
    ],
    [
      'text that is not UTF-8',
      'control',
      'Invalid WebSocket frame: invalid UTF-8 sequence',
      () => [frame(0x81, Buffer.from([0xff, 0xfe]))],
    ],
    ['a reserved opcode', 'bulk', 'Invalid WebSocket frame: invalid opcode 3', () => [frame(0x83, Buffer.alloc(0))]],
  ])('%s', async (_what, which, reason, frames) => {
    const peer = await target();
    const bytes = frames();
    const link = await rawLink(peer, bytes.length === 1);
    const reasons: string[] = [];
    let heard = 0;
    peer.links[0]?.attach({
      onControl: () => heard++,
      onBulk: () => heard++,
      onClose: (text) => reasons.push(text),
    });
    const beforeBytes = process.memoryUsage().rss;
    // At the pace of the other side, so that what waits here does not count.
    for (const part of bytes) {
      const socket = link[which];
      if (socket.destroyed) break;
      if (!socket.write(part)) {
        await new Promise<void>((resolve) => socket.once('drain', resolve).once('close', () => resolve()));
      }
    }
    await until('both sockets closed', () => link.control.destroyed && link.bulk.destroyed);
    expect(reasons).toEqual([reason]);
    expect(heard).toBe(0);
    expect(process.memoryUsage().rss - beforeBytes).toBeLessThan(20 * MIB);
  });

  test('a message trickled in tiny TLS records', async () => {
    const peer = await target();
    const link = await rawLink(peer);
    const reasons: string[] = [];
    peer.links[0]?.attach({
      onControl: () => undefined,
      onBulk: () => undefined,
      onClose: (text) => reasons.push(text),
    });
    link.bulk.setNoDelay(true);
    link.bulk.write(frame(0x82, Buffer.alloc(0), 1_000_000));
    const trickle = setInterval(() => {
      for (let i = 0; i < 100; i++) link.bulk.write('x');
    }, 1);
    cleanup.add(() => clearInterval(trickle));
    await until('the close', () => reasons.length > 0);
    expect(reasons).toEqual(['Too many buffered chunks']);
  });
});

describe('pairing', () => {
  async function joinerOf(peer: TestPeer): Promise<TestPeer> {
    const joiner = await startPeer(stranger, cleanup);
    expect(peer.trust.has(stranger.nodeId)).toBe(false);
    return joiner;
  }

  test('is one request and one reply between strangers, bound to their connection', async () => {
    const peer = await target();
    const joiner = await joinerOf(peer);
    let there: Uint8Array | undefined;
    peer.onPair = async (request, context) => {
      there = context.exporter;
      expect(context.peer).toBe(stranger.nodeId);
      expect(Buffer.from(context.peerSpki)).toEqual(Buffer.from(stranger.spki));
      expect(context.remoteAddress).toMatch(/^127\.0\.0\.1:\d+$/);
      return { got: request, roster: 'x'.repeat(300_000) };
    };
    let here: Uint8Array | undefined;
    const reply = await joiner.transport.pair({
      host: '127.0.0.1',
      port: peer.listening.port,
      expectedPeer: own.nodeId,
      makeRequest: ({ exporter, peer: inviter }) => {
        here = exporter;
        expect(inviter).toBe(own.nodeId);
        return { proof: 'abc' };
      },
    });
    expect(reply).toMatchObject({ ok: true, value: { got: { proof: 'abc' } } });
    expect(here).toHaveLength(32);
    expect(there).toEqual(here);
  });

  test('asks for no request where the key is not the one in the token', async () => {
    const peer = await target();
    const joiner = await joinerOf(peer);
    const reply = await joiner.transport.pair({
      host: '127.0.0.1',
      port: peer.listening.port,
      expectedPeer: other.nodeId,
      makeRequest: () => expect.unreachable('makeRequest'),
    });
    expect(reply).toMatchObject({ ok: false, error: { kind: 'wrong_key' } });
  });

  test('that fails inside says so without details', async () => {
    const peer = await target();
    const joiner = await joinerOf(peer);
    peer.onPair = async () => {
      throw new Error('secret path');
    };
    const reply = await joiner.transport.pair({
      host: '127.0.0.1',
      port: peer.listening.port,
      expectedPeer: own.nodeId,
      makeRequest: () => ({}),
    });
    expect(reply).toMatchObject({
      ok: false,
      error: { kind: 'other', message: expect.stringMatching(/pairing failed$/) },
    });
    expect(peer.logged).toMatchObject([{ fields: { kind: 'bad_pairing', detail: 'secret path' } }]);
  });

  test.each<[string, string | Buffer]>([
    ['over 4 KiB', JSON.stringify('x'.repeat(4096))],
    ['that is no JSON', '{'],
    ['in binary', Buffer.from('{}')],
  ])('closes on a request %s', async (_what, data) => {
    const peer = await target();
    const { socket, messages, closed } = await openWebSocket(peer, stranger, 'meshwork.pair.1');
    socket.send(data);
    await until('the close', () => closed.length > 0);
    expect(messages).toEqual([]);
    expect(kinds(peer)).toEqual(['bad_pairing']);
  });

  test('takes one request per connection', async () => {
    const peer = await target();
    let asked = 0;
    peer.onPair = async () => ++asked;
    const { socket, closed } = await openWebSocket(peer, stranger, 'meshwork.pair.1');
    for (let i = 0; i < 20; i++) socket.send('{}');
    await until('the close', () => closed.length > 0);
    expect(asked).toBe(1);
  });
});

describe('who never finishes', () => {
  test('is cut within the deadline, at every stage, and keeps nobody else out', async () => {
    const peer = await target();
    const dialler = await startPeer(friend, cleanup);
    dialler.trust.set(own.nodeId, 'trusted');
    const idle = Array.from({ length: 40 }, () => connectTcp(peer.listening.port, '127.0.0.1'));
    for (const socket of idle) {
      cleanup.add(() => socket.destroy());
      socket.on('error', () => socket.destroy());
      socket.resume();
    }
    await until('the bound', () => idle.filter((socket) => !socket.destroyed).length <= 10);
    const dialled = await dialler.transport.dial({
      host: '127.0.0.1',
      port: peer.listening.port,
      expectedPeer: own.nodeId,
    });
    expect(dialled).toMatchObject({ ok: true });
    const handshaken = await connectTls(peer.listening.port, friend, cleanup);
    const halfHead = await connectTls(peer.listening.port, friend, cleanup);
    halfHead.write('GET /meshwork HTTP/1.1\r\nHost: x\r\n');
    const noHello = await openWebSocket(peer, friend, 'meshwork.control.1');
    const noBulk = await openWebSocket(peer, friend, 'meshwork.control.1');
    noBulk.socket.send(hello());
    const all: { destroyed: boolean }[] = [...idle, handshaken, halfHead];
    await until(
      'all cut',
      () => all.every((socket) => socket.destroyed) && noHello.closed.length > 0 && noBulk.closed.length > 0,
    );
    expect(dialled.ok && dialled.value.sendControl('{}')).toBe(true);
    expect(peer.logged.length).toBeLessThan(8);
  });

  test('a flood by a stranger from the same address does not keep a trusted peer out', async () => {
    const peer = await target();
    const dialler = await startPeer(friend, cleanup);
    trustEachOther(peer, dialler);
    const flooding = { on: true };
    let attempts = 0;
    const flood = async (): Promise<void> => {
      while (flooding.on) {
        attempts++;
        const socket = connectTls_({
          host: '127.0.0.1',
          port: peer.listening.port,
          rejectUnauthorized: false,
          key: stranger.keyPem,
          cert: stranger.certPem,
        });
        socket.on('secureConnect', () => socket.write(upgradeText('/meshwork', UPGRADE_HEADERS)));
        socket.on('error', () => socket.destroy());
        socket.resume();
        await new Promise((resolve) => socket.once('close', resolve));
      }
    };
    const options = { host: '127.0.0.1', port: peer.listening.port, expectedPeer: own.nodeId };
    const floods = Array.from({ length: 8 }, flood);
    await until('the flood to be held', () => attempts > 300);
    const linked = await dialler.transport.dial(options);
    const again = await dialler.transport.dial(options);
    flooding.on = false;
    await Promise.all(floods);
    expect([linked, again]).toMatchObject([{ ok: true }, { ok: true }]);
    expect(peer.logged.length).toBeLessThan(12);
  });
});
