import { describe, expect, test } from 'vitest';
import type { NodeId } from '../../../../src/base/ids.ts';
import { seededRandom } from '../../../../src/base/random.ts';
import type { Candidate } from '../../../../src/core/scheduling/candidate.ts';
import { place, type Placement } from '../../../../src/core/scheduling/placement.ts';
import type { Reason } from '../../../../src/wire/jobs.ts';
import type { Requirements } from '../../../../src/wire/job-spec.ts';
import { candidate, idOf, request, RULES, self, type Overrides } from './nodes.ts';

const decide = (
  asked: Parameters<typeof request>[0],
  nodes: readonly Candidate[],
  refusals: ReadonlyMap<NodeId, readonly Reason[]> = new Map(),
): Placement => place(request(asked), { nodes, rules: RULES, random: seededRandom(1), refusals });

const names = (placement: Placement): string[] =>
  placement.kind === 'candidates' ? placement.ordered.map(({ name }) => name) : [`impossible: ${placement.code}`];
const sorted = (placement: Placement): string[] => names(placement).sort();
const reasons = (placement: Placement, name: string): string[] =>
  placement.rejected.find((node) => node.name === name)?.reasons.map(({ code }) => code) ?? [];
const route = (placement: Placement): string => (placement.kind === 'candidates' ? placement.route : '');
const message = (placement: Placement): string => (placement.kind === 'impossible' ? placement.message : '');

const BUSY: Overrides = { load: { overloaded: true, cpu_percent: 95 } };

describe('classes and targets', () => {
  const nodes = [self(), candidate('beta'), candidate('gamma')];

  test.each([
    ['bash', 'bound', ['here']],
    ['bash', 'light', ['here']],
    ['bash', 'other', ['here']],
    ['bash', 'heavy', ['beta', 'gamma', 'here']],
    ['any', 'bound', ['here']],
    ['any', 'light', ['beta', 'gamma', 'here']],
    ['any', 'other', ['beta', 'gamma', 'here']],
    ['any', 'heavy', ['beta', 'gamma', 'here']],
    ['local', 'bound', ['here']],
    ['local', 'heavy', ['here']],
  ] as const)('%s, %s: %s', (kind, jobClass, expected) => {
    expect(sorted(decide({ jobClass, target: { kind } }, nodes))).toEqual(expected);
  });

  test('a named node takes every class, and no other node is considered', () => {
    for (const jobClass of ['bound', 'light', 'other', 'heavy'] as const) {
      const placement = decide({ jobClass, target: { kind: 'node', node: 'beta' } }, nodes);
      expect(names(placement)).toEqual(['beta']);
      expect(placement).toMatchObject({ automatic: false, route: 'beta: beta was named' });
      expect(reasons(placement, 'gamma')).toEqual(['other']);
    }
  });

  test('what stays here says why, and why the others stay out', () => {
    const placement = decide({ jobClass: 'bound', classReason: '`git push` is bound' }, nodes);
    expect(route(placement)).toBe('here: `git push` is bound, so it stays here');
    expect(placement.rejected.map(({ reasons: why }) => why[0]?.text)).toEqual([
      'bound commands stay here unless a node is named',
      'bound commands stay here unless a node is named',
    ]);
  });

  test('other leaves an overloaded node for one that is not overloaded and has a free slot', () => {
    const other = { jobClass: 'other' } as const;
    expect(names(decide(other, [self(BUSY), candidate('beta')]))).toEqual(['beta', 'here']);
    expect(names(decide(other, [self(BUSY), candidate('beta', { load: { slots_free: 0, jobs_running: 4 } })]))[0]).toBe(
      'here',
    );
    expect(names(decide({ jobClass: 'light' }, [self(BUSY), candidate('beta')]))).toEqual(['here']);
    expect(names(decide({ jobClass: 'bound' }, [self(BUSY), candidate('beta')]))).toEqual(['here']);
  });

  test('an overloaded node comes after every node that is not, however slow that is', () => {
    const nearlyFull = { load: { cpu_percent: 39, slots_free: 1, jobs_running: 3 }, facts: { cores: 1 } };
    const fast = { ...BUSY, facts: { cores: 64 } };
    expect(names(decide({}, [self(nearlyFull), candidate('beta', fast)]))).toEqual(['here', 'beta']);
  });
});

describe('requirements', () => {
  const nodes = [
    self(),
    candidate('mac', { facts: { os: 'darwin', arch: 'arm64', labels: { room: 'attic' } } }),
    candidate('big', { facts: { cores: 32, gpus: ['rtx'], tools: { make: '4.3', docker: '24.0' } } }),
  ];

  test.each([
    [{ os: 'darwin' }, ['mac']],
    [{ os: 'any' }, ['big', 'here', 'mac']],
    [{ os: 'linux' }, ['big', 'here']],
    [{ arch: 'arm64' }, ['impossible: no_capable_node']],
    [{ os: 'any', arch: 'arm64' }, ['mac']],
    [{ arch: 'any' }, ['big', 'here']],
    [{ capabilities: ['gpu'] }, ['big']],
    [{ capabilities: ['tool:docker'] }, ['big']],
    [{ capabilities: ['label:room=attic'], os: 'any' }, ['mac']],
    [{ capabilities: ['label:room'], os: 'any' }, ['mac']],
    [{ capabilities: ['label:room=cellar'], os: 'any' }, ['impossible: no_capable_node']],
    [{ cpus: 8 }, ['big']],
    [{ cpus: 64 }, ['impossible: no_capable_node']],
    [{ memory_bytes: 2 ** 33 }, ['big', 'here']],
    [{ memory_bytes: 2 ** 33 + 1 }, ['impossible: no_capable_node']],
    [{ memory_bytes: 2 ** 40 }, ['impossible: no_capable_node']],
    [{ capabilities: ['teleport'] }, ['impossible: no_capable_node']],
  ] satisfies [Partial<Requirements>, string[]][])('%j', (requires, expected) => {
    expect(sorted(decide({ requires }, nodes))).toEqual(expected);
  });

  test('send a light command away, keep a bound one from leaving, bind a named node and this one', () => {
    const requires = { capabilities: ['gpu'] };
    expect(names(decide({ jobClass: 'light', requires }, nodes))).toEqual(['big']);
    expect(names(decide({ jobClass: 'other', requires }, nodes))).toEqual(['big']);
    expect(names(decide({ jobClass: 'bound', requires }, nodes))).toEqual(['impossible: no_capable_node']);
    expect(names(decide({ requires, target: { kind: 'node', node: 'mac' } }, nodes))).toEqual([
      'impossible: no_capable_node',
    ]);
    expect(names(decide({ requires, target: { kind: 'local' } }, nodes))).toEqual(['impossible: no_capable_node']);
  });

  test('met nowhere: every node with all its reasons', () => {
    const placement = decide({ requires: { os: 'windows', cpus: 64, capabilities: ['gpu', 'tool:docker'] } }, nodes);
    expect(reasons(placement, 'here')).toEqual(['os', 'capability', 'capability', 'cpus']);
    expect(reasons(placement, 'big')).toEqual(['os', 'cpus']);
    expect(message(placement)).toBe(
      [
        'no node can take this command, so nothing ran:',
        '  here (here): runs linux, windows is required; has no gpu; has no docker (tool:docker is required); has 4 cores, 64 are required',
        '  mac: runs darwin, windows is required; has no gpu; has no docker (tool:docker is required); has 4 cores, 64 are required',
        '  big: runs linux, windows is required; has 32 cores, 64 are required',
      ].join('\n'),
    );
  });
});

describe('the same platform', () => {
  test('another system, architecture or version is not taken, and route says what would help', () => {
    const placement = decide({ tools: ['node'] }, [
      self(),
      candidate('mac', { facts: { os: 'darwin' } }),
      candidate('arm', { facts: { arch: 'arm64' } }),
      candidate('old', { facts: { tools: { node: '18.2.0' } } }),
      candidate('near', { facts: { tools: { node: '20.2.0' } } }),
    ]);
    expect(sorted(placement)).toEqual(['here', 'near']);
    expect(route(placement)).toContain('; estimated best of 2 capable nodes');
    expect(route(placement)).toContain('mac not taken: runs darwin, here is linux (--os any would allow it)');
    expect(route(placement)).toContain('arm not taken: is arm64, here is x64 (--os any would allow it)');
    expect(route(placement)).toContain('old not taken: has node 18.2.0, here is 20.11.1 (--os any would allow it)');
  });

  test('a node that lacks more than the platform is no case for --os any', () => {
    const placement = decide({}, [self(), candidate('mac', { facts: { os: 'darwin', tools: {} } })]);
    expect(route(placement)).toBe('here: `make` is heavy; the only capable node');
    expect(reasons(placement, 'mac')).toEqual(['tool_missing', 'os']);
  });

  test('pins bind other nodes; unknown versions are never compared', () => {
    const nodes = [
      self(),
      candidate('exact', { facts: { tools: { node: '20.11.0' } } }),
      candidate('off', { facts: { tools: { node: '20.9.0' } } }),
      candidate('unknown', { facts: { tools: { node: '' } } }),
    ];
    expect(sorted(decide({ tools: ['node'], pins: { node: '20.11' } }, nodes))).toEqual(['exact', 'here', 'unknown']);
  });

  test('a named system relaxes versions, and the differences are shown', () => {
    const nodes = [self(), candidate('old', { facts: { tools: { node: '18.2.0' } }, load: { cpu_percent: 0 } })];
    const placement = decide({ tools: ['node'], requires: { os: 'linux' } }, nodes);
    expect(sorted(placement)).toEqual(['here', 'old']);
    const old = placement.kind === 'candidates' ? placement.ordered.find(({ name }) => name === 'old') : undefined;
    expect(old?.tools).toEqual({ node: { here: '20.11.1', there: '18.2.0' } });
  });

  test('a named node is taken whatever its platform', () => {
    const mac = candidate('mac', { facts: { os: 'darwin', arch: 'arm64', tools: { make: '9' } } });
    expect(names(decide({ target: { kind: 'node', node: 'mac' } }, [self(), mac]))).toEqual(['mac']);
  });
});

describe('own tools', () => {
  test('one that is missing is a reason against a node, named or not', () => {
    const nodes = [self({ facts: { tools: {} } }), candidate('beta'), candidate('bare', { facts: { tools: {} } })];
    expect(names(decide({}, nodes))).toEqual(['beta']);
    expect(names(decide({ jobClass: 'other' }, nodes))).toEqual(['beta']);
    expect(names(decide({ target: { kind: 'node', node: 'bare' } }, nodes))).toEqual(['impossible: no_capable_node']);
  });

  test('missing everywhere: it runs here, where the shell says so', () => {
    const nodes = [self(), candidate('beta')];
    const placement = decide({ tools: ['cargo'] }, nodes);
    expect(names(placement)).toEqual(['here']);
    expect(route(placement)).toContain('no other node can take it, though this one has no cargo');
    expect(names(decide({ tools: ['cargo'], target: { kind: 'local' } }, nodes))).toEqual(['here']);
    expect(names(decide({ tools: ['cargo'], requires: { capabilities: ['tool:cargo'] } }, nodes))).toEqual([
      'impossible: no_capable_node',
    ]);
  });

  test('one in no catalogue may be anywhere until a node lists it or says no', () => {
    const nodes = [self(), candidate('beta')];
    expect(sorted(decide({ tools: ['x-tool'], toolsHere: ['x-tool'] }, nodes))).toEqual(['beta', 'here']);
    expect(sorted(decide({ tools: ['x-tool'] }, nodes))).toEqual(['beta']);
    const refused = new Map([[idOf('beta'), [{ code: 'tool_missing', text: 'has no x-tool' } as const]]]);
    expect(names(decide({ tools: ['x-tool'] }, nodes, refused))).toEqual(['here']);
    const listing = [self(), candidate('beta'), candidate('gamma', { facts: { tools: { 'x-tool': '1' } } })];
    expect(sorted(decide({ tools: ['x-tool'] }, listing))).toEqual(['gamma']);
    expect(sorted(decide({ requires: { capabilities: ['tool:x-tool'] }, tools: [] }, listing))).toEqual(['gamma']);
  });
});

describe('nodes that are no candidates', () => {
  test.each([
    ['suspect', { node: { state: 'suspect' } }, ['state']],
    ['dead and unreachable', { node: { state: 'dead', reachable: false } }, ['state', 'unreachable']],
    ['left', { node: { state: 'left' } }, ['state']],
    ['unreachable', { node: { reachable: false } }, ['unreachable']],
    ['without load', { load: null }, ['state']],
    ['not accepting', { node: { acceptsOurs: false } }, ['not_accepted']],
    ['without slots', { facts: { slots: 0 }, load: { slots_free: 0 } }, ['full']],
  ] as const)('%s', (_what, overrides, expected) => {
    const nodes = [self(), candidate('beta', overrides)];
    const placement = decide({}, nodes);
    expect(names(placement)).toEqual(['here']);
    expect(reasons(placement, 'beta')).toEqual(expected);
    const named = decide({ target: { kind: 'node', node: 'beta' } }, nodes);
    expect(named.kind).toBe('impossible');
    expect(reasons(named, 'beta')).toEqual(expected);
  });

  test('codes of a named node that cannot', () => {
    const named = { target: { kind: 'node', node: 'beta' } } as const;
    const suspect = [self(), candidate('beta', { node: { state: 'suspect' } })];
    expect(names(decide(named, suspect))).toEqual(['impossible: node_unreachable']);
    const told = (code: Reason['code']): string[] =>
      names(decide(named, [self(), candidate('beta')], new Map([[idOf('beta'), [{ code, text: 'no' }]]])));
    expect(told('cwd_missing')).toEqual(['impossible: cwd_missing']);
    expect(told('cwd_not_allowed')).toEqual(['impossible: cwd_not_allowed']);
    expect(told('denied')).toEqual(['impossible: refused']);
  });

  test('unknown and ambiguous names are refused before anything else', () => {
    const nodes = [self(), candidate('beta'), candidate('betatwo')];
    expect(names(decide({ target: { kind: 'node', node: 'nobody' } }, nodes))).toEqual(['impossible: unknown_node']);
    expect(names(decide({ target: { kind: 'node', node: 'betat' } }, nodes))).toEqual(['betatwo']);
  });

  test('a member that was never heard of is told as one that is out of reach, and is no reason to run nowhere', () => {
    const context = {
      nodes: [self()],
      unheard: [{ id: idOf('deaf'), name: 'gamma' }],
      rules: RULES,
      random: seededRandom(1),
    };
    const named = place(request({ target: { kind: 'node', node: 'gamma' } }), context);
    expect(names(named)).toEqual(['impossible: node_unreachable']);
    expect(message(named)).toMatch(/gamma: is known, but nothing was heard of it since .*; has no link to this node/);
    expect(names(place(request({ target: { kind: 'node', node: idOf('deaf').slice(0, 9) } }), context))).toEqual([
      'impossible: node_unreachable',
    ]);
    const automatic = place(request(), context);
    expect(names(automatic)).toEqual(['here']);
    expect(reasons(automatic, 'gamma')).toEqual(['state', 'unreachable']);
    // One of that name that speaks is meant.
    const both = { ...context, nodes: [self(), candidate('gamma', { node: { id: idOf('other') } })] };
    expect(names(place(request({ target: { kind: 'node', node: 'gamma' } }), both))).toEqual(['gamma']);
  });
});

test('nodes that refused are out, and route says so; refused everywhere, it runs here', () => {
  const files = [{ code: 'files', text: 'has other files in /work' } as const];
  const nodes = [self(BUSY), candidate('beta'), candidate('gamma')];
  const once = decide({}, nodes, new Map([[idOf('beta'), files]]));
  expect(names(once)).toEqual(['gamma', 'here']);
  expect(route(once)).toContain('; beta refused: has other files in /work');
  const twice = decide({}, nodes, new Map([idOf('beta'), idOf('gamma')].map((id) => [id, files])));
  expect(names(twice)).toEqual(['here']);
  const thrice = decide({}, nodes, new Map(nodes.map(({ id }) => [id, files])));
  expect(message(thrice).split('\n')).toHaveLength(4);
});
