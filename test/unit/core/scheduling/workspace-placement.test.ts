import { assert as checkAll, boolean, constantFrom, integer, property, record } from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { NodeId } from '../../../../src/base/ids.ts';
import { seededRandom } from '../../../../src/base/random.ts';
import type { Candidate } from '../../../../src/core/scheduling/candidate.ts';
import { place, type Placement } from '../../../../src/core/scheduling/placement.ts';
import type { WorkspaceTerms } from '../../../../src/core/scheduling/placement-request.ts';
import type { Reason } from '../../../../src/wire/jobs.ts';
import { candidate, idOf, request, RULES, self, type Overrides } from './nodes.ts';

const MB = 1e6;
const BUSY: Overrides = { load: { overloaded: true, cpu_percent: 95 } };
const FULL: Overrides = { load: { slots_free: 0, jobs_running: 4 } };

type Asked = Omit<NonNullable<Parameters<typeof request>[0]>, 'workspace'>;

const workspace = (terms: Partial<WorkspaceTerms> = {}): WorkspaceTerms => ({
  staysHere: null,
  refused: null,
  bytesTo: () => 0,
  productsAt: null,
  ...terms,
});

function decide(
  terms: Partial<WorkspaceTerms>,
  nodes: readonly Candidate[],
  asked: Asked = {},
  refusals: ReadonlyMap<NodeId, readonly Reason[]> = new Map(),
  seed = 1,
): Placement {
  const random = seededRandom(seed);
  return place(request({ ...asked, workspace: workspace(terms) }), { nodes, rules: RULES, random, refusals });
}

const names = (placement: Placement): string[] =>
  placement.kind === 'candidates' ? placement.ordered.map(({ name }) => name) : [`impossible: ${placement.code}`];
const reasons = (placement: Placement, name: string): string[] =>
  placement.rejected.find((node) => node.name === name)?.reasons.map(({ code }) => code) ?? [];
const route = (placement: Placement): string => (placement.kind === 'candidates' ? placement.route : '');
const message = (placement: Placement): string => (placement.kind === 'impossible' ? placement.message : '');
const scoreAt = (placement: Placement, name: string) =>
  placement.kind === 'candidates' ? placement.ordered.find((one) => one.name === name)?.score : undefined;

describe('bytes to send', () => {
  const to = (bytes: Readonly<Record<string, number>>) => ({
    bytesTo: (node: NodeId) => Object.entries(bytes).find(([name]) => idOf(name) === node)?.[1] ?? 0,
  });

  test('are part of the score of other nodes, and of this one never', () => {
    const placement = decide(to({ beta: 100 * MB, here: 100 * MB }), [self(), candidate('beta'), candidate('gamma')]);
    const [here, beta, gamma] = ['here', 'beta', 'gamma'].map((name) => scoreAt(placement, name));
    expect(here).toMatchObject({ syncS: 0, syncBytes: null });
    expect(beta?.syncBytes).toBe(100 * MB);
    expect(gamma?.syncBytes).toBe(0);
    expect((beta?.syncS ?? 0) - (gamma?.syncS ?? 0)).toBeCloseTo(4);
    expect(gamma?.syncS).toBeGreaterThan(0);
    expect(beta?.finishS).toBeCloseTo((beta?.runS ?? 0) + (beta?.syncS ?? 0) + (beta?.rttS ?? 0));
  });

  test('no files are sent, none are counted', () => {
    const nodes = [self(), candidate('beta')];
    const placement = place(request(), { nodes, rules: RULES, random: seededRandom(1) });
    expect(scoreAt(placement, 'beta')).toMatchObject({ syncS: 0, syncBytes: null });
  });

  test.each([1, 2, 3, 4, 5])('between equals this node is first, then the warm one (seed %i)', (seed) => {
    const terms = to({ beta: 20 * MB, gamma: 0, delta: 20 * MB });
    const nodes = [candidate('beta'), candidate('delta'), self(), candidate('gamma')];
    expect(names(decide(terms, nodes, {}, new Map(), seed)).slice(0, 2)).toEqual(['here', 'gamma']);
    const used = nodes.map((node) => (node.isSelf ? self({ load: { jobs_running: 1, slots_free: 3 } }) : node));
    expect(names(decide(terms, used, {}, new Map(), seed))[0]).toBe('gamma');
  });

  test('a large tree goes to a faster node only where that pays', () => {
    const fast = candidate('beta', { facts: { cores: 64, slots: 64 } });
    const slow = self({ facts: { cores: 1, slots: 1 }, load: { slots_free: 1 } });
    expect(names(decide(to({ beta: 100 * MB }), [slow, fast]))[0]).toBe('beta');
    expect(names(decide(to({ beta: 5000 * MB }), [slow, fast]))[0]).toBe('here');
  });

  test('a light command stays where its files are', () => {
    const asked = { jobClass: 'light', target: { kind: 'any' } } as const;
    expect(names(decide({}, [self(), candidate('beta')], asked))[0]).toBe('here');
  });
});

describe('what keeps a command here', () => {
  const staysHere = { code: 'secrets', text: 'nobody decided about .env (meshwork secrets send|skip .env)' } as const;
  const nodes = [self(), candidate('beta'), candidate('gamma', FULL)];

  test.each(['bash', 'any'] as const)('%s: it runs here, the route says why, and so do the others', (kind) => {
    const placement = decide({ staysHere }, nodes, { target: { kind } });
    expect(names(placement)).toEqual(['here']);
    expect(route(placement)).toBe(`here: \`make\` is heavy, but stays here: ${staysHere.text}`);
    expect(reasons(placement, 'beta')).toEqual(['secrets']);
    expect(reasons(placement, 'gamma')).toEqual(['secrets']);
  });

  test('also where this node is overloaded or full', () => {
    for (const state of [BUSY, FULL])
      expect(names(decide({ staysHere }, [self(state), candidate('beta')]))).toEqual(['here']);
  });

  test('a named node takes it all the same', () => {
    const placement = decide({ staysHere }, nodes, { target: { kind: 'node', node: 'beta' } });
    expect(names(placement)).toEqual(['beta']);
    expect(reasons(placement, 'here')).toEqual(['other']);
  });

  test('a requirement that only others meet: refused with both reasons', () => {
    const gpu = candidate('beta', { facts: { gpus: ['a gpu'] } });
    const placement = decide({ staysHere }, [self(), gpu], { requires: { capabilities: ['gpu'] } });
    expect(names(placement)).toEqual(['impossible: no_capable_node']);
    expect(reasons(placement, 'here')).toEqual(['capability']);
    expect(reasons(placement, 'beta')).toEqual(['secrets']);
    expect(message(placement)).toContain('here (here): has no gpu');
    expect(message(placement)).toContain(`beta: ${staysHere.text}`);
  });

  test('its program is missing here: here the shell says so', () => {
    const placement = decide({ staysHere }, [self(), candidate('beta', { facts: { tools: { go: '1' } } })], {
      tools: ['go'],
    });
    expect(names(placement)).toEqual(['here']);
    expect(route(placement)).toContain('has no go');
  });
});

describe('what refuses every other node', () => {
  const refused = { code: 'too_large', text: 'the project has 3 GiB, 2 GiB are sent at most' } as const;

  test('automatic routing keeps it here', () => {
    const placement = decide({ refused }, [self(), candidate('beta')]);
    expect(names(placement)).toEqual(['here']);
    expect(reasons(placement, 'beta')).toEqual(['too_large']);
  });

  test.each([
    ['too_large', 'too_large'],
    ['needs_prepare', 'needs_prepare'],
  ] as const)('%s: a named node is refused with it, and nothing runs', (code, expected) => {
    const asked = { target: { kind: 'node', node: 'beta' } } as const;
    const placement = decide({ refused: { ...refused, code } }, [self(), candidate('beta')], asked);
    expect(names(placement)).toEqual([`impossible: ${expected}`]);
    expect(message(placement)).toContain(refused.text);
  });

  test('what keeps it here for the same cause is told once', () => {
    const placement = decide({ refused, staysHere: refused }, [self(), candidate('beta')]);
    expect(reasons(placement, 'beta')).toEqual(['too_large']);
  });

  test('this node, asked for or named, needs no files sent', () => {
    for (const target of [{ kind: 'local' }, { kind: 'node', node: 'here' }] as const) {
      expect(names(decide({ refused }, [self(), candidate('beta')], { target }))).toEqual(['here']);
    }
  });
});

describe('the newest products', () => {
  const productsAt = { node: idOf('beta'), what: 'build/' };
  const nodes = [self(), candidate('beta'), candidate('gamma', { facts: { cores: 64, slots: 64 } })];

  test.each([
    ['bash', 'heavy'],
    ['bash', 'other'],
    ['any', 'heavy'],
    ['any', 'other'],
  ] as const)('%s, %s: goes where they are', (kind, jobClass) => {
    const placement = decide({ productsAt }, nodes, { jobClass, target: { kind } });
    expect(names(placement)).toEqual(['beta']);
    expect(route(placement)).toBe("beta: `make` is heavy; the project's newest products (build/) are there");
    expect(reasons(placement, 'here')).toEqual(['products']);
    expect(reasons(placement, 'gamma')).toEqual(['products']);
  });

  test('also where that node is full: it waits there', () => {
    expect(names(decide({ productsAt }, [self(), candidate('beta', FULL)]))).toEqual(['beta']);
  });

  test('light and bound commands stay here', () => {
    expect(names(decide({ productsAt }, nodes, { jobClass: 'light' }))).toEqual(['here']);
    expect(names(decide({ productsAt }, nodes, { jobClass: 'bound', target: { kind: 'any' } }))).toEqual(['here']);
  });

  test.each([
    ['dead', candidate('beta', { node: { state: 'dead', reachable: false } }), 'is dead'],
    ['another platform', candidate('beta', { facts: { os: 'darwin' } }), 'runs darwin'],
    ['without the tool', candidate('beta', { facts: { tools: {} } }), 'has no make'],
  ] as const)('%s: as usual, and the route says what is missing', (_what, beta, why) => {
    const placement = decide({ productsAt }, [self(), beta, candidate('gamma')]);
    expect(names(placement).sort()).toEqual(['gamma', 'here']);
    expect(route(placement)).toContain("the project's newest products (build/) are on beta, which ");
    expect(route(placement)).toContain(why);
  });

  test('a node that is not known any more', () => {
    const placement = decide({ productsAt }, [self(), candidate('gamma')], { jobClass: 'other' });
    expect(names(placement)).toEqual(['here']);
    expect(route(placement)).toContain('products (build/) are on a node that is not known here any more');
  });

  test('it refused: as usual', () => {
    const refusals = new Map([[idOf('beta'), [{ code: 'sync', text: 'has no room' } as const]]]);
    const placement = decide({ productsAt }, nodes, {}, refusals);
    expect(names(placement)).not.toContain('beta');
    expect(route(placement)).toContain('has no room');
  });

  test('a refusal that quotes output is one line of the route', () => {
    const refusals = new Map([[idOf('beta'), [{ code: 'sync', text: '`npm ci` failed\nnpm error E' } as const]]]);
    const shown = route(decide({}, [self(), candidate('beta')], {}, refusals));
    expect(shown).toMatch(/beta refused: `npm ci` failed$/);
  });

  test('what keeps a command here is stronger', () => {
    const staysHere = { code: 'secrets', text: 'nobody decided about .env' } as const;
    expect(names(decide({ productsAt, staysHere }, nodes))).toEqual(['here']);
  });
});

describe('the same platform', () => {
  test('binds with files sent as without', () => {
    const placement = decide({}, [self(), candidate('beta', { facts: { arch: 'arm64' } })]);
    expect(names(placement)).toEqual(['here']);
    expect(reasons(placement, 'beta')).toEqual(['arch']);
  });
});

describe('whatever is known of nodes and files', () => {
  const node = record({
    state: constantFrom('alive', 'suspect', 'dead'),
    os: constantFrom('linux', 'darwin'),
    slotsFree: integer({ min: 0, max: 4 }),
    hasMake: boolean(),
    overloaded: boolean(),
    bytes: integer({ min: 0, max: 10_000 * MB }),
  });
  const asked = record({
    jobClass: constantFrom('bound', 'heavy', 'other', 'light'),
    kind: constantFrom('bash', 'any', 'local', 'beta'),
    stays: boolean(),
    refused: boolean(),
    productsAt: constantFrom('beta', 'gamma', 'delta', null),
    seed: integer({ min: 1, max: 1000 }),
  });

  test('each node is a candidate or has a reason, and files go only where they may', () => {
    checkAll(
      property(node, node, node, asked, (own, one, two, ask) => {
        const make = (name: string, known: typeof own): Candidate => {
          const { state, os, slotsFree, hasMake, overloaded } = known;
          const load = { slots_free: slotsFree, jobs_running: 4 - slotsFree, overloaded };
          const facts = { os, tools: hasMake ? { make: '4.3' } : {} } as const;
          if (name === 'here') return self({ facts: { ...facts, os: 'linux' }, load });
          return candidate(name, { facts, load, node: { state, reachable: state === 'alive' } });
        };
        const nodes = [make('here', own), make('beta', one), make('gamma', two)];
        const target = ask.kind === 'beta' ? ({ kind: 'node', node: 'beta' } as const) : ({ kind: ask.kind } as const);
        const products = ask.productsAt;
        const terms: WorkspaceTerms = {
          staysHere: ask.stays ? { code: 'secrets', text: 'has secrets' } : null,
          refused: ask.refused ? { code: 'too_large', text: 'is too large' } : null,
          bytesTo: (id) => (id === idOf('beta') ? one.bytes : two.bytes),
          productsAt: products === null ? null : { node: idOf(products), what: 'build/' },
        };
        const placement = decide(terms, nodes, { jobClass: ask.jobClass, target }, new Map(), ask.seed);
        const ordered = placement.kind === 'candidates' ? placement.ordered : [];
        const isAutomatic = ask.kind === 'bash' || ask.kind === 'any';
        const told = [...ordered.map(({ name }) => name), ...placement.rejected.map(({ name }) => name)];
        expect(told.sort()).toEqual(['beta', 'gamma', 'here']);
        for (const { reasons: why } of placement.rejected) if (isAutomatic) expect(why).not.toEqual([]);
        const mayLeave = !ask.refused && !(ask.stays && isAutomatic);
        if (!mayLeave) expect(ordered.filter(({ isSelf }) => !isSelf)).toEqual([]);
        for (const { isSelf, score } of ordered) {
          expect(score.syncBytes === null).toBe(isSelf);
          expect(Number.isFinite(score.finishS)).toBe(true);
        }
        const goesToProducts = isAutomatic && (ask.jobClass === 'heavy' || ask.jobClass === 'other');
        if (goesToProducts && products !== null && ordered.some(({ name }) => name === products)) {
          expect(ordered).toHaveLength(1);
        }
      }),
    );
  });
});
