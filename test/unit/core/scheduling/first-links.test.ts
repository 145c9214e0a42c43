import { describe, expect, test } from 'vitest';
import type { JobId } from '../../../../src/base/ids.ts';
import type { UnheardMember } from '../../../../src/core/scheduling/candidate.ts';
import type { PlacementRequest } from '../../../../src/core/scheduling/placement-request.ts';
import { candidate, idOf, NO_REQUIREMENTS } from './nodes.ts';
import { one, OriginWorld, slotless } from './origin-world.ts';

const SETTLED_AT_MS = 6000;

/** A node that has just started, in a mesh with `beta`. */
class YoungWorld {
  unheard: readonly UnheardMember[] = [{ id: idOf('beta'), name: 'beta' }];
  readonly world = new OriginWorld([slotless], { unheard: () => this.unheard, settledAtMs: () => SETTLED_AT_MS });

  submit(number: number, asked: Partial<PlacementRequest>): JobId {
    return this.world.submit(number, {}, asked);
  }

  /** `beta` is linked, as it is then. */
  hear(beta = one('beta')): void {
    this.unheard = [];
    this.world.nodes = [...this.world.nodes, beta];
    this.world.step({ kind: 'nodes_changed' });
  }
}

const onNode = (node: string): Partial<PlacementRequest> => ({ target: { kind: 'node', node } });

describe('a moment after this node has started', () => {
  test.each([
    ['names a member that is not linked yet', onNode('beta')],
    ['names it by what it is called now', onNode('gamma')],
    ['only such a member could take', { target: { kind: 'any' } as const }],
  ])('a job that %s waits for it', (_, asked) => {
    const young = new YoungWorld();
    const job = young.submit(1, asked);
    expect(young.world.result(job)).toBeUndefined();
    young.hear(candidate('beta', { node: { name: asked.target?.kind === 'node' ? asked.target.node : 'beta' } }));
    expect(young.world.asked()).toHaveLength(1);
  });

  test('it waits no longer than for what was there to be linked', () => {
    const young = new YoungWorld();
    const job = young.submit(1, onNode('beta'));
    young.world.waitFor(SETTLED_AT_MS + 2000);
    expect(young.world.result(job)).toMatchObject({
      kind: 'refused',
      code: 'node_unreachable',
      message: expect.stringMatching(/beta: is known, but nothing was heard/),
    });
    expect(young.world.result(young.submit(2, onNode('beta')))).toMatchObject({ code: 'node_unreachable' });
  });

  test('what its node says is the end of waiting', () => {
    const young = new YoungWorld();
    const job = young.submit(1, { ...onNode('beta'), requires: { ...NO_REQUIREMENTS, capabilities: ['tool:none'] } });
    young.hear();
    young.world.waitFor(SETTLED_AT_MS - 2000);
    expect(young.world.result(job)).toMatchObject({ code: 'no_capable_node', message: expect.stringMatching(/none/) });
  });

  test('later, a member that stays silent holds up no job that all others refuse', () => {
    const young = new YoungWorld();
    young.world.nodes = [...young.world.nodes, one('gamma')];
    young.world.nowMs = SETTLED_AT_MS;
    const job = young.submit(1, { target: { kind: 'any' } });
    young.world.refuse('gamma', job, 'cwd_missing');
    expect(young.world.result(job)).toMatchObject({ kind: 'refused', code: 'no_capable_node' });
  });

  test('a name that no member can have is refused at once', () => {
    const young = new YoungWorld();
    young.hear();
    expect(young.world.result(young.submit(1, onNode('nobody')))).toMatchObject({ code: 'unknown_node' });
  });
});
