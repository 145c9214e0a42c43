import { describe, expect, test } from 'vitest';
import { lookupNode } from '../../../../src/core/scheduling/node-lookup.ts';
import { candidate } from './nodes.ts';

const nodes = [candidate('alpha'), candidate('alphb'), candidate('beta'), candidate('bete')];

describe('lookup by name and id prefix', () => {
  test.each([
    ['alpha', 'alpha'],
    ['beta', 'beta'],
    [nodes[2]?.id ?? '', 'beta'],
  ])('%s is %s', (typed, name) => {
    const found = lookupNode(typed, nodes);
    expect(found.ok && found.value.name).toBe(name);
  });

  test("a node that calls itself by the beginning of another's id, or by all of it, gets none of its jobs", () => {
    const beta = nodes[2];
    if (beta === undefined) throw new Error('four nodes');
    const short = { ...candidate('zeta'), name: beta.id.slice(0, 8) };
    const found = lookupNode(short.name, [short, ...nodes]);
    expect(found.ok ? null : found.error.code).toBe('ambiguous_node');
    const long = { ...candidate('zeta'), name: beta.id };
    expect(lookupNode(beta.id, [long, ...nodes])).toMatchObject({ ok: true, value: { name: 'beta' } });
  });

  test('a name that begins its own id is no second match', () => {
    const named = { ...candidate('zeta'), name: candidate('zeta').id.slice(0, 4) };
    expect(lookupNode(named.name, [...nodes, named])).toMatchObject({ ok: true, value: { id: named.id } });
  });

  test('several matches are listed', () => {
    const found = lookupNode('alph', nodes);
    expect(found.ok ? null : found.error.code).toBe('ambiguous_node');
    expect(found.ok ? '' : found.error.message).toMatch(/alpha \(alpha.{3}\), alphb \(alphb.{3}\)/);
  });

  test('of two with one name, the one that is there', () => {
    const gone = { ...candidate('old'), name: 'alpha', state: 'dead' as const };
    const found = lookupNode('alpha', [gone, ...nodes]);
    expect(found.ok && found.value.state).toBe('alive');
    const twice = lookupNode('alpha', [{ ...gone, state: 'suspect' }, ...nodes]);
    expect(twice.ok ? null : twice.error.code).toBe('ambiguous_node');
  });

  test.each(['alp', '', 'nobody', '../etc/passwd', '-oProxyCommand=x', 'b; rm -rf /', '\u001b[31m', 'x'.repeat(5000)])(
    'unknown %j lists the nodes',
    (typed) => {
      const found = lookupNode(typed, nodes);
      expect(found.ok ? null : found.error.code).toBe('unknown_node');
      const message = found.ok ? '' : found.error.message;
      expect(message).toContain('alpha (');
      expect(message).toContain('bete (');
      expect(message.length).toBeLessThan(400);
      expect(message).not.toContain('\u001b');
    },
  );
});
