#!/usr/bin/env node
import { fileURLToPath } from 'node:url';
import { runCli } from './front/cli/program.ts';
import { daemonFlagsOf, flagWords } from './front/cli/up-flags.ts';
import { VERSION } from './node/version.ts';

/** The composition root: the only file that knows every part. Parts that a command does not need are not loaded. */
const cliPath = fileURLToPath(new URL('./cli.js', import.meta.url));
const runnerPath = fileURLToPath(new URL('./runner.js', import.meta.url));
const mdnsWorkerUrl = new URL('./mdns-worker.js', import.meta.url);
const workspaceWorkerUrl = new URL('./workspace-worker.js', import.meta.url);

process.exitCode = await runCli(process.argv.slice(2), {
  version: VERSION,
  cliPath,
  runDaemon: async (home, flags) => {
    const { runDaemon } = await import('./node/daemon.ts');
    return runDaemon({
      home,
      flags: daemonFlagsOf(flags),
      flagWords: flagWords(flags),
      runnerPath,
      mdnsWorkerUrl,
      workspaceWorkerUrl,
    });
  },
  runMcp: async (home, path) => {
    const { runMcpServer } = await import('./front/mcp/server.ts');
    return runMcpServer({ home, cliPath: path, version: VERSION });
  },
});
