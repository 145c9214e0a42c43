import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  sleepWords,
  startProgram,
  TestMesh,
  until,
  type Running,
  type RunOptions,
  type TestFacts,
  type TestNode,
} from '../fixtures/nodes.ts';

/** Where commands go in a mesh of real daemons, as told by `run --json` and `explain --json`. */
let mesh: TestMesh;
let folder: string;
const node = (name: string): TestNode => mesh.node(name);
const NAMES = ['origin', 'calm', 'busy'] as const;

/** Equal machines: what each says of itself is set, so that the machine that runs the test does not matter. */
const TOOLS = { bash: '5.2.15', sh: '', make: '4.3', node: '20.19.5', npm: '10.8.2', python3: '3.11.2', git: '2.39.5' };
const EQUAL: TestFacts = { cores: 4, tools: TOOLS };

interface RunJson {
  readonly executed_on: string | null;
  readonly route: string;
  readonly auto_routed: boolean;
  readonly tools: Record<string, unknown>;
  readonly reason: string;
  readonly cwd: string;
  readonly queue_ms: number;
  readonly error?: { readonly code: string; readonly message: string };
}

interface ExplainJson {
  readonly class: string;
  readonly class_reason: string;
  readonly would_run_on: string | null;
  readonly route: string;
  readonly candidates: readonly { readonly name: string }[];
  readonly rejected: readonly { readonly name: string; readonly reasons: readonly { code: string; text: string }[] }[];
}

beforeAll(async () => {
  mesh = await TestMesh.start(NAMES, {
    facts: Object.fromEntries(NAMES.map((name) => [name, EQUAL])),
    upFlags: Object.fromEntries(NAMES.map((name) => [name, ['--slots', '8']])),
  });
  folder = mesh.folder('project');
  writeFileSync(join(folder, 'Makefile'), 'all:\n\t@echo made\n');
});

afterAll(() => mesh.stop());

/** Sets the facts of every node, and waits until the origin has heard them. */
async function setFacts(facts: Readonly<Partial<Record<(typeof NAMES)[number], TestFacts>>>): Promise<void> {
  const wanted = NAMES.map((name) => ({ name, facts: { cpu_percent: 1, labels: {}, ...EQUAL, ...facts[name] } }));
  for (const each of wanted) node(each.name).setFacts(each.facts);
  await node('origin').sees('the facts', ({ nodes }) =>
    wanted.every(({ name, facts: { cpu_percent: cpu, os = 'linux', tools = TOOLS, labels } }) => {
      const row = nodes.find((one) => one.name === name);
      const names = Object.keys(tools).map((tool) => `tool:${tool}`);
      const capabilities = (row?.['capabilities'] as string[] | undefined)?.filter((one) => one.startsWith('tool:'));
      return (
        row?.state === 'alive' &&
        row.reachable &&
        row.cpu_percent === cpu &&
        row['os'] === os &&
        JSON.stringify(row['labels']) === JSON.stringify(labels) &&
        capabilities?.toSorted().join() === names.toSorted().join()
      );
    }),
  );
}

async function runJson(words: readonly string[], options: RunOptions = {}): Promise<RunJson> {
  const ran = await node('origin').run(['run', '--json', ...words], { cwd: folder, ...options });
  return JSON.parse(ran.stdout.toString()) as RunJson;
}

async function explain(words: readonly string[], options: RunOptions = {}): Promise<ExplainJson> {
  const ran = await node('origin').run(['explain', '--json', ...words], { cwd: folder, ...options });
  return JSON.parse(ran.stdout.toString()) as ExplainJson;
}

/** Who is asked first and says nothing for so long, as on a machine with too much to do, is passed over (RESERVE_TIMEOUT_MS). */
const SILENT_MS = 2000;
const wasPassedOver = ({ queue_ms: waitedMs }: RunJson): boolean => waitedMs >= SILENT_MS;

function expectOn(name: string, ran: RunJson): void {
  if (!wasPassedOver(ran)) expect(ran.executed_on).toBe(name);
}

const reasonsAgainst = (report: ExplainJson, name: string): string =>
  report.rejected
    .find((one) => one.name === name)
    ?.reasons.map(({ text }) => text)
    .join('; ') ?? '';

/** Goes on once so many of them run, however long it takes to start them. */
function untilAllRun(count: number): string {
  const marks = mkdtempSync(join(mesh.folder('marks'), 'm-'));
  // Whoever comes last sees all, and lets all go on.
  const last = `if [ $(ls ${marks} | wc -l) -ge ${count} ]; then touch ${marks}.go; fi`;
  return `make && touch ${marks}/$$ && ${last} && until [ -e ${marks}.go ]; do sleep 0.2; done && true`;
}

/** Where each of many heavy commands ran, through one `map`. */
async function spread(count: number, flags: readonly string[] = [], command = 'make'): Promise<Record<string, number>> {
  const args = Array.from({ length: count }, () => 'all');
  const ran = await node('origin').run(['map', '--json', ...flags, '--', command, ':::', ...args], { cwd: folder });
  const counts: Record<string, number> = {};
  for (const line of ran.stdout.toString().trim().split('\n')) {
    const { executed_on: on } = JSON.parse(line) as RunJson;
    counts[on ?? 'nowhere'] = (counts[on ?? 'nowhere'] ?? 0) + 1;
  }
  return counts;
}

// First of all: what is known of commands that ran would count as well.
it('a calm mesh without history is filled evenly: each job belongs where the fewest run', async () => {
  await setFacts({});
  const counts: Record<string, number> = Object.fromEntries(NAMES.map((name) => [name, 0]));
  const running: Running[] = [];
  try {
    for (;;) {
      await node('origin').sees('what runs', ({ nodes }) =>
        nodes.every(({ name, jobs_running: jobs }) => jobs === counts[name]),
      );
      if (running.length === 6) break;
      // A node that is too busy to answer is no candidate at that moment.
      const { would_run_on: next } = await until('all are candidates', async () => {
        const report = await explain(['--', 'make']);
        return report.candidates.length === NAMES.length ? report : null;
      });
      const fewest = counts[next ?? ''] ?? Infinity;
      expect(fewest).toBe(Math.min(...Object.values(counts)));
      counts[next ?? ''] = fewest + 1;
      const words = ['run', '--on', next ?? '', '--', `make && ${sleepWords()}`];
      running.push(node('origin').start(words, { cwd: folder, timeoutMs: 240_000 }));
    }
    expect(counts).toEqual({ origin: 2, calm: 2, busy: 2 });
  } finally {
    // What was cancelled tells nothing of a node.
    for (const { child } of running) child.kill('SIGINT');
    for (const { done } of running) expect((await done).code).toBe(130);
  }
});

describe('load', () => {
  it('a node at 95 % processor time is avoided by at least 19 of 20 heavy commands', async () => {
    await setFacts({ busy: { cpu_percent: 95 } });
    // No more at once than the others have slots: beyond that the busy one competes as usual.
    const counts = await spread(20, ['-j', '8']);
    expect(counts['busy'] ?? 0).toBeLessThanOrEqual(1);
    expect((counts['origin'] ?? 0) + (counts['calm'] ?? 0)).toBeGreaterThanOrEqual(19);
    expect((await explain(['--', 'make'])).candidates.map(({ name }) => name).at(-1)).toBe('busy');
  });

  it('also one after the other', async () => {
    await setFacts({ busy: { cpu_percent: 95 }, origin: { cpu_percent: 95 } });
    for (let n = 0; n < 5; n++) expectOn('calm', await runJson(['--', 'make']));
  });

  it('when all are overloaded they spread as usual', async () => {
    await setFacts({ origin: { cpu_percent: 95 }, calm: { cpu_percent: 95 }, busy: { cpu_percent: 95 } });
    const counts = await spread(24, ['-j', '24'], untilAllRun(24));
    expect(Object.keys(counts).toSorted()).toEqual(NAMES.toSorted());
    for (const name of NAMES) expect(counts[name]).toBeGreaterThanOrEqual(4);
  });
});

describe('a calm mesh', () => {
  beforeEach(() => setFacts({}));

  it.each([
    ['git commit -m "fix build"', 'bound'],
    ['docker build .', 'bound'],
    ['npm i -g x', 'bound'],
    ['cd repo && make -j8', 'heavy'],
    ['FOO=1 npm test', 'heavy'],
    ['ls -la', 'light'],
    ['some-program --x', 'other'],
  ])('%s is %s', async (line, expected) => {
    const report = await explain(['--', line]);
    expect(report.class).toBe(expected);
    if (expected === 'bound') {
      expect(report.would_run_on).toBe('origin');
      expect(reasonsAgainst(report, 'calm')).toMatch(/bound commands stay here/);
    }
  });

  it('a bound command stays here though this node is overloaded, unless a node is named', async () => {
    await setFacts({ origin: { cpu_percent: 99 } });
    const line = 'git push --dry-run nowhere 2>/dev/null; true';
    const here = await runJson(['--', line]);
    expect(here).toMatchObject({ executed_on: 'origin', auto_routed: true });
    expect(here.route).toMatch(/bound, so it stays here/);
    expect(await runJson(['--on', 'calm', '--', line])).toMatchObject({ executed_on: 'calm', auto_routed: false });
  });

  it('--local runs here, overloaded or not', async () => {
    await setFacts({ origin: { cpu_percent: 99 } });
    expect(await runJson(['--local', '--', 'make'])).toMatchObject({ executed_on: 'origin', auto_routed: false });
    expect((await runJson(['--', 'make'])).executed_on).not.toBe('origin');
  });
});

describe('the same platform', () => {
  it('a node of another system is not chosen; --os any lets it in, and named it may be asked for', async () => {
    await setFacts({ origin: { cpu_percent: 95 }, calm: { os: 'darwin' }, busy: { cpu_percent: 95 } });
    const report = await explain(['--', 'make']);
    expect(reasonsAgainst(report, 'calm')).toMatch(/runs darwin, here is linux/);
    expect(report.route).toMatch(/calm not taken: runs darwin.*--os any would allow it/);
    const kept = await runJson(['--', 'make']);
    expect(kept.executed_on).not.toBe('calm');
    expect(kept.route).toMatch(/--os any/);
    expectOn('calm', await runJson(['--os', 'any', '--', 'make']));
    expect((await runJson(['--os', 'macos', '--', 'make'])).executed_on).toBe('calm');
    expect((await runJson(['--os', 'linux', '--', 'make'])).executed_on).not.toBe('calm');
  });

  it('a node with another major Node.js is not chosen; --os any shows both versions', async () => {
    const older = { tools: { ...TOOLS, node: '18.20.4' } };
    await setFacts({ origin: { cpu_percent: 95 }, calm: older, busy: { cpu_percent: 95 } });
    const report = await explain(['--', 'node --test']);
    expect(reasonsAgainst(report, 'calm')).toMatch(/has node 18\.20\.4, here is 20\.19\.5/);
    const kept = await runJson(['--', 'node --test']);
    expect(kept.executed_on).not.toBe('calm');
    expect(kept.route).toMatch(/calm not taken: has node 18/);
    const relaxed = await runJson(['--os', 'any', '--', 'node --test']);
    expectOn('calm', relaxed);
    if (relaxed.executed_on === 'calm') {
      expect(relaxed.tools).toEqual({ node: { here: '20.19.5', there: '18.20.4' } });
    }
    // A command that does not use Node.js is not concerned.
    expectOn('calm', await runJson(['--', 'make']));
  });

  it('a tool that a node lacks is a reason against it, and a stated one binds', async () => {
    const bare = { tools: { bash: '5.2.15', sh: '', git: '2.39.5' } };
    await setFacts({ origin: { cpu_percent: 95 }, calm: bare, busy: { cpu_percent: 95 } });
    expect(reasonsAgainst(await explain(['--', 'make']), 'calm')).toMatch(/has no make/);
    const refused = await runJson(['--on', 'calm', '--', 'make']);
    expect(refused).toMatchObject({ executed_on: null, reason: 'refused', error: { code: 'no_capable_node' } });
    expect(refused.error?.message).toMatch(/calm: has no make/);
    expect((await runJson(['--need', 'tool:make', '--', 'true'])).executed_on).not.toBe('calm');
  });

  it('a label decides', async () => {
    await setFacts({ calm: { labels: { room: 'cellar' } }, busy: { cpu_percent: 95, labels: { room: 'attic' } } });
    expect((await runJson(['--need', 'label:room=attic', '--', 'true'])).executed_on).toBe('busy');
    expect((await runJson(['--need', 'label:room=cellar', '--need', 'tool:make', '--', 'true'])).executed_on).toBe(
      'calm',
    );
  });
});

/** Another machine has other files at the same paths: here, a daemon in a mount namespace of its own. */
const unshared = spawnSync('bash', ['-c', 'unshare --mount mount -t tmpfs none /mnt']);
const whyNot = unshared.status === 0 ? '' : ` (skipped: no mount namespace here: ${String(unshared.stderr).trim()})`;
if (whyNot !== '') process.stderr.write(`other files at the same path${whyNot}\n`);

describe.skipIf(whyNot !== '')(`other files at the same path${whyNot}`, () => {
  let base = '';
  let checkout = '';
  let plain = '';
  let two: TestMesh;

  beforeAll(async () => {
    base = realpathSync(mkdtempSync(join(tmpdir(), 'mwt-files-')));
    [checkout, plain] = [join(base, 'checkout'), join(base, 'plain')];
    const bare = join(base, 'bare.git');
    const script = `set -e; export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@t
      git init -q seed; cd seed; printf 'all:\\n\\t@echo made\\n' > Makefile; git add .; git commit -qm one; cd ..
      git clone -q --bare seed bare.git; git clone -q bare.git checkout; mkdir plain`;
    const made = await startProgram('bash', ['-c', script], { cwd: base }).done;
    expect(made.stderr.toString()).toBe('');
    const elsewhere = `mount -t tmpfs none ${checkout} && mount -t tmpfs none ${plain} && git clone -q ${bare} ${checkout} && exec "$@"`;
    two = await TestMesh.start(['near', 'far'], {
      facts: { near: { ...EQUAL, cpu_percent: 95 }, far: EQUAL },
      upFlags: { near: ['--slots', '1'] },
      launcher: { far: ['unshare', '--mount', 'bash', '-c', elsewhere, 'bash'] },
    });
  });

  afterAll(async () => {
    await two.stop();
    rmSync(base, { recursive: true, force: true });
  });

  const from = async (words: readonly string[], cwd: string): Promise<RunJson> => {
    const ran = await two.node('near').run(['--json', ...words], { cwd });
    return JSON.parse(ran.stdout.toString()) as RunJson;
  };

  /** With its only slot taken: what the far one may take waits for that one's answer, however late it comes. */
  async function fromFullNode(words: readonly string[], cwd: string): Promise<RunJson> {
    const gate = join(mkdtempSync(join(base, 'gate-')), 'open');
    const line = `echo up; until [ -e ${gate} ]; do sleep 0.1; done`;
    const holder = two.node('near').start(['run', '--local', '--', line], { cwd: base });
    await until('the slot is taken', () => holder.stdoutSoFar().toString() === 'up\n');
    try {
      return await from(words, cwd);
    } finally {
      writeFileSync(gate, '');
      await holder.done;
    }
  }

  it('another directory of that name is not chosen, and route and explain say why', async () => {
    const kept = await from(['run', '--', 'make -n -f /dev/null x; true'], plain);
    expect(kept).toMatchObject({ executed_on: 'near', auto_routed: true });
    if (!wasPassedOver(kept)) expect(kept.route).toMatch(/far refused: .*director/);
    const reasons = await until('the far one answers in time', async () => {
      const ran = await two.node('near').run(['--json', 'explain', '--', 'make'], { cwd: plain });
      const text = reasonsAgainst(JSON.parse(ran.stdout.toString()) as ExplainJson, 'far');
      return text.includes('did not answer') ? null : text;
    });
    expect(reasons).toMatch(/director/);
    // Named, it runs in the directory of that name there.
    const named = await from(['run', '--on', 'far', '--', 'touch there; ls'], plain);
    expect(named).toMatchObject({ executed_on: 'far', cwd: plain });
    expect(existsSync(join(plain, 'there'))).toBe(false);
  });

  it('without a sync, two clean checkouts of one commit are as good as one; a change in either ends that', async () => {
    expect(await fromFullNode(['run', '--no-sync', '--', 'make'], checkout)).toMatchObject({
      executed_on: 'far',
      cwd: checkout,
    });
    writeFileSync(join(checkout, 'new.txt'), 'not there');
    const dirty = await from(['run', '--no-sync', '--', 'make'], checkout);
    expect(dirty).toMatchObject({ executed_on: 'near' });
    if (!wasPassedOver(dirty)) expect(dirty.route).toMatch(/far refused/);
    rmSync(join(checkout, 'new.txt'));
    expect(await fromFullNode(['run', '--no-sync', '--', 'make'], checkout)).toMatchObject({ executed_on: 'far' });
    expect((await from(['run', '--no-sync', '--on', 'far', '--', 'touch dirt-there'], checkout)).executed_on).toBe(
      'far',
    );
    expect(await from(['run', '--no-sync', '--', 'make'], checkout)).toMatchObject({ executed_on: 'near' });
  });

  it('a directory that is missing there refuses a named node', async () => {
    const gone = join(plain, 'only-here');
    mkdirSync(gone);
    const refused = await from(['run', '--on', 'far', '--', 'true'], gone);
    expect(refused).toMatchObject({ executed_on: null, error: { code: 'cwd_missing' } });
    expect(refused.error?.message).toContain(gone);
  });
});

describe('the same files', () => {
  it('a directory that is the same one may be left, and the job runs in it', async () => {
    await setFacts({ origin: { cpu_percent: 95 }, busy: { cpu_percent: 95 } });
    const deep = join(folder, 'a b', 'ü');
    mkdirSync(deep, { recursive: true });
    const ran = await runJson(['--', 'make -f ../../Makefile'], { cwd: deep });
    expect(ran).toMatchObject({ cwd: deep, auto_routed: true });
    expectOn('calm', ran);
  });
});
