import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { McpSession } from '../fixtures/mcp-client.ts';
import { TestMesh, until } from '../fixtures/nodes.ts';
import { wasPassedOver } from '../fixtures/passed-over.ts';

/** The tools over the official client library, on two real nodes. Every result is checked against its outputSchema. */
const RESULT_CHARS_MAX = 45_000;
const HEAVY = 'node --test a.test.mjs';

let mesh: TestMesh;
let folder: string;
let session: McpSession;

beforeAll(async () => {
  mesh = await TestMesh.start(['origin', 'peer']);
  folder = mesh.folder('project');
  writeFileSync(join(folder, 'a.test.mjs'), "import { writeFileSync } from 'node:fs';\nwriteFileSync('tested', '');\n");
  session = await McpSession.start(mesh.node('origin').home, folder, {
    LANG: 'C.UTF-8',
    GIVEN: 'by name',
    SECRET: 'no',
  });
});

afterAll(async () => {
  await session.close();
  await mesh.stop();
});

const bash = (command: string, args: Record<string, unknown> = {}) =>
  session.call('cluster_bash', { command, ...args });

describe('cluster_bash', () => {
  it('runs a shell line here or there, with its own exit code and both outputs', async () => {
    const { document, isError } = await bash('cd / && pwd && echo "a b" | tr a-z A-Z; echo no >&2; exit 7');
    expect(isError).toBe(false);
    expect(document).toMatchObject({ return_code: 7, stdout: '/\nA B\n', stderr: 'no\n', success: false, cwd: folder });
  });

  it('keeps nothing between calls', async () => {
    await bash('cd / && export KEPT=1');
    expect((await bash('pwd; echo "[$KEPT]"')).document['stdout']).toBe(`${folder}\n[]\n`);
  });

  it('gives an empty stdin that has ended', async () => {
    expect((await bash('cat')).document).toMatchObject({ return_code: 0, stdout: '' });
  });

  it('stays here with auto_route false, whatever the load', async () => {
    mesh.node('origin').setFacts({ cpu_percent: 95 });
    await mesh.node('origin').sees('its own load', ({ nodes }) => nodes.some((node) => node.status === 'overloaded'));
    const away = await until('the peer answers in time', async () => {
      const { document } = await session.call('explain_route', { command: HEAVY });
      if (document['would_run_on'] !== 'peer') return null;
      const ran = await bash(HEAVY);
      return wasPassedOver(ran.document) ? null : ran;
    });
    expect(away.document).toMatchObject({ executed_on: 'peer', auto_routed: true, return_code: 0 });
    const here = await bash(HEAVY, { auto_route: false });
    expect(here.document).toMatchObject({ executed_on: 'origin', auto_routed: false });
    mesh.node('origin').setFacts({});
    await mesh.node('origin').sees('its load gone', ({ nodes }) => nodes.every((node) => node.status === 'healthy'));
  });

  it('passes on what is named and what the contract says, and nothing else', async () => {
    const line = 'echo "$LANG|$GIVEN|$SET|$SECRET|${MESHWORK_HOME-none}"';
    expect((await bash(line, { env: { SET: 'x y' } })).document['stdout']).toBe('C.UTF-8||x y||none\n');
    expect((await bash(line, { env: ['GIVEN', 'SET=1=2'] })).document['stdout']).toBe('C.UTF-8|by name|1=2||none\n');
  });

  it('ends a command after timeout_s, with its tree', async () => {
    const { document, isError } = await bash('echo before; sleep 600 & wait', { timeout_s: 6 });
    expect(isError).toBe(false);
    expect(document).toMatchObject({ reason: 'timeout', return_code: 124, stdout: 'before\n', success: false });
  });

  it('shows control characters and escape sequences, and what is not UTF-8, without harm', async () => {
    const { document, text } = await bash(String.raw`printf 'a\033[31mred\033[0m\r\nb\tc\000\377\302\233'`);
    expect(document['stdout']).toBe('a\\u001b[31mred\\u001b[0m\\u000d\nb\tc\\u0000\uFFFD\\u009b');
    expect(JSON.parse(text)).toEqual(document);
  });

  it('keeps the ends of a long output and puts all of it into a file', async () => {
    const { document, text } = await bash('seq 1 60000; seq 1 60000 >&2');
    expect(text.length).toBeLessThanOrEqual(RESULT_CHARS_MAX);
    expect(document).toMatchObject({ return_code: 0, truncated: true });
    const whole = Array.from({ length: 60_000 }, (_, at) => `${at + 1}\n`).join('');
    const notices = document['notices'] as string[];
    for (const stream of ['stdout', 'stderr']) {
      expect(document[stream]).toMatch(/^1\n2\n/);
      expect(document[stream]).toMatch(/\n59999\n60000\n$/);
      const notice = notices.find((line) => line.startsWith(stream)) ?? '';
      const path = / in (\S+) on this machine/.exec(notice)?.[1] ?? '';
      expect(path.startsWith(join(mesh.node('origin').home, 'jobs'))).toBe(true);
      expect(readFileSync(path, 'utf8')).toBe(whole);
    }
  });

  it('refuses what cannot be run, before anything runs', async () => {
    for (const [args, code] of [
      [{ command: '' }, 'bad_command'],
      [{ command: ' \n\t' }, 'bad_command'],
      [{ command: '-rf /' }, 'bad_command'],
      [{ command: 'echo \0' }, 'bad_command'],
      [{ command: `echo ${'x'.repeat(200_000)}` }, 'bad_argument'],
      [{ command: 'touch x', requires: ['tool:no-such-tool'] }, 'no_capable_node'],
      [{ command: 'touch x', requires: ['nonsense'] }, 'no_capable_node'],
      [{ command: 'touch x', requires_os: 'windows' }, 'no_capable_node'],
      [{ command: 'touch x', cwd: '/' }, 'cwd_not_allowed'],
      [{ command: 'touch x', cwd: join(folder, 'gone') }, 'cwd_missing'],
      [{ command: 'touch x', env: { 'A-B': '1' } }, 'bad_argument'],
    ] as const) {
      const { document, isError } = await session.call('cluster_bash', args);
      expect(document, JSON.stringify(args).slice(0, 80)).toMatchObject({
        reason: 'refused',
        return_code: null,
        error: { code },
      });
      expect(isError).toBe(true);
    }
    expect(existsSync(join(folder, 'x'))).toBe(false);
  });

  it('runs a command of 100 KB and one in unicode', async () => {
    const long = 'é'.repeat(45_000);
    expect((await bash(`printf %s '${long}' | wc -m`)).document['stdout']).toBe('45000\n');
    expect((await bash(`echo '日本 😀'`)).document['stdout']).toBe('日本 😀\n');
  });

  it('runs calls at the same time', async () => {
    // Each waits for the other to run.
    const commands = ['touch one; until [ -e two ]', 'touch two; until [ -e one ]'];
    const both = await Promise.all(commands.map((line) => bash(`${line}; do sleep 0.05; done`)));
    expect(both.map(({ document }) => document['return_code'])).toEqual([0, 0]);
  });

  it('tells a client that asks what is going on, and never right before the result', async () => {
    const told: { progress: number; message?: string | undefined }[] = [];
    const go = join(folder, 'told');
    const call = session.call(
      'cluster_bash',
      { command: `echo working; until [ -e ${go} ]; do sleep 0.05; done; echo ${'x'.repeat(400)}`, wait_s: 110 },
      { onprogress: ({ progress, message }) => told.push({ progress, message }) },
    );
    await until('it was told twice', () => told.filter(({ message }) => message?.includes('working')).length >= 2);
    writeFileSync(go, '');
    const { document } = await call;
    expect(document['return_code']).toBe(0);
    expect(told.every(({ message }) => (message?.length ?? 999) <= 200)).toBe(true);
    expect(told.map(({ progress }) => progress)).toEqual(
      told.map(({ progress }) => progress).toSorted((a, b) => a - b),
    );
  });
});

describe('offload_to', () => {
  it('runs on the node that is named, by its name or the start of its id', async () => {
    const named = await session.call('offload_to', { command: 'pwd', node_id: 'peer' });
    expect(named.document).toMatchObject({ executed_on: 'peer', stdout: `${folder}\n`, auto_routed: false });
    const id = String(named.document['executed_on_id']);
    const byId = await session.call('offload_to', { command: 'true', node_id: id.slice(0, 10) });
    expect(byId.document).toMatchObject({ executed_on: 'peer', return_code: 0 });
  });

  it.each(['nobody', '../etc/passwd', 'b; rm -rf /', '-oProxyCommand=touch x', ' '])('refuses %j', async (node_id) => {
    const { document, isError } = await session.call('offload_to', { command: 'touch offloaded', node_id });
    expect(isError).toBe(true);
    expect(document).toMatchObject({ reason: 'refused', error: { code: 'unknown_node' } });
  });
});

describe('parallel_execute', () => {
  it('gives results in order; one bad command spoils only its own entry', async () => {
    const commands = ['sleep 0.3; echo first', 'echo second', 'exit 4', '', 'echo "$SET"'];
    const { document, isError } = await session.call('parallel_execute', { commands, env: { SET: 'set' } });
    expect(isError).toBe(false);
    expect(document).toMatchObject({ succeeded: 3, failed: 2 });
    const results = document['results'] as Record<string, unknown>[];
    expect(results.map((entry) => entry['command'])).toEqual(commands);
    expect(results.map((entry) => entry['stdout'])).toEqual(['first\n', 'second\n', '', '', 'set\n']);
    expect(results.map((entry) => entry['return_code'])).toEqual([0, 0, 4, null, 0]);
    expect(results[3]).toMatchObject({ error: { code: 'bad_command' } });
  });

  it('runs a thousand commands in one call', async () => {
    const commands = Array.from({ length: 1000 }, (_, at) =>
      at % 250 === 249 ? `echo bad ${at} >&2; exit 1` : `echo ${at}`,
    );
    const { document, text, isError } = await session.call('parallel_execute', { commands, wait_s: 110 });
    expect(isError).toBe(false);
    expect(document).toMatchObject({ succeeded: 996, failed: 4 });
    expect(text.length).toBeLessThanOrEqual(RESULT_CHARS_MAX);
    const results = document['results'] as Record<string, unknown>[];
    const failures = results.filter((entry) => entry['return_code'] === 1);
    expect(failures.map((entry) => entry['stderr'])).toEqual([249, 499, 749, 999].map((at) => `bad ${at}\n`));
    const path = / in (\S+) on this machine/.exec((document['notices'] as string[]).join())?.[1] ?? '';
    const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { command: string }).command)).toEqual(commands);
  });

  it('refuses a whole call that makes no sense', async () => {
    for (const args of [
      {},
      { commands: [] },
      { commands: 'ls' },
      { commands: ['ls'], halt: 'now' },
      { commands: ['ls'], outputs: '*' },
    ]) {
      const { document, isError } = await session.call('parallel_execute', args);
      expect(isError).toBe(true);
      expect(document).toMatchObject({
        results: [],
        error: { code: 'bad_argument' },
      });
    }
  });
});

describe("a project's files", () => {
  it('go along, and come back with what outputs names', async () => {
    const project = join(folder, 'shipped');
    mkdirSync(project);
    writeFileSync(join(project, '.meshworkignore'), 'dist/\n');
    writeFileSync(join(project, 'in'), 'as it is now\n');
    const command = 'cp in out; mkdir dist tmp; cp in dist/p; cp in dist/q; echo > .mcp.json; pwd';
    const args = { command, node_id: 'peer', cwd: project, outputs: ['dist/p'] };
    const { document, isError } = await session.call('offload_to', args);
    expect(isError).toBe(false);
    expect(document).toMatchObject({
      return_code: 0,
      changes: { deleted: [], conflicts: [], held_back: ['.mcp.json'] },
    });
    expect(document['stdout']).toContain(mesh.node('peer').home);
    const { returned, left_there: left } = document['changes'] as { returned: string[]; left_there: unknown[] };
    expect([...returned].sort()).toEqual(expect.arrayContaining(['dist/p', 'out']));
    expect(left).toHaveLength(1);
    expect((document['notices'] as string[]).join('\n')).toMatch(
      /\.mcp\.json.*meshwork apply[^]*products stayed on peer/,
    );
    for (const path of ['out', 'dist/p']) expect(readFileSync(join(project, path), 'utf8')).toBe('as it is now\n');
    for (const path of ['dist/q', '.mcp.json']) expect(existsSync(join(project, path))).toBe(false);
  });

  it('are sent for every command of a batch, which do not see each other', async () => {
    const project = join(folder, 'batch');
    mkdirSync(project);
    writeFileSync(join(project, '.meshworkignore'), '');
    const commands = [1, 2, 3, 4].map((number) => `ls; echo ${number} > made-${number}`);
    const { document } = await session.call('parallel_execute', { commands, cwd: project });
    expect(document).toMatchObject({ succeeded: 4, failed: 0 });
    for (const number of [1, 2, 3, 4])
      expect(readFileSync(join(project, `made-${number}`), 'utf8')).toBe(`${number}\n`);
  });
});

describe('cluster_status and explain_route', () => {
  it('shows every node, this one included', async () => {
    const { document } = await session.call('cluster_status', {});
    const nodes = document['nodes'] as Record<string, unknown>[];
    expect(nodes.map(({ name }) => name).sort()).toEqual(['origin', 'peer']);
    expect(nodes.find(({ id }) => id === document['local_node'])).toMatchObject({ name: 'origin', reachable: true });
  });

  it('says where a command would run and runs nothing', async () => {
    rmSync(join(folder, 'tested'), { force: true });
    // Not HEAVY itself: that is known to be short by now, and so would stay here.
    const explain = () => session.call('explain_route', { command: `${HEAVY} --test-only` });
    // A node that does not answer within 2 s is no candidate then.
    const { document, isError } = await until('every node has answered', async () => {
      const explained = await explain();
      return /did not answer in time/.test(explained.text) ? null : explained;
    });
    expect(isError).toBe(false);
    expect(document).toMatchObject({ class: 'heavy', rejected: [], expected: { source: 'class' } });
    expect(document['candidates']).toHaveLength(2);
    expect(existsSync(join(folder, 'tested'))).toBe(false);
    expect((await session.call('explain_route', { command: 'git push' })).document['class']).toBe('bound');
  });
});
