import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createServer, type TLSSocket } from 'node:tls';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadOrCreateIdentity, type LoadedIdentity } from '../../../../src/adapters/tls/identity.ts';
import { checkPairProof, makeInviteSecret, makePairProof } from '../../../../src/adapters/tls/pair-proof.ts';
import { nodeIdOf } from '../../../../src/adapters/tls/verifier.ts';
import { PAIR_EXPORTER_BYTES, PAIR_EXPORTER_LABEL } from '../../../../src/wire/hello.ts';
import type { NodeId } from '../../../../src/base/ids.ts';

let home = '';
let inviter: LoadedIdentity;
let joiner: LoadedIdentity;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'meshwork-handshake-'));
  inviter = await loadOrCreateIdentity(join(home, 'a'), Date.now());
  joiner = await loadOrCreateIdentity(join(home, 'b'), Date.now());
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

const tlsOf = ({ keyPem, certPem }: LoadedIdentity) => ({
  key: keyPem,
  cert: certPem,
  minVersion: 'TLSv1.3' as const,
  rejectUnauthorized: false,
});

const exporterOf = (socket: TLSSocket): Buffer =>
  socket.exportKeyingMaterial(PAIR_EXPORTER_BYTES, PAIR_EXPORTER_LABEL, Buffer.alloc(0));

function peerOf(socket: TLSSocket): NodeId | null {
  const spki = socket.getPeerX509Certificate()?.publicKey.export({ type: 'spki', format: 'der' });
  return spki === undefined ? null : nodeIdOf(spki);
}

interface Handshake {
  readonly protocol: string | null;
  readonly client: { readonly peer: NodeId | null; readonly exporter: Buffer };
  readonly server: { readonly peer: NodeId | null; readonly exporter: Buffer };
}

async function handshake(): Promise<Handshake> {
  const server = createServer({ ...tlsOf(inviter), requestCert: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'secureConnection');
  const client = connect({ ...tlsOf(joiner), host: '127.0.0.1', port: (server.address() as AddressInfo).port });
  try {
    const [[served]] = (await Promise.all([accepted, once(client, 'secureConnect')])) as [[TLSSocket], unknown];
    const result = {
      protocol: client.getProtocol(),
      client: { peer: peerOf(client), exporter: exporterOf(client) },
      server: { peer: peerOf(served), exporter: exporterOf(served) },
    };
    served.destroy();
    return result;
  } finally {
    client.destroy();
    server.close();
    await once(server, 'close');
  }
}

describe('a mutual TLS handshake with these identities', () => {
  it('is TLS 1.3, shows each side the other id, and gives both the same exporter', async () => {
    const { protocol, client, server } = await handshake();
    expect(protocol).toBe('TLSv1.3');
    expect(client.peer).toBe(inviter.identity.nodeId);
    expect(server.peer).toBe(joiner.identity.nodeId);
    expect(client.exporter).toHaveLength(PAIR_EXPORTER_BYTES);
    expect(client.exporter.equals(server.exporter)).toBe(true);
  });

  it('carries a proof that holds in this session alone', async () => {
    const first = await handshake();
    const second = await handshake();
    const { id: invite, secret } = makeInviteSecret();
    const ids = { inviter: inviter.identity.nodeId, joiner: joiner.identity.nodeId, invite };
    const mac = makePairProof(secret, { exporter: first.client.exporter, ...ids });
    expect(checkPairProof(secret, { exporter: first.server.exporter, ...ids }, mac)).toBe(true);
    expect(checkPairProof(secret, { exporter: second.server.exporter, ...ids }, mac)).toBe(false);
  });
});

describe('a pairing proof', () => {
  it('fails for another secret, node, inviter or invitation, and for an unknown one', () => {
    const { id: invite, secret } = makeInviteSecret();
    const input = {
      exporter: new Uint8Array(PAIR_EXPORTER_BYTES).fill(7),
      inviter: inviter.identity.nodeId,
      joiner: joiner.identity.nodeId,
      invite,
    };
    const mac = makePairProof(secret, input);
    expect(checkPairProof(secret, input, mac)).toBe(true);
    expect(checkPairProof(null, input, mac)).toBe(false);
    expect(checkPairProof(makeInviteSecret().secret, input, mac)).toBe(false);
    expect(checkPairProof(secret, { ...input, joiner: input.inviter }, mac)).toBe(false);
    expect(checkPairProof(secret, { ...input, inviter: input.joiner }, mac)).toBe(false);
    expect(checkPairProof(secret, { ...input, invite: makeInviteSecret().id }, mac)).toBe(false);
    expect(checkPairProof(secret, input, mac.slice(4))).toBe(false);
    expect(checkPairProof(secret, input, '')).toBe(false);
  });
});
