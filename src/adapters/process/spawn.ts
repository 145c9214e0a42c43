import { type ChildProcess, spawn, type StdioOptions } from 'node:child_process';
import { accessSync, constants, fchownSync, statSync } from 'node:fs';
import { type Readable, type Writable } from 'node:stream';
import { Socket } from 'node:net';
import { messageOf, systemCodeOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { Command, TerminalSize } from '../../wire/job-spec.ts';
import { findExecutable } from './executable.ts';
import { closeQuietly, type Pipe } from './pipe-pool.ts';
import { type AttemptKey, cookieOf } from './tree.ts';

export interface SpawnUser {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

export interface SpawnRequest extends AttemptKey {
  readonly command: Command;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly umask: number;
  readonly stdin: boolean;
  /** stderr is stdout's pipe. */
  readonly merge: boolean;
  readonly user: SpawnUser | null;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
}

export type Spawned =
  | {
      readonly kind: 'spawned';
      /** Of the leader of its session and group. */
      readonly pid: number;
      readonly exited: Promise<Exit>;
      readonly stdin: Writable | null;
      readonly stdout: Readable;
      /** Null where it is stdout's. */
      readonly stderr: Readable | null;
      /** Of its terminal; null where it has pipes. */
      readonly resize: ((size: TerminalSize) => void) | null;
    }
  /** What a shell says of a command that it cannot execute: 126 or 127, with the line for stderr. */
  | { readonly kind: 'not_executable'; readonly code: 126 | 127; readonly message: string }
  | { readonly kind: 'failed'; readonly message: string };

/** Runs the call that forks, and nothing else, in whatever surroundings the child is to inherit. */
export type ForkPlace = <T>(fork: () => T) => T;

export interface Program {
  readonly file: string;
  readonly argv0: string;
  readonly args: readonly string[];
}

export const failed = (message: string): Extract<Spawned, { kind: 'failed' }> => ({ kind: 'failed', message });

/**
 * Starts a command as the leader of its own session and process group, so that signals reach it as a whole.
 * `child_process.spawn` is used directly, not execa: its spawn takes 60 % longer (measured), and its buffering, encoding
 * and clean-up are what byte-exact streams and a tree kill of our own must do without.
 *
 * @param pipes `pipesNeeded`, owned by this call from here on; null = Node's socket pairs
 */
export async function spawnCommand(
  request: SpawnRequest,
  pipes: readonly Pipe[] | null,
  inPlace: ForkPlace,
  log: Logger,
): Promise<Spawned> {
  const ends = new StdioEnds(request, pipes, log);
  try {
    const identity = prepareProgram(request, { mergeByShell: pipes === null && request.merge, idsBySetpriv: false });
    if ('kind' in identity) return identity;
    const stdio = ends.childStdio();
    const child = withUmask(request.umask, () =>
      inPlace(() =>
        spawn(identity.file, identity.args, {
          argv0: identity.argv0,
          cwd: request.cwd,
          env: identity.env,
          detached: true,
          stdio,
          ...identity.ids,
        }),
      ),
    );
    if (child.pid === undefined) return startFailure(await spawnError(child), request);
    return ends.spawned(child, child.pid);
  } catch (error) {
    return startFailure(error, request);
  } finally {
    ends.closeRest();
  }
}

/** How many pipes a command takes: stdout, stderr where it has its own, stdin where it is given. */
export const pipesNeeded = ({ merge, stdin }: Pick<SpawnRequest, 'merge' | 'stdin'>): number =>
  1 + (merge ? 0 : 1) + (stdin ? 1 : 0);

/** Node.js makes a socket pair of its own for each descriptor: where it has to, a shell joins the two. */
const mergedByShell = (program: Program): Program => ({
  file: '/bin/sh',
  argv0: 'sh',
  args: ['-c', 'exec "$@" 2>&1', 'sh', program.file, ...program.args],
});

/** Neither Node's spawn nor a terminal's takes a umask, and the child copies ours: set for the fork alone, which is synchronous. */
export function withUmask<T>(umask: number, fork: () => T): T {
  const own = process.umask(umask);
  try {
    return fork();
  } finally {
    process.umask(own);
  }
}

/** What to execute, as whom and with which environment, the cookie included; or why nothing can be. */
export function prepareProgram(
  request: Execution,
  how: { readonly mergeByShell: boolean; readonly idsBySetpriv: boolean },
): (Program & UserIds) | Spawned {
  const trouble = cwdTrouble(request.cwd);
  if (trouble !== null) return failed(trouble);
  const program = resolveProgram(request);
  if ('kind' in program) return program;
  const identity = asUser(how.mergeByShell ? mergedByShell(program) : program, request, how.idsBySetpriv);
  if ('kind' in identity) return identity;
  return { ...identity, env: { ...identity.env, ...cookieOf(request) } };
}

const spawnError = (child: ChildProcess): Promise<unknown> => new Promise((resolve) => child.once('error', resolve));

type Execution = Omit<SpawnRequest, 'merge' | 'stdin'>;

function resolveProgram(request: Execution): Program | Spawned {
  const { command, cwd } = request;
  const searchPath = request.env['PATH'];
  if (command.kind === 'argv') {
    const [name = '', ...args] = command.argv;
    const lookup = findExecutable(name, searchPath, cwd);
    if (lookup.kind === 'found') return { file: lookup.file, argv0: name, args };
    return { kind: 'not_executable', code: lookup.code, message: lookup.message };
  }
  for (const shell of ['bash', '/bin/bash', 'sh', '/bin/sh']) {
    const lookup = findExecutable(shell, searchPath, cwd);
    // `--` only where the line would pass for an option: a process list then shows what people expect.
    const guard = /^[-+]/.test(command.line) ? ['--'] : [];
    if (lookup.kind === 'found') return { file: lookup.file, argv0: shell, args: ['-c', ...guard, command.line] };
  }
  return failed('there is no bash and no sh here. Nothing was run.');
}

export interface UserIds {
  readonly ids: { readonly uid: number; readonly gid: number } | null;
  readonly env: SpawnRequest['env'];
}

/**
 * What the C library and its loader take in code, files or settings by, and ignore in set-user-ID programs (ld.so(8),
 * "secure-execution mode"). setpriv is not one of those but begins as root all the same, and a submitter chooses these.
 */
const LOADER_VARIABLE =
  /^(?:LD_.*|GLIBC_.*|MALLOC_.*|GCONV_PATH|GETCONF_DIR|HOSTALIASES|LANGUAGE|LOCALDOMAIN|LOCPATH|NIS_PATH|NLSPATH|RESOLV_HOST_CONF|RES_OPTIONS|TMPDIR|TZDIR)$/;

/**
 * With uid and gid Node.js clears the supplementary groups (libuv: setgroups(0)), so root's never stay; a user's own
 * can only be set by setpriv(1), which then becomes the command. While it is root still, its environment holds no
 * LOADER_VARIABLE: env(1) puts those back when the user is the job's.
 */
function asUser(program: Program, request: Execution, idsBySetpriv: boolean): (Program & UserIds) | Spawned {
  const { user, env } = request;
  const ownUid = process.geteuid?.() ?? 0;
  if (user === null || (user.uid === ownUid && ownUid !== 0)) return { ...program, env, ids: null };
  if (ownUid !== 0) {
    return failed(`this daemon is not root, so it cannot run commands as user ${user.uid}. Nothing was run.`);
  }
  const groups = [...new Set(user.groups)].filter((group) => group !== user.gid);
  if (groups.length === 0 && !idsBySetpriv) return { ...program, env, ids: { uid: user.uid, gid: user.gid } };
  const setpriv = findExecutable('setpriv', process.env['PATH'], '/');
  if (setpriv.kind !== 'found') {
    return failed(
      `setpriv (util-linux), which sets the supplementary groups of user ${user.uid}, is not here. Nothing was run.`,
    );
  }
  // setpriv looks in PATH too: the bare name, where that is how it was found, keeps argv[0] what it should be.
  const name = program.argv0.includes('/') ? program.file : program.argv0;
  const withheld = withheldVariables(env, name);
  if (withheld === null) {
    return failed(`"${name}" cannot be run with loader variables such as LD_PRELOAD as another user. Nothing was run.`);
  }
  const held = groups.length === 0 ? ['--clear-groups'] : ['--groups', groups.join(',')];
  const ids = ['--reuid', String(user.uid), '--regid', String(user.gid), ...held];
  return {
    file: setpriv.file,
    argv0: 'setpriv',
    args: [...ids, '--', ...withheld, name, ...program.args],
    env: Object.fromEntries(Object.entries(env).filter(([variable]) => !LOADER_VARIABLE.test(variable))),
    ids: null,
  };
}

/** The words before a command's name that set what setpriv must not see; null where env(1) would misread that name. */
function withheldVariables(env: SpawnRequest['env'], name: string): readonly string[] | null {
  const settings = Object.entries(env).filter(([variable]) => LOADER_VARIABLE.test(variable));
  if (settings.length === 0) return [];
  const setter = findExecutable('env', process.env['PATH'], '/');
  if (setter.kind !== 'found' || name.includes('=')) return null;
  return [setter.file, '--', ...settings.map(([variable, value]) => `${variable}=${value}`)];
}

function exitOf(child: ChildProcess, log: Logger): Promise<Exit> {
  child.on('error', (error) => log.warn('a child reports an error', { pid: child.pid, error: messageOf(error) }));
  return new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
}

/** The file descriptors of one command, until they belong to the child or to a stream. */
class StdioEnds {
  readonly #log: Logger;
  readonly #request: SpawnRequest;
  #pipes: { readonly stdout: Pipe; readonly stderr: Pipe | null; readonly stdin: Pipe | null } | null = null;
  readonly #ours: number[] = [];
  readonly #theirs: number[] = [];

  constructor(request: SpawnRequest, pipes: readonly Pipe[] | null, log: Logger) {
    this.#log = log;
    this.#request = request;
    const [stdout, ...more] = pipes ?? [];
    if (stdout === undefined) return;
    const stderr = request.merge ? null : (more.shift() ?? null);
    const stdin = request.stdin ? (more.shift() ?? null) : null;
    this.#pipes = { stdout, stderr, stdin };
    for (const pipe of [stdout, stderr]) {
      this.#ours.push(...(pipe === null ? [] : [pipe.readFd]));
      this.#theirs.push(...(pipe === null ? [] : [pipe.writeFd]));
    }
    if (stdin === null) return;
    this.#ours.push(stdin.writeFd);
    this.#theirs.push(stdin.readFd);
  }

  childStdio(): StdioOptions {
    const { stdin: wanted, user, merge } = this.#request;
    if (this.#pipes === null) return [wanted ? 'pipe' : 'ignore', 'pipe', merge ? 'ignore' : 'pipe'];
    // `> /dev/stderr` opens the pipe anew, as the job's user.
    if (user !== null && process.geteuid?.() === 0) {
      for (const fd of this.#theirs) fchownSync(fd, user.uid, user.gid);
    }
    const { stdout, stderr, stdin } = this.#pipes;
    return [stdin?.readFd ?? 'ignore', stdout.writeFd, (stderr ?? stdout).writeFd];
  }

  spawned(child: ChildProcess, pid: number): Spawned {
    const exited = exitOf(child, this.#log);
    this.#ours.length = 0;
    if (this.#pipes === null) {
      if (child.stdout === null) throw new Error('a child without output');
      const { stdin, stdout, stderr } = child;
      return { kind: 'spawned', pid, exited, stdin, stdout, stderr, resize: null };
    }
    const { stdout, stderr, stdin } = this.#pipes;
    const reading = ({ readFd }: Pipe): Socket => new Socket({ fd: readFd, readable: true, writable: false });
    return {
      kind: 'spawned',
      pid,
      exited,
      stdin: stdin === null ? null : new Socket({ fd: stdin.writeFd, readable: false, writable: true }),
      stdout: reading(stdout),
      stderr: stderr === null ? null : reading(stderr),
      resize: null,
    };
  }

  closeRest(): void {
    for (const fd of [...this.#ours.splice(0), ...this.#theirs.splice(0)]) closeQuietly(fd, this.#log);
  }
}

/** @returns null, or why no process can start in `cwd` */
function cwdTrouble(cwd: string): string | null {
  try {
    if (!statSync(cwd).isDirectory()) return `${cwd} is not a directory here. Nothing was run.`;
    accessSync(cwd, constants.X_OK);
    return null;
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === 'ENOENT') return `the directory ${cwd} does not exist here. Nothing was run.`;
    if (code === 'EACCES') return `the directory ${cwd} may not be entered by this user. Nothing was run.`;
    return `the directory ${cwd} cannot be used: ${messageOf(error)}. Nothing was run.`;
  }
}

/** What the system's refusal to start a process means; the causes that a lookup can see were ruled out before. */
export function startFailure(error: unknown, request: Pick<SpawnRequest, 'command'>): Spawned {
  const name = request.command.kind === 'argv' ? (request.command.argv[0] ?? '') : 'bash';
  switch (systemCodeOf(error)) {
    case 'E2BIG':
      return failed('the command line and its environment are longer than this system takes. Nothing was run.');
    case 'EAGAIN':
      return failed('this system lets the user start no more processes now. Nothing was run.');
    case 'ENOMEM':
      return failed('there is not enough memory to start a process. Nothing was run.');
    case 'EMFILE':
    case 'ENFILE':
      return failed('there are too many open files to start a process. Nothing was run.');
    case 'EACCES':
      return { kind: 'not_executable', code: 126, message: `${name}: Permission denied` };
    case 'ENOENT':
      return { kind: 'not_executable', code: 126, message: `${name}: bad interpreter: No such file or directory` };
    case 'ENOEXEC':
      return { kind: 'not_executable', code: 126, message: `${name}: cannot execute: Exec format error` };
    default:
      return failed(`cannot start a process: ${messageOf(error)}. Nothing was run.`);
  }
}
