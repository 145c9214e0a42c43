import { describe, expect, it } from 'vitest';
import { jobTemplateOf } from '../../../../src/front/mcp/job-request.ts';
import {
  bashArguments,
  batchArguments,
  COMMANDS_MAX,
  jsonSchemaOf,
  haltOf,
  offloadArguments,
  parseArguments,
} from '../../../../src/front/mcp/tool-arguments.ts';
import { WorkingDirectory } from '../../../../src/front/mcp/working-directory.ts';
import { OUTSIDE_GIT } from './fixtures.ts';
import { PLAIN_JOB, SHIPPED } from '../../../fixtures/plain-spec.ts';

const fault = (args: unknown): string => {
  const parsed = parseArguments(bashArguments, args);
  return parsed.ok ? 'none' : `${parsed.error.code}: ${parsed.error.message}`;
};

describe('the arguments of a call', () => {
  it('are refused by name where they are unknown, missing or of another type', () => {
    expect(fault({ command: 'ls', comand: 'x' })).toBe('bad_argument: unknown argument `comand`; nothing was run');
    expect(fault({})).toBe('bad_argument: `command` is missing; nothing was run');
    expect(fault(undefined)).toContain('`command` is missing');
    expect(fault({ command: ['ls'] })).toContain('`command`: ');
    expect(fault({ command: 'ls', timeout_s: 0 })).toContain('`timeout_s`: ');
    expect(fault({ command: 'ls', requires_os: 'beos' })).toContain('`requires_os`: ');
    expect(fault({ command: 'ls', env: { A: 1 } })).toContain('`env`: give {"NAME": "value"}');
    expect(fault({ command: 'ls', auto_route: 'no' })).toContain('`auto_route`: ');
    expect(fault([])).toContain('bad_argument');
  });

  it('count null as not given, and route automatically by default', () => {
    expect(parseArguments(bashArguments, { command: 'ls', cwd: null, wait_s: null })).toEqual({
      ok: true,
      value: { command: 'ls', auto_route: true, background: false },
    });
  });

  it('take a thousand commands and more, and let one that is no string through to its own entry', () => {
    const ok = (commands: unknown[]): boolean => parseArguments(batchArguments, { commands }).ok;
    expect(ok(['ls', 7, null])).toBe(true);
    expect(ok(Array.from({ length: COMMANDS_MAX }, () => 'ls'))).toBe(true);
    expect(ok(Array.from({ length: COMMANDS_MAX + 1 }, () => 'ls'))).toBe(false);
    expect(ok([])).toBe(false);
  });

  it('are shown as closed JSON schemas without a dialect', () => {
    for (const schema of [bashArguments, offloadArguments, batchArguments]) {
      const shown = jsonSchemaOf(schema, 'input');
      expect(shown).toMatchObject({ type: 'object', additionalProperties: false });
      expect(shown).not.toHaveProperty('$schema');
      expect(shown).toMatchObject({ properties: { outputs: { type: 'array', maxItems: 64 } } });
    }
    expect(jsonSchemaOf(batchArguments, 'input')).toMatchObject({
      properties: { commands: { items: { type: 'string' } } },
    });
    expect(jsonSchemaOf(bashArguments, 'input')['required']).toEqual(['command']);
  });
});

describe('halt', () => {
  it('is read as GNU parallel writes it', () => {
    expect(haltOf('now,fail=1')).toEqual({ when: 'now', failures: 1 });
    expect(haltOf('soon,fail=20')).toEqual({ when: 'soon', failures: 20 });
    expect(haltOf(undefined)).toBeNull();
    for (const halt of ['now', 'fail=1', 'now,fail=0', 'now,fail=1 ', 'never,fail=1']) {
      expect(parseArguments(batchArguments, { commands: ['ls'], halt })).toMatchObject({
        ok: false,
        error: { message: '`halt`: give "now,fail=N" or "soon,fail=N"; nothing was run' },
      });
    }
  });
});

describe('a job from the arguments', () => {
  const from = {
    directory: new WorkingDirectory(OUTSIDE_GIT, '/nobody'),
    settings: { timeoutS: 300, waitS: null, roots: [] },
    env: { LANG: 'C.UTF-8', LC_ALL: 'C', TZ: 'UTC', NODE_ENV: 'test', SECRET: 's', GIVEN: 'here', MESHWORK_HOME: '/x' },
  };
  const template = (args: Parameters<typeof jobTemplateOf>[0]) => jobTemplateOf(args, { kind: 'bash' }, from);
  const inherited = { LANG: 'C.UTF-8', LC_ALL: 'C', TZ: 'UTC', NODE_ENV: 'test' };

  it('has the defaults of the contract', async () => {
    expect(await template({})).toEqual({
      ok: true,
      value: {
        cwd: OUTSIDE_GIT,
        env: inherited,
        umask: process.umask(),
        requires: { os: null, arch: null, capabilities: [], cpus: null, memory_bytes: null },
        target: { kind: 'bash' },
        timeout_ms: 300_000,
        stdin: false,
        ...PLAIN_JOB,
        sync: SHIPPED,
        submitter: `mcp:${process.pid}`,
      },
    });
  });

  it('brings back what outputs names', async () => {
    expect(await template({ outputs: ['dist/**'] })).toMatchObject({ value: { sync: { outputs: ['dist/**'] } } });
    expect(fault({ command: 'ls', outputs: 'dist' })).toContain('`outputs`: ');
    expect(fault({ command: 'ls', outputs: [''] })).toContain('`outputs.0`: ');
  });

  it('knows the other names of platforms', async () => {
    expect(
      await template({ requires_os: 'macos', requires_arch: 'aarch64', requires: ['gpu'], timeout_s: 0.5 }),
    ).toMatchObject({
      value: { requires: { os: 'darwin', arch: 'arm64', capabilities: ['gpu'] }, timeout_ms: 500 },
    });
  });

  it('passes on the variables that are named, with a value or by name', async () => {
    expect(await template({ env: { A: '1', LANG: 'de' } })).toMatchObject({
      value: { env: { ...inherited, A: '1', LANG: 'de' } },
    });
    expect(await template({ env: ['GIVEN', 'B=x=y'] })).toMatchObject({
      value: { env: { ...inherited, GIVEN: 'here', B: 'x=y' } },
    });
  });

  it.each([[['UNSET']], [['1A=x']], [{ 'A B': 'x' }], [{ MESHWORK_JOB_ID: 'x' }], [['MESHWORK_HOME']]])(
    'refuses %j',
    async (env) => {
      expect(await template({ env })).toMatchObject({ ok: false, error: { code: 'bad_argument' } });
    },
  );
});
