import { spawn } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { messageOf, systemCodeOf } from '../../base/errors.ts';
import { err, ok, type Result } from '../../base/result.ts';

const GIT_TIMEOUT_MS = 60_000;
/** From here on it may be waiting for something that is never to come. */
const GIT_SLOW_MS = 2000;
/** About five million paths. */
const GIT_OUTPUT_BYTES_MAX = 256 * 1024 * 1024;
const GIT_WORDS_BYTES_MAX = 4096;
const SHOWN_CHARS_MAX = 200;

/** Nothing is locked, asked, fetched or started by a look, and what git says is not translated. */
const ENVIRONMENT = { GIT_OPTIONAL_LOCKS: '0', GIT_TERMINAL_PROMPT: '0', GIT_NO_LAZY_FETCH: '1', LC_ALL: 'C' };
/** Whatever stands here is seen by `git config --list` too: nothing that travels. */
const QUIET = ['-c', 'core.fsmonitor=false', '-c', 'core.hooksPath=/dev/null'];

export interface GitOutput {
  readonly stdout: Buffer;
  /** Warnings: a folder that can't be read, for one. */
  readonly words: string;
}

/** Runs git in one work tree. Never throws for what git says; the refusal is for people. */
export interface Git {
  readonly env: Readonly<Record<string, string>>;
  run(args: readonly string[], more?: Readonly<Record<string, string>>): Promise<Result<GitOutput, string>>;
}

/**
 * @param top of the work tree; git runs as its owner where this process may: git obeys what a repository says, and
 * refuses one of another owner ("dubious ownership")
 * @param env whose PATH git is taken from; what points git to another repository is left out
 * @param whyItWaits asked where git is slow: a reason, for people, to end it; null: it is given its time
 */
export function createGit(
  top: string,
  env: Readonly<Record<string, string | undefined>>,
  whyItWaits: () => string | null = () => null,
): Git {
  const own: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && !name.startsWith('GIT_')) own[name] = value;
  }
  Object.assign(own, ENVIRONMENT);
  const owner = foreignOwner(top);
  if (owner !== null) {
    delete own['XDG_CONFIG_HOME'];
    own['HOME'] = owner.home;
  }
  const user = owner === null ? {} : { uid: owner.uid, gid: owner.gid };
  return {
    env: own,
    run: (args, more = {}) =>
      runGit(
        ['-C', top, ...QUIET, ...args],
        { env: { ...own, ...more }, ...user, timeout: GIT_TIMEOUT_MS },
        whyItWaits,
      ),
  };
}

/** Whose the work tree is, where this process is root and it is someone else's. */
function foreignOwner(top: string): { readonly uid: number; readonly gid: number; readonly home: string } | null {
  const stats = statSync(top);
  if (process.getuid?.() !== 0 || stats.uid === 0) return null;
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((entry) => entry.split(':'))
    .find((fields) => fields[2] === String(stats.uid));
  return { uid: stats.uid, gid: stats.gid, home: line?.[5] ?? NO_HOME };
}

/** Nothing can lie below it. */
const NO_HOME = '/dev/null';

interface RunOptions {
  readonly env: Readonly<Record<string, string>>;
  readonly uid?: number;
  readonly gid?: number;
  readonly timeout: number;
}

function runGit(
  args: readonly string[],
  options: RunOptions,
  whyItWaits: () => string | null,
): Promise<Result<GitOutput, string>> {
  return new Promise((resolve) => {
    const child = spawn('git', [...args], { ...options, stdio: ['ignore', 'pipe', 'pipe'], killSignal: 'SIGKILL' });
    const parts: Buffer[] = [];
    let bytes = 0;
    let words = '';
    const slow = setTimeout(() => {
      const why = whyItWaits();
      if (why === null) return;
      child.kill('SIGKILL');
      resolve(err(why));
    }, GIT_SLOW_MS);
    child.stdout.on('data', (part: Buffer) => {
      bytes += part.length;
      if (bytes <= GIT_OUTPUT_BYTES_MAX) parts.push(part);
      else child.kill('SIGKILL');
    });
    child.stderr.on('data', (part: Buffer) => {
      if (words.length < GIT_WORDS_BYTES_MAX) words += part.toString('utf8');
    });
    child.on('error', (error) => {
      clearTimeout(slow);
      resolve(
        err(systemCodeOf(error) === 'ENOENT' ? 'git is not on PATH' : `git can't be started: ${messageOf(error)}`),
      );
    });
    child.on('close', (code, signal) => {
      clearTimeout(slow);
      if (code === 0) resolve(ok({ stdout: Buffer.concat(parts), words }));
      else if (bytes > GIT_OUTPUT_BYTES_MAX) resolve(err('git lists too many files'));
      else if (signal !== null) resolve(err(`git was ended by ${signal} (the limit is ${GIT_TIMEOUT_MS / 1000} s)`));
      else resolve(err(`git failed: ${words.trim().split('\n')[0]?.slice(0, SHOWN_CHARS_MAX) ?? ''}`));
    });
  });
}
