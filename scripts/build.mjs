// Bundles our own code into dist/: one file per process (CLI and daemon, runner, mDNS and workspace threads) with shared chunks.
// Dependencies stay in node_modules: they are pinned and installed with the package.
import { build } from 'esbuild';
import { chmod, rm } from 'node:fs/promises';

await rm('dist', { recursive: true, force: true });
await build({
  entryPoints: {
    cli: 'src/main.ts',
    runner: 'src/runner/main.ts',
    'mdns-worker': 'src/adapters/mdns/worker.ts',
    'workspace-worker': 'src/adapters/workspace/worker.ts',
  },
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  packages: 'external',
  sourcemap: false,
  chunkNames: 'chunk-[hash]',
  logLevel: 'warning',
});
await chmod('dist/cli.js', 0o755);
