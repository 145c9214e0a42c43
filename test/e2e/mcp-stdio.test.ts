import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { McpSession, RawMcp } from '../fixtures/mcp-client.ts';
import { processesAt, run, until } from '../fixtures/nodes.ts';

/** The bare protocol, and a server that finds no daemon. */
let root: string;
let home: string;
let project: string;

beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'mws-')));
  home = join(root, 'home');
  project = join(root, 'project');
  for (const folder of [home, project]) mkdirSync(folder);
  writeFileSync(join(home, 'config.toml'), 'mdns = false\nlisten = "127.0.0.1:0"\nslots = 4\n');
});

afterEach(async () => {
  // One that is just starting has no socket yet: then there is nothing to end but in a moment.
  await until('its daemon is down', async () => {
    await run(home, ['down']);
    return processesAt(root).length === 0;
  });
  rmSync(root, { recursive: true, force: true });
});

describe('stdio', () => {
  it('carries JSON-RPC and nothing else, whatever comes in', async () => {
    const raw = new RawMcp(home, project);
    const unknown = raw.send('server/discover');
    raw.line('this is not JSON');
    raw.line('{"jsonrpc":"1.0"}');
    raw.line('[]');
    raw.line('');
    const hello = await raw.initialize();
    expect(hello.result).toMatchObject({ serverInfo: { name: 'meshwork' }, capabilities: { tools: {} } });
    expect((await raw.answer(unknown)).error?.code).toBe(-32_601);
    const answers = [
      raw.send('tools/call', {
        name: 'cluster_bash',
        arguments: { command: 'echo hello; printf "\\033[2J{}\\n" >&2' },
      }),
      raw.send('tools/call', { name: 'cluster_bash', arguments: 'ls' }),
      raw.send('tools/call', { name: 'cluster_bash', arguments: { command: {} } }),
      raw.send('tools/call', { name: 7 }),
      raw.send('tools/call', { name: 'no_such_tool', arguments: {} }),
      raw.send('tools/call', {}),
      raw.send('prompts/list'),
      raw.send('ping'),
    ];
    const [ran, ...others] = await Promise.all(answers.map((id) => raw.answer(id)));
    expect(ran?.result).toMatchObject({ isError: false, structuredContent: { stdout: 'hello\n' } });
    expect(others[1]?.result).toMatchObject({ isError: true, structuredContent: { error: { code: 'bad_argument' } } });
    for (const at of [0, 2, 3, 4, 5]) expect(others[at]?.error?.message).toMatch(/./);
    expect(others[6]?.result).toEqual({});
    raw.running.child.stdin?.end();
    const { code } = await raw.running.done;
    expect(code).toBe(0);
    expect(raw.messages().every((message) => message.id !== undefined || message.method !== undefined)).toBe(true);
  });

  it('answers what was asked before stdin ended', async () => {
    const raw = new RawMcp(home, project);
    await raw.initialize();
    // A daemon that is just starting may take longer than a server that is to end waits.
    await raw.answer(raw.send('tools/call', { name: 'cluster_status', arguments: {} }));
    const list = raw.send('tools/list');
    const status = raw.send('tools/call', { name: 'cluster_status', arguments: {} });
    raw.running.child.stdin?.end();
    const { code } = await raw.running.done;
    expect(code).toBe(0);
    expect((await raw.answer(list)).result?.['tools']).toHaveLength(8);
    expect((await raw.answer(status)).result).toMatchObject({ isError: false });
  });
});

describe('a server that finds no daemon', () => {
  it('starts one, and lists its tools meanwhile', async () => {
    const session = await McpSession.start(home, project);
    expect((await session.call('cluster_bash', { command: 'echo up' })).document['stdout']).toBe('up\n');
    await session.close();
    expect((await run(home, ['status'])).code).toBe(0);
  });

  it('says why none starts, in every call, and works once that is mended', async () => {
    writeFileSync(join(home, 'config.toml'), 'mdns = false\nlisten = "127.0.0.1:0"\nslotz = 4\n');
    const session = await McpSession.start(home, project);
    for (const name of ['cluster_bash', 'cluster_status'] as const) {
      const { document, isError } = await session.call(name, name === 'cluster_bash' ? { command: 'ls' } : {});
      expect(isError).toBe(true);
      expect(document).toMatchObject({ error: { code: 'bad_config', message: expect.stringContaining('slots') } });
    }
    writeFileSync(join(home, 'config.toml'), 'mdns = false\nlisten = "127.0.0.1:0"\n');
    expect((await session.call('cluster_bash', { command: 'echo up' })).document['stdout']).toBe('up\n');
    await session.close();
  });
});

describe('the project, and the settings', () => {
  it('is CLAUDE_PROJECT_DIR where that is set, and more by the roots of the settings', async () => {
    const other = join(root, 'other');
    const rooted = join(root, 'rooted');
    for (const folder of [other, rooted]) mkdirSync(folder);
    const settings = `mdns = false\nlisten = "127.0.0.1:0"\n[mcp]\nroots = ["${rooted}"]\n`;
    writeFileSync(join(home, 'config.toml'), settings);
    const session = await McpSession.start(home, project, { CLAUDE_PROJECT_DIR: other });
    const pwd = async (cwd?: string) => (await session.call('cluster_bash', { command: 'pwd', cwd })).document;
    expect(await pwd()).toMatchObject({ stdout: `${other}\n`, cwd: other });
    expect(await pwd(rooted)).toMatchObject({ stdout: `${rooted}\n` });
    expect(await pwd(project)).toMatchObject({ error: { code: 'cwd_not_allowed' } });
    await session.close();
  });

  it('has the time limit of the settings', async () => {
    writeFileSync(join(home, 'config.toml'), 'mdns = false\nlisten = "127.0.0.1:0"\n[mcp]\ntimeout_s = 1\n');
    const session = await McpSession.start(home, project);
    const { document } = await session.call('cluster_bash', { command: 'sleep 1000' });
    expect(document).toMatchObject({ reason: 'timeout', return_code: 124 });
    await session.close();
  });

  it('needs a cwd where git has linked work trees', async () => {
    const git = (...args: string[]): unknown =>
      execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@example.org', ...args], {
        cwd: project,
        stdio: 'pipe',
      });
    git('init', '-q');
    git('commit', '-q', '--allow-empty', '-m', 'first');
    const linked = join(root, 'linked');
    git('worktree', 'add', '-q', linked);
    const session = await McpSession.start(home, project);
    const refused = await session.call('cluster_bash', { command: 'touch never' });
    expect(refused.document).toMatchObject({ error: { code: 'worktree_ambiguous' } });
    for (const tree of [project, linked]) {
      expect(JSON.stringify(refused.document['error'])).toContain(tree);
      expect((await session.call('cluster_bash', { command: 'pwd', cwd: tree })).document['stdout']).toBe(`${tree}\n`);
    }
    await session.close();
  });
});
