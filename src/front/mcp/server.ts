import { Console } from 'node:console';
import { join } from 'node:path';
import { messageOf } from '../../base/errors.ts';
import { shownFolder } from '../../node/api-current-folder.ts';
import { ensureDaemon, type Home } from '../../node/api-daemon.ts';
import { DaemonConnection } from './daemon-connection.ts';
import { JobResources } from './job-resources.ts';
import { jobCancel, jobList, jobOutput } from './job-tools.ts';
import { clusterStatus, explainRoute } from './mesh-tools.ts';
import { OutputFiles } from './output-files.ts';
import { parallelExecute } from './parallel-execute.ts';
import { clusterBash, offloadTo } from './run-tools.ts';
import { serveTools } from './sdk-server.ts';
import type { ToolParts } from './tool-parts.ts';
import { WorkingDirectory } from './working-directory.ts';

/** TERM, 5 s, KILL and the way back; after it the daemon ends what is left when this connection closes. */
const END_WAIT_MS_MAX = 6500;
/** What may still keep the process alive after everything was closed: a daemon that is just being started. */
const LINGER_MS_MAX = 300;

export interface McpServerOptions {
  readonly home: Home;
  /** dist/cli.js, to start the daemon where none runs. */
  readonly cliPath: string;
  readonly version: string;
}

/**
 * Serves the product's tools over stdio until the client closes stdin or a signal comes; then ends the foreground jobs.
 * Nothing but JSON-RPC is written to stdout.
 *
 * @returns the exit code
 */
export async function runMcpServer(options: McpServerOptions): Promise<number> {
  // A library that prints would break the protocol.
  globalThis.console = new Console(process.stderr, process.stderr);
  const warn = (text: string): void => {
    process.stderr.write(`meshwork: ${text}\n`);
  };
  const ended = endOfClient();
  const connection = new DaemonConnection(
    async () => {
      const { api } = await ensureDaemon(options.home, 'mcp', { cliPath: options.cliPath, flags: [] });
      return api;
    },
    { warn },
  );
  const parts: ToolParts = {
    connection,
    directory: new WorkingDirectory(projectDirectory()),
    files: new OutputFiles(join(options.home.jobs, 'mcp-output')),
    env: process.env,
    warn,
  };
  const served = await serveTools(
    [
      clusterBash(parts),
      clusterStatus(parts),
      offloadTo(parts),
      parallelExecute(parts),
      jobOutput(parts),
      jobCancel(parts),
      jobList(parts),
      explainRoute(parts),
    ],
    {
      version: options.version,
      resources: new JobResources(parts),
      stdin: process.stdin,
      stdout: process.stdout,
      warn,
    },
  );
  // The first call finds the daemon running; the client is answered meanwhile.
  connection.daemon().catch((error: unknown) => warn(messageOf(error)));
  await Promise.race([ended, served.whenClosed]);
  await served.end(END_WAIT_MS_MAX);
  connection.end();
  process.stdin.destroy();
  setTimeout(() => process.exit(0), LINGER_MS_MAX).unref();
  return 0;
}

const projectDirectory = (): string => {
  const given = process.env['CLAUDE_PROJECT_DIR'];
  return given === undefined || given === '' ? shownFolder() : given;
};

/** Settles when the client is gone or wants the end: stdin closed, stdout broken, or a signal. A second signal is obeyed at once. */
function endOfClient(): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    process.stdin
      .once('end', resolve)
      .once('close', resolve)
      .on('error', () => resolve());
    process.stdout.on('error', () => resolve());
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => {
        if (asked) process.exit(0);
        asked = true;
        resolve();
      });
    }
  });
}
