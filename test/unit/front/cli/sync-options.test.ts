import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { addJobOptions, jobSpecOf, type JobOptions } from '../../../../src/front/cli/job-options.ts';
import { SHIPPED } from '../../../fixtures/plain-spec.ts';

/** The job that `run` with these words would submit, or its error. */
async function given(...words: string[]): Promise<unknown> {
  const program = addJobOptions(new Command().exitOverride().configureOutput({ writeErr: () => undefined }), 'run');
  try {
    await program.parseAsync(words, { from: 'user' });
    return jobSpecOf(['true'], program.opts<JobOptions>(), false);
  } catch (error) {
    return error;
  }
}

describe("how a project's files travel", () => {
  test.each<[string[], object | null]>([
    [[], SHIPPED],
    [['--no-sync'], null],
    [['--sync', '..', '--cwd', '/tmp/a/b'], { ...SHIPPED, root: '/tmp/a' }],
    [['--sync=/x'], { ...SHIPPED, root: '/x' }],
    [
      ['--out', 'build/a', 'build/b', '--clean', '--out', 'c'],
      { ...SHIPPED, outputs: ['build/a', 'build/b', 'c'], clean: true },
    ],
    [['--out', 'build/**', '--out=dist'], { ...SHIPPED, outputs: ['build/**', 'dist'] }],
    [
      ['--include', '*.pem', '--exclude', 'docs', '--exclude', '*.mp4'],
      { ...SHIPPED, include: ['*.pem'], exclude: ['docs', '*.mp4'] },
    ],
    [['--no-return', '--clean'], { ...SHIPPED, returns: false, clean: true }],
    [['--local', '--out', 'x', '--sync', '/x'], { ...SHIPPED, root: '/x', outputs: ['x'] }],
    [['--local', '--no-sync'], null],
  ])('%j', async (words, sync) => {
    expect(await given(...words)).toMatchObject({ sync });
  });

  test.each<[string[], string]>([
    [['--no-sync', '--out', 'x'], '--no-sync and --out exclude each other'],
    [['--no-sync', '--include', 'x'], '--no-sync and --include exclude each other'],
    [['--no-sync', '--exclude', 'x'], '--no-sync and --exclude exclude each other'],
    [['--no-sync', '--no-return'], '--no-sync and --no-return exclude each other'],
    [['--no-sync', '--clean'], '--no-sync and --clean exclude each other'],
    [['--no-sync', '--sync', 'x'], '--sync and --no-sync exclude each other'],
    [['--sync', 'x', '--no-sync'], '--sync and --no-sync exclude each other'],
    [['--no-return', '--out', 'x'], '--no-return and --out exclude each other'],
    [['--local', '--no-return'], '--local and --no-return exclude each other'],
    [['--local', '--clean'], '--local and --clean exclude each other'],
    [['--include', '../x'], "--include ../x: a pattern is relative to the project's root"],
    [['--exclude', 'a/../../b'], '--exclude a/../../b: a pattern'],
    [['--sync', ''], '--sync is empty'],
    [['--out', ''], '--out is empty'],
    [['--exclude', 'x'.repeat(1025)], '--exclude: a pattern has at most 1024 characters'],
    [Array.from({ length: 65 }, () => ['--out', 'x']).flat(), '--out is given 65 times: at most 64'],
  ])('%j is a bad argument, and nothing is run', async (words, message) => {
    expect(await given(...words)).toMatchObject({
      code: 'bad_argument',
      message: expect.stringMatching(/; nothing was run$/),
    });
    expect(await given(...words)).toMatchObject({ message: expect.stringContaining(message) });
  });
});
