import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLI, processesNamed, sleepWords, startProgram, TestMesh, until, type Ran } from '../fixtures/nodes.ts';

/** Jobs that outlive their client, from three nodes; `map` with its log. */
let mesh: TestMesh;
let folder: string;
const NODES = ['origin', 'peer', 'third'] as const;

beforeAll(async () => {
  mesh = await TestMesh.start([...NODES]);
  folder = mesh.folder('ground');
});

afterAll(() => mesh.stop());

const cli = (node: string, args: readonly string[], input?: string): Promise<Ran> =>
  mesh.node(node).run(args, { cwd: folder, ...(input === undefined ? {} : { input }) });
const must = (node: string, args: readonly string[]): Promise<string> => mesh.node(node).must(args, { cwd: folder });
const lines = (ran: Ran): unknown[] =>
  ran.stdout
    .toString()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);

async function background(line: string, ...flags: readonly string[]): Promise<string> {
  const id = (await must('origin', ['run', '--background', ...flags, '--', line])).trimEnd();
  expect(id).toMatch(/^[0-9A-HJKMNP-TV-Z]{26}$/);
  return id;
}

const waitFile = (name: string): string => `until [ -e ${join(folder, name)} ]; do sleep 0.05; done`;
const allow = (name: string): Promise<Ran> => startProgram('touch', [join(folder, name)]).done;

describe('a background job', () => {
  it('prints its id alone, goes on without its client, and is known to every node', async () => {
    const id = await background(`echo begun; echo odd >&2; ${waitFile('go-on')}; echo done; exit 7`, '--on', 'peer');
    await until('it has begun', async () => (await cli('origin', ['logs', id])).stdout.toString().includes('begun\n'));
    const odd = (): Promise<Ran> => cli('origin', ['logs', '--stream', 'stderr', id]);
    await until('all of it is there', async () => (await odd()).stdout.toString() === 'odd\n');
    for (const node of NODES) {
      // A node that is too busy to answer in time is left out of one list, and is in the next.
      const listed = await until(`it is listed at ${node}`, async () => {
        const report = JSON.parse(await must(node, ['jobs', '--json'])) as {
          jobs: { job_id: string; state: string }[];
        };
        return report.jobs.find(({ job_id }) => job_id === id);
      });
      expect(listed).toMatchObject({ state: 'running', background: true, origin: 'origin', executed_on: 'peer' });
      const isShown = async (): Promise<boolean> =>
        /running +peer .* origin +echo begun/.test(await must(node, ['jobs']));
      await until(`it is shown at ${node}`, isShown);
      expect(await must(node, ['logs', '--stream', 'stderr', id])).toBe('odd\n');
    }
    const followed = NODES.map((node) => cli(node, ['logs', '-f', '--stream', 'stdout', id.slice(0, 20)]));
    const waited = NODES.map((node) => cli(node, ['wait', id.toLowerCase()]));
    await allow('go-on');
    for (const ran of await Promise.all(followed)) {
      expect({ code: ran.code, out: ran.stdout.toString() }).toEqual({ code: 0, out: 'begun\ndone\n' });
    }
    expect((await Promise.all(waited)).map(({ code }) => code)).toEqual([7, 7, 7]);
  });

  it('that the named node refuses is refused at once: no id, the reason, and 125', async () => {
    const flags = ['--background', '--on', 'peer', '--need', 'tool:no-such-tool'];
    const ran = await cli('origin', ['run', ...flags, '--', 'true']);
    expect({ code: ran.code, out: ran.stdout.toString() }).toEqual({ code: 125, out: '' });
    expect(ran.stderr.toString()).toMatch(/peer: has no no-such-tool .*\[no_capable_node\]/);
    const json = await cli('origin', ['run', '--json', ...flags, '--', 'true']);
    expect(JSON.parse(json.stdout.toString())).toMatchObject({ state: 'finished', reason: 'refused', attempts: 0 });
    expect(json.code).toBe(125);
  });

  it('with --json is the unfinished run object, and says what to call', async () => {
    const line = `echo out; echo err >&2; ${waitFile('was-told')}; exit 4`;
    const text = await must('origin', ['run', '--background', '--json', '--', line]);
    const begun = JSON.parse(text) as { job_id: string };
    expect(begun).toMatchObject({ return_code: null, success: null, reason: null });
    expect(begun).toMatchObject({ next: expect.stringContaining(begun.job_id) });
    await allow('was-told');
    const waited = await cli('third', ['wait', '--json', begun.job_id]);
    expect(waited.code).toBe(4);
    expect(JSON.parse(waited.stdout.toString())).toMatchObject({
      job_id: begun.job_id,
      state: 'finished',
      return_code: 4,
      reason: 'exited',
      stdout: 'out\n',
      stderr: 'err\n',
    });
  });

  it('has an empty stdin', async () => {
    const ran = await cli('origin', ['run', '--background', '--', 'cat; echo end'], 'not for it\n');
    const id = ran.stdout.toString().trim();
    expect((await cli('origin', ['wait', id])).code).toBe(0);
    expect(await must('origin', ['logs', id])).toBe('end\n');
  });
});

describe('logs', () => {
  it('from an offset are the tail from that byte, on every node', async () => {
    const id = await background('seq 100000', '--on', 'peer');
    await cli('origin', ['wait', id]);
    const whole = Buffer.from(Array.from({ length: 100_000 }, (_, index) => `${index + 1}\n`).join(''));
    for (const [index, offset] of [0, 1, 300_000, whole.byteLength - 1, whole.byteLength].entries()) {
      const ran = await cli(NODES[index % 3] ?? '', ['logs', '--since-offset', String(offset), id]);
      expect(ran.stdout.equals(whole.subarray(offset))).toBe(true);
    }
  });

  it('--json are lines whose texts and offsets make up the output', async () => {
    const id = await background(`printf 'aü€😀%.0s' $(seq 5000)`, '--on', 'peer');
    const ran = await cli('third', ['logs', '-f', '--json', '--stream', 'stdout', id]);
    const all = lines(ran) as { offset: number; bytes: number; text: string; next_offset: number; ended: boolean }[];
    expect(all.at(-1)).toMatchObject({ job_id: id, next_offset: 50_000, ended: true });
    const pieces = all.slice(0, -1);
    expect(pieces.map(({ text }) => text).join('')).toBe('aü€😀'.repeat(5000));
    let next = 0;
    for (const { offset, bytes, text } of pieces) {
      expect({ offset, bytes }).toEqual({ offset: next, bytes: Buffer.byteLength(text) });
      next += bytes;
    }
  });

  it.each([
    [['logs', 'ZZZZZZZZ'], 'job_unknown', /ZZZZZZZZ/],
    [['logs', 'x'], 'job_unknown', /no job id.*at least 4/],
    [['wait', '../x'], 'job_unknown', /no job id/],
    [['cancel', 'ZZZZZZZZ'], 'job_unknown', /ZZZZZZZZ/],
    [['logs', '--stream', 'stdin', 'ZZZZ'], 'bad_argument', /--stream stdin/],
    [['logs', '--since-offset', '-1', 'ZZZZ'], 'offset_out_of_range', /count from 0/],
    [['logs', '--since-offset', 'x', 'ZZZZ'], 'bad_argument', /--since-offset x/],
  ])('%j is refused', async (args, code, message) => {
    for (const json of [[], ['--json']]) {
      const ran = await cli('third', [...json, ...args]);
      expect(ran.code).toBe(125);
      expect(ran.stderr.toString()).toContain(`[${code}]`);
      expect(ran.stderr.toString()).toMatch(message);
      if (json.length > 0) expect(JSON.parse(ran.stdout.toString())).toMatchObject({ error: { code } });
    }
  });

  it('an offset past the end, and the beginning of several ids, are told', async () => {
    const [first, second] = [await background('echo x'), await background('echo y')];
    await cli('origin', ['wait', first]);
    const past = await cli('third', ['logs', '--since-offset', '99', first]);
    expect(past.stderr.toString()).toMatch(/99.*past the end.*\[offset_out_of_range\]/);
    const both = await cli('third', ['wait', first.slice(0, 4)]);
    expect(both.stderr.toString()).toMatch(/\[job_ambiguous\]/);
    expect(both.stderr.toString()).toContain(second.slice(0, 8));
  });

  it('Ctrl-C leaves the job alone', async () => {
    const id = await background(`echo up; ${waitFile('after-ctrl-c')}; exit 6`, '--on', 'peer');
    const following = mesh.node('third').start(['logs', '-f', id]);
    const waiting = mesh.node('third').start(['wait', id]);
    await until('it follows', () => following.stdoutSoFar().toString() === 'up\n');
    for (const { child } of [following, waiting]) child.kill('SIGINT');
    await Promise.all([following.done, waiting.done]);
    await allow('after-ctrl-c');
    expect((await cli('third', ['wait', id])).code).toBe(6);
  });
});

describe('cancel', () => {
  it('from a third node returns once no process is left; then the job has ended', async () => {
    const words = sleepWords();
    const id = await background(`trap '' TERM; (setsid ${words} &); ${words} & ${words}`, '--on', 'peer');
    await until('the tree runs', () => processesNamed(words).filter(({ args }) => args === words).length === 3);
    const ran = await cli('third', ['cancel', id]);
    const left = processesNamed(words);
    expect({ code: ran.code, out: ran.stdout.toString(), err: ran.stderr.toString() }).toEqual({
      code: 0,
      out: `cancelled on peer: ${id}; its process tree is gone\n`,
      err: '',
    });
    expect(left).toEqual([]);
    const waited = await cli('origin', ['wait', id]);
    expect({ code: waited.code, err: waited.stderr.toString() }).toEqual({
      code: 130,
      err: 'meshwork: the job was cancelled on peer\n',
    });
    const again = await cli('third', ['cancel', id]);
    expect(again.code).toBe(125);
    expect(again.stderr.toString()).toMatch(/cancelled.*\[job_finished\]/s);
  });
});

describe('run', () => {
  it('--merge keeps the order of both streams', async () => {
    const line = 'for i in 1 2 3 4 5 6 7 8; do echo out $i; echo err $i >&2; done';
    const ran = await cli('origin', ['run', '--merge', '--on', 'peer', '--', line]);
    const expected = [1, 2, 3, 4, 5, 6, 7, 8].flatMap((i) => [`out ${i}\n`, `err ${i}\n`]).join('');
    expect({ out: ran.stdout.toString(), err: ran.stderr.toString() }).toEqual({ out: expected, err: '' });
  });
});

describe('restart', () => {
  it('lets jobs run on, keeps the flags, and an attached client sees every byte once', async () => {
    const line = `for i in $(seq 40); do echo $i; sleep 0.05; done; exit 5`;
    const attached = mesh.node('third').start(['run', '--on', 'peer', '--', line], { cwd: folder });
    const id = await background(line, '--on', 'third');
    await until('it runs', () => attached.stdoutSoFar().toString().includes('3\n'));
    const before = await mesh.node('third').status();
    const said = await must('third', ['restart']);
    expect(said).toMatch(/^restarted: pid \d+/);
    const after = await mesh.node('third').status();
    expect(after.daemon_pid).not.toBe(before.daemon_pid);
    // The flags that it was started with.
    expect(after.nodes.find((node) => node.id === after.local_node)).toMatchObject({ name: 'third', slots: 4 });
    const numbers = Array.from({ length: 40 }, (_, index) => `${index + 1}\n`).join('');
    const ran = await attached.done;
    expect({ code: ran.code, out: ran.stdout.toString(), err: ran.stderr.toString() }).toEqual({
      code: 5,
      out: numbers,
      err: '',
    });
    expect((await cli('origin', ['wait', id])).code).toBe(5);
    expect(await must('origin', ['logs', id])).toBe(numbers);
  });

  it('with settings that the next daemon would refuse leaves the one that runs', async () => {
    const before = await mesh.node('third').status();
    const file = join(mesh.node('third').home, 'config.toml');
    writeFileSync(file, '[jobs]\nkeep_mx = 10\n');
    try {
      const ran = await cli('third', ['restart']);
      expect({ code: ran.code, err: ran.stderr.toString() }).toMatchObject({
        code: 125,
        err: expect.stringMatching(/keep_max.*goes on as it was \[bad_config\]/),
      });
    } finally {
      rmSync(file);
    }
    expect((await mesh.node('third').status()).daemon_pid).toBe(before.daemon_pid);
  });
});

describe("map's log", () => {
  const log = () => join(folder, 'log');
  const seqs = () =>
    readFileSync(log(), 'utf8')
      .trimEnd()
      .split('\n')
      .slice(1)
      .map((line) => Number(line.split('\t')[0]))
      .sort((a, b) => a - b);

  it('--halt now,fail=1 stops the rest; --resume-failed runs exactly the failures and what never ran', async () => {
    const args = Array.from({ length: 30 }, (_, index) => String(index + 1));
    // Those behind the failure wait: however late it is told, no more of them can have ended than were beside it.
    const line =
      'echo ran {}; [ {} -lt 3 ] || until [ {} = 3 ] || [ -e fixed ]; do sleep 0.05; done; [ {} != 3 ] || [ -e fixed ]';
    const map = (...flags: string[]): Promise<Ran> =>
      cli('origin', ['map', '-j', '2', '--joblog', log(), ...flags, '--', line, ':::', ...args]);
    const first = await map('--halt', 'now,fail=1');
    expect(first.code).toBe(1);
    expect(first.stderr.toString()).toMatch(/--halt: 1 of \d+ jobs failed/);
    const ran = seqs();
    expect(ran.length).toBeLessThanOrEqual(4);
    await startProgram('touch', [join(folder, 'fixed')]).done;
    const succeeded = new Set(
      readFileSync(log(), 'utf8')
        .split('\n')
        .filter((row) => /\t0\t0\techo ran/.test(row))
        .map((row) => Number(row.split('\t')[0])),
    );
    const second = await map('--resume-failed');
    expect(second.code).toBe(0);
    const expected = args.filter((arg) => !succeeded.has(Number(arg))).map((arg) => `ran ${arg}\n`);
    expect(second.stdout.toString()).toBe(expected.join(''));
    const third = await map('--resume-failed');
    expect({ code: third.code, out: third.stdout.toString() }).toEqual({ code: 0, out: '' });
    rmSync(log());
  });

  it('--bar goes to stderr, a line now and then where that is no terminal', async () => {
    const ran = await cli('origin', ['map', '--bar', '--', 'exit {}', ':::', '0', '1']);
    expect(ran.stdout.toString()).toBe('');
    expect(ran.stderr.toString()).toMatch(/(^|\n)\[#{24}\] 100% 2\/2, 1 failed, [^\n]*\n$/);
    expect(ran.stderr.toString()).not.toContain('\u001B');
  });
});

describe('on a terminal', () => {
  /** util-linux's script(1) gives the CLI a pseudo-terminal of its own. */
  const onTerminal = (
    args: readonly string[],
    input: string,
    env: Record<string, string> = {},
    after = '',
  ): Promise<Ran> => {
    const words = [process.execPath, CLI, '--home', mesh.node('origin').home, ...args];
    const quoted = words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
    return startProgram('script', ['-qec', `stty rows 33 cols 77; ${quoted}${after}`, '/dev/null'], {
      cwd: folder,
      input,
      env: { TERM: 'xterm', ...env },
    }).done;
  };

  it('run ends with one dim line: where, and how long; plain with NO_COLOR, none with --json', async () => {
    const ran = await onTerminal(['run', '--on', 'peer', '--', 'exit 3'], '');
    expect(ran.code).toBe(3);
    const [dim, reset] = ['\u001B[2m', '\u001B[0m'];
    expect(ran.stdout.toString().replace(dim, '<').replace(reset, '>')).toMatch(/^<on peer in \d.*s>\r\n$/);
    const plain = await onTerminal(['run', '--on', 'peer', '--', 'true'], '', { NO_COLOR: '1' });
    expect(plain.stdout.toString()).toMatch(/^on peer in \d.*s\r\n$/);
    const json = await onTerminal(['run', '--json', '--on', 'peer', '--', 'true'], '');
    expect(json.stdout.toString()).not.toContain('on peer in');
  });

  it('--tty without one is refused', async () => {
    const ran = await cli('origin', ['run', '--tty', '--', 'true']);
    expect(ran.code).toBe(125);
    expect(ran.stderr.toString()).toMatch(/--tty needs a terminal.*nothing was run.*\[bad_argument\]/);
    for (const other of ['--json', '--background']) {
      const both = await cli('origin', ['run', '--tty', other, '--', 'true']);
      expect(both.stderr.toString()).toMatch(new RegExp(`--tty and ${other} exclude each other`));
    }
  });

  it('--tty gives the command a terminal of this size, and this one is as it was afterwards', async () => {
    const command = 'test -t 0 && test -t 1 && test -t 2 && stty size; echo $TERM; exit 5';
    const ran = await onTerminal(['run', '--tty', '--on', 'peer', '--', command], '', {}, '; echo "code $?"; stty -a');
    const text = ran.stdout.toString();
    expect(text).toMatch(/33 77\r+\nxterm\r+\n/);
    expect(text).toMatch(/code 5\r\n/);
    expect(text).toMatch(/[^-]isig.*[^-]icanon/s);
  });
});
