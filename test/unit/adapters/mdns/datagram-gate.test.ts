import { describe, expect, it } from 'vitest';
import {
  ALL_BURST_MAX,
  DATAGRAM_BYTES_MAX,
  DatagramGate,
  SOURCE_BURST_MAX,
} from '../../../../src/adapters/mdns/datagram-gate.ts';

const OWN = 'o'.repeat(52);
const PEER = 'p'.repeat(52);
const TYPE = ['_meshwork', '_tcp', 'local'];

function datagram(kind: 'query' | 'response', labels: readonly string[], records = 1): Buffer {
  const header = Buffer.alloc(12);
  header[2] = kind === 'response' ? 0x84 : 0;
  header.writeUInt16BE(records, 6);
  const name = labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
  return Buffer.concat([header, ...name, Buffer.from([0])]);
}

describe('DatagramGate', () => {
  it.each([
    ['a query for our type', datagram('query', TYPE), 'query'],
    ['the same in capitals', datagram('query', ['_MeshWork', '_TCP', 'local']), 'query'],
    ['a query for our host', datagram('query', [OWN, 'local']), 'query'],
    ['a query for the list of types', datagram('query', ['_services', '_dns-sd', '_udp', 'local']), 'query'],
    ['an answer of our type', datagram('response', [PEER, ...TYPE]), 'response'],
    ['our own answer', datagram('response', [OWN, ...TYPE]), 'irrelevant'],
    ['a query for a printer', datagram('query', ['_ipp', '_tcp', 'local']), 'irrelevant'],
    ['an answer of a printer', datagram('response', ['_ipp', '_tcp', 'local']), 'irrelevant'],
    ['a query for another node', datagram('query', [PEER, 'local']), 'irrelevant'],
    ['nothing', Buffer.alloc(0), 'irrelevant'],
    ['half a header', Buffer.alloc(5), 'irrelevant'],
    ['too many records', datagram('response', TYPE, 65), 'excess'],
    ['too large', Buffer.concat([datagram('response', TYPE), Buffer.alloc(DATAGRAM_BYTES_MAX)]), 'excess'],
  ])('judges %s', (_what, bytes, verdict) => {
    expect(new DatagramGate(OWN, 0).judge(bytes, '10.0.0.2', 0).kind).toBe(verdict);
  });

  it('holds a flooding source back, and not the others', () => {
    const gate = new DatagramGate(OWN, 0);
    const answer = datagram('response', [PEER, ...TYPE]);
    const verdicts = Array.from({ length: 10_000 }, () => gate.judge(answer, '10.0.0.66', 0).kind);
    expect(verdicts.filter((kind) => kind === 'response')).toHaveLength(SOURCE_BURST_MAX);
    expect(gate.judge(answer, '10.0.0.2', 0).kind).toBe('response');
    expect(gate.judge(answer, '10.0.0.66', 60_000).kind).toBe('response');
  });

  it('holds all back when the sources are forged', () => {
    const gate = new DatagramGate(OWN, 0);
    const answer = datagram('response', [PEER, ...TYPE]);
    const verdicts = Array.from({ length: 10_000 }, (_, n) => gate.judge(answer, `10.3.${n >> 8}.${n & 255}`, 0).kind);
    expect(verdicts.filter((kind) => kind === 'response')).toHaveLength(ALL_BURST_MAX);
    expect(gate.judge(answer, '10.0.0.2', 60_000).kind).toBe('response');
  });
});
