/**
 * A tool as this front knows it: plain arguments in, one JSON document out. Only sdk-server.ts knows the MCP library, so
 * that moving to another version of it is one file.
 */
export interface ToolContext {
  /** Aborted where the client cancels the request, or the whole server ends. */
  readonly signal: AbortSignal;
  /** Hands over what says, whenever it is asked, what is going on just then. */
  readonly progress: (describe: () => string) => void;
  /** What the client calls itself; '' where it says nothing. */
  readonly client: string;
}

export type JsonDocument = Readonly<Record<string, unknown>>;

export interface ToolResult {
  readonly document: JsonDocument;
  /** meshwork failed or refused; a command's own non-zero exit is not that. */
  readonly isError: boolean;
  /** A job that goes on: clients that can are given a link to it. */
  readonly job?: string;
}

export interface Tool {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  /** JSON Schema of the arguments. */
  readonly inputSchema: JsonDocument;
  /** JSON Schema of every document that `run` returns, errors included. */
  readonly outputSchema: JsonDocument;
  readonly readOnly: boolean;
  /** Whether clients that defer tools should show this one to the model from the start. */
  readonly alwaysLoad: boolean;
  /** Never throws for bad input: what cannot be done comes as a result with `isError`. */
  readonly run: (args: unknown, context: ToolContext) => Promise<ToolResult>;
}
