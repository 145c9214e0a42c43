import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { isJobId, type JobId, type NodeId } from '../../../src/base/ids.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { err, ok } from '../../../src/base/result.ts';
import type { AuditEntry } from '../../../src/node/audit-log.ts';
import { prepare, type PrepareContext, type PrepareRequest } from '../../../src/node/preparer.ts';
import type { DetectedFacts } from '../../../src/ports/system.ts';
import type { PrepareStep } from '../../../src/wire/workspace.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';
import { alive, BASE_ENV, makeRig, type Rig, until } from '../runner/rig.ts';

const folder = temporaryFolders();

/** Counts its runs in a file beside the project and makes node_modules. */
const NPM = `#!/bin/sh
echo "$PWD $*" >> "$LOG"
env > "$LOG.env"
echo one; printf '\\033[32mtwo\\033[0m\\n' >&2
[ "$FAIL" ] && exit "$FAIL"
[ "$HANG" ] && { echo hanging; sleep 1000 & wait; }
mkdir -p node_modules && cat package-lock.json > node_modules/.locked
exit 0
`;

const STEP: PrepareStep = {
  folder: '',
  run: 'npm ci',
  tool: 'npm',
  inputs: ['package-lock.json', 'package.json'],
  makes: ['node_modules'],
};

let rig: Rig;
beforeAll(async () => {
  rig = await makeRig();
});
afterAll(() => rig.close());

let tree: string;
let bin: string;
let log: string;
let facts: DetectedFacts;
let note: string | null;
let audited: AuditEntry[];
let hasTool: boolean;
let whenLooked: () => Promise<void>;
const running = new Set<JobId>();

beforeEach(() => {
  tree = folder();
  bin = folder();
  log = join(folder(), 'log');
  tool('npm', NPM);
  put('package-lock.json', 'first');
  facts = {
    os: 'linux',
    arch: 'x64',
    cores: 1,
    memory_bytes: 1,
    tools: { npm: '10.0.0', node: '20.0.0' },
    labels: {},
    gpus: [],
    on_battery: false,
    overridden: false,
  };
  note = null;
  audited = [];
  hasTool = true;
  whenLooked = () => Promise.resolve();
});

function tool(name: string, text: string): void {
  writeFileSync(join(bin, name), text);
  chmodSync(join(bin, name), 0o755);
}

function put(path: string, text: string): void {
  mkdirSync(dirname(join(tree, path)), { recursive: true });
  writeFileSync(join(tree, path), text);
}

const runs = (): string[] => (existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : []);

function run(
  steps: readonly PrepareStep[] = [STEP],
  request: Partial<PrepareRequest> = {},
  context: Partial<PrepareContext> = {},
) {
  const whole: PrepareRequest = {
    workspaceId: 'w',
    tree,
    steps,
    env: { ...BASE_ENV, PATH: `${bin}:${BASE_ENV['PATH']}`, LOG: log, NODE_ENV: 'production', ...request.env },
    umask: 0o022,
    user: null,
    by: 'origin' as NodeId,
    signal: new AbortController().signal,
    onProgress: () => undefined,
    ...(request.signal === undefined ? {} : { signal: request.signal }),
    ...(request.onProgress === undefined ? {} : { onProgress: request.onProgress }),
  };
  return prepare(whole, {
    runner: rig.runner,
    files: {
      digest: (_, paths) =>
        Promise.resolve(
          paths.map((path) =>
            existsSync(join(tree, path))
              ? createHash('sha256')
                  .update(readFileSync(join(tree, path)))
                  .digest('hex')
              : null,
          ),
        ),
      readNote: () => Promise.resolve(note),
      writeNote: (_, __, text) => {
        note = text;
        return Promise.resolve();
      },
    },
    probe: { facts: () => facts, whenLooked: () => whenLooked(), hasTool: () => Promise.resolve(hasTool) },
    judge: () => ok(null),
    audit: { append: (entry) => audited.push(entry), close: () => undefined },
    running,
    userName: 'me',
    log: silentLogger,
    ...context,
  });
}

async function failure(...args: Parameters<typeof run>) {
  const result = await run(...args);
  if (result.ok) throw new Error('it went well');
  return result.error;
}

describe('a step', () => {
  it('is run once, and not again while nothing changed', async () => {
    const first = await run();
    expect(first).toMatchObject({ ok: true, value: { prepared: ['node_modules'] } });
    expect(first.ok && first.value.notices).toEqual([expect.stringMatching(/^prepared there: `npm ci` \(\d/)]);
    expect(runs()).toEqual([`${tree} ci`]);
    const second = await run();
    expect(second).toMatchObject({ ok: true, value: { notices: [], prepared: ['node_modules'] } });
    expect(runs()).toHaveLength(1);
  });

  it('runs in the environment of the job, without what would make other packages of it', async () => {
    await run([STEP], { env: { HOUSE: 'x' } });
    const env = readFileSync(`${log}.env`, 'utf8').split('\n');
    expect(env).toEqual(expect.arrayContaining(['HOUSE=x', 'CI=true', `PWD=${tree}`]));
    expect(env.filter((line) => line.startsWith('NODE_ENV='))).toEqual([]);
    const cookie = env.find((line) => line.startsWith('MESHWORK_JOB_ID='))?.split('=')[1] ?? '';
    expect(isJobId(cookie)).toBe(true);
    expect(audited).toEqual([
      { event: 'start', job: cookie, attempt: 1, by: 'origin', command: 'npm ci', cwd: tree, user: 'me' },
      expect.objectContaining({ event: 'end', job: cookie, outcome: '{"kind":"exited","code":0}' }),
    ]);
  });

  it.each<[string, () => void]>([
    ['its lockfile is another', () => put('package-lock.json', 'second')],
    ['an input appears', () => put('package.json', '{}')],
    ['an input is gone', () => rmSync(join(tree, 'package-lock.json'))],
    ['what it makes is gone', () => rmSync(join(tree, 'node_modules'), { recursive: true })],
    ['the platform is another', () => (facts = { ...facts, arch: 'arm64' })],
    ['the tool is another', () => (facts = { ...facts, tools: { ...facts.tools, npm: '11.0.0' } })],
    ['what the tool runs on is another', () => (facts = { ...facts, tools: { ...facts.tools, node: '22.0.0' } })],
    ['the note is damaged', () => (note = '{"v":1,"entries":[{}]}')],
    ['the note is of another form', () => (note = '{"v":2}')],
    ['the note is torn', () => (note = '{"v":1,"ent')],
  ])('is run again where %s', async (_, change) => {
    await run();
    change();
    expect(await run()).toMatchObject({ ok: true });
    expect(runs()).toHaveLength(2);
    await run();
    expect(runs()).toHaveLength(2);
  });

  it('is not run again for a version that became known only after the node had started', async () => {
    const known = facts;
    facts = { ...facts, tools: { npm: '', node: '' } };
    whenLooked = () => {
      facts = known;
      return Promise.resolve();
    };
    await run();
    facts = known;
    await run();
    expect(runs()).toHaveLength(1);
  });

  it('is run again where a tool whose version nobody asks for is another file', async () => {
    facts = { ...facts, tools: {} };
    await run();
    await run();
    expect(runs()).toHaveLength(1);
    tool('npm', `${NPM}# another\n`);
    await run();
    expect(runs()).toHaveLength(2);
  });

  it('that makes less than there is here says so, and is not run for that every time', async () => {
    const step = { ...STEP, makes: ['node_modules', 'packages/a/node_modules'] };
    const first = await run([step]);
    expect(first.ok && first.value.notices[1]).toBe(
      '`npm ci` did not make packages/a/node_modules, which this side has',
    );
    await run([step]);
    expect(runs()).toHaveLength(1);
  });

  it('of several lines or a long one is told in short', async () => {
    const lines = ['echo one', `echo ${'x'.repeat(200)}`];
    const first = await run([{ ...STEP, run: ['set -e', ...lines].join('\n'), makes: [] }]);
    expect(first.ok && first.value.notices[0]).toMatch(/^prepared there: `echo one; echo x{80,90}…` \(/);
  });

  it('runs below its folder, after those before it', async () => {
    put('a b/package-lock.json', 'x');
    const below = { ...STEP, folder: 'a b', inputs: ['a b/package-lock.json'], makes: ['a b/node_modules'] };
    expect(await run([STEP, below])).toMatchObject({
      ok: true,
      value: { prepared: ['node_modules', 'a b/node_modules'] },
    });
    expect(runs()).toEqual([`${tree} ci`, `${tree}/a b ci`]);
    put('a b/package-lock.json', 'y');
    await run([STEP, below]);
    expect(runs()).toEqual([`${tree} ci`, `${tree}/a b ci`, `${tree}/a b ci`]);
  });

  it('is told as it begins: one that is quiet for long comes after one that was, and the origin sees it go on', async () => {
    const quiet = { ...STEP, run: 'sleep 0', tool: '', inputs: [], makes: ['none'] };
    const lines: string[] = [];
    mkdirSync(join(tree, 'b\u001b'));
    const onProgress = (line: string) => lines.push(line);
    expect(await run([quiet, { ...quiet, folder: 'b\u001b' }], { onProgress })).toMatchObject({ ok: true });
    expect(lines).toEqual(['`sleep 0`', '`sleep 0` in b\\u001b']);
  });
});

describe('an environment of Python', () => {
  const VENV = { ...STEP, run: 'mkdir -p .venv && echo x >> .venv/log', tool: 'uv', inputs: [], makes: ['.venv'] };
  const lines = (): string => readFileSync(join(tree, '.venv/log'), 'utf8');

  it('is made anew where it was made in another folder, and else brought up to date', async () => {
    put('.venv/log', 'of another folder\n');
    await run([VENV]);
    expect(lines()).toBe('x\n');
    facts = { ...facts, tools: { ...facts.tools, uv: '2' } };
    await run([VENV]);
    expect(lines()).toBe('x\nx\n');
    note = (note ?? '').replaceAll(tree, '/elsewhere');
    facts = { ...facts, tools: { ...facts.tools, uv: '3' } };
    await run([VENV]);
    expect(lines()).toBe('x\n');
  });
});

describe('a failure', () => {
  it('is told with the command, its exit code and its last lines; the next job tries again', async () => {
    await run();
    put('package-lock.json', 'second');
    const error = await failure([STEP], { env: { FAIL: '3' } });
    expect(error.code).toBe('prepare_failed');
    expect(error.message).toMatch(/^`npm ci` failed with exit code 3 after .*\none\ntwo$/);
    put('package-lock.json', 'first');
    expect(await run()).toMatchObject({ ok: true });
    expect(runs()).toHaveLength(3);
  });

  it('holds what comes after it', async () => {
    const after = { ...STEP, run: 'npm after' };
    await failure([STEP, after], { env: { FAIL: '1' } });
    expect(runs()).toEqual([`${tree} ci`]);
  });

  it('shows both ends of long output, without control characters', async () => {
    tool('npm', '#!/bin/sh\nseq 1 5000; printf "bell\\007\\n"; exit 1\n');
    const { message } = await failure();
    expect(message).toMatch(/\n1\n2\n.*\n8\n…\n4990\n.*\n5000\nbell\\u0007$/s);
    expect(message.split('\n')).toHaveLength(22);
  });

  it('leaves warnings out, unless there is nothing else', async () => {
    tool('npm', '#!/bin/sh\necho "npm warn old"; [ "$MORE" ] && echo "npm error E"; exit 1\n');
    expect((await failure([STEP], { env: { MORE: '1' } })).message).toMatch(/ after [^\n]*\nnpm error E$/);
    expect((await failure()).message).toMatch(/\nnpm warn old$/);
  });

  it('where the folder is not there', async () => {
    const error = await failure([{ ...STEP, folder: 'gone' }]);
    expect(error).toMatchObject({ code: 'prepare_failed', message: expect.stringContaining('could not be started') });
  });

  it('of this node, where the tool is missing: another may do better', async () => {
    hasTool = false;
    const error = await failure();
    expect(error).toEqual({ code: 'needs_prepare', message: '`npm ci` needs npm, which this node has not' });
    expect(runs()).toEqual([]);
  });

  it('of this node, where its policy forbids the command', async () => {
    const error = await failure([STEP], {}, { judge: () => err({ code: 'denied', text: 'no' }) });
    expect(error).toEqual({ code: 'needs_prepare', message: '`npm ci` is not run here: no' });
    expect(runs()).toEqual([]);
  });
});

describe('a running preparation', () => {
  it('tells its last line, and is ended with all it started when it is cancelled', async () => {
    const cancel = new AbortController();
    const lines: string[] = [];
    const result = failure([STEP], {
      env: { HANG: '1' },
      signal: cancel.signal,
      onProgress: (line) => lines.push(line),
    });
    await until('it tells something', () => lines.length > 1);
    await until('it runs', () => existsSync(`${log}.env`) && runs().length === 1);
    const cookie = /^MESHWORK_JOB_ID=(\w{26})$/m.exec(readFileSync(`${log}.env`, 'utf8'))?.[1] ?? '';
    if (!isJobId(cookie)) throw new Error('no cookie');
    expect([...running]).toEqual([cookie]);
    cancel.abort();
    expect(await result).toMatchObject({ code: 'prepare_failed', message: expect.stringContaining('was cancelled') });
    expect(alive(cookie)).toEqual([]);
    expect(running.size).toBe(0);
    expect(lines[0]).toBe('`npm ci`');
    expect(['one', 'two', 'hanging']).toContain(lines[1]);
    // Half made: it is made again.
    await run();
    expect(runs()).toHaveLength(2);
  });

  it('of an earlier daemon is ended before another begins, but not that of a copied folder', async () => {
    const cancel = new AbortController();
    const result = failure([STEP], { env: { HANG: '1' }, signal: cancel.signal });
    await until('it runs', () => existsSync(`${log}.env`) && runs().length === 1);
    const [cookie] = [...running];
    if (cookie === undefined) throw new Error('nothing runs');
    const begun = note;
    note = (begun ?? '').replaceAll(tree, '/elsewhere');
    await run([{ ...STEP, run: 'true', makes: [] }]);
    expect(alive(cookie).length).toBeGreaterThan(0);
    note = begun;
    expect(await run()).toMatchObject({ ok: true });
    expect(alive(cookie)).toEqual([]);
    expect((await result).message).toMatch(/was killed by|failed with exit code/);
    expect(runs()).toHaveLength(2);
  });

  it('does not begin where it is cancelled already', async () => {
    expect(await failure([STEP], { signal: AbortSignal.abort() })).toMatchObject({ code: 'prepare_failed' });
    expect(runs()).toEqual([]);
  });
});
