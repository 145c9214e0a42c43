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

  test('an exact name wins over an id prefix', () => {
    const named = { ...candidate('zeta'), name: 'alph' };
    const found = lookupNode('alph', [...nodes, named]);
    expect(found.ok && found.value.id).toBe(named.id);
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
