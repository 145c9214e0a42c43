import { Command } from 'commander';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { addJobOptions, jobSpecOf, type JobOptions } from '../../../../src/front/cli/job-options.ts';
import { PLAIN_JOB, SHIPPED } from '../../../fixtures/plain-spec.ts';

afterEach(() => {
  vi.unstubAllEnvs();
});

const spec = (options: JobOptions) => jobSpecOf(['true'], options, false);
const refusalOf = (act: () => unknown): unknown => {
  try {
    act();
  } catch (error) {
    return error;
  }
  return null;
};

describe("a job's options", () => {
  test.each([
    ['linux', 'linux'],
    ['darwin', 'darwin'],
    ['macos', 'darwin'],
    ['macOS', 'darwin'],
    ['windows', 'windows'],
    ['any', 'any'],
  ])('--os %s is %s', (os, meant) => {
    expect(spec({ os }).requires.os).toBe(meant);
  });

  test.each([
    ['x64', 'x64'],
    ['x86_64', 'x64'],
    ['amd64', 'x64'],
    ['AMD64', 'x64'],
    ['arm64', 'arm64'],
    ['aarch64', 'arm64'],
    ['any', 'any'],
  ])('--arch %s is %s', (arch, meant) => {
    expect(spec({ arch }).requires.arch).toBe(meant);
  });

  test('say nothing where they are not given', () => {
    expect(spec({})).toMatchObject({
      command: { kind: 'line', line: 'true' },
      cwd: process.cwd(),
      requires: { os: null, arch: null, capabilities: [], cpus: null, memory_bytes: null },
      target: { kind: 'any' },
      timeout_ms: null,
      stdin: false,
      ...PLAIN_JOB,
      sync: SHIPPED,
      submitter: `cli:${process.ppid}`,
    });
  });

  test('are taken as given', () => {
    expect(
      jobSpecOf(
        ['echo', 'a b'],
        { on: 'desk', need: ['gpu'], cpus: '2.5', mem: '1G', timeout: '90s', cwd: '/tmp/..' },
        true,
      ),
    ).toMatchObject({
      command: { kind: 'argv', argv: ['echo', 'a b'] },
      cwd: '/',
      requires: { capabilities: ['gpu'], cpus: 2.5, memory_bytes: 2 ** 30 },
      target: { kind: 'node', node: 'desk' },
      timeout_ms: 90_000,
      stdin: true,
      ...PLAIN_JOB,
      sync: SHIPPED,
      submitter: `cli:${process.ppid}`,
    });
    expect(spec({ local: true }).target).toEqual({ kind: 'local' });
    expect(spec({ retry: '3', priority: '-7', idempotent: true, merge: true, background: true })).toMatchObject({
      retries: 3,
      priority: -7,
      idempotent: true,
      merge: true,
      durable: true,
    });
  });

  test.each<[JobOptions, RegExp]>([
    [{ os: 'plan9' }, /--os plan9/],
    [{ os: 'constructor' }, /--os constructor/],
    [{ arch: '__proto__' }, /--arch __proto__/],
    [{ arch: 'riscv' }, /--arch riscv/],
    [{ cpus: '0' }, /--cpus 0/],
    [{ cpus: 'many' }, /--cpus many/],
    [{ mem: 'lots' }, /--mem/],
    [{ timeout: '0' }, /--timeout/],
    [{ local: true, on: 'x' }, /exclude each other/],
    [{ retry: '-1' }, /--retry -1: give a whole number from 0 to 10/],
    [{ retry: '1.5' }, /--retry 1.5/],
    [{ retry: '' }, /--retry/],
    [{ priority: '101' }, /--priority 101: give a whole number from -100 to 100/],
    [{ priority: 'high' }, /--priority high/],
    [{ env: ['1A=b'] }, /not a variable name/],
    [{ env: ['=b'] }, /not a variable name/],
    [{ env: ['MESHWORK_JOB_ID=x'] }, /not passed on/],
    [{ env: ['SURELY_NOT_SET_HERE'] }, /not set here/],
  ])('%j is a bad argument, and nothing is run', (options, message) => {
    const error = refusalOf(() => spec(options));
    expect(error).toMatchObject({ code: 'bad_argument', message: expect.stringMatching(message) });
    expect(error).toMatchObject({ message: expect.stringContaining('nothing was run') });
  });

  test('need a command', () => {
    expect(refusalOf(() => jobSpecOf([], {}, false))).toMatchObject({ code: 'bad_command' });
    const eaten = refusalOf(() => jobSpecOf([], { exclude: ['docs', 'make'] }, false));
    expect(eaten).toMatchObject({ code: 'bad_command', message: expect.stringContaining('--exclude take all words') });
  });

  test('pass on the variables of the contract, and those that --env names', () => {
    for (const name of ['LANG', 'LC_ALL', 'TZ', 'TERM', 'CI', 'NODE_ENV', 'SECRET', 'MINE', 'MESHWORK_HOME', 'LC_'])
      vi.stubEnv(name, `${name} here`);
    const { env } = spec({ env: ['MINE', 'GIVEN=a=b', 'TZ=UTC', 'EMPTY='] });
    expect(env).toMatchObject({ LANG: 'LANG here', LC_ALL: 'LC_ALL here', TERM: 'TERM here', CI: 'CI here' });
    expect(env).toMatchObject({ NODE_ENV: 'NODE_ENV here', MINE: 'MINE here', GIVEN: 'a=b', TZ: 'UTC', EMPTY: '' });
    for (const name of ['SECRET', 'MESHWORK_HOME', 'LC_', 'PATH', 'HOME']) expect(env).not.toHaveProperty(name);
  });
});

describe('an option of a later stage is refused by name', () => {
  const LATER = ['--trace'];
  const parse = async (kind: 'run' | 'map', words: string[]): Promise<unknown> => {
    const program = addJobOptions(new Command().exitOverride().configureOutput({ writeErr: () => undefined }), kind);
    program.argument('[command...]').action(() => undefined);
    return program.parseAsync(words, { from: 'user' }).then(
      () => null,
      (error: unknown) => error,
    );
  };
  test.each([...LATER.map((option) => ['run', option] as const), ...LATER.map((option) => ['map', option] as const)])(
    '%s %s',
    async (kind, option) => {
      const words = option.split(' ');
      for (const given of [words, words.length === 2 ? [words.join('=')] : words]) {
        const error = await parse(kind, given);
        expect(error).toMatchObject({ code: 'later_stage', message: expect.stringMatching(`^${words[0]} `) });
        expect(error).toMatchObject({ message: expect.stringContaining('nothing was run') });
      }
    },
  );

  test('and those of this stage are not', async () => {
    const now = [
      '--on',
      'n',
      '--os',
      'any',
      '--arch',
      'any',
      '--need',
      'gpu',
      '--cpus',
      '1',
      '--mem',
      '1G',
      '--timeout',
      '1s',
      '--retry',
      '2',
      '--idempotent',
      '--priority',
      '-5',
    ];
    expect(await parse('run', [...now, '--background', '--merge', '--tty'])).toBeNull();
    expect(await parse('run', [...now, '--env', 'A=b', '--cwd', '/', '--local', '--no-sync'])).toBeNull();
    expect(await parse('map', now)).toBeNull();
  });
});
