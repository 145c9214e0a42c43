// A real MCP client (the official SDK's) on a real `meshwork mcp`, as Claude Code would start it.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { CHECKOUT, CLI_PATH } from './loopback-mesh.mjs';

/** Without a sign of life; the server sends progress at least every 10 s. */
const SILENCE_TIMEOUT_MS = 60_000;
const CALL_TIMEOUT_MS = 280_000;

export class McpSession {
  #client = null;

  /** @returns {Promise<string[]>} the names of the tools */
  async connect(env) {
    const client = new Client({ name: 'meshwork-demo', version: '1' });
    this.#client = client;
    const transport = new StdioClientTransport({
      command: process.execPath,
      args: [CLI_PATH, 'mcp'],
      cwd: CHECKOUT,
      env: { ...env, CLAUDE_PROJECT_DIR: CHECKOUT },
      stderr: 'inherit',
    });
    await client.connect(transport);
    const { tools } = await client.listTools();
    return tools.map(({ name }) => name);
  }

  /** Calls a tool. @returns its structuredContent; throws where meshwork failed or refused */
  async call(name, args) {
    const result = await this.#client.callTool({ name, arguments: args }, undefined, {
      timeout: SILENCE_TIMEOUT_MS,
      resetTimeoutOnProgress: true,
      maxTotalTimeout: CALL_TIMEOUT_MS,
      onprogress: ({ message }) => {
        if (process.stdout.isTTY && message !== undefined) console.log(`  … ${message}`);
      },
    });
    if (result.isError === true) throw new Error(`${name}: ${result.content.map(({ text }) => text).join('\n')}`);
    return result.structuredContent;
  }

  async close() {
    const client = this.#client;
    this.#client = null;
    await client?.close();
  }
}
