import { describe, expect, it } from 'vitest';
import { MeshError } from '../../../../src/base/errors.ts';
import { clusterStatus, explainDocument, statusDocument } from '../../../../src/front/mcp/mesh-tools.ts';
import { parallelExecute } from '../../../../src/front/mcp/parallel-execute.ts';
import { RESULT_CHARS_MAX } from '../../../../src/front/mcp/run-report.ts';
import { clusterBash } from '../../../../src/front/mcp/run-tools.ts';
import type { ExplainReport, NodeReport, RunObject, StatusReport } from '../../../../src/node/api-types.ts';
import { ENDED, FakeDaemon, of, partsOf, quiet } from './fake-daemon.ts';
import { PLAIN_JOB, SHIPPED } from '../../../fixtures/plain-spec.ts';

describe('cluster_bash', () => {
  it('submits a shell line with the default time limit, without stdin', async () => {
    const daemon = new FakeDaemon((_, io) => {
      void io.onStdout(Buffer.from('out\n'));
      return Promise.resolve(ENDED);
    });
    const result = await clusterBash(of(daemon)).run({ command: 'make' }, quiet());
    expect(result).toMatchObject({ isError: false, document: { stdout: 'out\n', return_code: 0 } });
    expect(daemon.specs[0]).toMatchObject({
      command: { kind: 'line', line: 'make' },
      target: { kind: 'bash' },
      timeout_ms: 7000,
      stdin: false,
      ...PLAIN_JOB,
      sync: SHIPPED,
      submitter: `mcp:${process.pid}`,
    });
  });

  it('stays here where routing is off', async () => {
    const daemon = new FakeDaemon();
    await clusterBash(of(daemon)).run({ command: 'make', auto_route: false }, quiet());
    expect(daemon.specs[0]?.target).toEqual({ kind: 'local' });
  });

  it('cancels the job and waits for its end where the call is cancelled', async () => {
    let end: (run: RunObject) => void = () => undefined;
    const daemon = new FakeDaemon(() => new Promise((resolve) => (end = resolve)));
    const controller = new AbortController();
    const call = clusterBash(of(daemon)).run({ command: 'make' }, quiet(controller.signal));
    await expect.poll(() => daemon.specs.length).toBe(1);
    controller.abort();
    expect(daemon.cancelled).toBe(1);
    end({ ...ENDED, reason: 'cancelled', success: false });
    expect(await call).toMatchObject({ isError: true, document: { reason: 'cancelled' } });
  });

  it('submits nothing where the call was cancelled before', async () => {
    const daemon = new FakeDaemon();
    const result = await clusterBash(of(daemon)).run({ command: 'make' }, quiet(AbortSignal.abort()));
    expect(result).toMatchObject({ isError: true, document: { reason: 'cancelled' } });
    expect(daemon.specs).toEqual([]);
  });

  it('keeps what it has of a job whose daemon is lost, and connects anew for the next', async () => {
    const first = new FakeDaemon((_, io) => {
      void io.onStdout(Buffer.from('half'));
      first.closed = true;
      return Promise.reject(new MeshError('lost', 'gone'));
    });
    const second = new FakeDaemon();
    const daemons = [first, second];
    const tool = clusterBash(partsOf(() => Promise.resolve(daemons.shift() ?? second)));
    expect(await tool.run({ command: 'make' }, quiet())).toMatchObject({
      isError: true,
      document: { reason: 'lost', stdout: 'half', job_id: 'JOB1', error: { code: 'lost' } },
    });
    expect(await tool.run({ command: 'make' }, quiet())).toMatchObject({ isError: false });
    expect(second.specs).toHaveLength(1);
  });

  it('says why the daemon cannot be reached, and tries again next time', async () => {
    let tries = 0;
    const tool = clusterBash(
      partsOf(() => {
        tries += 1;
        return tries === 1
          ? Promise.reject(new MeshError('port_in_use', 'port 1 is taken'))
          : Promise.resolve(new FakeDaemon());
      }),
    );
    expect(await tool.run({ command: 'make' }, quiet())).toMatchObject({
      isError: true,
      document: { reason: 'refused', error: { code: 'port_in_use', message: 'port 1 is taken' } },
    });
    expect(await tool.run({ command: 'make' }, quiet())).toMatchObject({ isError: false });
  });
});

describe('parallel_execute', () => {
  it('keeps the order, bounds what is under way, and lets one entry spoil itself only', async () => {
    let open = 0;
    let most = 0;
    const daemon = new FakeDaemon(async () => {
      open += 1;
      most = Math.max(most, open);
      await new Promise((resolve) => setImmediate(resolve));
      open -= 1;
      return ENDED;
    });
    const commands = Array.from({ length: 300 }, (_, at) => (at === 5 ? '' : at === 6 ? 6 : `echo ${at}`));
    const { document, isError } = await parallelExecute(of(daemon)).run({ commands }, quiet());
    expect({ isError, most }).toEqual({ isError: false, most: 64 });
    expect(document).toMatchObject({ succeeded: 298, failed: 2 });
    const results = document['results'] as { command: string; error?: { code: string } }[];
    expect(results.map(({ command }) => command)).toEqual(commands.map((command) => `${command}`));
    expect([results[5]?.error?.code, results[6]?.error?.code]).toEqual(['bad_command', 'bad_command']);
    expect(daemon.specs.every(({ target }) => target.kind === 'any')).toBe(true);
  });

  it('is an error where meshwork could run none of it', async () => {
    const daemon = new FakeDaemon(() => Promise.reject(new MeshError('no_capable_node', 'none')));
    expect(await parallelExecute(of(daemon)).run({ commands: ['a', 'b'] }, quiet())).toMatchObject({
      isError: true,
      document: { succeeded: 0, failed: 2 },
    });
  });

  it('starts nothing more once the daemon is gone', async () => {
    const daemon: FakeDaemon = new FakeDaemon(() => {
      daemon.closed = true;
      return Promise.reject(new MeshError('lost', 'gone'));
    });
    const { document } = await parallelExecute(of(daemon)).run({ commands: Array(100).fill('true') }, quiet());
    expect(daemon.specs.length).toBeLessThanOrEqual(64);
    expect(document).toMatchObject({ failed: 100 });
  });
});

const node = (id: number, fields: Partial<NodeReport> = {}): NodeReport => ({
  id: `node-${id}`.padEnd(52, 'x'),
  name: `name-${id}`,
  state: 'alive',
  reachable: true,
  age_ms: 1,
  os: 'linux',
  arch: 'x64',
  cores: 8,
  slots: 8,
  jobs_running: 0,
  jobs_queued: 0,
  cpu_percent: 1,
  memory_percent: 1,
  load_1m: 0,
  status: 'healthy',
  capabilities: ['tool:git', 'tool:node'],
  labels: { room: 'office' },
  addresses: ['192.0.2.1:47470'],
  version: '0.1.0',
  roles: ['submit', 'run'],
  ...fields,
});
const status = (count: number): StatusReport => ({
  mesh_id: 'm',
  local_node: node(0).id,
  daemon_pid: 1,
  notices: [],
  nodes: Array.from({ length: count }, (_, id) => node(id)),
  nearby: [{ name: 'evil\u001b name', address: '192.0.2.9:1' }],
});

describe('cluster_status', () => {
  it('leaves out the names of machines that are not joined', () => {
    const document = statusDocument(status(2));
    expect(document['nearby']).toEqual([{ address: '192.0.2.9:1' }]);
    expect(document).toMatchObject({ nodes: [{ capabilities: ['tool:git', 'tool:node'] }, {}] });
  });

  it('leaves out capabilities above ten nodes', () => {
    const keys = (count: number): string[] =>
      Object.keys((statusDocument(status(count))['nodes'] as NodeReport[])[0] ?? {});
    expect(keys(10)).toContain('capabilities');
    expect(keys(11)).not.toContain('capabilities');
    expect(keys(11)).toContain('labels');
  });

  it('is bounded, shows this node and reachable ones first, and says how many more there are', () => {
    const report = status(500);
    const nodes = report.nodes.map((one, at) => ({ ...one, reachable: at % 2 === 1 }));
    const document = statusDocument({ ...report, nodes });
    expect(JSON.stringify(document).length).toBeLessThanOrEqual(RESULT_CHARS_MAX);
    const shown = document['nodes'] as NodeReport[];
    expect(shown[0]?.id).toBe(report.local_node);
    expect(shown.slice(1).every(({ reachable }) => reachable)).toBe(true);
    expect(document['nodes_left_out']).toBe(500 - shown.length);
  });

  it('asks once more where the connection is lost, then says so', async () => {
    let opened = 0;
    const tool = clusterStatus(
      partsOf(() => {
        opened += 1;
        return Promise.resolve(new FakeDaemon());
      }),
    );
    expect(await tool.run({}, quiet())).toMatchObject({
      isError: true,
      document: { nodes: [], error: { code: 'lost' } },
    });
    expect(await tool.run({ x: 1 }, quiet())).toMatchObject({
      isError: true,
      document: { error: { code: 'bad_argument' } },
    });
    expect(opened).toBe(1);
  });
});

describe('explain_route', () => {
  it('is bounded and says how many nodes are left out', () => {
    const report: ExplainReport = {
      notices: [],
      class: 'heavy',
      class_reason: 'a build',
      tools: [],
      would_run_on: null,
      would_run_on_id: null,
      route: '',
      expected: null,
      candidates: [],
      rejected: Array.from({ length: 400 }, (_, id) => ({
        id: node(id).id,
        name: `name-${id}`,
        reasons: [{ code: 'unreachable', text: 'has no link\u001b to this node' }],
      })),
      error: { code: 'no_capable_node', message: 'none\n'.repeat(5000) },
    };
    const document = explainDocument(report);
    expect(JSON.stringify(document).length).toBeLessThanOrEqual(RESULT_CHARS_MAX);
    const shown = document['rejected'] as ExplainReport['rejected'];
    expect(shown.length).toBeGreaterThan(100);
    expect(document['rejected_left_out']).toBe(400 - shown.length);
    expect(shown[0]?.reasons[0]?.text).toContain('\\u001b');
  });
});
