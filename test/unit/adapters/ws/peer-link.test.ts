import { createHash, randomBytes } from 'node:crypto';
import { createServer, connect as connectTcp, type Socket } from 'node:net';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { NodeId } from '../../../../src/base/ids.ts';
import { MIB } from '../../../../src/base/units.ts';
import type { PeerLink } from '../../../../src/ports/links.ts';
import { encodeStreamHeader, FRAME_DATA } from '../../../../src/wire/stream-frame.ts';
import { STREAM_WINDOW_BYTES, StreamMux } from '../../../../src/wire/stream-mux.ts';
import { makeTestIdentity, type TestIdentity } from '../../../fixtures/test-certificate.ts';
import { Cleanup, OTHER_MESH, startPeer, type TestPeer, trustEachOther, until } from './link-harness.ts';

let ids: readonly [TestIdentity, TestIdentity, TestIdentity];
const cleanup = new Cleanup();

beforeAll(async () => {
  ids = [await makeTestIdentity(), await makeTestIdentity(), await makeTestIdentity('p256')];
});
afterEach(async () => cleanup.run());

interface Recorded {
  readonly control: string[];
  readonly bulk: Uint8Array[];
  readonly closed: string[];
}

function record(link: PeerLink): Recorded {
  const recorded: Recorded = { control: [], bulk: [], closed: [] };
  link.attach({
    onControl: (json) => recorded.control.push(json),
    onBulk: (frame) => recorded.bulk.push(Uint8Array.from(frame)),
    onClose: (reason) => recorded.closed.push(reason),
  });
  return recorded;
}

async function dialOk(from: TestPeer, to: TestPeer, port = to.listening.port): Promise<PeerLink> {
  const dialled = await from.transport.dial({ host: '127.0.0.1', port, expectedPeer: to.identity.nodeId });
  if (!dialled.ok) throw new Error(dialled.error.message);
  return dialled.value;
}

async function linkedPair(): Promise<{ a: TestPeer; b: TestPeer; ours: PeerLink; theirs: PeerLink }> {
  const a = await startPeer(ids[0], cleanup);
  const b = await startPeer(ids[1], cleanup);
  trustEachOther(a, b);
  a.hello = { ...a.hello, incarnation: 7, name: 'anna' };
  b.hello = { ...b.hello, incarnation: 9, name: 'bert' };
  const ours = await dialOk(a, b);
  const theirs = await until('the link at the listener', () => b.links[0]);
  return { a, b, ours, theirs };
}

describe('a link', () => {
  test('tells each side who the other is', async () => {
    const { a, b, ours, theirs } = await linkedPair();
    expect(ours).toMatchObject({
      peer: b.identity.nodeId,
      peerIncarnation: 9,
      peerName: 'bert',
      dialledByUs: true,
      remoteAddress: `127.0.0.1:${b.listening.port}`,
    });
    expect(theirs).toMatchObject({ peer: a.identity.nodeId, peerIncarnation: 7, peerName: 'anna', dialledByUs: false });
    expect(theirs.remoteAddress).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(Buffer.from(ours.peerSpki)).toEqual(Buffer.from(b.identity.spki));
    expect(Buffer.from(theirs.peerSpki)).toEqual(Buffer.from(a.identity.spki));
  });

  test('works between an Ed25519 and a P-256 key, over IPv6, without knowing the peer beforehand', async () => {
    const a = await startPeer(ids[0], cleanup, { host: '::1' });
    const b = await startPeer(ids[2], cleanup, { host: '::1' });
    trustEachOther(a, b);
    const dialled = await a.transport.dial({ host: '::1', port: b.listening.port, expectedPeer: null });
    expect(dialled.ok && dialled.value.peer).toBe(b.identity.nodeId);
    expect(dialled.ok && dialled.value.remoteAddress).toBe(`[::1]:${b.listening.port}`);
  });

  test('is made over IPv4 where every interface is listened on, and shows the IPv4 address', async () => {
    const a = await startPeer(ids[0], cleanup);
    const b = await startPeer(ids[1], cleanup, { host: null });
    trustEachOther(a, b);
    await dialOk(a, b);
    const theirs = await until('the link', () => b.links[0]);
    expect(theirs.remoteAddress).toMatch(/^127\.0\.0\.1:\d+$/);
  });

  test('outlives the listening it came through; the port is free at once', async () => {
    const { b, ours, theirs } = await linkedPair();
    await b.listening.close();
    const options = { host: '127.0.0.1', port: b.listening.port, onLink: () => undefined, onPair: async () => null };
    await b.transport.listen(options);
    const there = record(theirs);
    ours.sendControl('{"still":"here"}');
    await until('the message', () => there.control[0] === '{"still":"here"}');
  });

  test('carries control and bulk both ways, in order, what came before attach included', async () => {
    const { ours, theirs } = await linkedPair();
    for (let i = 0; i < 50; i++) {
      expect(theirs.sendControl(JSON.stringify({ i }))).toBe(true);
      expect(ours.sendControl(JSON.stringify({ i }))).toBe(true);
    }
    theirs.sendBulk(encodeStreamHeader(FRAME_DATA, 1), new Uint8Array([1, 2, 3]));
    ours.sendBulk(encodeStreamHeader(FRAME_DATA, 2), null);
    const here = record(ours);
    const there = record(theirs);
    await until(
      'all messages',
      () => here.control.length === 50 && there.control.length === 50 && here.bulk.length > 0,
    );
    expect(here.control[49]).toBe('{"i":49}');
    expect(there.control[0]).toBe('{"i":0}');
    expect([...(here.bulk[0] ?? [])]).toEqual([1, 0, 0, 0, 1, 1, 2, 3]);
    await until('the bulk frame there', () => there.bulk.length === 1);
    expect([...(there.bulk[0] ?? [])]).toEqual([1, 0, 0, 0, 2]);
  });

  test('carries 50 MiB each way under credit-based flow, equal by hash', async () => {
    const { ours, theirs } = await linkedPair();
    const [here, there] = [
      new StreamMux(ours.sendBulk.bind(ours), 'first'),
      new StreamMux(theirs.sendBulk.bind(theirs), 'second'),
    ];
    const faults: string[] = [];
    for (const [link, mux] of [
      [ours, here],
      [theirs, there],
    ] as const) {
      link.attach({
        onControl: () => undefined,
        onBulk: (frame) => {
          const fault = mux.receive(frame);
          if (fault !== null) faults.push(fault);
        },
        onClose: () => mux.close(),
      });
    }
    const [up, down] = await Promise.all([transfer(here, there, 1, 50 * MIB), transfer(there, here, 2, 50 * MIB)]);
    expect(faults).toEqual([]);
    expect(up.received).toBe(up.sent);
    expect(down.received).toBe(down.sent);
  });

  test('gives the reason of a close to both sides, once, and ends both sockets', async () => {
    const { ours, theirs } = await linkedPair();
    const here = record(ours);
    const there = record(theirs);
    ours.close('an older instance');
    ours.close('again');
    expect(here.closed).toEqual([]);
    await until('closed at both', () => here.closed.length > 0 && there.closed.length > 0);
    expect(here.closed).toEqual(['an older instance']);
    expect(there.closed).toEqual(['an older instance']);
    expect(ours.sendControl('{}')).toBe(false);
    ours.sendBulk(encodeStreamHeader(FRAME_DATA, 1), null);
    expect(here.closed).toHaveLength(1);
  });

  test('a close before attach is told to who attaches later; long and strange reasons are cut and cleaned', async () => {
    const { ours, theirs } = await linkedPair();
    theirs.sendControl('{"last":true}');
    theirs.close(`\u001b[31m${'é'.repeat(100)}`);
    await until('the end of the link', () => !ours.sendControl('{}'));
    const here = record(ours);
    await until('onClose', () => here.closed.length > 0);
    expect(here.control).toEqual(['{"last":true}']);
    expect(here.closed[0]).toMatch(/^\?\[31mé{50,}$/);
  });

  test('is closed by closePeer, and when the transport ends', async () => {
    const { a, b, ours, theirs } = await linkedPair();
    const here = record(ours);
    b.transport.closePeer(a.identity.nodeId, 'revoked');
    await until('closed', () => here.closed[0] === 'revoked');
    const second = await dialOk(a, b);
    const recorded = record(second);
    await b.transport.close('this node goes down');
    await until('closed', () => recorded.closed[0] === 'this node goes down');
    expect(theirs.sendControl('{}')).toBe(false);
  });

  test('is closed when the peer does not read its control messages', async () => {
    const { ours, proxy } = await linkedThroughProxy();
    const here = record(ours);
    proxy.freeze();
    const text = JSON.stringify('x'.repeat(500_000));
    await until('the bound', () => !ours.sendControl(text));
    await until('onClose', () => here.closed.length > 0);
    expect(here.closed).toEqual(['the peer reads control messages too slowly']);
  });

  test('is closed at both ends when nothing is heard any more (half-open)', async () => {
    const { ours, theirs, proxy } = await linkedThroughProxy({ pingMs: 100, silenceMs: 1000 });
    const here = record(ours);
    const there = record(theirs);
    // Several silences long, kept alive by pings alone.
    const aliveUntilMs = performance.now() + 2500;
    await until('time to pass', () => performance.now() > aliveUntilMs);
    expect([here.closed, there.closed]).toEqual([[], []]);
    proxy.freeze();
    await until('closed at both', () => here.closed.length > 0 && there.closed.length > 0);
    expect(here.closed[0]).toMatch(/^nothing heard/);
    expect(there.closed[0]).toMatch(/^nothing heard/);
  });

  test('is closed as a pair when one of its connections breaks', async () => {
    const { ours, theirs, proxy } = await linkedThroughProxy();
    const here = record(ours);
    const there = record(theirs);
    proxy.cut(1);
    await until('closed at both', () => here.closed.length > 0 && there.closed.length > 0);
    expect(here.closed).toHaveLength(1);
    expect(there.closed).toHaveLength(1);
    await until('no connection left', () => proxy.open() === 0);
  });
});

describe('a dial fails with', () => {
  test('refused, where nobody listens', async () => {
    const { a, b } = await twoPeers();
    await b.listening.close();
    expect(await dialError(a, b)).toMatchObject({ kind: 'refused' });
  });

  test('wrong_key, before a byte is sent, where another key answers', async () => {
    const { a, b } = await twoPeers();
    const dialled = await a.transport.dial({
      host: '127.0.0.1',
      port: b.listening.port,
      expectedPeer: ids[2].nodeId,
    });
    expect(!dialled.ok && dialled.error.kind).toBe('wrong_key');
    expect(b.links).toEqual([]);
    expect(b.logged.filter(({ fields }) => fields['kind'] !== 'flood')).toEqual([]);
  });

  test('untrusted, where we do not trust its key, or it ours', async () => {
    const { a, b } = await twoPeers();
    a.trust.set(b.identity.nodeId, 'revoked');
    expect(await dialError(a, b)).toMatchObject({ kind: 'untrusted' });
    expect(b.logged.map(({ fields }) => fields['kind'])).not.toContain('untrusted');
    a.trust.set(b.identity.nodeId, 'trusted');
    b.trust.clear();
    expect(await dialError(a, b)).toMatchObject({ kind: 'untrusted' });
    b.trust.set(a.identity.nodeId, 'revoked');
    expect(await dialError(a, b)).toMatchObject({ kind: 'untrusted' });
    expect(b.logged.map(({ fields }) => fields['kind'])).toEqual(expect.arrayContaining(['untrusted', 'revoked']));
  });

  test('untrusted, where it is in another mesh', async () => {
    const { a, b } = await twoPeers();
    b.hello = { ...b.hello, mesh: OTHER_MESH };
    expect(await dialError(a, b)).toMatchObject({
      kind: 'untrusted',
      message: expect.stringContaining('another mesh'),
    });
    expect(b.refusals).toMatchObject([{ peer: a.identity.nodeId, fault: { kind: 'wrong_mesh' } }]);
  });

  test('other, where it is this node itself', async () => {
    const { a } = await twoPeers();
    a.trust.set(a.identity.nodeId, 'trusted');
    const dialled = await a.transport.dial({ host: '127.0.0.1', port: a.listening.port, expectedPeer: null });
    expect(!dialled.ok && dialled.error.message).toMatch(/this node itself/);
  });

  test('timeout, where a connection is taken and nothing is said', async () => {
    const { a } = await twoPeers();
    const silent = createServer(() => undefined).listen(0, '127.0.0.1');
    cleanup.add(() => silent.close());
    const port = await until('a port', () => portOf(silent));
    const startMs = performance.now();
    const dialled = await a.transport.dial({ host: '127.0.0.1', port, expectedPeer: null, timeoutMs: 300 });
    expect(!dialled.ok && dialled.error.kind).toBe('timeout');
    expect(performance.now() - startMs).toBeLessThan(10_000);
  });

  test('other, at once, where it is called off', async () => {
    const { a } = await twoPeers();
    const silent = createServer(() => undefined).listen(0, '127.0.0.1');
    cleanup.add(() => silent.close());
    const port = await until('a port', () => portOf(silent));
    const controller = new AbortController();
    const dialling = a.transport.dial({ host: '127.0.0.1', port, expectedPeer: null, signal: controller.signal });
    controller.abort();
    const dialled = await dialling;
    expect(!dialled.ok && dialled.error.message).toMatch(/called off/);
  });

  test('other, where something else answers', async () => {
    const { a } = await twoPeers();
    const chatty = createServer((socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n')).listen(0, '127.0.0.1');
    cleanup.add(() => chatty.close());
    const port = await until('a port', () => portOf(chatty));
    const dialled = await a.transport.dial({ host: '127.0.0.1', port, expectedPeer: null });
    expect(!dialled.ok && dialled.error.kind).toBe('other');
  });

  test('port_in_use is thrown where the port is taken', async () => {
    const { a, b } = await twoPeers();
    const options = { host: '127.0.0.1', port: b.listening.port, onLink: () => undefined, onPair: async () => null };
    await expect(a.transport.listen(options)).rejects.toMatchObject({ code: 'port_in_use' });
  });
});

async function twoPeers(): Promise<{ a: TestPeer; b: TestPeer }> {
  const a = await startPeer(ids[0], cleanup);
  const b = await startPeer(ids[1], cleanup);
  trustEachOther(a, b);
  return { a, b };
}

async function dialError(from: TestPeer, to: TestPeer): Promise<unknown> {
  const expectedPeer: NodeId = to.identity.nodeId;
  const dialled = await from.transport.dial({ host: '127.0.0.1', port: to.listening.port, expectedPeer });
  if (dialled.ok) throw new Error('the dial succeeded');
  return dialled.error;
}

/** One stream of random bytes from one mux to another, at the reader's pace. */
async function transfer(
  from: StreamMux,
  to: StreamMux,
  id: number,
  bytes: number,
): Promise<{ sent: string; received: string }> {
  const [sent, received] = [createHash('sha256'), createHash('sha256')];
  const block = randomBytes(256 * 1024);
  await new Promise<void>((resolve, reject) => {
    const incoming = to.openIncoming(id, STREAM_WINDOW_BYTES, {
      onData: (data) => {
        received.update(data);
        incoming.consumed(data.byteLength);
      },
      onEnd: resolve,
      onAbort: () => reject(new Error('the link was lost')),
    });
    let left = bytes;
    let pumping = false;
    const outgoing = from.openOutgoing(id, STREAM_WINDOW_BYTES, { onSent: () => pump() });
    const pump = (): void => {
      if (pumping) return;
      pumping = true;
      while (left > 0 && outgoing.queuedBytes === 0) {
        const chunk = block.subarray(0, Math.min(block.byteLength, left));
        left -= chunk.byteLength;
        sent.update(chunk);
        outgoing.write(chunk);
      }
      if (left === 0) outgoing.end();
      pumping = false;
    };
    pump();
  });
  return { sent: sent.digest('hex'), received: received.digest('hex') };
}

interface Proxy {
  readonly port: number;
  freeze(): void;
  cut(index: number): void;
  open(): number;
}

function portOf(server: ReturnType<typeof createServer>): number | null {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : null;
}

/** A wire that can go dead without closing, as a network does. */
async function startProxy(toPort: number): Promise<Proxy> {
  const pairs: [Socket, Socket][] = [];
  const server = createServer((near) => {
    const far = connectTcp(toPort, '127.0.0.1');
    pairs.push([near, far]);
    near.on('data', (chunk: Buffer) => far.write(chunk));
    far.on('data', (chunk: Buffer) => near.write(chunk));
    near.on('error', () => far.destroy()).on('close', () => far.destroy());
    far.on('error', () => near.destroy()).on('close', () => near.destroy());
  }).listen(0, '127.0.0.1');
  cleanup.add(() => {
    server.close();
    for (const pair of pairs) for (const socket of pair) socket.destroy();
  });
  const port = await until('the port of the proxy', () => portOf(server));
  return {
    port,
    freeze: () => pairs.flat().forEach((socket) => socket.pause()),
    cut: (index) => pairs[index]?.[0].destroy(),
    open: () => pairs.flat().filter((socket) => !socket.destroyed).length,
  };
}

async function linkedThroughProxy(
  keepalive = { pingMs: 5000, silenceMs: 15_000 },
): Promise<{ ours: PeerLink; theirs: PeerLink; proxy: Proxy }> {
  const a = await startPeer(ids[0], cleanup, { keepalive });
  const b = await startPeer(ids[1], cleanup, { keepalive });
  trustEachOther(a, b);
  const proxy = await startProxy(b.listening.port);
  const ours = await dialOk(a, b, proxy.port);
  return { ours, theirs: await until('the link', () => b.links[0]), proxy };
}
