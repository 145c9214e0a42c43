import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  processesAt,
  processesNamed,
  sleepWords,
  TestMesh,
  TREE_GONE_MS_MAX,
  until,
  type Running,
  type RunOptions,
} from '../fixtures/nodes.ts';

/** However a job ends, nothing of its tree stays. */
let mesh: TestMesh;
let folder: string;

beforeAll(async () => {
  mesh = await TestMesh.start(['origin', 'peer']);
  folder = mesh.folder('ground');
});

afterAll(() => mesh.stop());

interface Tree {
  readonly words: string;
  /**
   * Its shell, a child, a grandchild in a session of its own, and a shell in between that may ignore TERM. Whoever sees one
   * of them knows that `up` was written.
   */
  readonly line: string;
}

function tree(ofTerm: 'dies' | 'deaf' = 'dies'): Tree {
  const words = sleepWords();
  const third = `${ofTerm === 'deaf' ? 'trap "" TERM; ' : ''}${words}; true`;
  return { words, line: `echo up; ${words} & (setsid ${words} &) ; bash -c '${third}' & wait` };
}

const living = ({ words }: Tree): number => processesNamed(words).filter(({ args }) => args === words).length;

const gone = (what: Tree, deadlineMs = TREE_GONE_MS_MAX): Promise<unknown> =>
  until(`no process of "${what.words}" is left`, () => processesNamed(what.words).length === 0, deadlineMs);
/** An executor waits 60 s for an origin that is gone: it may be back and go on with its job. */
const ORIGIN_AWAY_MS_MAX = 120_000;

function startJob(line: string, flags: readonly string[] = [], options: RunOptions = {}): Running {
  return mesh.node('origin').start(['run', '--on', 'peer', ...flags, '--', line], { cwd: folder, ...options });
}

async function startTree(what: Tree, flags: readonly string[] = []): Promise<Running> {
  const running = startJob(what.line, flags);
  await until('the whole tree runs', () => living(what) === 3);
  return running;
}

describe('a time limit', () => {
  it('ends `sleep & wait` with 124, says so, and leaves nothing', async () => {
    const what = tree();
    const ran = await startJob(`${what.words} & wait`, ['--timeout', '2s']).done;
    expect(ran.code).toBe(124);
    expect(ran.stderr.toString()).toMatch(/time limit/);
    await gone(what);
  });

  it('ends a tree that fled and ignores TERM', async () => {
    const what = tree('deaf');
    // Long enough for the whole tree to be there, however busy the machine is.
    const running = startJob(what.line, ['--timeout', '10s']);
    await until('the whole tree runs', () => living(what) === 3);
    const ran = await running.done;
    expect(ran.code).toBe(124);
    expect(ran.stdout.toString()).toBe('up\n');
    await gone(what);
  });

  it('is not reached by a command that ends before it', async () => {
    expect((await startJob('exit 4', ['--timeout', '30s']).done).code).toBe(4);
  });
});

describe('a signal to the CLI', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('%s ends with %i after the tree is gone', async (signal, code) => {
    const what = tree(signal === 'SIGINT' ? 'deaf' : 'dies');
    const running = await startTree(what);
    running.child.kill(signal);
    const ran = await running.done;
    // No wait here: the CLI itself has waited.
    expect(processesNamed(what.words)).toEqual([]);
    expect({ code: ran.code, signal: ran.signal }).toEqual({ code, signal: null });
  });

  it('SIGINT lets the command end in its own way: output after the signal arrives', async () => {
    const running = startJob('trap "echo cleaned; exit 0" TERM; echo ready; while :; do sleep 0.05; done');
    await until('it is ready', () => running.stdoutSoFar().toString() === 'ready\n');
    running.child.kill('SIGINT');
    const ran = await running.done;
    expect({ code: ran.code, stdout: ran.stdout.toString() }).toEqual({ code: 130, stdout: 'ready\ncleaned\n' });
  });

  it('SIGKILL of the CLI ends a tree that ignores TERM', async () => {
    const what = tree('deaf');
    const running = await startTree(what);
    running.child.kill('SIGKILL');
    await running.done;
    await gone(what);
  });

  it('with --json prints the run object all the same', async () => {
    const what = tree();
    const running = await startTree(what, ['--json']);
    running.child.kill('SIGINT');
    const ran = await running.done;
    expect(ran.code).toBe(130);
    expect(JSON.parse(ran.stdout.toString())).toMatchObject({ reason: 'cancelled', return_code: 130, stdout: 'up\n' });
    await gone(what);
  });
});

describe('what a command leaves running', () => {
  it('is ended when the command exits, and counted', async () => {
    const what = tree();
    const running = startJob(`setsid ${what.words} >/dev/null 2>&1 & ${what.words} & echo out; exit 3`);
    const ran = await running.done;
    expect({ code: ran.code, stdout: ran.stdout.toString() }).toEqual({ code: 3, stdout: 'out\n' });
    expect(ran.stderr.toString()).toMatch(/2 processes that the command left running were ended/);
    await gone(what);
  });
});

describe('a node that goes', () => {
  afterEach(async () => {
    for (const node of mesh.nodes) if (node.pid === null) await node.up();
    await mesh.linked();
  });

  it('down at the executor ends the job; the origin says that the outcome is unknown', async () => {
    const what = tree();
    const running = await startTree(what);
    await mesh.node('peer').down();
    // The submitting CLI bears the words, too, and may not have ended yet.
    expect(processesNamed(what.words).filter(({ pid }) => pid !== running.child.pid)).toEqual([]);
    const ran = await running.done;
    expect(ran.code).toBe(125);
    expect(ran.stderr.toString()).toMatch(/peer/);
  });

  it('SIGKILL of the executing daemon: the origin says so; the next one has the tree, deaf as it is, and ends it', async () => {
    const what = tree('deaf');
    const running = await startTree(what);
    await mesh.node('peer').crash();
    // The origin waits some seconds for that daemon to be back.
    const ran = await running.done;
    expect(processesNamed(what.words)).not.toEqual([]);
    await mesh.node('peer').up();
    await mesh.node('peer').down();
    await gone(what);
    expect(ran.code).toBe(125);
    expect(ran.stderr.toString()).toMatch(/\[(lost|unknown_outcome)\]/);
    expect(ran.stderr.toString()).toMatch(/may have run|unknown/);
  });

  it('SIGKILL of the submitting daemon that does not come back ends the CLI, and then the tree', async () => {
    const what = tree();
    const running = await startTree(what);
    await mesh.node('origin').crash();
    const ran = await running.done;
    await gone(what, ORIGIN_AWAY_MS_MAX);
    expect(ran.code).toBe(125);
    expect(ran.stderr.toString()).toMatch(/daemon/);
  });

  it('down at the origin ends its jobs elsewhere', async () => {
    const what = tree();
    const running = await startTree(what);
    const said = await mesh.node('origin').down();
    expect(said).toMatch(/1 jobs? ended/);
    await gone(what);
    expect((await running.done).code).toBe(125);
  });

  it('SIGKILL of the runner ends its trees, and the node goes on', async () => {
    const what = tree();
    const running = await startTree(what);
    const runner = await until('the runner is seen', () =>
      processesAt(mesh.node('peer').home).find(({ args }) => args.includes('runner.js')),
    );
    process.kill(runner.pid, 'SIGKILL');
    const ran = await running.done;
    expect(ran.code).toBe(125);
    expect(ran.stderr.toString()).toMatch(/unknown_outcome/);
    await gone(what);
    await until('the peer runs commands again', async () => (await startJob('exit 5').done).code === 5);
  });

  it('down --drain waits for the job, whose end is told', async () => {
    const running = startJob('echo up; read -r line; echo "got $line"', [], { input: 'pipe' });
    await until('it runs', () => running.stdoutSoFar().toString() === 'up\n');
    const down = mesh.node('peer').down(['--drain']);
    const refused = async (): Promise<boolean> => (await startJob('true').done).code !== 0;
    await until('the peer takes no more jobs', refused);
    running.child.stdin?.end('word\n');
    const ran = await running.done;
    expect({ code: ran.code, stdout: ran.stdout.toString() }).toEqual({ code: 0, stdout: 'up\ngot word\n' });
    await down;
  });
});
