import { describe, expect, test } from 'vitest';
import { addressGroup, formatAddress, normaliseHost } from '../../../../src/adapters/ws/address-text.ts';
import { AdmissionGate, type Ticket } from '../../../../src/adapters/ws/admission-gate.ts';
import {
  ADDRESSES_MAX,
  FAILURES_PER_ADDRESS_BURST,
  MEMBER_PENDING_PER_ADDRESS_MAX,
  MEMBERS_PER_ADDRESS_BURST,
  PEER_LINKS_MAX,
  PEER_PENDING_MAX,
  PEER_SOCKETS_BURST,
  PENDING_MAX,
  PENDING_PER_ADDRESS_MAX,
  PENDING_YIELDS_AFTER_MS,
  REFUSAL_LOG_INTERVAL_MS,
} from '../../../../src/adapters/ws/limits.ts';
import { PeerBounds } from '../../../../src/adapters/ws/peer-bounds.ts';
import { RefusalLog } from '../../../../src/adapters/ws/refusal-log.ts';
import { base32, type NodeId } from '../../../../src/base/ids.ts';
import type { LogFields } from '../../../../src/base/log.ts';
import { silentLogger } from '../../../../src/base/log.ts';

const never = (): void => expect.unreachable('evicted');
const ignore = (): void => undefined;

function fill(gate: AdmissionGate, host: string, nowMs: number, evict: () => void = never): Ticket[] {
  const tickets: Ticket[] = [];
  for (let i = 0; i < 100; i++) {
    const ticket = gate.admit(host, nowMs, evict);
    if (ticket === null) break;
    tickets.push(ticket);
  }
  return tickets;
}

describe('the admission gate', () => {
  test('holds at most so many connections of an address, young ones not giving way', () => {
    const gate = new AdmissionGate();
    expect(fill(gate, '10.0.0.1', 0)).toHaveLength(PENDING_PER_ADDRESS_MAX);
    expect(gate.admit('10.0.0.1', PENDING_YIELDS_AFTER_MS - 1, never)).toBeNull();
    expect(gate.admit('10.0.0.2', 0, never)).not.toBeNull();
  });

  test('the oldest gives way once it has had its time, and counts as a failure', () => {
    const gate = new AdmissionGate();
    const evicted: number[] = [];
    for (let i = 0; i < PENDING_PER_ADDRESS_MAX; i++) gate.admit('10.0.0.1', i, () => evicted.push(i));
    expect(gate.admit('10.0.0.1', PENDING_YIELDS_AFTER_MS + 1, never)).not.toBeNull();
    expect(evicted).toEqual([0]);
    expect(gate.pendingCount).toBe(PENDING_PER_ADDRESS_MAX);
  });

  test('failures use up the burst, then the rate is what is left', () => {
    const gate = new AdmissionGate();
    let admitted = 0;
    for (let ms = 0; ms < 10_000; ms++) {
      const ticket = gate.admit('10.0.0.1', ms, never);
      if (ticket !== null) admitted++;
      ticket?.failed(ms);
    }
    expect(admitted).toBeGreaterThanOrEqual(FAILURES_PER_ADDRESS_BURST + 45);
    expect(admitted).toBeLessThanOrEqual(FAILURES_PER_ADDRESS_BURST + 51);
  });

  test('a trusted key costs its address nothing', () => {
    const gate = new AdmissionGate();
    for (let i = 0; i < 1000; i++) {
      const ticket = gate.admit('10.0.0.1', 0, never);
      expect(ticket).not.toBeNull();
      ticket?.trusted();
      ticket?.failed(0);
    }
    expect(gate.pendingCount).toBe(0);
  });

  test('who knocks has a lane of its own, which a flood without a knock does not use up', () => {
    const gate = new AdmissionGate();
    for (let ms = 0; ms < 10_000; ms++) {
      gate.admit('10.0.0.1', ms, never)?.failed(ms);
      if (ms % 100 !== 0) continue;
      const ticket = gate.admitMember('10.0.0.1', ms, never);
      expect(ticket).not.toBeNull();
      ticket?.trusted();
    }
    expect(gate.pendingCount).toBe(0);
  });

  test('that lane is bounded too', () => {
    const gate = new AdmissionGate();
    let admitted = 0;
    for (let ms = 0; ms < 10_000; ms++) {
      const ticket = gate.admitMember('10.0.0.1', ms, never);
      if (ticket !== null) admitted++;
      ticket?.failed(ms);
    }
    expect(admitted).toBeLessThanOrEqual(MEMBERS_PER_ADDRESS_BURST + 200);
    expect(gate.admit('10.0.0.1', 10_000, never)).toBeNull();
    const later = Array.from({ length: 20 }, () => gate.admitMember('10.0.0.2', 0, never));
    expect(later.filter((ticket) => ticket !== null)).toHaveLength(MEMBER_PENDING_PER_ADDRESS_MAX);
  });

  test('bounds all connections together; the oldest gives way to another address', () => {
    const gate = new AdmissionGate();
    let evictions = 0;
    for (let i = 0; i < PENDING_MAX; i++) gate.admit(`10.0.${i}.1`, 0, () => evictions++);
    expect(gate.admit('10.1.0.1', 1, never)).toBeNull();
    expect(gate.admit('10.1.0.1', PENDING_YIELDS_AFTER_MS, never)).not.toBeNull();
    expect(evictions).toBe(1);
    expect(gate.pendingCount).toBe(PENDING_MAX);
  });

  test('remembers a bounded number of addresses, those in use for certain', () => {
    const gate = new AdmissionGate();
    const held = gate.admit('9.9.9.9', 0, never);
    for (let i = 0; i < ADDRESSES_MAX + 500; i++) {
      gate.admit(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, i, ignore)?.failed(i);
    }
    expect(gate.addressCount).toBe(ADDRESSES_MAX);
    expect(gate.pendingCount).toBe(1);
    held?.trusted();
    expect(gate.pendingCount).toBe(0);
  });
});

describe('addresses', () => {
  test.each([
    ['::ffff:10.0.0.7', '10.0.0.7'],
    ['10.0.0.7', '10.0.0.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80::1%eth0'],
  ])('%s counts as %s', (host, group) => {
    expect(addressGroup(host)).toBe(group);
  });

  test('are shown as people write them', () => {
    expect(formatAddress('::1', 1)).toBe('[::1]:1');
    expect(formatAddress('fe80::1%eth0', 1)).toBe('[fe80::1%eth0]:1');
    expect(formatAddress('node.local', 1)).toBe('node.local:1');
    expect(normaliseHost('::FFFF:1.2.3.4')).toBe('1.2.3.4');
  });
});

describe('the bounds of a trusted peer', () => {
  const peer = base32(new Uint8Array(32)) as NodeId;

  test('hold its sockets that are in no link, its rate and its links', () => {
    const bounds = new PeerBounds();
    const releases = Array.from({ length: PEER_PENDING_MAX }, () => bounds.admitSocket(peer, 0));
    expect(releases.every((release) => release !== null)).toBe(true);
    expect(bounds.admitSocket(peer, 0)).toBeNull();
    releases[0]?.();
    releases[0]?.();
    expect(bounds.admitSocket(peer, 0)).not.toBeNull();
    expect(bounds.admitSocket(peer, 0)).toBeNull();
    for (let i = 0; i < PEER_LINKS_MAX; i++) bounds.linkUp(peer, 0);
    expect(bounds.canLink(peer)).toBe(false);
    bounds.linkDown(peer);
    expect(bounds.canLink(peer)).toBe(true);
  });

  test('the rate', () => {
    const bounds = new PeerBounds();
    for (let i = 0; i < PEER_SOCKETS_BURST; i++) bounds.admitSocket(peer, 0)?.();
    expect(bounds.admitSocket(peer, 0)).toBeNull();
    expect(bounds.admitSocket(peer, 1000)).not.toBeNull();
  });
});

test('refusals are logged once per kind and interval, with how many were not', () => {
  let nowMs = 0;
  const lines: LogFields[] = [];
  const log = new RefusalLog({ ...silentLogger, warn: (_message, fields) => lines.push(fields ?? {}) }, () => nowMs);
  for (let i = 0; i < 500; i++) log.note('untrusted', { address: '10.0.0.1:1' });
  log.note('path', {});
  expect(lines).toEqual([{ kind: 'untrusted', address: '10.0.0.1:1' }, { kind: 'path' }]);
  nowMs = REFUSAL_LOG_INTERVAL_MS;
  log.note('untrusted', {});
  log.note('untrusted', {});
  log.flush();
  log.flush();
  expect(lines.slice(2)).toEqual([
    { kind: 'untrusted', suppressed: 499 },
    { kind: 'untrusted', suppressed: 1 },
  ]);
});
