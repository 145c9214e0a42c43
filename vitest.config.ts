import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files that take longest, mostly waiting: begun last, as their size would have it, they would run on alone. */
const FIRST = ['e2e/cli-ending.test.ts'];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isFirst = ({ moduleId }: TestSpecification): boolean => FIRST.some((name) => moduleId.endsWith(name));
    const sorted = await super.sort(files);
    return [...sorted.filter(isFirst), ...sorted.filter((file) => !isFirst(file))];
  }
}

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
    sequence: { sequencer: LongestFirst },
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
