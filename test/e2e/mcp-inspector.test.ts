import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLI, run, startProgram } from '../fixtures/nodes.ts';

/** A second, independent client: MCP Inspector's command line. It is no dependency: npm fetches it for this test. */
const INSPECTOR = '@modelcontextprotocol/inspector@0.15.0';
const INSTALL_MS_MAX = 200_000;

let root: string;
let home: string;
let project: string;
/** Why the inspector is not here, or null. */
let missing: string | null = null;

beforeAll(async () => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'mwi-')));
  home = join(root, 'home');
  project = join(root, 'project');
  for (const folder of [home, project]) mkdirSync(folder);
  writeFileSync(join(home, 'config.toml'), 'mdns = false\nlisten = "127.0.0.1:0"\n');
  // A package of its own, so that npm installs here and nowhere above.
  writeFileSync(join(root, 'package.json'), '{"name":"inspector-test","private":true}');
  const install = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--fetch-retries=1', INSPECTOR];
  try {
    const ran = await startProgram('npm', install, { cwd: root, timeoutMs: INSTALL_MS_MAX, env: npmSettings() }).done;
    if (ran.code !== 0) missing = ran.stderr.toString().slice(-500);
  } catch (error) {
    missing = String(error);
  }
  if (missing !== null) console.warn(`not tested with MCP Inspector, which npm could not install: ${missing}`);
});

afterAll(async () => {
  if (missing === null) await run(home, ['down']);
  rmSync(root, { recursive: true, force: true });
});

/** Registry and certificates as npm is set up here. */
function npmSettings(): Record<string, string | undefined> {
  const names = Object.keys(process.env).filter((name) =>
    /^npm_config_|_proxy$|^NODE_EXTRA_CA_CERTS$|^SSL_CERT_/i.test(name),
  );
  return Object.fromEntries(names.map((name) => [name, process.env[name]]));
}

interface Inspected {
  readonly tools?: readonly { readonly name: string }[];
  readonly isError?: boolean;
  readonly structuredContent?: Record<string, unknown>;
}

async function inspect(...args: string[]): Promise<Inspected> {
  const program = join(root, 'node_modules/.bin/mcp-inspector');
  const server = ['--cli', process.execPath, CLI, '--home', home, 'mcp'];
  const ran = await startProgram(program, [...server, ...args], { cwd: project }).done;
  if (ran.code !== 0) throw new Error(`inspector ended with ${ran.code}: ${ran.stderr}`);
  return JSON.parse(ran.stdout.toString()) as Inspected;
}

const call = (name: string, ...args: string[]): Promise<Inspected> =>
  inspect('--method', 'tools/call', '--tool-name', name, ...args.flatMap((arg) => ['--tool-arg', arg]));

describe('MCP Inspector', () => {
  it('lists and calls every tool', async (context) => {
    if (missing !== null) return context.skip(`npm could not install it: ${missing}`);
    const { tools } = await inspect('--method', 'tools/list');
    expect(tools?.map(({ name }) => name).sort()).toEqual(
      'cluster_bash cluster_status explain_route job_cancel job_list job_output offload_to parallel_execute'.split(' '),
    );
    const status = await call('cluster_status');
    const [node] = (status.structuredContent?.['nodes'] ?? []) as { name: string }[];
    const command = 'command=echo hi; exit 2';
    for (const ran of [
      await call('cluster_bash', command),
      await call('offload_to', command, `node_id=${node?.name}`),
    ]) {
      expect(ran).toMatchObject({ isError: false, structuredContent: { return_code: 2, stdout: 'hi\n' } });
    }
    const batch = await call('parallel_execute', 'commands=["echo a","exit 3"]');
    expect(batch.structuredContent).toMatchObject({ succeeded: 1, failed: 1 });
    expect((await call('explain_route', 'command=git push')).structuredContent).toMatchObject({ class: 'bound' });
    expect(await call('cluster_bash', 'command=ls', 'timeout_s=-1')).toMatchObject({ isError: true });
  });
});
