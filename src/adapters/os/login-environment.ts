import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { systemCodeOf } from '../../base/errors.ts';
import type { LoginEnvironment } from '../../ports/system.ts';
import { type CommandEnd, runBounded } from './bounded-command.ts';
import type { ExecUser } from './exec-user.ts';
import { pathDirectories } from './tool-scan.ts';

/** Profiles start version managers; on a busy machine that takes seconds, and cut short they may leave locks. */
const LOGIN_SHELL_TIMEOUT_MS = 10_000;
const LOGIN_OUTPUT_BYTES_MAX = 1024 * 1024;

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** What a shell sets for itself and what belongs to one shell's life: meaningless in a job. */
const SHELL_NOISE: ReadonlySet<string> = new Set(['_', 'SHLVL', 'PWD', 'OLDPWD']);
/** Accounts of services have these: nobody logs in, but jobs may run there. */
const NO_LOGIN_SHELLS: ReadonlySet<string> = new Set(['nologin', 'false', 'true', 'sync', 'halt', 'shutdown']);

export interface LoginOptions {
  readonly user: ExecUser;
  /** This process's environment: only LANG and PATH are taken from it. */
  readonly daemonEnv: Readonly<Record<string, string | undefined>>;
  readonly timeoutMs?: number;
}

/**
 * Captures the environment of jobs by running the user's login shell once, from next to nothing, so that no secret of
 * this process gets in. Never fails: where the shell does, a minimal environment is used and `warning` says why.
 */
export async function captureLoginEnvironment(options: LoginOptions): Promise<LoginEnvironment> {
  const { user } = options;
  const shell = await usableShell(user.shell);
  const minimal: Record<string, string> = {
    HOME: user.home,
    USER: user.name,
    LOGNAME: user.name,
    SHELL: shell,
    PATH: DEFAULT_PATH,
    LANG: options.daemonEnv['LANG'] ?? 'C.UTF-8',
  };
  const captured = await runLoginShell(shell, minimal, options);
  const env: Record<string, string> = { ...(captured.ok ? clean(captured.env) : minimal), HOME: user.home };
  // What a user types `meshwork up` in often has more on PATH (set for interactive shells only: nvm, Homebrew) than a
  // login shell gives. Those come last, so that they add tools and replace none. Another user's PATH stays theirs.
  const extra = user.own ? (options.daemonEnv['PATH'] ?? '') : '';
  env['PATH'] = joinPaths(env['PATH'] ?? DEFAULT_PATH, extra);
  return { env, home: user.home, user: user.name, warning: captured.ok ? null : captured.warning };
}

type Captured =
  | { readonly ok: true; readonly env: Record<string, string> }
  | { readonly ok: false; readonly warning: string };

async function runLoginShell(shell: string, env: Record<string, string>, options: LoginOptions): Promise<Captured> {
  const { user } = options;
  const mark = `meshwork-${randomBytes(12).toString('hex')}`;
  // Profiles may print, before and (logout files) after: what counts is between the marks.
  const line = `echo ${mark}; ${printCommand()}; echo; echo ${mark}`;
  const end = await runBounded({
    file: shell,
    args: loginArguments(shell, line),
    env,
    cwd: (await isDirectory(user.home)) ? user.home : '/',
    timeoutMs: options.timeoutMs ?? LOGIN_SHELL_TIMEOUT_MS,
    outputBytesMax: LOGIN_OUTPUT_BYTES_MAX,
    urgent: true,
    user: user.own ? null : { uid: user.uid, gid: user.gid },
  });
  const found = end.kind === 'exited' ? between(end.stdout.toString('utf8'), mark) : null;
  if (found !== null) return { ok: true, env: parseEnvironment(found) };
  const remedy = `jobs here get a minimal environment. Check what ${shell} runs at login, then start the daemon again`;
  return { ok: false, warning: `the login shell ${shell} of ${user.name} ${whatHappened(end, options)}: ${remedy}` };
}

function whatHappened(end: CommandEnd, options: LoginOptions): string {
  switch (end.kind) {
    case 'timeout':
      return `did not end within ${options.timeoutMs ?? LOGIN_SHELL_TIMEOUT_MS} ms`;
    case 'too_much_output':
      return `printed more than ${LOGIN_OUTPUT_BYTES_MAX} bytes`;
    case 'not_started':
      return `could not be started (${end.message})`;
    case 'exited':
      return `ended with ${end.code ?? 'a signal'} and gave no environment`;
  }
}

/** csh takes `-l` only when nothing follows it. */
function loginArguments(shell: string, line: string): readonly string[] {
  return /^t?csh$/.test(basename(shell)) ? ['-c', line] : ['-l', '-c', line];
}

/** Only newer macOS has `env -0`; Node.js is there in any case. */
function printCommand(): string {
  if (process.platform === 'linux') return '/usr/bin/env -0';
  const script = 'for (const k in process.env) process.stdout.write(k + "=" + process.env[k] + String.fromCharCode(0))';
  return `'${process.execPath}' -e '${script}'`;
}

function between(output: string, mark: string): string | null {
  const start = output.indexOf(`${mark}\n`);
  const end = output.lastIndexOf(`\n${mark}`);
  return start < 0 || end <= start + mark.length ? null : output.slice(start + mark.length + 1, end);
}

function parseEnvironment(text: string): Record<string, string> {
  const env: Record<string, string> = {};
  for (const entry of text.split('\0')) {
    const at = entry.indexOf('=');
    if (at > 0) env[entry.slice(0, at)] = entry.slice(at + 1);
  }
  return env;
}

function clean(env: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => !SHELL_NOISE.has(name) && !name.startsWith('MESHWORK_')),
  );
}

/** The first PATH, then what the second has more. Relative entries, which mean another place in every cwd, are dropped. */
export function joinPaths(first: string, second: string): string {
  return pathDirectories(`${first}:${second}`).join(':');
}

async function usableShell(shell: string): Promise<string> {
  if (NO_LOGIN_SHELLS.has(basename(shell))) return '/bin/sh';
  try {
    await access(shell, constants.X_OK);
    return shell;
  } catch (error) {
    if (['ENOENT', 'EACCES', 'ENOTDIR'].includes(systemCodeOf(error))) return '/bin/sh';
    throw error;
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (['ENOENT', 'EACCES', 'ENOTDIR', 'ELOOP'].includes(systemCodeOf(error))) return false;
    throw error;
  }
}
