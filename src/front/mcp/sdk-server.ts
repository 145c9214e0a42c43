import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import {
  CallToolRequestSchema,
  ErrorCode,
  ListToolsRequestSchema,
  McpError,
  type CallToolResult,
  type Tool as ListedTool,
} from '@modelcontextprotocol/sdk/types.js';
import { messageOf } from '../../base/errors.ts';
import { formatDuration, MIB } from '../../base/units.ts';
import { INSTRUCTIONS } from './instructions.ts';
import { clip, shown } from './shown-text.ts';
import type { Tool, ToolContext } from './tool.ts';

/** One message of a client: a batch of thousands of commands fits, endless lines do not. */
const MESSAGE_BYTES_MAX = 64 * MIB;
const CALLS_MAX = 128;
/** The contract says at least every 10 s. */
const PROGRESS_MS = 5000;
/** What clients show of a progress message. */
const PROGRESS_CHARS_MAX = 200;
/** The client library loses a progress message that is read together with the result: they are kept apart. */
const AFTER_PROGRESS_MS = 50;

export interface ServedTools {
  /** Settles when the client's side of the transport is gone: nothing can be said any more. */
  readonly whenClosed: Promise<void>;
  /** Aborts every call, waits for what they end, at most `waitMsMax`, and closes the transport. */
  end(waitMsMax: number): Promise<void>;
}

export interface ServeOptions {
  readonly version: string;
  readonly stdin: Readable;
  readonly stdout: Writable;
  /** Diagnostics for people; never stdout. */
  readonly warn: (text: string) => void;
}

/**
 * Serves tools over stdio with version 1 of the MCP library, the one place that knows it. Its low-level `Server` is used
 * because arguments are checked here, so that a refusal is a result that says what to do and not a protocol error.
 */
export async function serveTools(tools: readonly Tool[], options: ServeOptions): Promise<ServedTools> {
  const server = new Server(
    { name: 'meshwork', title: 'meshwork', version: options.version },
    { capabilities: { tools: {} }, instructions: INSTRUCTIONS },
  );
  const ending = new AbortController();
  const calls = new Set<Promise<CallToolResult>>();
  const byName = new Map(tools.map((tool) => [tool.name, tool]));
  server.setRequestHandler(ListToolsRequestSchema, () => ({ tools: tools.map(listed) }));
  server.setRequestHandler(CallToolRequestSchema, (request, extra) => {
    const tool = byName.get(request.params.name);
    if (tool === undefined)
      throw new McpError(ErrorCode.InvalidParams, `Unknown tool: ${clip(request.params.name, 100)}`);
    if (calls.size >= CALLS_MAX) {
      throw new McpError(ErrorCode.InvalidRequest, `more than ${CALLS_MAX} calls at once; nothing was run`);
    }
    // oxlint-disable-next-line no-underscore-dangle -- the protocol's name
    const { progressToken } = request.params._meta ?? {};
    const notify = async (message: string, progress: number): Promise<void> => {
      if (progressToken === undefined) return;
      await extra.sendNotification({ method: 'notifications/progress', params: { progressToken, progress, message } });
    };
    const signal = AbortSignal.any([extra.signal, ending.signal]);
    const call = callTool(tool, request.params.arguments, signal, progressToken === undefined ? null : notify, options);
    calls.add(call);
    return call.finally(() => calls.delete(call));
  });
  const whenClosed = new Promise<void>((resolve) => {
    // The library has these two fields and no event emitter.
    Object.assign(server, { onclose: resolve, onerror: (error: Error) => options.warn(messageOf(error)) });
  });
  await server.connect(new StdioServerTransport(options.stdin, options.stdout, { maxBufferSize: MESSAGE_BYTES_MAX }));
  return {
    whenClosed,
    end: async (waitMsMax) => {
      ending.abort();
      const timer = new AbortController();
      await Promise.race([
        Promise.allSettled(calls),
        delay(waitMsMax, undefined, { signal: timer.signal }).catch(stoppedWaiting),
      ]);
      timer.abort();
      // What has just been settled is written in the next turns of the loop.
      await delay(0);
      await server.close();
    },
  };
}

/** The wait is over early because every call has settled. */
const stoppedWaiting = (error: unknown): void => {
  if (!(error instanceof Error && error.name === 'AbortError')) throw error;
};

function listed(tool: Tool): ListedTool {
  const { name, title, description, inputSchema, outputSchema, readOnly } = tool;
  return {
    name,
    title,
    description,
    inputSchema: inputSchema as ListedTool['inputSchema'],
    outputSchema: outputSchema as ListedTool['inputSchema'],
    annotations: readOnly
      ? { title, readOnlyHint: true, openWorldHint: false }
      : { title, readOnlyHint: false, destructiveHint: true, idempotentHint: false, openWorldHint: true },
    ...(tool.alwaysLoad ? { _meta: { 'anthropic/alwaysLoad': true } } : {}),
  };
}

async function callTool(
  tool: Tool,
  args: unknown,
  signal: AbortSignal,
  notify: ((message: string, progress: number) => Promise<void>) | null,
  options: ServeOptions,
): Promise<CallToolResult> {
  const startedMs = performance.now();
  let describe = (): string => 'starting';
  let notifiedMs = Number.NEGATIVE_INFINITY;
  const tick = (): void => {
    const elapsedMs = performance.now() - startedMs;
    notifiedMs = performance.now();
    const message = clip(
      shown(`${formatDuration(elapsedMs)}, ${describe()}`.replaceAll(/\s+/g, ' ')),
      PROGRESS_CHARS_MAX,
    );
    // The value must grow with every message (MCP "Progress"): elapsed time does.
    notify?.(message, Math.round(elapsedMs)).catch((error: unknown) => options.warn(messageOf(error)));
  };
  const timer = notify === null ? null : setInterval(tick, PROGRESS_MS);
  try {
    const progress: ToolContext['progress'] = (given) => {
      describe = given;
    };
    const { document, isError } = await tool.run(args, { signal, progress });
    if (timer !== null) clearInterval(timer);
    const sinceProgressMs = performance.now() - notifiedMs;
    if (sinceProgressMs < AFTER_PROGRESS_MS) await delay(AFTER_PROGRESS_MS - sinceProgressMs);
    return {
      content: [{ type: 'text', text: JSON.stringify(document) }],
      structuredContent: { ...document },
      isError,
    };
  } finally {
    if (timer !== null) clearInterval(timer);
  }
}
