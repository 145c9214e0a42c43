import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { connectDaemon } from '../../src/node/api-client.ts';
import {
  CLI,
  processesAt,
  run,
  start,
  startProgram,
  TestMesh,
  until,
  type Ran,
  type RunOptions,
} from '../fixtures/nodes.ts';
import { PLAIN_JOB } from '../fixtures/plain-spec.ts';

/** Bad input: a clear error with code and remedy, exit 125, nothing run, nothing lost. */
let mesh: TestMesh;
let folder: string;

beforeAll(async () => {
  mesh = await TestMesh.start(['origin', 'peer'], {
    facts: { origin: { labels: { room: 'a' } }, peer: { labels: { room: 'b' }, cores: 2 } },
  });
  folder = mesh.folder('ground');
});

afterAll(() => mesh.stop());

afterEach(() => {
  // What one test should not have run spoils no other.
  for (const name of readdirSync(folder)) rmSync(join(folder, name));
});

/**
 * What a node owns and what only its owner's word changes. Load and addresses of peers move by themselves, and so does the
 * incarnation (state.json), by which a node that was too busy to be heard contradicts its suspicion.
 */
const LASTING = ['trust.json', 'config.toml', 'identity'];

function stateOf(home: string): Record<string, string> {
  const state: Record<string, string> = {};
  const add = (path: string, name: string): void => {
    if (!existsSync(path)) return;
    if (name === 'identity') for (const file of readdirSync(path)) add(join(path, file), `${name}/${file}`);
    else state[name] = readFileSync(path).toString('base64');
  };
  for (const name of LASTING) add(join(home, name), name);
  return state;
}

interface Refusal {
  readonly code: string;
  readonly message: RegExp;
}

/** Runs a command as it is and with --json, and checks everything that every refusal has. */
async function expectRefusal(args: readonly string[], refusal: Refusal, options: RunOptions = {}): Promise<void> {
  const origin = mesh.node('origin');
  const before = mesh.nodes.map(({ home }) => stateOf(home));
  const [plain, json] = await Promise.all([
    origin.run(args, { cwd: folder, ...options }),
    origin.run(['--json', ...args], { cwd: folder, ...options }),
  ]);
  checkRefusal(plain, refusal);
  expect(plain.stdout.toString()).toBe('');
  checkJson(json, refusal);
  expect(mesh.nodes.map(({ home }) => stateOf(home))).toEqual(before);
  expect(readdirSync(folder)).toEqual([]);
}

function checkRefusal(ran: Ran, { code, message }: Refusal): void {
  const text = ran.stderr.toString();
  expect(text).toMatch(message);
  expect(text).toContain(`[${code}]`);
  expect(text).toMatch(/^meshwork: /);
  // A stack trace is no message for people.
  expect(text).not.toMatch(/\n\s+at .*:\d+:\d+/);
  expect(ran.code).toBe(125);
}

function checkJson(ran: Ran, { code, message }: Refusal): void {
  expect(ran.code).toBe(125);
  const document = JSON.parse(ran.stdout.toString()) as { error: { code: string; message: string } };
  expect(document.error.code).toBe(code);
  expect(document.error.message).toMatch(message);
}

const RUN = ['run', '--'];
const MARK = 'touch ran-all-the-same';

describe('a run that never was', () => {
  it('has a run object all the same', async () => {
    const ran = await mesh.node('origin').run(['run', '--json', '--', ' '], { cwd: folder });
    const document = JSON.parse(ran.stdout.toString()) as Record<string, unknown>;
    expect(document).toMatchObject({ state: 'finished', reason: 'refused', success: false, return_code: null });
    expect(document).toMatchObject({ job_id: null, executed_on: null, stdout: '', error: { code: 'bad_command' } });
    expect(Object.keys(document).slice(0, 4)).toEqual(['notices', 'state', 'return_code', 'executed_on']);
    for (const option of ['--no-such', '--trace', '--timeout=soon']) {
      const refused = await mesh.node('origin').run(['run', option, '--json', '--', MARK], { cwd: folder });
      expect(JSON.parse(refused.stdout.toString())).toMatchObject({
        reason: 'refused',
        return_code: null,
        job_id: null,
      });
    }
  });

  it('is not one whose options the command only seems to have', async () => {
    const ran = await mesh
      .node('origin')
      .run(['run', '--local', 'printf', '%s|', '--json', '--', '-n'], { cwd: folder });
    expect([ran.code, ran.stdout.toString()]).toEqual([0, '--json|--|-n|']);
  });
});

describe('nodes that are not there', () => {
  it('an unknown name lists the nodes', () =>
    expectRefusal(['run', '--on', 'nobody', '--', MARK], {
      code: 'unknown_node',
      message: /no node "nobody".*origin.*peer/s,
    }));

  it.each(['-oProxyCommand=touch ran', 'b; rm -rf /', '../etc/passwd', '$(touch ran)', 'peer\n', '*', 'peer peer'])(
    'a crafted name runs nothing: %j',
    (name) => expectRefusal(['run', `--on=${name}`, '--', MARK], { code: 'unknown_node', message: /there is no node/ }),
  );

  it('a crafted name as a word of its own runs nothing', () =>
    expectRefusal(['run', '--on', '-oProxyCommand=x', '--', MARK], {
      code: 'unknown_node',
      message: /there is no node "-oProxyCommand=x"/,
    }));

  it('an empty name is refused', () =>
    expectRefusal(['run', '--on', '', '--', MARK], { code: 'bad_argument', message: /--on.*nothing was run/s }));

  it('an id prefix that is too short is explained', async () => {
    const { local_node: id } = await mesh.node('origin').status();
    await expectRefusal(['run', '--on', id.slice(0, 3), '--', MARK], { code: 'unknown_node', message: /4 characters/ });
    const found = await mesh.node('origin').run(['run', '--on', id.slice(0, 4), '--', 'exit 8']);
    expect(found.code).toBe(8);
  });
});

describe('requirements that nothing meets', () => {
  it.each([
    ['a label', ['--need', 'label:room=nowhere'], /origin \(here\):.*room=nowhere.*\n.*peer: .*room=nowhere/s],
    ['a tool', ['--need', 'tool:no-such-tool-anywhere'], /origin.*no-such-tool-anywhere.*\n.*peer.*no-such-tool/s],
    ['a gpu of a kind', ['--need', 'gpu9'], /origin.*gpu9.*\n.*peer.*gpu9/s],
    ['cores', ['--cpus', '4000'], /origin.*4000.*\n.*peer.*4000/s],
    ['memory', ['--mem', '900T'], /origin.*memory.*\n.*peer.*memory/s],
    ['a system', ['--os', 'windows'], /origin.*windows.*\n.*peer.*windows/s],
    ['an architecture', ['--arch', 'arm64'], /origin.*arm64.*\n.*peer.*arm64/s],
    [
      'all of them',
      ['--os', 'darwin', '--need', 'label:x=y', '--cpus', '999'],
      /origin.*darwin.*x.*999.*\n.*peer.*darwin/s,
    ],
  ])('%s: every node is named with its reasons', (_, flags, message) =>
    expectRefusal(['run', ...flags, '--', MARK], { code: 'no_capable_node', message }),
  );

  it('a requirement binds a named node too', () =>
    expectRefusal(['run', '--on', 'peer', '--need', 'label:room=a', '--', MARK], {
      code: 'no_capable_node',
      message: /peer: has label room=b, room=a is required/,
    }));

  it('explain says the same with exit 125', async () => {
    const ran = await mesh.node('origin').run(['explain', '--need', 'label:room=nowhere', '--', MARK]);
    expect(ran.code).toBe(125);
    expect(ran.stdout.toString()).toMatch(/room=nowhere/);
  });
});

describe('commands that are none', () => {
  it.each([
    ['nothing', [], /no command/],
    ['an empty line', [''], /empty/],
    ['white space', [' \t\n '], /empty/],
    ['a line that begins with -', ['-rf x'], /begins with "-"/],
    ['an argv that begins with -', ['--version', 'x'], /begins with "-"/],
    ['an empty program', ['', 'x'], /empty/],
  ])('%s', (_, words, message) => expectRefusal([...RUN, ...words], { code: 'bad_command', message }));

  it('a NUL, which only a program can send: no word of a command line holds one', async () => {
    const api = await connectDaemon(join(mesh.node('origin').home, 'control.sock'));
    const requires = { os: null, arch: null, capabilities: [], cpus: null, memory_bytes: null };
    const rest = { cwd: folder, env: {}, umask: 0o22, requires, timeout_ms: null, stdin: false, ...PLAIN_JOB };
    const nothing = (): void => undefined;
    for (const command of [
      { kind: 'line' as const, line: `${MARK}\0` },
      { kind: 'argv' as const, argv: ['touch', 'ran\0'] },
    ]) {
      const io = { stdin: null, onStdout: nothing, onStderr: nothing };
      const { result } = api.submit({ command, target: { kind: 'local' }, ...rest }, io);
      await expect(result).rejects.toThrow(/NUL byte.*nothing was run/s);
    }
    api.close();
    expect(readdirSync(folder)).toEqual([]);
  });

  it.each(['map', 'explain'])('%s refuses them, too', (command) =>
    expectRefusal([command, '--', ' '], { code: 'bad_command', message: /empty/ }, { input: 'a\n' }),
  );
});

describe('options', () => {
  it.each([
    [['run', '--timeout', 'banana'], /banana.*90s/],
    [['run', '--timeout', '0'], /--timeout/],
    [['run', '--timeout', '-5'], /--timeout/],
    [['run', '--timeout', '99999d'], /--timeout/],
    [['run', '--cpus', '0'], /--cpus 0/],
    [['run', '--cpus', '-1'], /--cpus/],
    [['run', '--cpus', 'many'], /--cpus many/],
    [['run', '--mem', 'lots'], /--mem.*lots/],
    [['run', '--env', '1X=2'], /1X/],
    [['run', '--env', '=2'], /--env/],
    [['run', '--env', 'A B=2'], /A B/],
    [['run', '--env', 'NOT_SET_HERE_AT_ALL'], /NOT_SET_HERE_AT_ALL/],
    [['run', '--env', 'MESHWORK_HOME=/x'], /MESHWORK_/],
    [['run', '--os', 'plan9'], /plan9.*linux/],
    [['run', '--arch', 'vax'], /vax.*x64/],
    [['run', '--need', ''], /--need/],
    [['run', '--local', '--on', 'peer'], /exclude/],
    [['run', '--cwd', ''], /--cwd/],
    [['run', '--no-such-option'], /no-such-option/],
    [['run', '--tiemout', '5s'], /tiemout.*--timeout/s],
    [['run', '--on'], /--on/],
    [['map', '-j', '0'], /-j 0/],
    [['map', '-j', 'x'], /-j x/],
    [['map', '--halt', 'now'], /--halt "now": give now,fail=N/],
    [['map', '--resume-failed'], /--resume-failed needs the --joblog/],
    [['run', '--retry', '11'], /--retry 11.*0 to 10/],
    [['run', '--priority', 'high'], /--priority high/],
    [['explain', '--os', 'plan9'], /plan9/],
  ])('%j', (args, message) =>
    expectRefusal([...args, '--', MARK, ...(args[0] === 'map' ? [':::', 'x'] : [])], { code: 'bad_argument', message }),
  );

  it.each([
    ['run', '--', 'true'],
    ['run', '--cwd', 'x', '--', 'true'],
    ['map', 'true', ':::', 'x'],
    ['secrets'],
    ['--home', 'x', 'status'],
  ])('from a directory that was removed: %s %s', async (...args) => {
    const gone = join(mesh.folder('gone'), 'here');
    mkdirSync(gone);
    const line = 'cd "$1" && rmdir "$1" && shift && exec "$@"';
    const words = [process.execPath, CLI, '--home', mesh.node('origin').home, ...args];
    const ran = await startProgram('sh', ['-c', line, 'sh', gone, ...words]).done;
    expect(ran.code).toBe(125);
    expect(ran.stderr.toString()).toMatch(/directory does not exist any more; nothing was run.*cwd_missing/);
  });

  it.each([
    [['no-such-command'], /no-such-command/],
    [['statsu'], /statsu.*status/s],
    [[], /Usage|usage|command/],
    [['status', '--no-such'], /no-such/],
    [['status', 'word'], /argument/],
    [['join'], /token/],
    [['join', 'a', 'b'], /argument/],
    [['invite', '--ttl', 'banana'], /banana/],
    [['invite', '--ttl', '3d'], /24/],
    [['up', '--peer', 'no-port'], /peer/],
    [['up', '--slots', 'many'], /slots/],
    [['up', '--name', 'a b'], /name/],
    [['up', '--label', 'novalue'], /label/],
    [['up', '--listen', 'host'], /listen/],
  ])('outside of run: %j', async (args, message) => {
    const ran = await mesh.node('origin').run(args);
    expect(ran.code).toBe(125);
    expect(ran.stderr.toString()).toMatch(message);
  });
});

/** INTERFACE: an option of a later stage is refused by name, never ignored. */
const LATER_OPTIONS: Readonly<Record<string, readonly (readonly string[])[]>> = {
  run: [['--trace']],
  map: [['--trace']],
};

describe('what a later stage brings', () => {
  it.each(Object.entries(LATER_OPTIONS).flatMap(([command, all]) => all.map((words) => [command, words] as const)))(
    '%s %j',
    async (command, words) => {
      await expectRefusal([command, ...words, '--', MARK], {
        code: 'later_stage',
        message: new RegExp(`${words[0]} comes in a later release`),
      });
    },
  );

  it.each([['drain', 'peer'], ['undrain', 'peer'], ['revoke', 'peer'], ['doctor'], ['audit', 'verify']])(
    '%s',
    (...words) => expectRefusal(words, { code: 'later_stage', message: new RegExp(`${words[0]}.*later`) }),
  );
});

describe('tokens', () => {
  const REAL = /^mw1/;

  it.each([
    ['garbled', 'mw1-this-is-no-token'],
    ['empty', ''],
    ['of another product', 'ghp_0123456789'],
    ['cut off', 'CUT'],
    ['with one letter changed', 'CHANGED'],
    ['huge', 'x'.repeat(5000)],
    ['with options in it', '$(touch ran)'],
  ])('%s', async (_, text) => {
    const real = await mesh.node('peer').run(['invite']);
    expect(real.code).toBe(125);
    const good = await mesh.node('origin').token();
    expect(good).toMatch(REAL);
    const half = Math.floor(good.length / 2);
    const other = good[half] === 'a' ? 'b' : 'a';
    const given =
      text === 'CUT'
        ? good.slice(0, -6)
        : text === 'CHANGED'
          ? good.slice(0, half) + other + good.slice(half + 1)
          : text;
    await expectRefusal(['join', given], { code: 'bad_token', message: /token/ });
  });
});

describe('a home of its own', () => {
  const homes: string[] = [];
  const newHome = (): string => {
    const home = mkdtempSync(join(tmpdir(), 'mwt-'));
    homes.push(home);
    return home;
  };

  afterEach(async () => {
    for (const home of homes.splice(0)) {
      await run(home, ['down']);
      await until('nothing runs there', () => processesAt(home).length === 0);
      rmSync(home, { recursive: true, force: true });
    }
  });

  const FLAGS = ['--listen', '127.0.0.1:0', '--no-mdns'];
  const refuses = async (home: string, refusal: Refusal, flags: readonly string[] = FLAGS): Promise<void> => {
    checkRefusal(await run(home, ['up', ...flags]), refusal);
    checkJson(await run(home, ['--json', 'up', '--foreground', ...flags]), refusal);
    await until('nothing runs there', () => processesAt(home).length === 0);
  };

  it.each([
    ['an unknown key', 'slotz = 3\n', /"?slotz"?.*slots/s],
    ['an unknown key in a table', '[exec]\nmodes = "off"\n', /exec\.modes.*exec\.mode/s],
    ['an unknown table', '[exce]\nmode = "off"\n', /exce.*exec/s],
    ['a wrong type', 'slots = "many"\n', /slots.*(whole number|auto)/s],
    ['a value out of range', '[overloaded]\ncpu_percent = 400\n', /overloaded\.cpu_percent/],
    ['no TOML', 'slots = = 3\n', /line 1|1:/],
  ])('config.toml with %s', async (_, text, message) => {
    const home = newHome();
    writeFileSync(join(home, 'config.toml'), text);
    await refuses(home, { code: 'bad_config', message });
    expect(readFileSync(join(home, 'config.toml'), 'utf8')).toBe(text);
  });

  it('an unknown MESHWORK_ variable is named in the log, and a wrong one refused', async () => {
    const home = newHome();
    const refused = await run(home, ['up', ...FLAGS], { env: { MESHWORK_SLOTS: 'many' } });
    checkRefusal(refused, { code: 'bad_config', message: /MESHWORK_SLOTS/ });
    expect((await run(home, ['up', ...FLAGS], { env: { MESHWORK_SLOTZ: '3' } })).code).toBe(0);
    expect(readFileSync(join(home, 'daemon.log'), 'utf8')).toMatch(/MESHWORK_SLOTZ.*MESHWORK_SLOTS/);
  });

  it('a port that is taken', async () => {
    const home = newHome();
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
    const { port } = holder.address() as AddressInfo;
    await refuses(home, { code: 'port_in_use', message: new RegExp(`${port}`) }, [
      '--listen',
      `127.0.0.1:${port}`,
      '--no-mdns',
    ]);
    await new Promise((resolve) => holder.close(resolve));
  });

  it('a file where the home should be, or above it', async () => {
    const folder2 = newHome();
    const file = join(folder2, 'file');
    writeFileSync(file, 'mine');
    for (const home of [file, join(file, 'below')]) {
      await refuses(home, { code: 'home_not_writable', message: /--home or MESHWORK_HOME/ });
    }
    expect(readFileSync(file, 'utf8')).toBe('mine');
  });

  it('a home that everybody may write in', async () => {
    const home = newHome();
    chmodSync(home, 0o777);
    await refuses(home, { code: 'home_not_writable', message: /everybody/ });
  });

  it('a damaged identity is kept as it is', async () => {
    const home = newHome();
    expect((await run(home, ['up', ...FLAGS])).code).toBe(0);
    await run(home, ['down']);
    const files = readdirSync(join(home, 'identity')).map((name) => join(home, 'identity', name));
    for (const file of files) writeFileSync(file, 'damaged');
    await refuses(home, { code: 'identity_corrupt', message: /identity/ });
    for (const file of files) expect(readFileSync(file, 'utf8')).toBe('damaged');
  });

  it('a damaged roster is kept as it is', async () => {
    const home = newHome();
    expect((await run(home, ['up', ...FLAGS])).code).toBe(0);
    await run(home, ['down']);
    for (const text of ['damaged', readFileSync(join(home, 'trust.json'), 'utf8').slice(0, -40)]) {
      writeFileSync(join(home, 'trust.json'), text);
      checkRefusal(await run(home, ['up', ...FLAGS]), { code: 'roster_corrupt', message: /trust\.json/ });
      expect(readFileSync(join(home, 'trust.json'), 'utf8')).toBe(text);
    }
  });

  it('a second daemon on one home, and `up` with the same or with other flags', async () => {
    const home = newHome();
    expect((await run(home, ['up', ...FLAGS, '--name', 'one', '--slots', '3'])).code).toBe(0);
    const again = await run(home, ['up', '--name', 'one', '--slots', '3']);
    expect(again.stdout.toString()).toMatch(/already running/);
    expect(again.code).toBe(0);
    expect((await run(home, ['up'])).code).toBe(0);
    const other = await run(home, ['up', '--slots', '5']);
    checkRefusal(other, { code: 'already_running', message: /slots 3, not 5.*meshwork down/s });
    const second = await run(home, ['up', '--foreground', ...FLAGS]);
    checkRefusal(second, { code: 'already_running', message: /pid \d+.*down/s });
    expect((await run(home, ['status'])).code).toBe(0);
  });

  it('two daemons started at the same moment: one runs, both callers are served', async () => {
    const home = newHome();
    const both = await Promise.all([start(home, ['up', ...FLAGS]).done, start(home, ['up', ...FLAGS]).done]);
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    const pids = both.map(({ stdout }) => /pid (\d+)/.exec(stdout.toString())?.[1]);
    expect(pids[0]).toBe(pids[1]);
  });

  it('no daemon: run, status and explain say how to start one', async () => {
    const home = newHome();
    for (const args of [
      ['status'],
      ['run', '--', 'true'],
      ['explain', '--', 'true'],
      ['map', '--', 'true', ':::', 'a'],
    ]) {
      checkRefusal(await run(home, args), { code: 'daemon_not_running', message: /meshwork up/ });
      checkJson(await run(home, ['--json', ...args]), { code: 'daemon_not_running', message: /meshwork up/ });
    }
    expect((await run(home, ['down'])).code).toBe(0);
    expect((await run(join(home, 'not-there'), ['down'])).code).toBe(0);
    mkdirSync(home, { recursive: true });
  });
});
