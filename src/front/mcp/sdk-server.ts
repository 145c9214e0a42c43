import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import {
  CallToolRequestSchema,
  ErrorCode,
  ListResourcesRequestSchema,
  ListResourceTemplatesRequestSchema,
  ListToolsRequestSchema,
  McpError,
  ReadResourceRequestSchema,
  type CallToolResult,
  type JSONRPCMessage,
  type Tool as ListedTool,
} from '@modelcontextprotocol/sdk/types.js';
import { MeshError, messageOf } from '../../base/errors.ts';
import { formatDuration, MIB } from '../../base/units.ts';
import { INSTRUCTIONS } from './instructions.ts';
import { jobResource, type JobResources } from './job-resources.ts';
import { clip, shown } from './shown-text.ts';
import type { Tool, ToolContext, ToolResult } from './tool.ts';

/** One message of a client: a batch of thousands of commands fits, endless lines do not. */
const MESSAGE_BYTES_MAX = 64 * MIB;
const CALLS_MAX = 128;
/** The contract says at least every 10 s. */
const PROGRESS_MS = 5000;
/** The first version of the protocol whose results may hold a `resource_link` (MCP 2025-06-18, "Resource Links"). */
const LINKS_SINCE = '2025-06-18';
/** MCP "Resources", error handling. */
const RESOURCE_NOT_FOUND = -32_002;
const RESOURCE_ERROR_CHARS_MAX = 2000;
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
  readonly resources: JobResources;
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
    { capabilities: { tools: {}, resources: {} }, instructions: INSTRUCTIONS },
  );
  const ending = new AbortController();
  const calls = new Set<Promise<CallToolResult>>();
  let protocol = '';
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
    const client = server.getClientVersion()?.name ?? '';
    const call = callTool(tool, request.params.arguments, {
      signal,
      client,
      notify: progressToken === undefined ? null : notify,
      takesLinks: protocol >= LINKS_SINCE,
      warn: options.warn,
    });
    calls.add(call);
    return call.finally(() => calls.delete(call));
  });
  serveResources(server, options.resources);
  const whenClosed = new Promise<void>((resolve) => {
    // The library has these two fields and no event emitter.
    Object.assign(server, { onclose: resolve, onerror: (error: Error) => options.warn(messageOf(error)) });
  });
  const transport = new StdioServerTransport(options.stdin, options.stdout, { maxBufferSize: MESSAGE_BYTES_MAX });
  // The library keeps what both sides speak to itself; it hands every message to this one first.
  Object.assign(transport, {
    onmessage: (message: JSONRPCMessage) => {
      protocol = protocolOf(message) ?? protocol;
    },
  });
  await server.connect(transport);
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

/** What the client says in its hello; a later one than the library's is answered with the library's, which has links. */
function protocolOf(message: JSONRPCMessage): string | null {
  if (!('method' in message) || message.method !== 'initialize') return null;
  const version = message.params?.['protocolVersion'];
  return typeof version === 'string' ? version : null;
}

/** Jobs as resources. What cannot be read is a protocol error: there is no other way to say it. */
function serveResources(server: Server, resources: JobResources): void {
  const answer = async <T>(ask: () => Promise<T>): Promise<T> => {
    try {
      return await ask();
    } catch (error) {
      const code = error instanceof MeshError ? error.code : 'internal';
      const text = clip(shown(`${code}: ${messageOf(error)}`), RESOURCE_ERROR_CHARS_MAX);
      throw new McpError(code.startsWith('job_') ? RESOURCE_NOT_FOUND : ErrorCode.InternalError, text);
    }
  };
  server.setRequestHandler(ListResourcesRequestSchema, () =>
    answer(async () => ({
      resources: (await resources.list()).map((resource) => ({ ...resource, mimeType: 'application/json' })),
    })),
  );
  server.setRequestHandler(ListResourceTemplatesRequestSchema, () => ({ resourceTemplates: [resources.template] }));
  server.setRequestHandler(ReadResourceRequestSchema, ({ params: { uri } }) =>
    answer(async () => ({
      contents: [{ uri, mimeType: 'application/json', text: JSON.stringify(await resources.read(uri)) }],
    })),
  );
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

interface CallOptions {
  readonly signal: AbortSignal;
  readonly client: string;
  /** Null where the client asked for no progress. */
  readonly notify: ((message: string, progress: number) => Promise<void>) | null;
  readonly takesLinks: boolean;
  readonly warn: (text: string) => void;
}

async function callTool(tool: Tool, args: unknown, options: CallOptions): Promise<CallToolResult> {
  const { signal, client, notify } = options;
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
    const result = await tool.run(args, { signal, progress, client });
    if (timer !== null) clearInterval(timer);
    const sinceProgressMs = performance.now() - notifiedMs;
    if (sinceProgressMs < AFTER_PROGRESS_MS) await delay(AFTER_PROGRESS_MS - sinceProgressMs);
    return answered(result, options.takesLinks);
  } finally {
    if (timer !== null) clearInterval(timer);
  }
}

/** Both forms hold the same; the link comes last, so that a client that reads one text only reads the result. */
function answered({ document, isError, job }: ToolResult, takesLinks: boolean): CallToolResult {
  const text = { type: 'text', text: JSON.stringify(document) } as const;
  const links =
    job === undefined || !takesLinks
      ? []
      : [{ type: 'resource_link', ...jobResource(job), mimeType: 'application/json' } as const];
  return { content: [text, ...links], structuredContent: { ...document }, isError };
}
