import { describe, expect, test } from 'vitest';
import { MeshError } from '../../../../src/base/errors.ts';
import type { MeshId } from '../../../../src/base/ids.ts';
import { VERIFICATIONS_PER_PEER_MAX } from '../../../../src/core/membership/verification.ts';
import { MEMBERS_MAX, TOMBSTONE_MS, type DigestEntry } from '../../../../src/wire/membership.ts';
import { A, B, C, facts, item, load, nodeId, Rig } from './fixtures.ts';

const linkedRig = (): { rig: Rig; link: number } => {
  const rig = new Rig();
  const link = rig.link(B);
  rig.records(B, item(B, 1));
  rig.take();
  return { rig, link };
};

describe('a peer that goes', () => {
  test('link closed and redial refused: suspect at once, dead 4 s later, redialled all the while', () => {
    const { rig, link } = linkedRig();
    rig.step({ kind: 'link_down', peer: B, link });
    expect(rig.state(B)).toBe('alive');
    expect(rig.core.member(B)?.reachable).toBe(false);
    expect(rig.kinds('dial_wanted')).toHaveLength(1);
    rig.step({ kind: 'dial_refused', peer: B });
    expect(rig.state(B)).toBe('suspect');
    rig.pass(3999);
    expect(rig.state(B)).toBe('suspect');
    rig.pass(2);
    expect(rig.state(B)).toBe('dead');
    expect(rig.kinds('dial_unwanted')).toHaveLength(0);
  });

  test('silence: suspect after 5 s, dead 4 s after, and the quiet link is closed', () => {
    const { rig } = linkedRig();
    rig.pass(4999);
    expect(rig.state(B)).toBe('alive');
    rig.pass(2);
    expect(rig.state(B)).toBe('suspect');
    rig.pass(4000);
    expect(rig.state(B)).toBe('dead');
    expect(rig.kinds('close_link')).toHaveLength(1);
  });

  test('heartbeats keep it alive; a late end of a replaced link changes nothing', () => {
    const { rig, link } = linkedRig();
    const newer = rig.link(B);
    expect(newer).not.toBe(link);
    rig.step({ kind: 'link_down', peer: B, link, redialRefused: true });
    for (let i = 0; i < 10; i++) {
      rig.pass(2000);
      rig.beat(B);
    }
    expect(rig.state(B)).toBe('alive');
    expect(rig.core.member(B)?.reachable).toBe(true);
  });

  test('a restart of a dead one: its new record brings it back, the old one does not', () => {
    const { rig, link } = linkedRig();
    rig.step({ kind: 'link_down', peer: B, link, redialRefused: true });
    rig.pass(4001);
    rig.link(C);
    rig.records(C, item(B, 1, { version: 7 }));
    expect(rig.state(B)).toBe('dead');
    rig.link(B, 2);
    rig.records(B, item(B, 2));
    expect(rig.state(B)).toBe('alive');
  });

  test('forgotten after 24 h, and then no longer dialled', () => {
    const { rig, link } = linkedRig();
    rig.step({ kind: 'link_down', peer: B, link, redialRefused: true });
    rig.pass(24 * 3600 * 1000 + 4001);
    expect(rig.state(B)).toBe('unknown');
    expect(rig.kinds('dial_unwanted')).toHaveLength(1);
  });
});

describe('load and facts', () => {
  test('load comes from its subject alone, in order', () => {
    const { rig } = linkedRig();
    rig.beat(B, 1, { seq: 5, load: load({ cpu_percent: 50 }) });
    rig.beat(B, 1, { seq: 4, load: load({ cpu_percent: 90 }) });
    expect(rig.core.member(B)?.load?.cpu_percent).toBe(50);
  });

  test('a heartbeat every 2 s, and early but not within 1 s when the load changed much', () => {
    const { rig } = linkedRig();
    rig.step({ kind: 'load', load: load() });
    rig.pass(10_000);
    const calm = rig.sent('member.heartbeat').length;
    expect(calm).toBeGreaterThanOrEqual(5);
    expect(calm).toBeLessThanOrEqual(6);
    rig.take();
    for (let i = 0; i < 10; i++) {
      rig.pass(1000);
      rig.step({ kind: 'load', load: load({ cpu_percent: i % 2 === 0 ? 90 : 10 }) });
    }
    expect(rig.sent('member.heartbeat').length).toBeGreaterThanOrEqual(9);
    expect(rig.sent('member.heartbeat').length).toBeLessThanOrEqual(11);
  });

  test('changed facts are signed in a higher version and sent to all', () => {
    const { rig } = linkedRig();
    rig.step({ kind: 'local_changed', facts: facts('renamed'), addresses: [] });
    const [msg] = rig.sent('member.records');
    expect(msg?.items[0]?.record).toMatchObject({ id: A, version: 2, facts: { name: 'renamed' } });
    expect(rig.core.selfRecord()?.record.version).toBe(2);
  });
});

const entry = (id: DigestEntry['id'], incarnation: number, changes: Partial<DigestEntry> = {}): DigestEntry => ({
  id,
  incarnation,
  version: 1,
  state: 'alive',
  age_ms: 0,
  ...changes,
});

describe('this node accused', () => {
  test('refutes by a higher incarnation, which is stored before it is said', () => {
    const { rig } = linkedRig();
    rig.answers.persist = false;
    rig.from(B, { t: 'member.accuse', incarnation: 1, state: 'suspect' });
    expect(rig.kinds('persist_incarnation')).toEqual([{ kind: 'persist_incarnation', incarnation: 2 }]);
    rig.pass(4000);
    expect(rig.sent('member.records')).toEqual([]);
    expect(rig.sent('member.heartbeat').every(({ incarnation }) => incarnation === 1)).toBe(true);
    rig.step({ kind: 'persisted', incarnation: 2 });
    expect(rig.sent('member.records')[0]?.items[0]?.record).toMatchObject({ id: A, incarnation: 2 });
  });

  test('once for all accusers of one incarnation, and not for old ones', () => {
    const { rig } = linkedRig();
    rig.link(C);
    rig.take();
    rig.from(B, { t: 'member.accuse', incarnation: 1, state: 'dead' });
    rig.from(C, { t: 'member.accuse', incarnation: 1, state: 'dead' });
    rig.from(C, { t: 'member.accuse', incarnation: 0, state: 'dead' });
    rig.pass(3000);
    rig.from(C, { t: 'member.digest', reply: false, entries: [entry(A, 1, { state: 'suspect' })] });
    expect(rig.core.selfRecord()?.record.incarnation).toBe(2);
  });

  test('a write that failed is tried again at the next accusation', () => {
    const { rig } = linkedRig();
    rig.answers.persist = false;
    rig.from(B, { t: 'member.accuse', incarnation: 1, state: 'suspect' });
    rig.step({ kind: 'persist_failed', incarnation: 2 });
    rig.pass(2000);
    rig.from(B, { t: 'member.accuse', incarnation: 1, state: 'suspect' });
    expect(rig.kinds('persist_incarnation')).toHaveLength(2);
  });

  test('a claim about an incarnation that it never had moves it only with its own signature', () => {
    const { rig } = linkedRig();
    rig.answers.verify = false;
    rig.from(B, { t: 'member.accuse', incarnation: 900, state: 'dead' });
    rig.from(B, { t: 'member.digest', reply: false, entries: [entry(A, 900, { state: 'dead' })] });
    expect(rig.core.selfRecord()?.record.incarnation).toBe(1);
    rig.records(B, item(A, 900, {}, { state: 'dead' }));
    const verify = rig.out.find((effect) => effect.kind === 'verify');
    rig.step({ kind: 'verified', token: verify?.kind === 'verify' ? verify.token : 0, ok: false });
    expect(rig.core.selfRecord()?.record.incarnation).toBe(1);
    rig.answers.verify = true;
    rig.records(B, item(A, 40, {}, { state: 'dead' }));
    expect(rig.core.selfRecord()?.record.incarnation).toBe(41);
  });
});

describe('what others say', () => {
  test('does not count against a member that is linked here and speaks', () => {
    const { rig } = linkedRig();
    rig.link(C);
    rig.from(C, { t: 'member.digest', reply: false, entries: [entry(B, 1, { state: 'dead' })] });
    expect(rig.state(B)).toBe('alive');
  });

  test('makes an unlinked member suspect at once, dead 4 s later, with the age that they gave', () => {
    const rig = new Rig();
    rig.link(C);
    rig.records(C, item(B, 1, {}, { state: 'dead', age_ms: TOMBSTONE_MS - 10_000 }));
    expect(rig.state(B)).toBe('suspect');
    rig.pass(4001);
    expect(rig.state(B)).toBe('dead');
    rig.pass(6000);
    expect(rig.state(B)).toBe('unknown');
    rig.records(C, item(B, 1, {}, { state: 'dead', age_ms: TOMBSTONE_MS }));
    expect(rig.state(B)).toBe('unknown');
  });

  test('does not make a member leave: its own record does', () => {
    const rig = new Rig();
    rig.link(C);
    rig.records(C, item(B, 1));
    rig.from(C, { t: 'member.digest', reply: false, entries: [entry(B, 1, { state: 'left' })] });
    expect(rig.state(B)).toBe('alive');
    rig.records(C, item(B, 1, { version: 2, state_claim: 'left' }, { state: 'left', age_ms: 5000 }));
    expect(rig.state(B)).toBe('left');
    expect(rig.core.member(B)?.sinceMs).toBe(rig.nowMs - 5000);
    rig.records(C, item(B, 1, { version: 3 }));
    expect(rig.state(B)).toBe('left');
    rig.records(C, item(B, 2));
    expect(rig.state(B)).toBe('alive');
  });

  test('a suspect that speaks is told, at each heartbeat, until it refutes', () => {
    const { rig } = linkedRig();
    rig.pass(5001);
    expect(rig.state(B)).toBe('suspect');
    rig.take();
    for (let i = 0; i < 4; i++) {
      rig.beat(B, 1, { seq: i });
      rig.pass(2000);
    }
    expect(rig.sent('member.accuse', B)).toHaveLength(4);
    expect(rig.state(B)).toBe('suspect');
    rig.records(B, item(B, 2));
    expect(rig.state(B)).toBe('alive');
  });
});

describe('records', () => {
  test('of strangers, other meshes and wrong signatures make no row', () => {
    const { rig } = linkedRig();
    rig.records(B, item(nodeId('x'), 1), item(C, 1, { mesh: 'n'.repeat(52) as MeshId }));
    expect(rig.kinds('verify')).toEqual([]);
    rig.answers.verify = false;
    rig.records(B, item(C, 1));
    const verify = rig.out.find((effect) => effect.kind === 'verify');
    expect(verify).toMatchObject({ id: C });
    rig.step({ kind: 'verified', token: verify?.kind === 'verify' ? verify.token : 0, ok: false });
    expect(rig.state(C)).toBe('unknown');
    rig.step({ kind: 'verified', token: 777, ok: true });
    expect(rig.core.members().map(({ id }) => id)).toEqual([A, B]);
  });

  test('a subject that lost trust while its signature was checked makes no row', () => {
    const { rig } = linkedRig();
    rig.answers.verify = false;
    rig.records(B, item(C, 1));
    const verify = rig.out.find((effect) => effect.kind === 'verify');
    rig.step({ kind: 'trust_changed', trusted: new Set([B]) });
    rig.step({ kind: 'verified', token: verify?.kind === 'verify' ? verify.token : 0, ok: true });
    expect(rig.state(C)).toBe('unknown');
  });

  test('waiting for their check are bounded, one signature once', () => {
    const ids = Array.from({ length: 200 }, (_, i) => `${i}`.padStart(52, 'a').replaceAll(/[0189]/g, 'z'));
    const rig = new Rig([B, ...ids.map((id) => id as typeof B)]);
    rig.link(B);
    rig.answers.verify = false;
    rig.records(B, item(C, 1), item(C, 1));
    for (const [i, id] of ids.entries()) rig.records(B, { ...item(id as typeof B, 1), sig: `s${i}` });
    expect(rig.kinds('verify').length).toBe(VERIFICATIONS_PER_PEER_MAX);
  });

  test('the table is bounded: the oldest tombstone makes room for the living, nothing for the dead', () => {
    const ids = Array.from({ length: MEMBERS_MAX + 1 }, (_, i) => `${i.toString(4)}`.padStart(52, 'b') as typeof B);
    const rig = new Rig([B, ...ids]);
    rig.link(B);
    for (const [i, id] of ids.slice(0, MEMBERS_MAX - 1).entries()) {
      const leaves = i === 5 ? { state_claim: 'left' as const } : {};
      rig.records(B, item(id, 1, leaves, i === 5 ? { state: 'left' } : {}));
    }
    expect(rig.core.members()).toHaveLength(MEMBERS_MAX);
    const [first, second] = ids.slice(MEMBERS_MAX - 1);
    rig.records(B, item(first ?? B, 1, {}, { state: 'dead' }));
    expect(rig.core.members()).toHaveLength(MEMBERS_MAX);
    expect(rig.state(first ?? B)).toBe('unknown');
    rig.records(B, item(second ?? B, 1));
    expect(rig.state(second ?? B)).toBe('alive');
    expect(rig.state(ids[5] ?? B)).toBe('unknown');
    expect(rig.core.members()).toHaveLength(MEMBERS_MAX);
  });

  test('facts too large for others to take are refused, and nothing is announced', () => {
    const { rig } = linkedRig();
    const gpus = Array.from({ length: 16 }, () => '\u0001'.repeat(128));
    const labels = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`l${i}`, '\u0001'.repeat(128)]));
    const tools = Object.fromEntries(Array.from({ length: 256 }, (_, i) => [`t${i}`, '\u0001'.repeat(64)]));
    const change = () =>
      rig.step({ kind: 'local_changed', facts: { ...facts('x'), gpus, labels, tools }, addresses: [] });
    expect(change).toThrow(MeshError);
    expect(rig.core.selfRecord()?.record.version).toBe(1);
  });
});

describe('anti-entropy', () => {
  test('on connect: both digests, then what the other lacks', () => {
    const { rig } = linkedRig();
    rig.link(C);
    expect(rig.sent('member.digest', C)[0]?.entries.map(({ id }) => id)).toEqual([A, B]);
    rig.take();
    rig.from(C, { t: 'member.digest', reply: false, entries: [entry(A, 1)] });
    expect(rig.sent('member.records', C).flatMap(({ items }) => items.map(({ record }) => record.id))).toEqual([B]);
  });

  test('every 10 s with one linked peer, which answers with its own digest', () => {
    const { rig } = linkedRig();
    for (let i = 0; i < 20; i++) {
      rig.pass(2000);
      rig.beat(B);
    }
    const asked = rig.sent('member.digest').filter(({ reply }) => reply).length;
    expect(asked).toBeGreaterThanOrEqual(3);
    expect(asked).toBeLessThanOrEqual(4);
    rig.take();
    rig.from(B, { t: 'member.digest', reply: true, entries: [] });
    expect(rig.sent('member.digest', B)).toHaveLength(1);
    expect(rig.sent('member.records', B)).toHaveLength(1);
  });

  test('a heartbeat that shows a newer record is followed by a question, at most once a second', () => {
    const { rig } = linkedRig();
    rig.beat(B, 1, { version: 2 });
    rig.beat(B, 1, { version: 3 });
    expect(rig.sent('member.digest', B).map(({ reply }) => reply)).toEqual([true]);
  });

  test('asking again and again is not answered with all records each time', () => {
    const { rig } = linkedRig();
    for (let i = 0; i < 50; i++) rig.from(B, { t: 'member.digest', reply: false, entries: [] });
    expect(rig.sent('member.records', B)).toHaveLength(1);
  });
});

describe('trust', () => {
  test('whoever loses it loses the link and the row, and is not read again', () => {
    const { rig } = linkedRig();
    rig.step({ kind: 'trust_changed', trusted: new Set([C]) });
    expect(rig.kinds('close_link')).toEqual([{ kind: 'close_link', peer: B, reason: 'no longer trusted' }]);
    expect(rig.kinds('dial_unwanted')).toHaveLength(1);
    expect(rig.state(B)).toBe('unknown');
    rig.take();
    rig.records(B, item(B, 5));
    rig.from(B, { t: 'member.digest', reply: true, entries: [] });
    expect(rig.take()).toEqual([]);
    rig.link(B);
    expect(rig.kinds('close_link')).toHaveLength(1);
  });
});

describe('a process that did not run', () => {
  test('a freeze: nobody is accused for what was not heard during it', () => {
    const { rig } = linkedRig();
    rig.nowMs += 60_000;
    rig.step({ kind: 'timer' });
    expect(rig.state(B)).toBe('alive');
    rig.pass(4900);
    expect(rig.state(B)).toBe('alive');
    rig.pass(200);
    expect(rig.state(B)).toBe('suspect');
  });

  test('a freeze while a suspicion runs: it starts anew', () => {
    const { rig, link } = linkedRig();
    rig.step({ kind: 'link_down', peer: B, link, redialRefused: true });
    rig.pass(1000);
    rig.nowMs += 20_000;
    rig.step({ kind: 'timer' });
    expect(rig.state(B)).toBe('suspect');
    rig.pass(3900);
    expect(rig.state(B)).toBe('suspect');
    rig.pass(200);
    expect(rig.state(B)).toBe('dead');
  });

  test('while it catches up a refused dial accuses nobody', () => {
    const { rig, link } = linkedRig();
    rig.nowMs += 10_000;
    rig.step({ kind: 'link_down', peer: B, link, redialRefused: true });
    expect(rig.state(B)).toBe('alive');
    rig.pass(2001);
    rig.step({ kind: 'dial_refused', peer: B });
    expect(rig.state(B)).toBe('suspect');
  });

  test('after sleep: links closed, incarnation raised, no accusation before a digest or 10 s', () => {
    const { rig, link } = linkedRig();
    rig.step({ kind: 'woke', gapMs: 3_600_000 });
    expect(rig.kinds('close_link')).toHaveLength(1);
    expect(rig.core.selfRecord()?.record.incarnation).toBe(2);
    rig.step({ kind: 'link_down', peer: B, link, redialRefused: true });
    rig.pass(9999);
    expect(rig.state(B)).toBe('alive');
    rig.pass(5002);
    expect(rig.state(B)).toBe('suspect');
  });

  test('after sleep a freeze longer than the wait: it still catches up before a refused dial accuses', () => {
    const { rig, link } = linkedRig();
    rig.step({ kind: 'woke', gapMs: 20_000 });
    rig.step({ kind: 'link_down', peer: B, link });
    rig.pass(300);
    rig.nowMs += 12_000;
    rig.step({ kind: 'timer' });
    rig.pass(500);
    rig.step({ kind: 'dial_refused', peer: B });
    expect(rig.state(B)).toBe('alive');
    rig.pass(1501);
    rig.step({ kind: 'dial_refused', peer: B });
    expect(rig.state(B)).toBe('suspect');
  });

  test('after sleep a digest ends the wait', () => {
    const { rig, link } = linkedRig();
    rig.step({ kind: 'woke', gapMs: 20_000 });
    rig.step({ kind: 'link_down', peer: B, link });
    rig.link(C);
    rig.from(C, { t: 'member.digest', reply: false, entries: [] });
    rig.pass(5001);
    expect(rig.state(B)).toBe('suspect');
  });
});

describe('leaving', () => {
  test('is announced in a signed record, once, and is final', () => {
    const { rig } = linkedRig();
    rig.step({ kind: 'leave' });
    expect(rig.sent('member.records')[0]?.items[0]).toMatchObject({
      state: 'left',
      record: { state_claim: 'left', incarnation: 1, version: 2 },
    });
    rig.step({ kind: 'leave' });
    rig.from(B, { t: 'member.accuse', incarnation: 1, state: 'left' });
    rig.step({ kind: 'local_changed', facts: facts('again'), addresses: [] });
    expect(rig.kinds('left_announced')).toHaveLength(1);
    expect(rig.core.selfRecord()?.record.state_claim).toBe('left');
    expect(rig.core.member(A)?.state).toBe('left');
  });

  test('a member that left is no longer dialled, nor accused of being silent', () => {
    const { rig, link } = linkedRig();
    rig.records(B, item(B, 1, { version: 2, state_claim: 'left' }));
    expect(rig.kinds('dial_unwanted')).toHaveLength(1);
    rig.take();
    rig.step({ kind: 'link_down', peer: B, link, redialRefused: true });
    rig.pass(60_000);
    expect(rig.state(B)).toBe('left');
    expect(rig.kinds('dial_wanted')).toEqual([]);
    expect(rig.sent('member.accuse')).toEqual([]);
  });
});
