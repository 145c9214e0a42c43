import { describe, expect, test } from 'vitest';
import type { NodeId } from '../../../../src/base/ids.ts';
import { seededRandom } from '../../../../src/base/random.ts';
import type { Candidate } from '../../../../src/core/scheduling/candidate.ts';
import type { Backlog } from '../../../../src/core/scheduling/patience.ts';
import { place, type Placement } from '../../../../src/core/scheduling/placement.ts';
import { candidate, idOf, request, RULES, self } from './nodes.ts';

interface Known {
  readonly durationS?: number;
  /** By name. */
  readonly slowness?: Readonly<Record<string, number>>;
  readonly backlog?: Backlog;
}

function decide(asked: Parameters<typeof request>[0], nodes: readonly Candidate[], known: Known): Placement {
  const slowness = new Map<NodeId, number>(
    Object.entries(known.slowness ?? {}).map(([name, times]) => [idOf(name), times]),
  );
  return place(request(asked), {
    nodes,
    rules: RULES,
    random: seededRandom(1),
    history: { durationS: known.durationS ?? null, slownessOf: (node) => slowness.get(node) ?? null },
    ...(known.backlog === undefined ? {} : { backlog: known.backlog }),
  });
}

const names = (placement: Placement): string[] =>
  placement.kind === 'candidates' ? placement.ordered.map(({ name }) => name) : [placement.code];
const route = (placement: Placement): string => (placement.kind === 'candidates' ? placement.route : '');
const why = (placement: Placement, name: string): string | undefined =>
  placement.rejected.find((node) => node.name === name)?.reasons[0]?.text;

const FULL = { load: { slots_free: 0, jobs_running: 4 } };
const HEAVY = { jobClass: 'heavy', classReason: '`make` is heavy' } as const;

describe('a command that is known to be short', () => {
  const nodes = [self(), candidate('beta', { facts: { cores: 64, slots: 64 }, load: { slots_free: 64 } })];

  test('stays here under the rules of cluster_bash, and the route says why', () => {
    const placement = decide({ ...HEAVY, target: { kind: 'bash' } }, nodes, { durationS: 0.3 });
    expect(names(placement)).toEqual(['here']);
    expect(route(placement)).toBe('here: `make` is heavy, but took 300 ms here before, so it stays here');
    expect(why(placement, 'beta')).toBe('commands known to take less than 1.0 s stay here');
    expect(placement).toMatchObject({ expected: { hereS: 0.3, source: 'history' } });
  });

  test.each([
    ['a second or more', { durationS: 1 }, {}],
    ['nothing is known', {}, {}],
    ['this node is overloaded', { durationS: 0.3 }, { load: { overloaded: true } }],
    ['no slot is free here', { durationS: 0.3 }, FULL],
  ])('goes to the best node where %s', (_, known, here) => {
    const placement = decide({ ...HEAVY, target: { kind: 'bash' } }, [self(here), ...nodes.slice(1)], known);
    expect(names(placement)[0]).toBe('beta');
  });

  test('goes to the best node where all are asked for', () => {
    const busy = self({ load: { cpu_percent: 90 } });
    expect(names(decide({ ...HEAVY, target: { kind: 'any' } }, [busy, ...nodes.slice(1)], { durationS: 0.3 }))[0]).toBe(
      'beta',
    );
  });
});

describe('the score', () => {
  const nodes = [self({ load: { cpu_percent: 60 } }), candidate('quick'), candidate('slow', { facts: { cores: 64 } })];
  const any = { ...HEAVY, target: { kind: 'any' } } as const;

  test('believes earlier runs rather than the number of cores, with or without a known duration', () => {
    expect(names(decide(any, nodes, {}))[0]).toBe('slow');
    for (const known of [{}, { durationS: 40 }]) {
      expect(names(decide(any, nodes, { ...known, slowness: { slow: 5, quick: 1 } }))[0]).toBe('quick');
    }
  });

  test('tells the known duration in the route, and counts with it', () => {
    const placement = decide(any, nodes, { durationS: 125, slowness: { slow: 2, quick: 1 } });
    expect(route(placement)).toBe(
      'quick: `make` is heavy; estimated best of 3 capable nodes (takes about 2 min 5 s here)',
    );
    const scores =
      placement.kind === 'candidates' ? placement.ordered.map(({ name, score }) => [name, score] as const) : [];
    const slow = new Map(scores).get('slow');
    expect(slow).toMatchObject({ slowness: 2, slownessSource: 'history' });
    expect(slow?.runS).toBeGreaterThan(250);
    expect(slow?.runS).toBeLessThan(300);
  });
});

describe('late in a batch', () => {
  const nodes = [self(FULL), candidate('quick', FULL), candidate('slow')];
  const any = { ...HEAVY, target: { kind: 'any' } } as const;
  const slowness = { here: 1, quick: 1, slow: 5 };
  const last: Backlog = { jobs: 0, passedOverMs: 0 };

  test('a slow node is passed over where waiting for a faster one ends sooner', () => {
    const placement = decide(any, nodes, { durationS: 10, slowness, backlog: last });
    expect(names(placement).sort()).toEqual(['here', 'quick']);
    expect(why(placement, 'slow')).toMatch(
      /^is slow: about 5\d\.\d s there, \d\d\.\d s with the wait for (here|quick)$/,
    );
    expect(placement).toMatchObject({ passedOver: [{ node: { name: 'slow' } }] });
  });

  test.each([
    ['so much waits that the faster ones take longer for it', { backlog: { jobs: 200, passedOverMs: 0 } }],
    ['the promised time has passed', { backlog: { jobs: 0, passedOverMs: 60_000 } }],
    ['it is not known to be slow', { slowness: { here: 1, quick: 1 } }],
    ['the faster ones are not known to be fast', { slowness: { slow: 5 } }],
    ['it is hardly slower', { slowness: { here: 1, quick: 1, slow: 1.2 } }],
  ])('but taken where %s', (_, changed) => {
    const placement = decide(any, nodes, { durationS: 10, slowness, backlog: last, ...changed });
    expect(names(placement)[0]).toBe('slow');
    expect(placement).toMatchObject({ passedOver: [] });
  });

  test('a faster node with a free slot is simply first', () => {
    const placement = decide(any, [self(FULL), candidate('quick'), candidate('slow')], { slowness, backlog: last });
    expect(names(placement)[0]).toBe('quick');
  });

  test('a named node is never passed over', () => {
    const placement = decide({ ...any, target: { kind: 'node', node: 'slow' } }, nodes, { slowness, backlog: last });
    expect(names(placement)).toEqual(['slow']);
  });
});

describe('nodes to avoid', () => {
  const nodes = [self(), candidate('beta'), candidate('gamma')];

  test('are left out by automatic routing, this one included, and only by that', () => {
    const avoid = [self().id, idOf('beta')];
    const placement = decide({ ...HEAVY, target: { kind: 'any' }, avoid }, nodes, {});
    expect(names(placement)).toEqual(['gamma']);
    expect(why(placement, 'beta')).toBe('is to be avoided: another copy runs there');
    expect(names(decide({ ...HEAVY, target: { kind: 'node', node: 'beta' }, avoid }, nodes, {}))).toEqual(['beta']);
  });

  test('leave nothing where they are all', () => {
    const avoid = nodes.map(({ id }) => id);
    expect(names(decide({ ...HEAVY, target: { kind: 'any' }, avoid }, nodes, {}))).toEqual(['no_capable_node']);
  });
});
