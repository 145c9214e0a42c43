import { MeshError, messageOf } from '../../base/errors.ts';
import type { Daemon } from './daemon-connection.ts';
import { brief } from './run-report.ts';
import type { ToolParts } from './tool-parts.ts';
import type { JsonDocument, ToolResult } from './tool.ts';

/** Of an error that lists nodes or jobs. */
export const ERROR_CHARS_MAX = 8000;

/** Asks the daemon; once more where the connection was lost, since these questions change nothing. */
export async function askDaemon(
  parts: ToolParts,
  none: JsonDocument,
  ask: (daemon: Daemon) => Promise<ToolResult>,
): Promise<ToolResult> {
  try {
    try {
      return await ask(await parts.connection.daemon());
    } catch (error) {
      if (!(error instanceof MeshError && error.code === 'lost')) throw error;
      return await ask(await parts.connection.daemon());
    }
  } catch (error) {
    return failed(none, error);
  }
}

/** What a tool answers where it failed: its empty document with the error. */
export function failed(none: JsonDocument, error: unknown): ToolResult {
  const code = error instanceof MeshError ? error.code : 'internal';
  return { document: { ...none, error: { code, message: brief(messageOf(error), ERROR_CHARS_MAX) } }, isError: true };
}
