import { existsSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { processesAt, startProgram, TREE_GONE_MS_MAX, until, type Ran } from '../fixtures/nodes.ts';

/** What `npm pack` makes installs globally and works: with its dependencies from the registry, and nothing of the checkout. */
const PACK_MS_MAX = 120_000;
/** From a registry that may be slow. */
const INSTALL_MS_MAX = 300_000;
const folder = realpathSync(mkdtempSync(join(tmpdir(), 'mwt-')));
const home = join(folder, 'home');
const bin = join(folder, 'prefix', 'bin');
/** Node.js that runs these tests first, then what was installed; npm's own settings as they are here. */
const env: Record<string, string | undefined> = {
  PATH: [bin, dirname(process.execPath), process.env['PATH'] ?? ''].join(delimiter),
  ...Object.fromEntries(
    Object.entries(process.env).filter(([name]) => /^(npm_config_|NPM_CONFIG_|NODE_EXTRA_CA)/.test(name)),
  ),
};

const call = (program: string, args: readonly string[], timeoutMs = 60_000): Promise<Ran> =>
  startProgram(program, args, { env, cwd: folder, timeoutMs }).done;

beforeAll(async () => {
  const pack = await startProgram(
    'npm',
    ['pack', '--ignore-scripts', '--loglevel=error', '--pack-destination', folder],
    {
      env,
      cwd: process.cwd(),
      timeoutMs: PACK_MS_MAX,
    },
  ).done;
  expect(`${pack.stderr.toString()}${pack.code}`).toMatch(/0$/);
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz')) ?? '';
  const flags = ['--no-audit', '--no-fund', '--loglevel=error', '--prefix', join(folder, 'prefix')];
  const install = await call('npm', ['install', '--global', ...flags, join(folder, tarball)], INSTALL_MS_MAX);
  expect(`${install.stderr.toString()}${install.code}`).toMatch(/0$/);
}, PACK_MS_MAX + INSTALL_MS_MAX);

afterAll(async () => {
  if (existsSync(join(bin, 'mw'))) await call('mw', ['--home', home, 'down']);
  await until('nothing runs there', () => processesAt(folder).length === 0, TREE_GONE_MS_MAX);
  rmSync(folder, { recursive: true, force: true });
});

it('is both meshwork and mw', async () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  for (const name of ['meshwork', 'mw']) {
    const ran = await call(name, ['--version']);
    expect(ran.stdout.toString()).toBe(`${version}\n`);
  }
});

it('starts a daemon, runs a command, speaks MCP and goes down', async () => {
  const at = ['--home', home];
  const up = await call('meshwork', [...at, 'up', '--listen', '127.0.0.1:0', '--no-mdns']);
  expect(up.stderr.toString()).toBe('');
  expect(up.stdout.toString()).toMatch(/^started: /);
  const ran = await call('mw', [...at, 'run', '--', 'echo "from $PWD"; exit 3']);
  expect({ code: ran.code, stdout: ran.stdout.toString() }).toEqual({ code: 3, stdout: `from ${folder}\n` });
  const mcp = startProgram('meshwork', [...at, 'mcp'], { env, cwd: folder, input: 'pipe' });
  const clientInfo = { name: 'test', version: '1' };
  const params = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo };
  mcp.child.stdin?.write(`${JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params })}\n`);
  await until('it answers', () => mcp.stdoutSoFar().includes('\n'));
  mcp.child.stdin?.end();
  const [answer = ''] = (await mcp.done).stdout.toString().split('\n');
  expect(JSON.parse(answer)).toMatchObject({ id: 1, result: { serverInfo: { name: 'meshwork' } } });
  const down = await call('mw', [...at, 'down']);
  expect(down.stdout.toString()).toMatch(/^stopped/);
});
