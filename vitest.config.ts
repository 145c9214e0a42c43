import { defineConfig } from 'vitest/config';

/** One project per suite, so that `vitest run --project unit` runs that suite alone. */
const suite = (name: string, options: { timeoutMs: number; parallel: boolean; setup?: string }) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout: options.timeoutMs,
    hookTimeout: options.timeoutMs,
    // One second, as it is usual, is short on a busy machine.
    expect: { poll: { timeout: 60_000 } },
    fileParallelism: options.parallel,
    ...(options.setup === undefined ? {} : { globalSetup: [options.setup] }),
  },
});

const BUILT = 'test/fixtures/build-once.ts';

export default defineConfig({
  test: {
    reporters: ['default'],
    projects: [
      suite('unit', { timeoutMs: 90_000, parallel: true }),
      suite('simulation', { timeoutMs: 120_000, parallel: true }),
      suite('architecture', { timeoutMs: 60_000, parallel: true }),
      suite('contract', { timeoutMs: 240_000, parallel: true, setup: BUILT }),
      suite('mesh', { timeoutMs: 240_000, parallel: true, setup: BUILT }),
      suite('netns', { timeoutMs: 300_000, parallel: true, setup: BUILT }),
      suite('e2e', { timeoutMs: 240_000, parallel: true, setup: BUILT }),
    ],
  },
});
