import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { base32, type MeshId, type NodeId } from '../../../../src/base/ids.ts';
import type { LogFields, Logger } from '../../../../src/base/log.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import type { KeepaliveTimes } from '../../../../src/adapters/ws/peer-socket-link.ts';
import { WebSocketTransport } from '../../../../src/adapters/ws/peer-transport.ts';
import type { HelloFacts, Listening, PairContext, PeerLink, PeerRefusal, Trust } from '../../../../src/ports/links.ts';
import { type TestIdentity, testNodeIdOf } from '../../../fixtures/test-certificate.ts';

export const MESH = base32(new Uint8Array(32).fill(1)) as MeshId;
export const OTHER_MESH = base32(new Uint8Array(32).fill(2)) as MeshId;

export interface TestPeer {
  readonly identity: TestIdentity;
  readonly transport: WebSocketTransport;
  readonly listening: Listening;
  readonly links: PeerLink[];
  readonly trust: Map<NodeId, Trust>;
  readonly refusals: PeerRefusal[];
  readonly logged: { readonly message: string; readonly fields: LogFields }[];
  hello: HelloFacts;
  onPair: (request: unknown, context: PairContext) => Promise<unknown>;
}

/** Everything made by a test file, ended after each test. */
export class Cleanup {
  #ends: (() => Promise<unknown> | unknown)[] = [];

  add(end: () => Promise<unknown> | unknown): void {
    this.#ends.push(end);
  }

  async run(): Promise<void> {
    const ends = this.#ends.toReversed();
    this.#ends = [];
    for (const end of ends) await end();
  }
}

export async function startPeer(
  identity: TestIdentity,
  cleanup: Cleanup,
  options: { readonly host?: string | null; readonly keepalive?: KeepaliveTimes } = {},
): Promise<TestPeer> {
  const trust = new Map<NodeId, Trust>();
  const logged: TestPeer['logged'] = [];
  const note = (message: string, fields: LogFields = {}): void => void logged.push({ message, fields });
  const log: Logger = { ...silentLogger, warn: note, error: note };
  const links: PeerLink[] = [];
  const refusals: PeerRefusal[] = [];
  const transport = new WebSocketTransport({
    keyPem: identity.keyPem,
    certPem: identity.certPem,
    nodeId: identity.nodeId,
    nodeIdOf: testNodeIdOf,
    authorize: (peer) => trust.get(peer) ?? 'unknown',
    hello: () => peer.hello,
    log,
    ...(options.keepalive === undefined ? {} : { keepalive: options.keepalive }),
  });
  cleanup.add(async () => transport.close('the test is over'));
  const listening = await transport.listen({
    host: options.host === undefined ? '127.0.0.1' : options.host,
    port: 0,
    onLink: (link) => links.push(link),
    onPair: async (request, context) => peer.onPair(request, context),
    onRefused: (refusal) => refusals.push(refusal),
  });
  const peer: TestPeer = {
    identity,
    transport,
    listening,
    links,
    trust,
    refusals,
    logged,
    hello: { mesh: MESH, incarnation: 1, name: 'test' },
    onPair: async () => null,
  };
  return peer;
}

export function trustEachOther(a: TestPeer, b: TestPeer): void {
  a.trust.set(b.identity.nodeId, 'trusted');
  b.trust.set(a.identity.nodeId, 'trusted');
}

/** Waits for a condition, with a deadline: never for a time. */
export async function until<T>(
  what: string,
  check: () => T | undefined | null | false,
  timeoutMs = 30_000,
): Promise<T> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    const value = check();
    if (value !== undefined && value !== null && value !== false) return value;
    if (performance.now() > endMs) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A plain TLS client, for saying what no node would say. */
export async function connectTls(
  port: number,
  identity: TestIdentity | null,
  cleanup: Cleanup,
  options: ConnectionOptions = {},
): Promise<TLSSocket> {
  const socket = connect({
    host: '127.0.0.1',
    port,
    rejectUnauthorized: false,
    ...(identity === null ? {} : { key: identity.keyPem, cert: identity.certPem }),
    ...options,
  });
  cleanup.add(() => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed before TLS was done')));
  });
  socket.on('error', () => socket.destroy());
  return socket;
}

/** All that the other side sends until it closes. */
export async function readToEnd(socket: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await new Promise((resolve) => socket.once('close', resolve));
  return Buffer.concat(chunks).toString('latin1');
}

export const UPGRADE_HEADERS: Readonly<Record<string, string>> = {
  Host: 'meshwork',
  Connection: 'Upgrade',
  Upgrade: 'websocket',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': Buffer.alloc(16).toString('base64'),
  'Sec-WebSocket-Protocol': 'meshwork.control.1',
};

export function upgradeText(path: string, headers: Readonly<Record<string, string>>): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`;
}
