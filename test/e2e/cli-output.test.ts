import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RUN_KEYS } from '../fixtures/job-record.ts';
import { CLI, processesNamed, run, sleepWords } from '../fixtures/nodes.ts';
import { startProgram, TestMesh, TREE_GONE_MS_MAX, until } from '../fixtures/nodes.ts';

/** What the commands print: the JSON shapes of the contract, what a person reads, and map's order. */
let mesh: TestMesh;
let folder: string;

beforeAll(async () => {
  mesh = await TestMesh.start(['origin', 'peer'], {
    facts: {
      origin: { tools: { git: '2.39.5', bash: '5.2.15', sh: '', cargo: '1.80.0', make: '4.3' } },
      peer: { labels: { room: 'b' }, cpu_percent: 95, tools: { git: '2.39.5', bash: '5.2.15', sh: '' } },
    },
  });
  folder = mesh.folder('ground');
});

afterAll(() => mesh.stop());

/** A node that is too busy to be heard for some seconds is suspect, and then not: what is asked of it waits for that. */
const peerIsAlive = () =>
  mesh.node('origin').sees('the peer', ({ nodes }) =>
    nodes.some(({ name, state, reachable, status }) => {
      return name === 'peer' && state === 'alive' && reachable && status === 'overloaded';
    }),
  );

const origin = (args: readonly string[], input?: string, env: Record<string, string> = {}) =>
  mesh.node('origin').run(args, { cwd: folder, env, ...(input === undefined ? {} : { input }) });

// oxlint-disable-next-line no-control-regex
const ESCAPE = /\u001B/;

/** Type names of a JSON value, as the contract gives them. */
const typeOf = (value: unknown): string => (Array.isArray(value) ? 'list' : value === null ? 'null' : typeof value);

describe('status', () => {
  const NODE_KEYS: Readonly<Record<string, string>> = {
    id: 'string',
    name: 'string',
    state: 'string',
    reachable: 'boolean',
    age_ms: 'number',
    os: 'string',
    arch: 'string',
    cores: 'number',
    slots: 'number',
    jobs_running: 'number',
    jobs_queued: 'number',
    cpu_percent: 'number',
    memory_percent: 'number',
    load_1m: 'number',
    status: 'string',
    capabilities: 'list',
    labels: 'object',
    addresses: 'list',
    version: 'string',
    roles: 'list',
    facts: 'string',
  };

  it('--json has every key of the contract, for both nodes', async () => {
    const status = await peerIsAlive();
    expect(Object.keys(status).slice(0, 6)).toEqual([
      'mesh_id',
      'local_node',
      'daemon_pid',
      'notices',
      'nodes',
      'nearby',
    ]);
    expect(status.daemon_pid).toBe(mesh.node('origin').pid);
    expect(status.nodes.map(({ name }) => name).toSorted()).toEqual(['origin', 'peer']);
    for (const node of status.nodes) {
      const types = Object.fromEntries(Object.entries(node).map(([key, value]) => [key, typeOf(value)]));
      expect(types).toEqual(NODE_KEYS);
    }
    const [self] = status.nodes.filter(({ id }) => id === status.local_node);
    expect(self).toMatchObject({ name: 'origin', reachable: true, state: 'alive', status: 'healthy', slots: 4 });
    expect(status.nodes.find(({ name }) => name === 'peer')).toMatchObject({
      reachable: true,
      state: 'alive',
      status: 'overloaded',
      cpu_percent: 95,
      memory_percent: 10,
      labels: { room: 'b' },
      capabilities: ['tool:bash', 'tool:git', 'tool:sh', 'label:room=b'],
      facts: 'overridden',
      roles: ['submit', 'run'],
    });
  });

  it('the same mesh is seen from the other side', async () => {
    const [here, there] = await Promise.all(mesh.nodes.map((node) => node.status()));
    expect(there?.mesh_id).toBe(here?.mesh_id);
    expect(there?.local_node).not.toBe(here?.local_node);
    expect(there?.nodes.map(({ id }) => id).toSorted()).toEqual(here?.nodes.map(({ id }) => id).toSorted());
  });

  it('is a table that a person reads, this node first, in no colour', async () => {
    await peerIsAlive();
    const ran = await origin(['status']);
    expect(ran.code).toBe(0);
    const text = ran.stdout.toString();
    expect(text).not.toMatch(ESCAPE);
    const [head = '', first = '', second = ''] = text.split('\n');
    expect(head).toMatch(/^ {2}NODE +STATE +CPU +MEM/);
    expect(first).toMatch(/^\* origin +alive +1% +10% +0\.10 +0\/4 .* admin/);
    expect(second).toMatch(/^ {2}peer +overloaded +95% +10% +0\.10 +0\/4 .* room=b/);
    expect(head.indexOf('NOTES')).toBeLessThanOrEqual(100);
    expect(ran.stderr.toString()).toBe('');
  });

  it('is coloured on a terminal, and not where NO_COLOR is set', async () => {
    const words = `${process.execPath} ${CLI} --home ${mesh.node('origin').home} status`;
    const onTerminal = (env: Record<string, string>) =>
      startProgram('script', ['-qec', words, '/dev/null'], { env: { TERM: 'xterm', ...env } }).done;
    expect((await onTerminal({})).stdout.toString()).toMatch(ESCAPE);
    const plain = (await onTerminal({ NO_COLOR: '1' })).stdout.toString();
    expect(plain).toMatch(/origin +alive/);
    expect(plain).not.toMatch(ESCAPE);
  });

  it('--watch prints again every second until it is stopped', async () => {
    const watching = mesh.node('origin').start(['--json', 'status', '--watch']);
    // Whole ones: behind the last line's end is nothing yet.
    const lines = (): string[] => watching.stdoutSoFar().toString().split('\n').slice(0, -1);
    await until('two documents', () => lines().length >= 2);
    watching.child.kill('SIGINT');
    await watching.done;
    for (const line of lines()) {
      expect(JSON.parse(line)).toHaveProperty('nodes');
    }
  });
});

describe('run --json', () => {
  const CHANGES = { returned: [], deleted: [], conflicts: [], held_back: [], left_there: [] };

  it('is the run object, its keys in the order of the contract', async () => {
    const ran = await origin(['run', '--json', '--on', 'peer', '--', 'echo out; echo err >&2; exit 3']);
    expect(ran.code).toBe(3);
    expect(ran.stderr.toString()).toBe('');
    const result = JSON.parse(ran.stdout.toString()) as Record<string, unknown>;
    expect(Object.keys(result)).toEqual([...RUN_KEYS]);
    const { nodes } = await mesh.node('origin').status();
    expect(result).toMatchObject({
      notices: [],
      state: 'finished',
      return_code: 3,
      executed_on: 'peer',
      executed_on_id: nodes.find(({ name }) => name === 'peer')?.id,
      cwd: folder,
      stdout: 'out\n',
      stderr: 'err\n',
      changes: CHANGES,
      success: false,
      signal: null,
      reason: 'exited',
      os: 'linux',
      auto_routed: false,
      attempts: 1,
      stdout_bytes: 4,
      stderr_bytes: 4,
      truncated: false,
      sync_ms: 0,
      tools: {},
    });
    expect(result['job_id']).toMatch(/^[0-9A-HJKMNP-TV-Z]{26}$/);
    expect(result['route']).toMatch(/peer.*named/);
    for (const key of ['queue_ms', 'dispatch_ms', 'duration_ms']) expect(typeOf(result[key])).toBe('number');
  });

  it.each([
    ['a signal', 'kill -KILL $$', [], 137, { reason: 'signaled', signal: 'SIGKILL', return_code: 137, success: false }],
    [
      'a time limit',
      'sleep 97531',
      ['--timeout', '300ms'],
      124,
      { reason: 'timeout', return_code: 124, success: false },
    ],
    ['success', 'true', [], 0, { reason: 'exited', signal: null, return_code: 0, success: true }],
    ['bytes that are not UTF-8', "printf 'a\\377b'", [], 0, { stdout: 'a\uFFFDb', stdout_bytes: 3 }],
  ] as const)('%s', async (_, line, flags, code, expected) => {
    const ran = await origin(['run', '--json', '--on', 'peer', ...flags, '--', line]);
    expect(ran.code).toBe(code);
    expect(JSON.parse(ran.stdout.toString())).toMatchObject(expected);
  });

  it('a job that never ran has error and no exit code', async () => {
    const ran = await origin(['run', '--json', '--on', 'nobody', '--', 'true']);
    expect(ran.code).toBe(125);
    const result = JSON.parse(ran.stdout.toString()) as Record<string, unknown>;
    expect(Object.keys(result)).toEqual([...RUN_KEYS, 'error']);
    expect(result).toMatchObject({
      return_code: null,
      success: false,
      reason: 'refused',
      executed_on: null,
      attempts: 0,
      error: { code: 'unknown_node' },
    });
  });

  it('keeps head and tail of much output and says so', async () => {
    const ran = await origin([
      'run',
      '--json',
      '--on',
      'peer',
      '--',
      'echo first; head -c 20000000 /dev/zero; echo last',
    ]);
    const result = JSON.parse(ran.stdout.toString()) as { stdout: string; stdout_bytes: number; truncated: boolean };
    expect(result).toMatchObject({ truncated: true, stdout_bytes: 20_000_011 });
    expect(result.stdout.startsWith('first\n')).toBe(true);
    expect(result.stdout.endsWith('last\n')).toBe(true);
    expect(result.stdout).toMatch(/bytes left out/);
  });
});

describe('explain', () => {
  it('--json gives class, candidates with terms, and every reason against the others', async () => {
    await peerIsAlive();
    const text = await mesh.node('origin').must(['explain', '--json', '--', 'cargo build'], { cwd: folder });
    const report = JSON.parse(text) as Record<string, unknown>;
    expect(report).toMatchObject({ class: 'heavy', tools: ['cargo'], would_run_on: 'origin', notices: [] });
    expect(report['candidates']).toMatchObject([{ name: 'origin', chosen: true, terms: { queue_wait: 0 } }]);
    expect(report['rejected']).toMatchObject([{ name: 'peer', reasons: [{ code: 'tool_missing' }] }]);
  });

  it('tells a person the same, and runs nothing', async () => {
    const text = await mesh.node('origin').must(['explain', '--', 'make -j8 > made'], { cwd: folder });
    expect(text).toMatch(/class +heavy/);
    expect(text).toMatch(/origin .* s/);
    expect(text).toMatch(/peer .*has no make/);
    expect((await startProgram('ls', ['-A', folder]).done).stdout.toString()).toBe('');
  });
});

describe('help', () => {
  const NODE_COMMANDS = ['up', 'down', 'restart', 'invite', 'join', 'leave', 'status', 'explain', 'mcp'];
  const COMMANDS = [...NODE_COMMANDS, 'run', 'map', 'jobs', 'logs', 'wait', 'cancel'];

  it.each(COMMANDS)('%s --help has an example and exits 0', async (command) => {
    const ran = await run('/nowhere', [command, '--help']);
    expect(ran.code).toBe(0);
    expect(ran.stdout.toString()).toMatch(new RegExp(`Examples?:\\n +\\$ .*${command}`));
    expect(ran.stderr.toString()).toBe('');
  });

  it('--help and --version need no home', async () => {
    const help = await run('/nowhere', ['--help']);
    expect(help.code).toBe(0);
    for (const command of COMMANDS) expect(help.stdout.toString()).toContain(`  ${command} `);
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    expect((await run('/nowhere', ['--version'])).stdout.toString()).toBe(`${version}\n`);
  });

  it('MESHWORK_HOME is the home where no --home is given', async () => {
    const env = { MESHWORK_HOME: mesh.node('origin').home };
    const ran = await startProgram(process.execPath, [CLI, '--json', 'status'], { env }).done;
    expect(JSON.parse(ran.stdout.toString())).toMatchObject({ daemon_pid: mesh.node('origin').pid });
  });

  it('--json may stand before or behind the command', async () => {
    for (const args of [
      ['--json', 'status'],
      ['status', '--json'],
    ]) {
      expect(JSON.parse((await origin(args)).stdout.toString())).toHaveProperty('mesh_id');
    }
    // Behind `--` it is a word of the command.
    expect((await origin(['run', '--on', 'peer', '--', 'echo', '--json'])).stdout.toString()).toBe('--json\n');
  });
});

describe('map', () => {
  const map = (flags: readonly string[], command: readonly string[], args: readonly string[] | null, input?: string) =>
    origin(['map', ...flags, '--', ...command, ...(args === null ? [] : [':::', ...args])], input);

  it('prints in the order of the arguments, whatever ends first', async () => {
    // Each job waits for the next one's file: they end in the reverse order.
    const command = 'until [ {} = 4 ] || [ -e f$(({}+1)) ]; do sleep 0.02; done; echo job {}; touch f{}';
    const ran = await map([], [command], ['1', '2', '3', '4']);
    expect(ran.stdout.toString()).toBe('job 1\njob 2\njob 3\njob 4\n');
    expect(ran.code).toBe(0);
    await startProgram('bash', ['-c', 'rm -f f?'], { cwd: folder }).done;
  });

  it('replaces {} by one quoted word in a line, by the word itself in an argv, and appends it without {}', async () => {
    const odd = ['a b', "it's", '$(touch x)', '*', '', ';rm', 'ü', '{}', '-n'];
    const line = await map([], ['printf "[%s]" {} x{}; echo'], odd);
    expect(line.stdout.toString()).toBe(odd.map((arg) => `[${arg}][x${arg}]\n`).join(''));
    const argv = await map([], ['printf', '[%s]', '{}', 'x{}'], odd);
    expect(argv.stdout.toString()).toBe(odd.map((arg) => `[${arg}][x${arg}]`).join(''));
    const appended = await map([], ['printf', '[%s]'], ['a b', 'c']);
    expect(appended.stdout.toString()).toBe('[a b][c]');
    const behind = await map([], ['printf "[%s]"'], ['a b', 'c']);
    expect(behind.stdout.toString()).toBe('[a b][c]');
  });

  it('takes lines of stdin without :::', async () => {
    const ran = await map([], ['echo', 'got'], null, 'one\ntwo words\r\n\nlast');
    expect(ran.stdout.toString()).toBe('got one\ngot two words\ngot \ngot last\n');
    expect((await map([], ['echo', 'got'], null, '')).stdout.toString()).toBe('');
  });

  it('--tag starts every line with the argument', async () => {
    const ran = await map(['--tag'], ['true {}; echo a; echo b; echo e >&2'], ['x', 'y z']);
    expect(ran.stdout.toString()).toBe('x\ta\nx\tb\ny z\ta\ny z\tb\n');
    expect(ran.stderr.toString()).toBe('x\te\ny z\te\n');
  });

  it.each([
    [0, ['0', '0', '0']],
    [2, ['0', '1', '7']],
    [3, ['9', '9', '9']],
  ])('exit code %i is the number of failed jobs', async (code, args) => {
    expect((await map([], ['exit {}'], args)).code).toBe(code);
  });

  it('exit code 101 for more than 100 failed jobs', async () => {
    const args = Array.from({ length: 103 }, () => '1');
    expect((await map([], ['exit {}'], args)).code).toBe(101);
  });

  it('output of 200 jobs is grouped and in order', async () => {
    const args = Array.from({ length: 200 }, (_, index) => String(index));
    const ran = await map(['-j', '16'], ['echo {} begins; echo {} on stderr >&2; echo {} ends'], args);
    expect(ran.stdout.toString()).toBe(args.map((arg) => `${arg} begins\n${arg} ends\n`).join(''));
    expect(ran.stderr.toString()).toBe(args.map((arg) => `${arg} on stderr\n`).join(''));
    expect(ran.code).toBe(0);
  });

  it('-j bounds how many run at once', async () => {
    const line = 'mkdir r{}; ls -d r* | wc -l; sleep 0.05; rmdir r{}';
    const ran = await map(['-j', '1'], [line], ['1', '2', '3', '4', '5']);
    expect(ran.stdout.toString().split('\n').filter(Boolean).map(Number)).toEqual([1, 1, 1, 1, 1]);
  });

  it('--json prints a line a job, in order, with its argument', async () => {
    const ran = await map(['--json'], ['echo {}; exit {}'], ['0', '3']);
    expect(ran.code).toBe(1);
    const lines = ran.stdout
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
    expect(lines).toMatchObject([
      { arg: '0', return_code: 0, stdout: '0\n', reason: 'exited' },
      { arg: '3', return_code: 3, stdout: '3\n', success: false },
    ]);
  });

  it('a job that no node can take counts as failed and says why', async () => {
    const ran = await map(['--need', 'label:no=where'], ['echo {}'], ['a', 'b']);
    expect(ran.code).toBe(2);
    expect(ran.stderr.toString()).toMatch(/a: no node can take.*peer: has no label no/s);
  });

  it('Ctrl-C ends all jobs', async () => {
    const words = sleepWords();
    const running = mesh.node('origin').start(['map', '--', `${words}; echo {}`, ':::', '1', '2', '3', '4', '5', '6'], {
      cwd: folder,
    });
    await until('some run', () => processesNamed(words).filter(({ args }) => args === words).length >= 2);
    running.child.kill('SIGINT');
    expect((await running.done).code).toBe(130);
    await until('all are gone', () => processesNamed(words).length === 0, TREE_GONE_MS_MAX);
  });
});

describe('where the reader goes away', () => {
  const bash = (line: string, args: readonly string[]) => {
    const home = mesh.node('origin').home;
    return startProgram('bash', ['-c', line, 'bash', process.execPath, CLI, '--home', home, ...args]).done;
  };

  it.each([['--help'], ['--version'], ['run', '--help'], ['status']])('%s %s ends without a trace', async (...args) => {
    const ran = await bash('"$@" | true; echo "${PIPESTATUS[0]}"', args.filter(Boolean));
    expect({ out: ran.stdout.toString(), err: ran.stderr.toString() }).toEqual({ out: '0\n', err: '' });
  });

  it('status --watch ends', async () => {
    const ran = await bash('"$@" | head -1; echo "${PIPESTATUS[0]}"', ['status', '--watch']);
    expect(ran.stdout.toString()).toMatch(/^ {2}NODE .*\n0\n$/);
  });
});
