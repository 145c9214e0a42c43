import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  CLI,
  processesNamed,
  sleepWords,
  startProgram,
  TestMesh,
  TREE_GONE_MS_MAX,
  until,
  type Ran,
  type RunOptions,
} from '../fixtures/nodes.ts';

/** The promise: a command run on a peer gives the bytes, the exit code and the files that it gives when run here. */
let mesh: TestMesh;
let folder: string;

beforeAll(async () => {
  mesh = await TestMesh.start(['origin', 'peer']);
  folder = mesh.folder('ground with spaces');
  for (const name of ['a.txt', 'b.txt', 'ünïcode.txt', '-dash']) writeFileSync(join(folder, name), `${name}\n`);
  writeFileSync(join(folder, 'not-executable'), 'echo never\n');
  chmodSync(join(folder, 'not-executable'), 0o644);
  writeFileSync(join(folder, 'args.sh'), '#!/bin/sh\nfor a in "$@"; do printf "[%s]" "$a"; done\nprintf "%d\\n" $#\n');
  chmodSync(join(folder, 'args.sh'), 0o755);
  mkdirSync(join(folder, 'sub'));
});

afterAll(() => mesh.stop());

const onPeer = (command: readonly string[], options: RunOptions & { flags?: readonly string[] } = {}): Promise<Ran> =>
  mesh.node('origin').run(['run', '--on', 'peer', ...(options.flags ?? []), '--', ...command], {
    cwd: folder,
    ...options,
  });

const here = (line: string, options: RunOptions = {}): Promise<Ran> =>
  startProgram('bash', ['-c', line], { cwd: folder, ...options }).done;

/** A signal that ended the local shell shows as 128+n there: what a calling shell would see. */
const SIGNAL_CODES: Readonly<Record<string, number>> = { SIGTERM: 143, SIGKILL: 137, SIGINT: 130, SIGSEGV: 139 };

function seen(ran: Ran): { code: number | null; stdout: string; stderr: string } {
  return {
    code: ran.signal === null ? ran.code : (SIGNAL_CODES[ran.signal] ?? null),
    stdout: ran.stdout.toString('latin1'),
    stderr: ran.stderr.toString('latin1'),
  };
}

const LINES: Readonly<Record<string, string>> = {
  'an exit code': 'exit 3',
  'the highest exit code': 'exit 255',
  false: 'false',
  'a self-sent TERM': 'kill -TERM $$',
  'a self-sent KILL': 'echo before; kill -KILL $$',
  'a self-sent SEGV': 'ulimit -c 0; kill -SEGV $$',
  HOME: 'echo $HOME; cd && pwd',
  globs: 'echo *.txt; echo sub* [ab].txt; ls -- *',
  'no match for a glob': 'echo *.nothing',
  redirections: 'echo out > sub/r.txt; echo more >> sub/r.txt; cat < sub/r.txt; cat sub/r.txt 1>&2; rm sub/r.txt',
  'several lines': 'a=1\nif [ "$a" = 1 ]\nthen\n  echo one\nfi\nfor i in 1 2 3; do\n  echo "$i"\ndone\n',
  'a heredoc': 'cat <<EOF\nfirst $((1+1))\n\ttabbed "quoted"\nEOF\ncat <<"EOF"\n$HOME stays\nEOF',
  'pipes and pipefail': 'set -o pipefail; printf "b\\na\\n" | sort | tr a-z A-Z; false | true',
  'bytes that are not UTF-8': `printf '\\377\\376\\000\\200abc\\n'; printf '\\303\\050' >&2`,
  'every byte': `for i in $(seq 0 255); do printf "\\\\$(printf %03o $i)"; done`,
  'CR LF and no newline at the end': `printf 'a\\r\\nb\\rc'`,
  unicode: 'echo "žluťoučký 🐎 — 日本語"; cat ünïcode.txt; printf "%s\\n" "${#HOME}"',
  'both streams apart': 'echo to-out; echo to-err >&2; echo again; echo again-err >&2',
  'only stderr': 'echo e >&2; exit 9',
  'the directory': 'pwd; pwd -P; cd sub && pwd',
  'a command that is not there': 'this-command-is-not-there-12345 2>/dev/null',
  'a file that is no program': './not-executable 2>/dev/null',
  'quotes, dollars and backslashes': `echo 'single "in" it' "double '\\$in'" \\\\ \\$HOME '$HOME' "a  b"`,
  'a subshell and its code': '(exit 7)',
  traps: 'trap "echo trapped" EXIT; exit 4',
  'bash itself': 'echo ${BASH_VERSION%%.*}; [[ a == a ]] && echo yes; arr=(1 2 3); echo ${#arr[@]}',
  'stdin at its end': 'cat; echo "rc $?"; read -r line; echo "rc $?"',
  'process substitution': 'diff <(echo a) <(echo a) && echo same',
  'a closed stdout': 'exec 1>&-; echo gone 2>/dev/null; exit 5',
  'a command that starts with a comment': '# a comment\necho after',
  'much of both streams': 'for i in $(seq 2000); do echo "out $i"; echo "err $i" >&2; done',
};

describe('a shell line on a peer is as it is here', () => {
  it.each(Object.entries(LINES))('%s', async (_, line) => {
    // One after the other: some write the same files.
    const local = await here(line);
    expect(seen(await onPeer([line]))).toEqual(seen(local));
  });

  it('128 + n is reported for the signal and nothing is added to stderr', async () => {
    const ran = await onPeer(['kill -TERM $$']);
    expect(seen(ran)).toEqual({ code: 143, stdout: '', stderr: '' });
  });

  it.each(['0', '022', '027', '077', '0777'])('umask %s', async (umask) => {
    const ask = 'umask; f=$(mktemp -u sub/u.XXXXXX); : > "$f"; stat -c %a "$f"; rm -f "$f"';
    const command = ['bash', '-c', `umask ${umask}; exec "$@"`, 'bash', process.execPath, CLI];
    const words = ['--home', mesh.node('origin').home, 'run', '--on', 'peer', '--', ask];
    const remote = await startProgram(command[0] ?? '', [...command.slice(1), ...words], { cwd: folder }).done;
    expect(seen(remote)).toEqual(seen(await here(`umask ${umask}; ${ask}`)));
  });
});

const ARGVS: Readonly<Record<string, readonly string[]>> = {
  'spaces, quotes and nothing': ['a b', '"c"', "it's", '', '  ', '\t'],
  'what a shell would read': ['$HOME', '*', '~', '`id`', '$(id)', ';', '&&', '|', '>x', '#c', '\\', '!', '{a,b}'],
  'options and separators': ['--', '-x', '--on', 'peer', '--json', ':::', '--help', '-'],
  'unicode and newlines': ['žluť', '🐎', 'a\nb', '\r\n', '\u0001'],
};

describe('an argv on a peer is seen by no shell', () => {
  it.each(Object.entries(ARGVS))('%s', async (_, words) => {
    const remote = await onPeer(['./args.sh', ...words]);
    const local = await startProgram('./args.sh', words, { cwd: folder }).done;
    expect(seen(remote)).toEqual(seen(local));
    expect(remote.stdout.toString()).toBe(`${words.map((word) => `[${word}]`).join('')}${words.length}\n`);
  });

  it('gives 127 for a program that is not there and 126 for one that cannot be run', async () => {
    const missing = await onPeer(['./no-such-program', 'x']);
    expect(missing.code).toBe(127);
    expect(missing.stderr.toString()).toContain('no-such-program');
    const plain = await onPeer(['./not-executable', 'x']);
    expect(plain.code).toBe(126);
    expect(plain.stderr.toString()).toContain('not-executable');
  });

  it('passes thousands of arguments', async () => {
    const words = Array.from({ length: 6000 }, (_, index) => `argument ${index}`);
    const ran = await onPeer(['./args.sh', ...words]);
    expect(ran.stdout.toString().endsWith(`[argument 5999]6000\n`)).toBe(true);
  });
});

describe('the environment and the directory', () => {
  const ENV_LINE =
    'for v in LANG LC_ALL LC_TIME TZ TERM CI NODE_ENV; do printf "%s=%s\\n" $v "${!v}"; done; date -d @0 +%H';
  const ENV = {
    LANG: 'C.UTF-8',
    LC_ALL: 'C',
    LC_TIME: 'C',
    TZ: 'Asia/Tokyo',
    TERM: 'dumb',
    CI: 'true',
    NODE_ENV: 'production',
  };

  it('passes on LANG, LC_*, TZ, TERM, CI and NODE_ENV, also in an argv', async () => {
    expect(seen(await onPeer([ENV_LINE], { env: ENV }))).toEqual(seen(await here(ENV_LINE, { env: ENV })));
    expect((await onPeer(['printenv', 'TZ'], { env: ENV })).stdout.toString()).toBe('Asia/Tokyo\n');
  });

  it('passes on nothing else unless --env names it', async () => {
    const env = { SECRET_OF_MINE: 'x y', NAMED: 'from here', MESHWORK_DEBUG: '0' };
    const plain = await onPeer(['echo "[$SECRET_OF_MINE][$NAMED][$GIVEN]"'], { env });
    expect(plain.stdout.toString()).toBe('[][][]\n');
    const flags = ['--env', 'NAMED', '--env', "GIVEN=a 'b' = $c", '--env', 'EMPTY='];
    const named = await onPeer(['echo "[$SECRET_OF_MINE][$NAMED][$GIVEN][${EMPTY-unset}]"'], { env, flags });
    expect(named.stdout.toString()).toBe("[][from here][a 'b' = $c][]\n");
  });

  it('sets MESHWORK_JOB_ID and no other variable of its own', async () => {
    const ran = await onPeer(['env | grep ^MESHWORK_ | cut -d= -f1']);
    expect(ran.stdout.toString()).toBe('MESHWORK_JOB_ID\n');
  });

  it('runs in --cwd, relative to here', async () => {
    expect((await onPeer(['pwd'], { flags: ['--cwd', 'sub'] })).stdout.toString()).toBe(`${join(folder, 'sub')}\n`);
    expect((await onPeer(['pwd'], { flags: ['--cwd', '/'] })).stdout.toString()).toBe('/\n');
  });

  it('refuses a directory that is not there, before anything runs', async () => {
    const ran = await onPeer(['touch ran'], { flags: ['--cwd', 'gone'] });
    expect(ran.code).toBe(125);
    expect(ran.stderr.toString()).toMatch(/cwd_missing/);
  });
});

describe('stdin', () => {
  const PARTS = 800;
  /** 50 MB of changing bytes, so that a lost, repeated or exchanged part shows. */
  const bulk = (): Buffer => {
    const whole = Buffer.alloc(PARTS * 65_536);
    for (let at = 0; at < whole.length; at += 4) whole.writeUInt32LE(Math.imul(at, 2_654_435_761) >>> 0, at);
    return whole;
  };

  it('arrives whole: 50 MB with equal hashes', async () => {
    const input = bulk();
    const ran = await onPeer(['sha256sum'], { input });
    expect(ran.stderr.toString()).toBe('');
    expect(ran.stdout.toString()).toBe(`${createHash('sha256').update(input).digest('hex')}  -\n`);
  });

  it('is echoed whole, in and out at once', async () => {
    const input = bulk().subarray(0, 8_000_000);
    const ran = await onPeer(['cat'], { input });
    expect(ran.stdout.equals(input)).toBe(true);
  });

  it('goes to whoever reads first, line by line, while it is open', async () => {
    const running = mesh.node('origin').start(['run', '--on', 'peer', '--', 'while read -r l; do echo "<$l>"; done'], {
      cwd: folder,
      input: 'pipe',
    });
    running.child.stdin?.write('one\n');
    await until('the first line is back', () => running.stdoutSoFar().toString() === '<one>\n');
    running.child.stdin?.end('two\n');
    expect((await running.done).stdout.toString()).toBe('<one>\n<two>\n');
  });

  it('may be left unread: the command ends all the same', async () => {
    expect((await onPeer(['exit 6'], { input: bulk().subarray(0, 5_000_000) })).code).toBe(6);
    expect((await onPeer(['head -c 3'], { input: bulk().subarray(0, 5_000_000) })).stdout.length).toBe(3);
  });

  it('may be left open by the caller: a command that reads none ends', async () => {
    const running = mesh.node('origin').start(['run', '--on', 'peer', '--', 'echo done'], { input: 'pipe' });
    expect(seen(await running.done)).toEqual({ code: 0, stdout: 'done\n', stderr: '' });
  });

  it('may be a file, or a directory that cannot be read', async () => {
    const words = [process.execPath, CLI, '--home', mesh.node('origin').home, 'run', '--on', 'peer', '--', 'wc -c'];
    const file = join(mesh.root, 'three megabytes');
    writeFileSync(file, bulk().subarray(0, 3_000_000));
    const ran = await startProgram('bash', ['-c', '"$@" < "$0"', file, ...words], { cwd: folder }).done;
    expect(ran.stdout.toString().trim()).toBe('3000000');
    const none = await startProgram('bash', ['-c', '"$@" < "$0"', folder, ...words], { cwd: folder }).done;
    expect(none.code).toBe(0);
    expect(none.stdout.toString().trim()).toBe('0');
  });

  it('that is closed is an empty one', async () => {
    const line = `"$@" <&-`;
    const words = [
      process.execPath,
      CLI,
      '--home',
      mesh.node('origin').home,
      'run',
      '--on',
      'peer',
      '--',
      'cat; echo $?',
    ];
    const ran = await startProgram('bash', ['-c', line, 'bash', ...words], { cwd: folder }).done;
    expect(seen(ran)).toEqual({ code: 0, stdout: '0\n', stderr: '' });
  });
});

describe('much output', () => {
  const MB = 1_000_000;
  /** Of Node.js itself some 60 MB, and buffers; 200 MB held in memory would show. */
  const CLI_PEAK_BYTES_MAX = 170 * MB;
  const DAEMON_GROWTH_BYTES_MAX = 100 * MB;
  const LINE = "yes 'The quick brown fox jumps over the lazy dog 0123456789' | head -c 200000000";

  it('200 MB arrive whole while the CLI and both daemons stay small', async () => {
    const daemons = mesh.nodes.flatMap(({ pid }) => (pid === null ? [] : [pid]));
    const before = daemons.map((pid) => memoryBytes(pid, 'VmRSS'));
    const running = spawn(
      process.execPath,
      [CLI, '--home', mesh.node('origin').home, 'run', '--on', 'peer', '--', LINE],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
        cwd: folder,
      },
    );
    const hash = createHash('sha256');
    let bytes = 0;
    let cliPeak = 0;
    running.stdout.on('data', (chunk: Buffer) => {
      hash.update(chunk);
      bytes += chunk.length;
      if (running.pid !== undefined && bytes < 195 * MB) cliPeak = Math.max(cliPeak, memoryBytes(running.pid, 'VmHWM'));
    });
    const code = await new Promise((resolve) => running.once('close', resolve));
    expect(code).toBe(0);
    expect(bytes).toBe(200_000_000);
    const local = await here(`${LINE} | sha256sum`);
    expect(`${hash.digest('hex')}  -\n`).toBe(local.stdout.toString());
    expect(cliPeak).toBeLessThan(CLI_PEAK_BYTES_MAX);
    daemons.forEach((pid, index) => {
      expect(memoryBytes(pid, 'VmHWM') - (before[index] ?? 0)).toBeLessThan(DAEMON_GROWTH_BYTES_MAX);
    });
  }, 600_000);

  it('a reader that goes away ends the command, as SIGPIPE does here', async () => {
    const yes = yesWords();
    const command = `echo first; exec ${yes}`;
    const words = [process.execPath, CLI, '--home', mesh.node('origin').home, 'run', '--on', 'peer', '--', command];
    const line = '"$@" | head -1; echo "${PIPESTATUS[*]}"';
    const ran = await startProgram('bash', ['-c', line, 'bash', ...words], { cwd: folder }).done;
    expect(ran.stdout.toString()).toBe('first\n141 0\n');
    await until('yes is gone', () => processesNamed(yes).length === 0, TREE_GONE_MS_MAX);
  });

  it('a reader of stderr that goes away ends it, too', async () => {
    const yes = yesWords();
    const command = `echo first >&2; exec ${yes} >&2`;
    const words = [process.execPath, CLI, '--home', mesh.node('origin').home, 'run', '--on', 'peer', '--', command];
    const line = '"$@" 2>&1 >/dev/null | head -1; echo "${PIPESTATUS[*]}"';
    const ran = await startProgram('bash', ['-c', line, 'bash', ...words], { cwd: folder }).done;
    expect(ran.stdout.toString()).toBe('first\n141 0\n');
    await until('yes is gone', () => processesNamed(yes).length === 0, TREE_GONE_MS_MAX);
  });

  it('a reader that is slow holds the command back', async () => {
    const yes = yesWords();
    const running = mesh.node('origin').start(['run', '--on', 'peer', '--', `${yes} & echo $!; wait`], { cwd: folder });
    running.child.stdout?.pause();
    const [found] = await until('yes runs', () => nonEmpty(processesNamed(yes).filter(isYes)));
    const ticks = (): string => processorTicks(found?.pid ?? 0);
    // Buffers fill, then its processor time stands still: the same reading many times in a row.
    let [last, same] = ['', 0];
    await until('yes is held back', () => {
      const now = ticks();
      same = now === last ? same + 1 : 0;
      last = now;
      return same >= 20;
    });
    running.child.kill('SIGINT');
    running.child.stdout?.resume();
    expect((await running.done).code).toBe(130);
  });
});

describe('a long command', () => {
  it('of 100 KB runs as it is', async () => {
    const text = 'x'.repeat(100_000);
    const ran = await onPeer([`printf %s '${text}' | wc -c`]);
    expect(seen(ran)).toEqual({ code: 0, stdout: '100000\n', stderr: '' });
  });

  it('too long for any shell is refused with its reason', async () => {
    const home = mesh.node('origin').home;
    // More than execve takes in one word comes from a file, as no caller could pass it either.
    const script = `const c = 'echo ' + 'x'.repeat(125000); const r = require('child_process').spawnSync(process.execPath, [${JSON.stringify(CLI)}, '--home', ${JSON.stringify(home)}, 'run', '--on', 'peer', '--', c]); console.log(r.status, String(r.stderr))`;
    const ran = await startProgram(process.execPath, ['-e', script], { cwd: folder }).done;
    expect(ran.stdout.toString()).toMatch(/^125 /);
    expect(ran.stdout.toString()).toMatch(/nothing was run/);
  });
});

/** What it writes is its own, too. */
const yesWords = (): string => sleepWords().replace('sleep', 'yes');

const isYes = ({ args }: { readonly args: string }): boolean => args.startsWith('yes ');

function nonEmpty<T>(list: readonly T[]): readonly T[] | null {
  return list.length > 0 ? list : null;
}

/** utime and stime of /proc/PID/stat (proc(5), fields 14 and 15). */
function processorTicks(pid: number): string {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return text.slice(text.lastIndexOf(')')).split(' ').slice(12, 14).join(' ');
}

function memoryBytes(pid: number, field: 'VmRSS' | 'VmHWM'): number {
  const found = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(found?.[1] ?? 0) * 1024;
}
