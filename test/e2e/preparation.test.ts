import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cleanEnv, TestMesh, TREE_GONE_MS_MAX, until, type StatusJson } from '../fixtures/nodes.ts';

/** Dependencies are not sent: they are made there, by the project's package manager, as often as it takes. */
let mesh: TestMesh;

beforeAll(async () => {
  mesh = await TestMesh.start(['origin', 'peer']);
});

afterAll(() => mesh.stop());

function put(root: string, files: Readonly<Record<string, string | object>>): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), typeof content === 'string' ? content : `${JSON.stringify(content, null, 2)}\n`);
  }
}

const here = (root: string, program: string, ...args: readonly string[]): string =>
  execFileSync(program, args, { cwd: root, env: cleanEnv(), encoding: 'utf8', stdio: 'pipe' });

/** A project with a dependency that needs no network, installed on this side. */
function npmProject(name: string): string {
  const root = mesh.folder(name);
  put(root, {
    '.gitignore': 'node_modules\n',
    '.npmrc': 'offline=true\naudit=false\nfund=false\nupdate-notifier=false\n',
    'package.json': { name: 'whole', version: '1.0.0', dependencies: { 'word-a': 'file:./a' } },
    'a/package.json': { name: 'word-a', version: '1.0.0' },
    'a/index.js': 'module.exports = "a";\n',
    'b/package.json': { name: 'word-b', version: '1.0.0' },
    'b/index.js': 'module.exports = "b";\n',
  });
  here(root, 'git', 'init', '-q');
  here(root, 'npm', 'install');
  expect(existsSync(join(root, 'node_modules/.package-lock.json'))).toBe(true);
  return root;
}

interface Answer {
  readonly notices: readonly string[];
  readonly return_code: number | null;
  readonly stdout: string;
  readonly executed_on: string | null;
  readonly route: string;
  readonly error?: { readonly code: string; readonly message: string };
}

async function onPeer(root: string, line: string, ...flags: readonly string[]): Promise<Answer> {
  const ran = await mesh.node('origin').run(['run', '--json', '--on', 'peer', ...flags, '--', line], { cwd: root });
  return JSON.parse(ran.stdout.toString()) as Answer;
}

const prepared = (answer: Answer): readonly string[] => answer.notices.filter((notice) => notice.includes('prepared'));

describe('node_modules', () => {
  it('appears by preparation, survives, and is made again for another lockfile and by --clean', async () => {
    const root = npmProject('npm');
    const words = 'node -p "require(\'word-a\')" && ls -a node_modules';
    const first = await onPeer(root, `${words} && touch node_modules/marker`);
    expect(first).toMatchObject({ return_code: 0, executed_on: 'peer', stdout: expect.stringMatching(/^a\n/) });
    expect(first.stdout).toContain('.package-lock.json');
    expect(prepared(first)).toEqual([expect.stringMatching(/`npm ci`/)]);

    const second = await onPeer(root, words);
    expect(second.stdout).toContain('marker');
    expect(prepared(second)).toEqual([]);

    here(root, 'npm', 'install', './b');
    const changed = await onPeer(root, `${words} && node -p "require('word-b')" && touch node_modules/marker`);
    expect(changed.stdout).toMatch(/\nb\n$/);
    expect(changed.stdout).not.toContain('marker');
    expect(prepared(changed)).toHaveLength(1);

    const clean = await onPeer(root, words, '--clean');
    expect(clean.return_code).toBe(0);
    expect(clean.stdout).not.toContain('marker');
    expect(prepared(clean)).toHaveLength(1);
  });

  it('is not made where this side has none, nor before a command that makes it', async () => {
    const root = npmProject('npm-itself');
    const itself = await onPeer(root, 'npm ci && ls node_modules');
    expect(itself).toMatchObject({ return_code: 0, stdout: expect.stringContaining('word-a') });
    expect(prepared(itself)).toEqual([]);
    rmSync(join(root, 'node_modules'), { recursive: true });
    const without = await onPeer(root, 'ls', '--clean');
    expect(without).toMatchObject({ return_code: 0, stdout: expect.not.stringContaining('node_modules') });
    expect(prepared(without)).toEqual([]);
  });
});

describe('what cannot be prepared', () => {
  it('is refused, with the output of what failed; nothing of the command has run', async () => {
    const root = npmProject('broken');
    put(root, { 'package.json': { name: 'whole', dependencies: { 'word-b': 'file:./b' } } });
    const answer = await onPeer(root, 'touch ran');
    expect(answer.return_code).toBeNull();
    expect(answer.error?.message).toMatch(/`npm ci` failed with exit code 1 after/);
    expect(answer.error?.message).toMatch(/package-lock\.json/);
    expect(existsSync(join(root, 'ran'))).toBe(false);
  });

  it('is left to another node where the package manager is missing: here, at last', async () => {
    const root = npmProject('no-npm');
    const peerTools = (status: StatusJson): string =>
      JSON.stringify(status.nodes.find(({ name }) => name === 'peer')?.['capabilities']);
    mesh.node('peer').setFacts({ tools: { make: '4', git: '2' } });
    try {
      await mesh.node('origin').sees('the peer has no npm', (status) => !peerTools(status).includes('tool:npm'));
      const named = await onPeer(root, 'ls');
      expect(named.error).toMatchObject({ code: 'needs_prepare', message: expect.stringContaining('needs npm') });
      mesh.node('origin').setFacts({ cpu_percent: 99 });
      await mesh.node('origin').sees('it is overloaded', (status) => JSON.stringify(status).includes('"overloaded"'));
      // One that is too busy to answer is passed over.
      const answer = await until('the peer has answered', async () => {
        const ran = await mesh.node('origin').run(['run', '--json', '--', 'ls node_modules'], { cwd: root });
        const end = JSON.parse(ran.stdout.toString()) as Answer;
        return end.route.includes('peer refused') ? end : null;
      });
      expect(answer).toMatchObject({
        executed_on: 'origin',
        stdout: 'word-a\n',
        route: expect.stringMatching(/peer refused: `npm ci` needs npm, which this node has not$/),
      });
    } finally {
      mesh.node('peer').setFacts({});
      mesh.node('origin').setFacts({});
      await mesh.node('origin').sees('the peer has npm again', (status) => peerTools(status).includes('tool:npm'));
    }
  });

  it('is refused where no lockfile tells how, until .meshwork.toml does', async () => {
    const root = npmProject('no-lock');
    rmSync(join(root, 'package-lock.json'));
    const answer = await onPeer(root, 'ls');
    expect(answer.error?.message).toMatch(/node_modules is ignored, so not sent.*\.meshwork\.toml/);

    put(root, { '.meshwork.toml': '[prepare]\nrun = "mkdir -p node_modules/made"\n' });
    expect(await onPeer(root, 'ls node_modules')).toMatchObject({ return_code: 0, stdout: 'made\n' });

    put(root, { '.meshwork.toml': '[prepare]\nrun = false\n' });
    expect(await onPeer(root, 'ls', '--clean')).toMatchObject({
      return_code: 0,
      stdout: expect.not.stringContaining('node_modules'),
    });

    put(root, { '.meshwork.toml': '[prepare]\nrnu = false\n' });
    expect((await onPeer(root, 'ls')).error?.message).toMatch(/prepare\.rnu is not a setting.*did you mean/);
  });
});

describe('while it is prepared', () => {
  const slow = (name: string, line: string): { readonly root: string; readonly trace: string } => {
    const root = npmProject(name);
    const trace = join(mesh.folder(`${name}-trace`), 'pids');
    put(root, { '.meshwork.toml': `[prepare]\nrun = ["echo $$ >> ${trace}", "${line}", "mkdir -p node_modules"]\n` });
    return { root, trace };
  };
  /** Of whole lines: the file is there before its first one. */
  const pids = (trace: string): string[] =>
    existsSync(trace) ? readFileSync(trace, 'utf8').split('\n').slice(0, -1) : [];
  const isGone = (pid: string): boolean => !existsSync(`/proc/${pid}`);

  it('the time limit of the command does not run', async () => {
    const { root } = slow('limit', 'sleep 10');
    const answer = await onPeer(root, 'echo done', '--timeout', '9s');
    expect(answer).toMatchObject({ return_code: 0, stdout: 'done\n' });
  });

  it('says so, and ends with all it started on Ctrl-C; the next job prepares again', async () => {
    const { root, trace } = slow('interrupted', 'echo waiting for $HOLD; [ -z \\"$HOLD\\" ] || sleep 1000');
    const args = ['run', '--on', 'peer', '--env', 'HOLD=it', '--', 'echo never'];
    const running = mesh.node('origin').start(args, { cwd: root });
    const [pid = ''] = await until('it is being prepared', () => (pids(trace).length > 0 ? pids(trace) : null));
    const jobs = async (): Promise<string> => (await mesh.node('origin').run(['jobs', '--json'])).stdout.toString();
    await until('it is said', async () => /"state": ?"preparing"/.test(await jobs()));
    running.child.kill('SIGINT');
    expect(await running.done).toMatchObject({ code: 130 });
    await until('its tree is gone', () => isGone(pid), TREE_GONE_MS_MAX);
    expect((await onPeer(root, 'echo done')).stdout).toBe('done\n');
    expect(pids(trace)).toHaveLength(2);
  });

  it('the daemon there dies: another ends what it began, and prepares again', async () => {
    const { root, trace } = slow('crash', 'x');
    // The first one hangs, and takes no notice of TERM.
    const line = `trap '' TERM; echo $$ >> ${trace}; [ $(wc -l < ${trace}) -gt 1 ] || while :; do sleep 1; done`;
    put(root, { '.meshwork.toml': `[prepare]\nrun = '''${line}'''\n` });
    const running = mesh.node('origin').start(['run', '--on', 'peer', '--', 'echo done'], { cwd: root });
    const [pid = ''] = await until('it is being prepared', () => (pids(trace).length > 0 ? pids(trace) : null));
    await mesh.node('peer').crash();
    await mesh.node('peer').up();
    expect(await running.done).toMatchObject({ code: 0, stdout: Buffer.from('done\n') });
    // A link that takes the place of another just then has it prepared once more.
    expect(pids(trace).length).toBeGreaterThanOrEqual(2);
    await until('the first one is gone', () => isGone(pid), TREE_GONE_MS_MAX);
  });
});
