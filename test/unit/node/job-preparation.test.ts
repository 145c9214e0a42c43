import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { LocalDirectories } from '../../../src/adapters/os/directories.ts';
import type { NodeProbe } from '../../../src/adapters/os/system-probe.ts';
import type { JobId, NodeId } from '../../../src/base/ids.ts';
import { classListsWith } from '../../../src/core/policy/class-lists.ts';
import type { TrustSet } from '../../../src/core/trust/trust-set.ts';
import type { Config } from '../../../src/node/config-schema.ts';
import { checkJob } from '../../../src/node/job-check.ts';
import { checkCommand, prepareJob, requiredTools, toolsHere } from '../../../src/node/job-preparation.ts';
import type { Command, CwdEvidence, JobSpec } from '../../../src/wire/job-spec.ts';
import type { JobMessageOf } from '../../../src/wire/jobs.ts';
import { temporaryFolders, writeTree } from '../../fixtures/temporary-folder.ts';
import { PLAIN_JOB } from '../../fixtures/plain-spec.ts';

const folder = temporaryFolders();
const JOB = '01ARZ3NDEKZZZZZZZZZZZZZZZZ' as JobId;
const line = (text: string): Command => ({ kind: 'line', line: text });
const argv = (...words: string[]): Command => ({ kind: 'argv', argv: words });
const requires = { os: null, arch: null, capabilities: [], cpus: null, memory_bytes: null };
const specOf = (command: Command, cwd = '/'): JobSpec => ({
  command,
  cwd,
  env: {},
  umask: 0,
  requires,
  target: { kind: 'any' },
  timeout_ms: null,
  stdin: false,
  ...PLAIN_JOB,
});
const parsed = classListsWith([] as never);
const LISTS = parsed.ok ? parsed.value : null;
const probe = { hasTool: (tool: string) => Promise.resolve(tool !== 'cargo') } as unknown as NodeProbe;
const evidence = (cwd: string): CwdEvidence => ({
  path: cwd,
  home_relative: null,
  boot_id: null,
  device: '1',
  inode: '2',
  clean_commit: null,
  git_prefix: null,
});

describe('a command', () => {
  test.each<[string, Command]>([
    ['is empty', line('')],
    ['is blank', line(' \t\n')],
    ['begins with a dash', line('--on x')],
    ['begins with a dash behind blanks', line('  -x')],
    ['is longer than a shell takes', line('é'.repeat(65_536))],
    ['has no program', argv('')],
    ['has a blank program', argv(' ', 'x')],
    ['has an option for a program', argv('-c', 'x')],
    ['has an argument that is too long', argv('echo', 'x'.repeat(131_072))],
  ])('that %s is refused before anything runs', (_what, command) => {
    expect(() => checkCommand(specOf(command))).toThrow(expect.objectContaining({ code: 'bad_command' }));
  });

  test.each<[Command]>([
    [line('true')],
    [line("'' -x")],
    [line('x'.repeat(119_000))],
    [argv('echo', '-n', '')],
    [argv('./a b')],
  ])('is taken: %j', (command) => {
    expect(() => checkCommand(specOf(command))).not.toThrow();
  });

  test('names the tools that it requires', async () => {
    expect(requiredTools({ ...requires, capabilities: ['tool:docker', 'gpu', 'tool:a:b'] })).toEqual(['docker', 'a:b']);
    expect(await toolsHere(probe, ['git', 'cargo', 'git'])).toEqual(['git']);
  });
});

test('the class of a package script is that of its words, also where the line changes into its folder first', async () => {
  if (LISTS === null) throw new Error('the default lists are good');
  const root = folder();
  writeTree(root, {
    'package.json': JSON.stringify({ scripts: { check: 'git push', 'to string': 'x' } }),
    'sub/package.json': JSON.stringify({ scripts: { check: 'tsc -p .' } }),
  });
  const asked: unknown[] = [];
  const directories = {
    evidence: (cwd: string, options?: unknown) => {
      asked.push(options);
      return Promise.resolve(evidence(cwd));
    },
  } as unknown as LocalDirectories;
  const classOf = async (text: string): Promise<string> =>
    (await prepareJob(JOB, specOf(line(text), root), { directories, lists: LISTS, probe, projects: null })).placement
      .jobClass;
  expect(await classOf('npm run check')).toBe('bound');
  expect(await classOf('cd sub && npm run check')).toBe('heavy');
  expect(await classOf(`cd ${join(root, 'sub')} && npm run check`)).toBe('heavy');
  expect(asked).toEqual([{ git: false }, { git: true }, { git: true }]);
  const copy = { ...specOf(line('true'), root), avoid: ['b'.repeat(52) as NodeId] };
  expect((await prepareJob(JOB, copy, { directories, lists: LISTS, probe, projects: null })).placement.avoid).toEqual(
    copy.avoid,
  );
  await expect(
    prepareJob(JOB, specOf(line('-x')), { directories, lists: LISTS, probe, projects: null }),
  ).rejects.toMatchObject({
    code: 'bad_command',
  });
});

describe('the executor', () => {
  const [SELF, OTHER] = ['a'.repeat(52) as NodeId, 'b'.repeat(52) as NodeId];
  const reserve = (command: Command, tools: string[]): JobMessageOf<'job.reserve'> => ({
    t: 'job.reserve',
    job: JOB,
    attempt: 1,
    dry_run: false,
    command,
    requires,
    tools,
    cwd: evidence('/srv/project/x'),
    explicit: true,
    workspace: false,
    parent: null,
  });
  const check = async (options: {
    readonly from?: NodeId;
    readonly tools?: string[];
    readonly accept?: unknown;
    readonly roles?: readonly string[];
    readonly ownRoles?: readonly string[];
    readonly cwdRoot?: string;
    readonly found?: object;
  }): Promise<readonly string[]> => {
    const members = new Map([
      [SELF, { roles: options.ownRoles ?? ['submit', 'run'] }],
      [OTHER, { roles: options.roles ?? ['submit', 'run'] }],
    ]);
    const exec = {
      mode: 'shell',
      accept: options.accept ?? 'members',
      allow: [],
      deny: ['rm'],
      cwd_root: options.cwdRoot ?? '',
    };
    const verdict = await checkJob(
      {
        self: () => SELF,
        trust: () => ({ members }) as unknown as TrustSet,
        config: { exec } as unknown as Config,
        directories: {
          resolve: () => Promise.resolve(options.found ?? { ok: true, cwd: '/srv/project/x' }),
        } as unknown as LocalDirectories,
        probe,
      },
      options.from ?? OTHER,
      reserve(line('make'), options.tools ?? ['make']),
    );
    return verdict.ok ? [] : verdict.reasons.map(({ code }) => code);
  };
  const missing = { ok: false, code: 'cwd_missing', message: 'no such directory' };

  test.each<[string, Parameters<typeof check>[0], readonly string[]]>([
    ['a member', {}, []],
    ['a member without submit', { roles: ['run'] }, ['not_accepted']],
    ['a member, having joined to submit only', { ownRoles: ['submit'] }, ['not_accepted']],
    ['a member where none is accepted', { accept: 'none' }, ['not_accepted']],
    ['a member that is listed', { accept: [OTHER] }, []],
    ['a member whose role is listed', { accept: ['run'] }, []],
    ['a member that is not listed', { accept: [SELF] }, ['not_accepted']],
    ['a tool that is not here', { tools: ['cargo'] }, ['tool_missing']],
    ['a directory in the root', { cwdRoot: '/srv/project' }, []],
    ['a directory beside the root', { cwdRoot: '/srv/pro' }, ['cwd_not_allowed']],
    ['all reasons at once', { tools: ['cargo'], found: missing }, ['tool_missing', 'cwd_missing']],
    ['itself, whatever the policy', { from: SELF, accept: 'none', cwdRoot: '/none', tools: ['cargo'] }, []],
    ['itself, but for a missing directory', { from: SELF, found: missing }, ['cwd_missing']],
  ])('judges %s', async (_what, options, reasons) => {
    expect(await check(options)).toEqual(reasons);
  });
});
