import { describe, expect, test } from 'vitest';
import { A, B, C, facts, item, load, Rig } from './fixtures.ts';

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
