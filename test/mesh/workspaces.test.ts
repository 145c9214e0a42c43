import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { finished } from '../fixtures/job-rig.ts';
import { fullMesh, IDLE, NodeSet, until, type RunEnd, type RunOptions, type TestNode } from '../fixtures/mesh-nodes.ts';
import { wasPassedOver } from '../fixtures/passed-over.ts';
import { SHIPPED } from '../fixtures/plain-spec.ts';
import { filesBelow } from '../fixtures/temporary-folder.ts';

const END_MS_MAX = 60_000;
/** Large files on a slow disk. */
const BIG_MS_MAX = 120_000;
/** Its transfer takes longer than a kill, but where this process stands still just then. */
const BIG_BYTES = 96 * 1024 * 1024;
const KILLS_MAX = 5;

const set = new NodeSet();
let nodes: readonly TestNode[] = [];
let projects = 0;
let gates = 0;

beforeAll(async () => {
  nodes = await set.mesh(['a', 'b']);
});
afterAll(() => set.close());

const node = (name: string): TestNode => set.node(name);

/** A git work tree with these files, committed. */
function project(files: Readonly<Record<string, string>>): string {
  projects += 1;
  const root = join(set.folder, `project-${projects}`);
  mkdirSync(root);
  write(root, files);
  const git = (...words: string[]) =>
    execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@example.org', ...words], {
      cwd: root,
      stdio: 'pipe',
    });
  git('init', '-q', '-b', 'main');
  git('add', '-A');
  git('commit', '-q', '-m', 'first');
  return root;
}

function write(root: string, files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}

const read = (...path: string[]): string => readFileSync(join(...path), 'utf8');

const onB = (cwd: string, more: RunOptions = {}): RunOptions => ({ on: 'b', cwd, sync: SHIPPED, ...more });

/** Of all files below a folder that only grows. */
function bytesIn(folder: string): number {
  const sizeOf = (path: string): number => statSync(join(folder, path), { throwIfNoEntry: false })?.size ?? 0;
  const sizes = existsSync(folder) ? filesBelow(folder).map(sizeOf) : [];
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** `wait` in a shell line holds until the test opens it. */
function gate() {
  gates += 1;
  const path = join(set.folder, `gate-${gates}`);
  return {
    wait: `touch ${path}.reached; while [ ! -e ${path} ]; do sleep 0.05; done`,
    reached: () => until('the command waits', END_MS_MAX, () => existsSync(`${path}.reached`)),
    open: () => writeFileSync(path, ''),
  };
}

describe('a project goes along', () => {
  it('as it is, uncommitted edits included, and what changed comes back', async () => {
    const root = project({ 'a.txt': 'one\n', 'sub/b.txt': 'two\n', 'gone.txt': 'x\n', '.gitignore': 'out/\n' });
    write(root, { 'a.txt': 'edited\n', 'new.txt': 'untracked\n' });
    chmodSync(join(root, 'sub/b.txt'), 0o755);
    const line =
      'pwd; cat a.txt new.txt sub/b.txt; git status --porcelain; echo changed >> a.txt; echo made > made.txt; rm gone.txt; mkdir out; echo o > out/o';
    const end = await node('a').run(line, onB(root));
    expect(end).toMatchObject({ reason: 'exited', return_code: 0, executed_on: 'b' });
    expect(end.out.split('\n').slice(1, 4)).toEqual(['edited', 'untracked', 'two']);
    expect(end.out.split('\n')[0]).toBe(end.cwd);
    expect(end.cwd).toContain(node('b').home);
    expect(end.out).toContain(' M a.txt');
    expect(end.changes).toMatchObject({ deleted: ['gone.txt'], conflicts: [], held_back: [] });
    expect(end.changes.returned.toSorted()).toEqual(['a.txt', 'made.txt']);
    expect(end.changes.left_there).toMatchObject([{ path: 'out', files: 1 }]);
    expect([read(root, 'a.txt'), read(root, 'made.txt')]).toEqual(['edited\nchanged\n', 'made\n']);
    expect(existsSync(join(root, 'gone.txt'))).toBe(false);
    expect(existsSync(join(root, 'out'))).toBe(false);
    expect(statSync(join(root, 'sub/b.txt')).mode & 0o777).toBe(0o755);
  });

  it('to the same folder again, where ignored products and times stay', async () => {
    const root = project({ 'a.c': 'a', 'b.c': 'b', '.gitignore': '*.o\n' });
    const build = 'for f in a b; do if [ ! -e $f.o ] || [ $f.c -nt $f.o ]; then cp $f.c $f.o; echo built $f; fi; done';
    const first = await node('a').run(build, onB(root));
    expect(first.out).toBe('built a\nbuilt b\n');
    const second = await node('a').run(build, onB(root));
    expect([second.out, second.cwd]).toEqual(['', first.cwd]);
    write(root, { 'b.c': 'other' });
    expect((await node('a').run(build, onB(root))).out).toBe('built b\n');
  });

  it('in the directory of the command, also one without files', async () => {
    const root = project({ 'deep/er/x.txt': 'x' });
    mkdirSync(join(root, 'deep/empty'));
    const end = await node('a').run('pwd; ls ..', onB(join(root, 'deep/empty')));
    expect(end.out).toMatch(/\/deep\/empty\n/);
    expect(end.out).toContain('er\n');
  });
});

describe('changes', () => {
  it('of a file that changed here meanwhile are a copy in conflicts/', async () => {
    const root = project({ 'a.txt': 'one\n' });
    const held = gate();
    const job = await node('a').submit(`echo there > a.txt; ${held.wait}`, onB(root));
    await held.reached();
    write(root, { 'a.txt': 'here\n' });
    held.open();
    const end = await job.ended;
    expect(end.changes).toMatchObject({ returned: [], conflicts: ['a.txt'] });
    expect(read(root, 'a.txt')).toBe('here\n');
    expect(read(node('a').home, 'conflicts', end.job_id, 'a.txt')).toBe('there\n');
  });

  it('of what tools trust wait for apply', async () => {
    const root = project({ 'a.txt': 'one\n' });
    const end = await node('a').run('echo evil > .envrc; echo fine > b.txt', onB(root));
    expect(end.changes).toMatchObject({ returned: ['b.txt'], held_back: ['.envrc'] });
    expect(existsSync(join(root, '.envrc'))).toBe(false);
    const applied = await (await node('a').api()).call('apply', { job: end.job_id });
    expect(applied.changes.returned).toContain('.envrc');
    expect(read(root, '.envrc')).toBe('evil\n');
    await expect((await node('a').api()).call('apply', { job: end.job_id })).rejects.toMatchObject({
      code: 'nothing_to_apply',
    });
  });

  it('of a cancelled job wait for apply', async () => {
    const root = project({ 'a.txt': 'one\n' });
    const held = gate();
    const job = await node('a').submit(`echo half > a.txt; ${held.wait}`, onB(root));
    await held.reached();
    job.cancel();
    const end = await job.ended;
    expect(end).toMatchObject({ reason: 'cancelled' });
    expect(end.notices.join()).toContain(`meshwork apply ${end.job_id}`);
    expect(read(root, 'a.txt')).toBe('one\n');
    await (await node('a').api()).call('apply', { job: end.job_id });
    expect(read(root, 'a.txt')).toBe('half\n');
  });

  it('of a job that failed come back, and its exit code', async () => {
    const root = project({ 'a.txt': 'one\n' });
    const end = await node('a').run('echo two > a.txt; exit 3', onB(root));
    expect([end.return_code, read(root, 'a.txt')]).toEqual([3, 'two\n']);
  });

  it('of two jobs at once in one project are apart', async () => {
    const root = project({ 'a.txt': 'one\n' });
    const [first, second] = [gate(), gate()];
    const jobs = await Promise.all([
      node('a').submit(`echo first > mine; ${first.wait}; cat mine`, onB(root)),
      node('a').submit(`echo second > mine; ${second.wait}; cat mine`, onB(root)),
    ]);
    await Promise.all([first.reached(), second.reached()]);
    first.open();
    second.open();
    const [one, two] = await Promise.all(jobs.map(({ ended }) => ended));
    expect([one?.out, two?.out]).toEqual(['first\n', 'second\n']);
    expect(one?.cwd).not.toBe(two?.cwd);
    const conflicts = [...(one?.changes.conflicts ?? []), ...(two?.changes.conflicts ?? [])];
    expect(conflicts).toEqual(['mine']);
  });
});

describe('daemons that are restarted while a job runs', () => {
  it('both: its changes come back', async () => {
    const root = project({ 'a.txt': 'one\n' });
    const held = gate();
    const job = await node('a').submit(`echo later > a.txt; ${held.wait}`, { ...onB(root), durable: true });
    const { job_id: id } = await job.ended;
    await held.reached();
    await Promise.all([node('a').kill(), node('b').kill()]);
    await Promise.all([node('a').up(), node('b').up()]);
    await fullMesh(nodes);
    held.open();
    const record = await finished(node('a'), id, END_MS_MAX);
    expect(record).toMatchObject({ state: 'finished', reason: 'exited', return_code: 0 });
    expect(record.changes).toMatchObject({ returned: ['a.txt'] });
    expect(read(root, 'a.txt')).toBe('later\n');
  });

  it('the one that it runs at is away at its end: its changes come back all the same', async () => {
    const root = project({ 'a.txt': 'one\n' });
    const held = gate();
    const done = join(set.folder, 'away-done');
    const line = `echo away > a.txt; ${held.wait}; touch ${done}`;
    const job = await node('a').submit(line, { ...onB(root), durable: true });
    const { job_id: id } = await job.ended;
    await held.reached();
    await node('b').kill();
    held.open();
    await until('it has come to its end', END_MS_MAX, () => existsSync(done));
    await node('b').up();
    await fullMesh(nodes);
    const record = await finished(node('a'), id, END_MS_MAX);
    expect(record).toMatchObject({ reason: 'exited', return_code: 0, changes: { returned: ['a.txt'] } });
    expect(read(root, 'a.txt')).toBe('away\n');
  });
});

describe('a daemon that is killed while changes come back', () => {
  it.each(['a', 'b'])('%s: they come back whole', async (killed) => {
    const root = project({ 'a.txt': 'one\n' });
    const line = 'head -c 40000000 /dev/urandom > big.bin; cksum < big.bin';
    const job = await node('a').submit(line, { ...onB(root), durable: true });
    const { job_id: id } = await job.ended;
    await until('changes are on their way', END_MS_MAX, async () => {
      const { state, detail } = await (await node('a').api()).call('job', { job: id });
      return (state === 'syncing' && detail.startsWith('brings')) || state === 'finished';
    });
    await node(killed).kill();
    await node(killed).up();
    await fullMesh(nodes);
    const record = await finished(node('a'), id, BIG_MS_MAX);
    expect(record).toMatchObject({ reason: 'exited', return_code: 0, changes: { returned: ['big.bin'] } });
    const sum = execFileSync('sh', ['-c', 'cksum < big.bin'], { cwd: root }).toString();
    expect((await node('b').cli('logs', id)).stdout).toBe(sum);
    expect(readdirSync(join(node('a').home, 'workspaces/changes')).filter((name) => name.startsWith(id))).toEqual([]);
  });
});

describe('automatic routing', () => {
  const automatic = (cwd: string): RunOptions => ({ target: { kind: 'bash' }, cwd, sync: SHIPPED });
  /** Longer than a node that was passed over has to have been heard of again to be asked. */
  const ASKED_AGAIN_MS = 500;

  /** Where b is too busy to answer at once, a takes the job: then it is run again, once b was heard of. */
  const answered = (line: string, root: string): Promise<RunEnd> =>
    until('b answers in time', END_MS_MAX, async () => {
      const end = await node('a').run(line, automatic(root));
      if (!wasPassedOver(end)) return end;
      const heardAfterMs = performance.now() + ASKED_AGAIN_MS;
      await until('b was heard of', END_MS_MAX, async () => {
        const ageMs = (await node('a').row(node('b')))?.age_ms ?? Infinity;
        return performance.now() - ageMs > heardAfterMs;
      });
      return undefined;
    });

  it('takes a project to the idle node, but stays here while nobody decided about a secret, or when it is too large', async () => {
    node('a').setFacts({ ...IDLE, cpu_percent: 99 });
    await until('a is overloaded', END_MS_MAX, async () => (await node('b').row(node('a')))?.status === 'overloaded');
    try {
      const root = project({ Makefile: 'all:\n\techo made > made.txt\n', '.gitignore': '.env\n' });
      expect(await answered('make', root)).toMatchObject({ executed_on: 'b', auto_routed: true });
      expect(read(root, 'made.txt')).toBe('made\n');
      write(root, { '.env': 'SECRET=1\n' });
      const undecided = await node('a').run('make', automatic(root));
      expect(undecided).toMatchObject({ executed_on: 'a' });
      expect(undecided.route).toContain('meshwork secrets send .env');
      await (await node('a').api()).call('secrets', { cwd: root, decision: 'send', files: ['.env'] });
      const sent = await answered('make; stat -c %a .env', root);
      expect(sent).toMatchObject({ executed_on: 'b' });
      expect(sent.out).toContain('600\n');
      await (await node('a').api()).call('secrets', { cwd: root, decision: 'skip', files: ['.env'] });
      const skipped = await answered('make -s && cat .env', root);
      expect(skipped).toMatchObject({ executed_on: 'b', return_code: 1 });
      expect(skipped.notices.join()).toContain('failed without .env');
    } finally {
      node('a').setFacts(IDLE);
    }
  });

  it('goes where the newest products are, until they are fetched', async () => {
    const root = project({ Makefile: 'out/x: in\n\tmkdir -p out; cp in out/x\n', in: 'x', '.gitignore': 'out/\n' });
    expect(await node('a').run('make', onB(root))).toMatchObject({ changes: { left_there: [{ path: 'out' }] } });
    const routed = await node('a').run('make -q', automatic(root));
    expect(routed).toMatchObject({ executed_on: 'b', return_code: 0 });
    expect(routed.route).toContain('out on b');
    const fetched = await node('a').run('make', { ...onB(root), sync: { ...SHIPPED, outputs: ['out/**'] } });
    expect(fetched.changes.returned).toContain('out/x');
    expect(read(root, 'out/x')).toBe('x');
  });
});

describe('a daemon that is killed while files are sent', () => {
  /** @returns whether it was killed in the middle of the transfer */
  async function isKilledBetween(killed: string): Promise<boolean> {
    const root = project({ 'a.txt': 'one\n' });
    const big = join(root, 'big.bin');
    writeFileSync(big, randomBytes(BIG_BYTES));
    const runs = `${root}.runs`;
    const stored = (): number => bytesIn(join(node('b').home, 'workspaces/store'));
    const before = stored();
    const job = await node('a').submit(`echo run >> ${runs}; cksum < big.bin`, { ...onB(root), durable: true });
    const { job_id: id } = await job.ended;
    await until('some of it is there', END_MS_MAX, () => stored() > before);
    await node(killed).kill();
    const isBetween = stored() - before < BIG_BYTES;
    await node(killed).up();
    await fullMesh(nodes);
    const record = await finished(node('a'), id, BIG_MS_MAX);
    expect(record).toMatchObject({ reason: 'exited', return_code: 0, executed_on: 'b', attempts: 1 });
    const sum = execFileSync('sh', ['-c', 'cksum < big.bin'], { cwd: root }).toString();
    expect((await node('b').cli('logs', id)).stdout).toBe(sum);
    expect(read(runs)).toBe('run\n');
    rmSync(big);
    return isBetween;
  }

  it.each(['a', 'b'])('%s: the job waits, and runs once with all of them', async (killed) => {
    let kills = 1;
    while (!(await isKilledBetween(killed))) {
      kills += 1;
      expect(kills, 'transfers that were over before the daemon was dead').toBeLessThanOrEqual(KILLS_MAX);
    }
  });
});
