import { connect, createServer, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import type { PeerLink } from '../../../../src/ports/links.ts';
import { encodeStreamHeader, FRAME_DATA, STREAM_CHUNK_BYTES_MAX } from '../../../../src/wire/stream-frame.ts';
import { makeTestIdentity } from '../../../fixtures/test-certificate.ts';
import { Cleanup, startPeer, type TestPeer, trustEachOther, until } from './link-harness.ts';

/** Memory of frames is shared by all links: none may be filled again while a socket still has it to write. */
const ROUNDS = 8;
const FRAMES_PER_ROUND = 64;
const HEADER_BYTES = 5;
const cleanup = new Cleanup();
afterEach(async () => cleanup.run());

/** Of as many kinds of length as there are: small, half, and as large as a frame may be. */
const sizeOf = (number: number): number => Math.max(8, STREAM_CHUNK_BYTES_MAX - (number % 5) * 13_001);

/** Content that tells where it belongs, byte by byte. */
function contentOf(number: number): Uint8Array {
  const content = new Uint8Array(sizeOf(number));
  for (let at = 0; at < content.length; at++) content[at] = (number * 31 + at * 7) & 0xff;
  return content;
}

/** @returns the numbers of the frames that came otherwise than they were sent */
function watch(link: PeerLink): { readonly wrong: number[]; count: number } {
  const seen = { wrong: [] as number[], count: 0 };
  link.attach({
    onControl: () => undefined,
    onBulk: (frame) => {
      if (!Buffer.from(frame.subarray(HEADER_BYTES)).equals(contentOf(seen.count))) seen.wrong.push(seen.count);
      seen.count += 1;
    },
    onClose: () => undefined,
  });
  return seen;
}

/** A wire that takes nothing more while it is stalled, and can be cut. */
async function startWire(toPort: number) {
  const sockets: Socket[] = [];
  const server = createServer((near) => {
    const far = connect(toPort, '127.0.0.1');
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.push(from);
      from.pipe(to);
      from.on('error', () => to.destroy()).on('close', () => to.destroy());
    }
  }).listen(0, '127.0.0.1');
  cleanup.add(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const port = await until('a port', () => {
    const address = server.address();
    return typeof address === 'object' && address !== null ? address.port : null;
  });
  return {
    port,
    stall: () => sockets.forEach((socket) => socket.unpipe().pause()),
    cut: () => sockets.forEach((socket) => socket.destroy()),
  };
}

async function linkOver(port: number, from: TestPeer, to: TestPeer): Promise<readonly [PeerLink, PeerLink]> {
  const before = to.links.length;
  const dialled = await from.transport.dial({ host: '127.0.0.1', port, expectedPeer: to.identity.nodeId });
  if (!dialled.ok) throw new Error(dialled.error.message);
  return [dialled.value, await until('the link at the listener', () => to.links[before])];
}

const send = (link: PeerLink, number: number): void =>
  link.sendBulk(encodeStreamHeader(FRAME_DATA, 1), contentOf(number));

test('frames come as they were sent, both ways, while other links stall with theirs unwritten and are cut', async () => {
  const ids = await Promise.all([makeTestIdentity(), makeTestIdentity(), makeTestIdentity()]);
  const [a, b, c] = await Promise.all(ids.map((id) => startPeer(id, cleanup)));
  if (a === undefined || b === undefined || c === undefined) throw new Error('no peers');
  trustEachOther(a, b);
  trustEachOther(a, c);
  const [ours, theirs] = await linkOver(b.listening.port, a, b);
  const [here, there] = [watch(ours), watch(theirs)];
  for (let round = 0; round < ROUNDS; round++) {
    const wire = await startWire(c.listening.port);
    const [doomed, its] = await linkOver(wire.port, a, c);
    const arrived = watch(its);
    watch(doomed);
    for (let index = 0; index < FRAMES_PER_ROUND; index++) {
      const number = round * FRAMES_PER_ROUND + index;
      if (index === FRAMES_PER_ROUND / 4) wire.stall();
      if (index === FRAMES_PER_ROUND / 2) wire.cut();
      send(ours, number);
      send(theirs, number);
      send(doomed, index);
      if (index % 8 === 7) await new Promise((resolve) => setImmediate(resolve));
    }
    await until('all of a round', () => Math.min(here.count, there.count) === (round + 1) * FRAMES_PER_ROUND);
    expect(arrived.wrong).toEqual([]);
  }
  expect([here.wrong, there.wrong]).toEqual([[], []]);
});
