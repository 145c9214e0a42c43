import { describe, expect, test } from 'vitest';
import { explainView } from '../../../../src/front/cli/explain-command.ts';
import { statusView } from '../../../../src/front/cli/status-view.ts';
import type { ExplainReport, NodeReport, StatusReport } from '../../../../src/node/api-types.ts';

const HOSTILE = 'x\u001B[2J\u202Ey';
const node = (changes: Partial<NodeReport>): NodeReport => ({
  id: 'a'.repeat(52),
  name: 'desk',
  state: 'alive',
  reachable: true,
  age_ms: 0,
  os: 'linux',
  arch: 'x64',
  cores: 8,
  slots: 4,
  jobs_running: 1,
  jobs_queued: 2,
  cpu_percent: 12.4,
  memory_percent: 50,
  load_1m: 0.5,
  status: 'healthy',
  capabilities: [],
  labels: {},
  addresses: ['10.0.0.1:47470'],
  version: '0.1.0',
  roles: ['submit', 'run'],
  ...changes,
});
const status = (nodes: readonly NodeReport[], changes: Partial<StatusReport> = {}): StatusReport => ({
  mesh_id: 'm'.repeat(52),
  local_node: 'b'.repeat(52),
  daemon_pid: 1,
  notices: [],
  nodes,
  nearby: [],
  ...changes,
});
const lineOf = (view: string, name: string): string => view.split('\n').find((line) => line.includes(name)) ?? '';
// oxlint-disable-next-line no-control-regex -- they are what must not be there
const CONTROLS = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/;

describe('the table of status', () => {
  test('has one line a node, this one first and marked, the others by name', () => {
    const local = node({ id: 'b'.repeat(52), name: 'zeta' });
    const view = statusView(status([node({ name: 'beta' }), node({ name: 'alfa' }), local]), null, false);
    const [header, ...rows] = view.split('\n');
    expect(header).toMatch(/NODE +STATE +CPU/);
    expect(rows.map((row) => row.slice(0, 6))).toEqual(['* zeta', '  alfa', '  beta']);
  });

  test('says what matters of each', () => {
    const rows = [
      node({}),
      node({ name: 'busy', status: 'overloaded', reachable: false, roles: ['submit', 'admin'], facts: 'overridden' }),
      node({ name: 'gone', state: 'dead' }),
      node({
        name: 'new',
        os: null,
        arch: null,
        cores: null,
        slots: null,
        cpu_percent: null,
        load_1m: null,
        addresses: [],
      }),
    ];
    const view = statusView(status(rows), null, false);
    expect(lineOf(view, 'desk')).toMatch(
      /alive +12% +50% +0\.50 +1\/4 \+2 queued +linux\/x64 8c +aaaaaaaa +10\.0\.0\.1$/,
    );
    expect(lineOf(view, 'busy')).toMatch(/overloaded .*no link, admin, submits only, facts overridden$/);
    expect(lineOf(view, 'gone')).toMatch(/dead +- +- +- +- /);
    expect(lineOf(view, 'new')).toMatch(/alive +- +50% +- +1\/\? /);
  });

  test('fits a narrow terminal, and leaves out what matters least', () => {
    const rows = [node({ name: 'desktop-home', status: 'overloaded', roles: ['submit', 'run', 'admin'] })];
    const widest = (view: string): number => Math.max(...view.split('\n').map((line) => line.length));
    expect(widest(statusView(status(rows), null, false))).toBeGreaterThan(94);
    const narrow = statusView(status(rows), 80, false);
    expect(widest(narrow)).toBeLessThanOrEqual(80);
    expect(narrow).toMatch(/STATE +CPU +MEM +1M +JOBS +PLATFORM +NOTES\n.*linux\/x64 8c +admin$/);
    expect(statusView(status(rows), 92, false)).toMatch(/PLATFORM +ADDRESS +NOTES\n.*10\.0\.0\.1 +admin$/);
    const labelled = statusView(status([node({ labels: { purpose: 'x'.repeat(90) } })]), 80, false);
    expect(widest(labelled)).toBe(80);
    expect(labelled).toMatch(/purpose=x+…$/);
  });

  test('shows no control character of another node, and no colour unless asked', () => {
    const hostile = node({ name: HOSTILE, labels: { a: HOSTILE }, addresses: [HOSTILE] });
    const nearby = Array.from({ length: 25 }, () => ({ name: HOSTILE, address: HOSTILE }));
    const report = status([hostile], { notices: [`the node ${HOSTILE} was refused`], nearby });
    const view = statusView(report, null, false);
    expect(view).not.toMatch(CONTROLS);
    expect(view).toContain('! the node x\\u001b[2J\\u202ey was refused');
    expect(view).toContain('and 5 more');
    expect(statusView(report, null, true)).toContain('\u001B[1m');
  });
});

describe('the text of explain', () => {
  const report: ExplainReport = {
    notices: [`careful ${HOSTILE}`],
    class: 'heavy',
    class_reason: 'cargo build',
    tools: ['cargo'],
    would_run_on: 'desk',
    would_run_on_id: 'a'.repeat(52),
    route: 'desk: the best of 2',
    expected: { seconds_here: 12.34, source: 'history' },
    candidates: [
      {
        id: 'a'.repeat(52),
        name: 'desk',
        score_s: 1.23456,
        terms: { queue_wait: 0, run: 1.2 },
        slowness: 1,
        slowness_source: 'cores',
        sync_bytes: 3 * 2 ** 20,
        chosen: true,
      },
      {
        id: 'b'.repeat(52),
        name: 'lap',
        score_s: 2,
        terms: { run: 2 },
        slowness: 5,
        slowness_source: 'history',
        sync_bytes: 0,
        chosen: false,
      },
    ],
    rejected: [
      {
        id: 'c'.repeat(52),
        name: HOSTILE,
        reasons: [
          { code: 'os', text: `runs ${HOSTILE}` },
          { code: 'full', text: 'is full' },
        ],
      },
    ],
  };

  test('says once what keeps the command here', () => {
    const text = '.env is not tracked, and nobody has decided';
    const rejected = ['lap', 'tower'].map((name) => ({
      id: name,
      name,
      reasons: [
        { code: 'secrets' as const, text },
        { code: 'full' as const, text: 'is full' },
      ],
    }));
    const view = explainView({ ...report, route: `here: \`make\` is heavy, but stays here: ${text}`, rejected });
    expect(view.split(text)).toHaveLength(2);
    expect(view).toMatch(/ lap {2}see route; is full\n +tower {2}see route; is full$/m);
  });

  test('names the class, the place, every candidate with its terms, and every reason', () => {
    const view = explainView(report);
    expect(view).toMatch(/^class +heavy \(cargo build\)\ntools +cargo\nruns on +desk\nroute +desk: the best of 2$/m);
    expect(view).toContain('> desk  1.235 s  = queue_wait 0 + run 1.2  (3.0 MiB of files to send)');
    expect(view).toContain('  lap  2 s  = run 2  (takes 5 × as long as here)  (has the files)');
    expect(view).toContain('\ntakes     about 12.34 s here (from earlier runs)\n');
    expect(view).toMatch(/not considered:\n.*; is full$/m);
    expect(view).not.toMatch(CONTROLS);
  });

  test('says why nothing can run it', () => {
    const nowhere = {
      ...report,
      would_run_on: null,
      expected: null,
      candidates: [],
      error: { code: 'no_capable_node', message: 'none has a gpu' },
    };
    expect(explainView(nowhere)).toContain('runs on   no node: none has a gpu');
    expect(explainView(nowhere)).not.toContain('candidates');
    const listed = { ...nowhere, error: { code: 'x', message: 'none can, so nothing ran:\n  desk: has no gpu' } };
    expect(explainView(listed)).toContain('runs on   no node: none can\n\nnot considered:');
  });
});
