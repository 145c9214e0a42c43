import type { DaemonConnection } from './daemon-connection.ts';
import type { OutputFiles } from './output-files.ts';
import type { WorkingDirectory } from './working-directory.ts';

/** What the tools share. */
export interface ToolParts {
  readonly connection: DaemonConnection;
  readonly directory: WorkingDirectory;
  readonly files: OutputFiles;
  /** Environment of this server: what the contract passes on to jobs. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Diagnostics for people, on stderr. */
  readonly warn: (text: string) => void;
}
