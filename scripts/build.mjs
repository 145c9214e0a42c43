// Bundles our own code into dist/: one file per process (CLI and daemon, runner, mDNS and workspace threads) with shared chunks.
// Dependencies stay in node_modules, pinned and installed with the package, but for zod: see below.
import { build } from 'esbuild';
import { chmod, copyFile, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

/** CommonJS ones that a daemon or a thread of it loads: by `require`, see `loadsLittle`. */
const COMMON_JS = /^(?:bonjour-service|ignore|pino|reflect-metadata|systeminformation|ws)$/;

/**
 * What each daemon and thread would hold in memory for good (measured, Node.js 20): zod as a hundred modules 18 MiB, in
 * one file and without its texts in other languages 6; a CommonJS package that is imported, not required, 9 MiB for the
 * parser that finds its names.
 */
const loadsLittle = {
  name: 'loads-little',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^zod$/ }, () => ({ path: fileURLToPath(import.meta.resolve('zod')) }));
    onResolve({ filter: /^\.\.\/locales\/index\.js$/ }, () => ({ path: 'zod-locales', namespace: 'empty' }));
    onLoad({ filter: /.*/, namespace: 'empty' }, () => ({ contents: 'export {};' }));
    onResolve({ filter: COMMON_JS }, ({ path, kind }) =>
      kind === 'require-call' ? { path, external: true } : { path, namespace: 'common-js' },
    );
    onLoad({ filter: /.*/, namespace: 'common-js' }, ({ path }) => ({
      contents: `module.exports = require(${JSON.stringify(path)});`,
    }));
  },
};
/** In an ES module there is no `require` but this one. */
const REQUIRE = `import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);`;

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
  plugins: [loadsLittle],
  banner: { js: REQUIRE },
  sourcemap: false,
  chunkNames: 'chunk-[hash]',
  logLevel: 'warning',
});
await chmod('dist/cli.js', 0o755);
// What is bundled goes along with its licence.
await copyFile(new URL('LICENSE', import.meta.resolve('zod/package.json')), 'dist/LICENSE.zod');
