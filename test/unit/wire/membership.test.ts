import { expect, test } from 'vitest';
import {
  INCARNATION_MAX,
  MEMBER_MESSAGE_BYTES_MAX,
  memberMessageSchema,
  MEMBERS_MAX,
  TOMBSTONE_MS,
} from '../../../src/wire/membership.ts';
import { A, B, item, load } from '../core/membership/fixtures.ts';

const times = <T>(count: number, one: T): T[] => Array.from({ length: count }, () => one);
const entry = { id: A, incarnation: 1, version: 1, state: 'alive', age_ms: 0 };
const heartbeat = { t: 'member.heartbeat', incarnation: 1, version: 1, seq: 0, load: load() };
const records = (changes: object) => ({ t: 'member.records', items: [{ ...item(B, 1), ...changes }] });
const record = (changes: object) => records({ record: { ...item(B, 1).record, ...changes } });

test.each([
  ['a heartbeat', heartbeat],
  ['a heartbeat before the first sample', { ...heartbeat, load: null }],
  ['a digest', { t: 'member.digest', reply: true, entries: [entry] }],
  ['an empty digest', { t: 'member.digest', reply: false, entries: [] }],
  ['records', records({})],
  ['a record with an IPv6 address and zone', record({ addresses: [{ host: 'fe80::1%eth0', port: 1 }] })],
  ['an accusation', { t: 'member.accuse', incarnation: 1, state: 'suspect' }],
])('%s is read as it was written', (_, msg) => {
  expect(memberMessageSchema.parse(JSON.parse(JSON.stringify(msg)))).toEqual(msg);
});

test.each([
  ['an unknown type', { t: 'member.other' }],
  ['an unknown field', { ...heartbeat, extra: 1 }],
  ['a negative incarnation', { ...heartbeat, incarnation: -1 }],
  ['an incarnation that 1 cannot be added to', { ...heartbeat, incarnation: INCARNATION_MAX + 1 }],
  ['an id that is none', { t: 'member.digest', reply: true, entries: [{ ...entry, id: '../../etc/passwd' }] }],
  ['too many entries', { t: 'member.digest', reply: true, entries: times(MEMBERS_MAX + 1, entry) }],
  [
    'an age above the tombstone',
    { t: 'member.digest', reply: true, entries: [{ ...entry, age_ms: TOMBSTONE_MS + 1 }] },
  ],
  ['no records', { t: 'member.records', items: [] }],
  ['a signature that is not base64', records({ sig: 'a b' })],
  ['a signature without end', records({ sig: 'A'.repeat(129) })],
  ['an address that is an option', record({ addresses: [{ host: '-oProxyCommand=x', port: 1 }] })],
  ['an address with blanks', record({ addresses: [{ host: 'a b', port: 1 }] })],
  ['a port that is none', record({ addresses: [{ host: 'a', port: 65_536 }] })],
  ['too many addresses', record({ addresses: times(17, { host: 'a', port: 1 }) })],
  ['a claim to be dead', record({ state_claim: 'dead' })],
  ['an accusation of being alive', { t: 'member.accuse', incarnation: 1, state: 'alive' }],
])('%s is refused', (_, msg) => {
  expect(memberMessageSchema.safeParse(msg).success).toBe(false);
});

test('the largest digest fits one message', () => {
  const worst = {
    ...entry,
    incarnation: INCARNATION_MAX,
    version: INCARNATION_MAX,
    state: 'suspect',
    age_ms: TOMBSTONE_MS,
  };
  const digest = { t: 'member.digest', reply: false, entries: times(MEMBERS_MAX, worst) };
  expect(JSON.stringify(digest).length).toBeLessThan(MEMBER_MESSAGE_BYTES_MAX);
});
