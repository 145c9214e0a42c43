import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { McpSession } from '../fixtures/mcp-client.ts';
import { run } from '../fixtures/nodes.ts';

/** What MCP clients may rely on: names, arguments, shapes. A change here is a change of the contract. */
const PLACEMENT = ['cwd', 'env', 'outputs', 'requires', 'requires_arch', 'requires_os', 'timeout_s'];
const WAIT = ['background', 'wait_s'];
const ARGUMENTS: Record<string, { readonly all: readonly string[]; readonly required: readonly string[] }> = {
  cluster_bash: { all: ['auto_route', 'command', ...PLACEMENT, ...WAIT], required: ['command'] },
  cluster_status: { all: [], required: [] },
  offload_to: { all: ['command', 'node_id', ...PLACEMENT, ...WAIT], required: ['command', 'node_id'] },
  parallel_execute: { all: ['commands', 'halt', ...PLACEMENT, ...WAIT], required: ['commands'] },
  job_output: { all: ['job_id', 'max_bytes', 'offset', 'stream', 'wait_s'], required: ['job_id'] },
  job_cancel: { all: ['job_id'], required: ['job_id'] },
  job_list: { all: ['all'], required: [] },
  explain_route: { all: ['auto_route', 'command', ...PLACEMENT, ...WAIT], required: ['command'] },
};
const READ_ONLY = ['cluster_status', 'explain_route', 'job_list', 'job_output'];

let home: string;
let session: McpSession;

beforeAll(async () => {
  home = realpathSync(mkdtempSync(join(tmpdir(), 'mwc-')));
  writeFileSync(join(home, 'config.toml'), 'name = "not-in-a-schema"\nmdns = false\nlisten = "127.0.0.1:0"\n');
  session = await McpSession.start(home, home);
});

afterAll(async () => {
  // The daemon that the server started is up by the time that this is answered.
  await session.call('cluster_status', {});
  await session.close();
  await run(home, ['down']);
  rmSync(home, { recursive: true, force: true });
});

describe('the MCP server', () => {
  it('says who it is and how to use it', () => {
    expect(session.client.getServerVersion()).toMatchObject({ name: 'meshwork' });
    const instructions = session.client.getInstructions() ?? '';
    expect(instructions.length).toBeLessThan(2048);
    for (const word of [
      'cluster_bash',
      'absolute cwd',
      'does not persist',
      'notices',
      'auto_route false',
      'unknown',
      'job_output',
    ]) {
      expect(instructions).toContain(word);
    }
  });

  it('has the tools of this release and no others', async () => {
    const { tools } = await session.client.listTools();
    expect(tools.map(({ name }) => name).sort()).toEqual(Object.keys(ARGUMENTS).sort());
  });

  it('describes every tool within what clients show', async () => {
    for (const tool of (await session.client.listTools()).tools) {
      expect(tool.title, tool.name).toMatch(/\w/);
      expect(tool.description?.length, tool.name).toBeGreaterThan(100);
      expect(tool.description?.length, tool.name).toBeLessThan(2000);
      expect(tool.outputSchema, tool.name).toMatchObject({ type: 'object' });
      expect(tool.annotations?.readOnlyHint, tool.name).toBe(READ_ONLY.includes(tool.name));
    }
  });

  it('takes the arguments of the contract, and no unknown ones', async () => {
    for (const tool of (await session.client.listTools()).tools) {
      const { all, required } = ARGUMENTS[tool.name] ?? { all: [], required: [] };
      expect(Object.keys(tool.inputSchema.properties ?? {}).sort(), tool.name).toEqual([...all].sort());
      expect([...(tool.inputSchema.required ?? [])].sort(), tool.name).toEqual([...required].sort());
      expect(tool.inputSchema, tool.name).toMatchObject({ additionalProperties: false });
    }
  });

  it('names no node in a schema, and shows cluster_bash from the start', async () => {
    await session.call('cluster_status', {});
    const { tools } = await session.client.listTools();
    expect(JSON.stringify(tools)).not.toContain('not-in-a-schema');
    const bash = tools.find(({ name }) => name === 'cluster_bash');
    expect(bash).toMatchObject({ _meta: { 'anthropic/alwaysLoad': true } });
  });

  it('answers with the run object in the order of the contract, the same in both forms', async () => {
    const { document, text, isError } = await session.call('cluster_bash', {
      command: 'echo out; echo err >&2; exit 3',
    });
    expect(isError).toBe(false);
    expect(JSON.parse(text)).toEqual(document);
    expect(Object.keys(document).slice(0, 17)).toEqual(
      'notices state return_code executed_on cwd stdout stderr changes success signal reason job_id executed_on_id os arch tools route'.split(
        ' ',
      ),
    );
    expect(document).toMatchObject({
      state: 'finished',
      return_code: 3,
      stdout: 'out\n',
      stderr: 'err\n',
      success: false,
      reason: 'exited',
    });
  });

  it('knows no tools but its own', async () => {
    await expect(session.client.callTool({ name: 'apply', arguments: {} })).rejects.toThrow('Unknown tool: apply');
  });

  it('has jobs as resources', async () => {
    const { resourceTemplates } = await session.client.listResourceTemplates();
    expect(resourceTemplates.map(({ uriTemplate }) => uriTemplate)).toEqual(['meshwork://jobs/{job_id}']);
    await expect(session.client.readResource({ uri: 'file:///etc/passwd' })).rejects.toThrow('bad_argument');
  });
});
